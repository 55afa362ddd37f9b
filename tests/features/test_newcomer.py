"""A newcomer's folder: guessed aloud, never in silence; a starter that needs one edit; and the way to the first report."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from features.contracts import hold
from features.errors import ContractError, UsageError
from features.reading import unpacked
from features.roles import guesses
from features.sources import is_undeclared, open_dataset
from features.starter import sentences, write_starter

ROOT = Path(__file__).parent.parent.parent
STARBUCKS = ROOT.parent / "shared" / "data" / "starbucks"
KINDS = {"offer-received": "收到优惠", "offer-viewed": "查看", "offer-completed": "核销"}


@pytest.fixture(scope="session")
def newcomer(need, tmp_path_factory):
    """Three CSV files of real length: Chinese headers, semicolons, local times with the day first, decimal commas, no declaration."""
    need(STARBUCKS, "the data sets stand beside the project under ../shared/data")
    folder = tmp_path_factory.mktemp("newcomer") / "coffee"
    folder.mkdir()
    with zipfile.ZipFile(STARBUCKS / "data.csv.zip") as packed:
        log = list(csv.DictReader(io.TextIOWrapper(packed.open("data.csv"), encoding="utf-8")))

    def write(name, header, rows):
        with (folder / name).open("w", encoding="utf-8-sig", newline="") as file:
            out = csv.writer(file, delimiter=";")
            out.writerow(header)
            out.writerows(rows)

    def at(row):
        return (datetime(2018, 7, 27) + timedelta(hours=int(row["time"]))).strftime("%d.%m.%Y %H:%M")

    write("订单.csv", ["会员编号", "下单时间", "实付金额"], (
        [row["customer_id"], at(row), row["amount"].replace(".", ",")] for row in log if row["event"] == "transaction"))
    write("优惠触达.csv", ["会员编号", "时间", "事件"], ([row["customer_id"], at(row), KINDS[row["event"]]] for row in log if row["event"] in KINDS))
    people = [json.loads(line) for line in unpacked(STARBUCKS / "profile.json.zst").splitlines()]
    write("会员.csv", ["会员编号", "性别", "入会日期", "收入"], (
        [one["id"], one["gender"], datetime.strptime(str(one["became_member_on"]), "%Y%m%d").strftime("%d.%m.%Y"), one["income"] and f"{int(one['income']) // 20000 * 20}k"]
        for one in people))
    return folder


def door(*words):
    return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="session")
def declared(newcomer, tmp_path_factory):
    """The same folder after --init and its one edit."""
    folder = tmp_path_factory.mktemp("declared") / "coffee"
    shutil.copytree(newcomer, folder)
    done = door("features", "check", str(folder), "--init")
    assert done.returncode == 0, done.stderr
    fill = [line for line in done.stdout.splitlines() if line.startswith("  ")]
    assert len(fill) == 1 and fill[0].startswith("  zone:"), "one edit, and it is said which"
    path = folder / "dataset.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('zone = ""', 'zone = "America/Los_Angeles"'), encoding="utf-8")
    return folder


def test_without_a_declaration_everything_is_said_and_nothing_used(newcomer):
    done = door("features", "check", str(newcomer))
    assert done.returncode == 2 and "--init" in done.stderr and "Traceback" not in done.stderr
    for said in ("订单.csv: looks like events", "会员编号 -> customer_id", "实付金额 -> amount", "优惠触达.csv: looks like events", "收到优惠 means campaign_received",
                 "会员.csv: looks like customers (one row for each customer)", "入会日期 -> valid_from", "no items: it would add"):
        assert said in done.stdout, said
    assert is_undeclared(str(newcomer)) and not (newcomer / "dataset.toml").exists()


def test_one_edit_leads_to_data_that_keep_the_contract(declared):
    done = door("features", "check", str(declared))
    assert done.returncode == 0 and "the data keep the contract; next: make run" in done.stdout, done.stderr
    dataset, findings = hold(open_dataset(str(declared)))
    events = dataset.tables["events"]
    counts = dict(zip(*(events.group_by("kind").agg(n=events.count()).to_pyarrow().to_pydict().values()), strict=True))
    # As the source's own description counts them.
    assert counts == {"purchase": 138_953, "campaign_received": 76_277, "查看": 57_725, "coupon_redemption": 33_579}
    assert events.amount_minor.sum().to_pyarrow().as_py() == 177_545_197
    assert not findings
    assert {task.kind for task in dataset.tasks} == {"churn", "conversion", "lookalike"}
    assert [(a.name, a.is_sensitive) for a in dataset.attributes] == [("性别", True), ("收入", False)]
    assert dataset.currency == "CNY"


@pytest.fixture
def some(declared, tmp_path):
    """The same folder with a quarter of its members: what a run does with it is the same, in a quarter of the time."""
    folder = tmp_path / "coffee"
    shutil.copytree(declared, folder)
    for path in folder.glob("*.csv"):
        header, *lines = path.read_text(encoding="utf-8-sig").splitlines()
        path.write_text("\n".join([header, *(line for line in lines if line[0] in "0123")]) + "\n", encoding="utf-8-sig")
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_and_to_the_first_report(some, whole_path, tmp_path):
    summary, said, run = whole_path(some, tmp_path / "run", trials=1)
    assert "churn" in summary["tasks"] and summary["tasks"]["churn"]["gate"] == "passed"
    page = (run / "reports" / "churn.zh.html").read_text(encoding="utf-8")
    assert "谁会流失" in page and "index.zh.html" in said


def test_a_declaration_is_never_overwritten(declared):
    before = (declared / "dataset.toml").read_bytes()
    with pytest.raises(UsageError, match="--init writes a first dataset.toml, found one in"):
        write_starter(declared)
    assert (declared / "dataset.toml").read_bytes() == before


@pytest.fixture
def folder(tmp_path):
    """A function: files by name -> a folder."""

    def write(**files):
        made = tmp_path / "data"
        made.mkdir(exist_ok=True)
        for name, content in files.items():
            (made / name.replace("__", ".")).write_bytes(content if isinstance(content, bytes) else content.encode())
        return made

    return write


def orders(*times, amounts=None, header="member_no,pay_time,total"):
    return "\n".join([header, *(f"m{i % 3},{time},{(amounts or ['1.50'])[i % len(amounts or [1])]}" for i, time in enumerate(times))])


def test_what_only_the_owner_can_know_is_left_to_fill_in(folder):
    path, fill = write_starter(folder(orders__csv=orders("03/04/2026", "05/06/2026")))
    text = path.read_text(encoding="utf-8")
    assert [line.split(" ")[0] for line in fill] == ["zone:", "time_format"]
    assert '# time_format = "%d/%m/%Y"' in text and '# time_format = "%m/%d/%Y"' in text and not re.search(r"^time_format", text, re.M)
    path.write_text(text.replace('zone = ""', 'zone = "UTC"').replace('# time_format = "%d/%m/%Y"', 'time_format = "%d/%m/%Y"'), encoding="utf-8")
    assert str(open_dataset(str(path.parent)).observed_from) == "2026-04-03 00:00:00"


def test_what_the_content_settles_is_written(folder):
    path, fill = write_starter(folder(orders__csv=orders("03/04/2026", "25/06/2026").replace("1.50", '"1.234,50"')))
    text = path.read_text(encoding="utf-8")
    assert len(fill) == 1 and 'time_format = "%d/%m/%Y"' in text and 'decimal = ","\nthousands = "."' in text


@pytest.mark.parametrize(("name", "content", "table", "roles"), [
    ("orders.csv", orders("2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"), "events", {"customer_id": "member_no", "event_at": "pay_time", "amount": "total"}),
    ("users.tsv", "UserID\tsignup_date\tcity\n1\t2026-01-01\tBonn\n2\t2026-01-02\tKöln\n", "customers", {"customer_id": "UserID", "valid_from": "signup_date", "city": "city"}),
    ("goods.csv", "SKU,category\na,tea\nb,salt\n", "items", {"item_id": "SKU", "category": "category"}),
    ("plan.csv", "campaign,start_date,end_date\nx,2026-01-01,2026-01-09\n", "campaigns", {"campaign_id": "campaign", "start_at": "start_date", "end_at": "end_date"}),
    ("log.csv", "user,when it was,event\n1,2026-01-01 10:00,view\n1,2026-01-02 10:00,buy\n", "events", {"customer_id": "user", "event_at": "when it was", "kind": "event"}),
    ("notes.csv", "title,text\na,b\n", "", {}), ("many.csv", "user,score\n1,2\n1,3\n", "", {}),
])
def test_roles_are_told_by_name_and_content(folder, name, content, table, roles):
    (guess,) = guesses(folder(**{name.replace(".", "__"): content}))
    assert guess.table == table
    assert {column.role: column.column for column in guess.columns} == roles


def test_an_order_number_that_comes_again_is_a_session(folder):
    (guess,) = guesses(folder(o__csv="order_id,user,date,amount\n7,1,2026-01-01,1\n7,1,2026-01-01,2\n8,2,2026-01-02,3\n"))
    assert {column.role for column in guess.columns} == {"session_id", "customer_id", "event_at", "amount"}


def test_other_encodings_are_noticed(folder):
    made = folder(o__csv="会员编号,下单时间,实付金额\n甲,2026-01-01,1\n乙,2026-01-02,2\n".encode("gb18030"))
    path, _ = write_starter(made)
    assert 'encoding = "gb18030"' in path.read_text(encoding="utf-8")
    assert any("gb18030 text" in line for line in sentences(guesses(made)))


def test_a_folder_without_events_says_what_it_found(folder):
    with pytest.raises(ContractError, match=r"a folder needs a file of events .*found none among notes.csv:\n  notes.csv: not used, no column was found that names the customer"):
        write_starter(folder(notes__csv="title,text\na,b\n"))
    with pytest.raises(ContractError, match="empty.csv needs a header line, found an empty file"):
        write_starter(folder(empty__csv=""))


def test_strange_names_survive_the_way_into_toml(folder):
    odd = 'a "b" \\ [c] = <script>'
    path, _ = write_starter(folder(o__csv='user,date,amount\n1,2026-01-01,1\n1,2026-01-02,1\n', p__csv='user,"a ""b"" \\ [c] = <script>"\n1,x\n2,x\n'))
    path.write_text(path.read_text(encoding="utf-8").replace('zone = ""', 'zone = "UTC"'), encoding="utf-8")
    dataset = open_dataset(str(path.parent))
    assert odd in path.read_text(encoding="utf-8").replace('\\"', '"').replace("\\\\", "\\")
    assert [attribute.name for attribute in dataset.attributes] == ["a_b_c_script"]
