"""Anybody's files: other names, delimiters, encodings, forms of times and numbers; what could mean two things is refused."""

import gzip
import re
import tomllib
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from features.contracts import hold
from features.declaration import KEYS, tasks_of
from features.errors import ContractError
from features.labels import labels
from features.snapshots import features_of
from features.sources import open_dataset
from features.tasks import Seeds, WindowSpec

HERE = 'zone = "Asia/Shanghai"\ncurrency = "CNY"\n'
ORDERS = "会员编号;下单时间;实付金额;品类\nm1;2026-03-01 10:00:00;12.50;茶\nm2;2026-03-02 11:00:00;3;<b>\"tea\"</b>\n"
RENAMED = """[tables.events]
file = "订单.csv"
columns = { customer_id = "会员编号", event_at = "下单时间", amount = "实付金额", category = "品类" }
constants = { kind = "purchase" }
"""


@pytest.fixture
def opened(tmp_path):
    """A function: files by name -> the dataset."""

    def open_folder(files, declared=RENAMED, head=HERE):
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        for name, content in {**files, "dataset.toml": head + declared}.items():
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return open_dataset(str(folder))

    return open_folder


def rows(dataset, *columns):
    return dataset.tables["events"].order_by(["event_at", "event_id"]).select(*columns).to_pyarrow().to_pylist()


EXPECTED = [{"customer_id": "m1", "amount_minor": 1250, "category": "茶", "kind": "purchase"},
            {"customer_id": "m2", "amount_minor": 300, "category": '<b>"tea"</b>', "kind": "purchase"}]
PLAIN = ORDERS.replace('<b>"tea"</b>', '"<b>""tea""</b>"')


@pytest.mark.parametrize(("content", "declared"), [
    (PLAIN, RENAMED), ("\ufeff" + PLAIN, RENAMED), (PLAIN.replace(";", ","), RENAMED), (PLAIN.replace(";", "\t"), RENAMED), (PLAIN.replace(";", "|"), RENAMED),
    (PLAIN.replace("\n", "\r\n"), RENAMED), (PLAIN.encode("gb18030"), RENAMED + 'encoding = "gb18030"\n'), (PLAIN.encode("utf-16"), RENAMED + 'encoding = "utf-16"\n'),
], ids=["semicolon", "BOM", "comma", "tab", "pipe", "CRLF", "gb18030", "utf-16"])
def test_the_same_orders_in_other_dress(opened, content, declared):
    assert rows(opened({"订单.csv": content}, declared), "customer_id", "amount_minor", "category", "kind") == EXPECTED


@pytest.mark.parametrize("ending", [".csv.gz", ".tsv.zst", ".txt"])
def test_packed_and_named_otherwise(opened, ending):
    content = PLAIN.encode()
    content = gzip.compress(content) if ending.endswith("gz") else pa.Codec("zstd").compress(content, asbytes=True) if ending.endswith("zst") else content
    dataset = opened({f"订单{ending}": content}, RENAMED.replace("订单.csv", f"订单{ending}"))
    assert rows(dataset, "customer_id", "amount_minor", "category", "kind") == EXPECTED


def test_events_from_two_files_with_kinds_in_other_words(opened):
    offers = "会员编号,时间,事件\nm1,2026-03-01 09:00:00,收到优惠\nm1,2026-03-01 09:30:00,查看\n"
    dataset = opened({"订单.csv": PLAIN, "优惠.csv": offers}, RENAMED.replace("[tables.events]", "[[tables.events]]") + """[[tables.events]]
file = "优惠.csv"
columns = { customer_id = "会员编号", event_at = "时间", kind = "事件" }
values = { kind = { "收到优惠" = "campaign_received" } }
""")
    assert [(row["kind"], row["initiator"], row["amount_minor"]) for row in rows(dataset, "kind", "initiator", "amount_minor")] == [
        ("campaign_received", "marketer", None), ("查看", "customer", None), ("purchase", "customer", 1250), ("purchase", "customer", 300)]


def test_lines_without_a_number_are_numbered_the_same_every_time(opened):
    content = PLAIN + "m1;2026-03-01 10:00:00;12.50;茶\n"
    ids = [[row["event_id"] for row in rows(opened({"订单.csv": "\n".join([content.splitlines()[0], *order])}), "event_id")]
           for order in (content.splitlines()[1:], content.splitlines()[:0:-1])]
    assert len(set(ids[0])) == 3 and sorted(ids[0]) == sorted(ids[1])


@pytest.mark.parametrize(("declared", "values", "minor"), [
    ('decimal = ","\n', ["1,5", "1234,50"], [150, 123450]), ('decimal = ","\nthousands = "."\n', ["1.234,50", "7"], [123450, 700]),
    ('thousands = ","\n', ["1,234.50", "1,234,567"], [123450, 123456700]), ("", ["-0.0", " 12.5 "], [0, 1250])])
def test_declared_numbers_are_read(opened, declared, values, minor):
    content = "会员编号;下单时间;实付金额;品类\n" + "".join(f"m{i};2026-03-0{i + 1} 10:00;{value};x\n" for i, value in enumerate(values))
    assert [row["amount_minor"] for row in rows(opened({"订单.csv": content}, RENAMED + declared), "amount_minor")] == minor


@pytest.mark.parametrize(("values", "advice"), [
    (["1,234.50"], r'declare in \[tables.events\] of dataset.toml decimal = "\.", thousands = ","'), (["1.234,50"], r'decimal = ",", thousands = "\."'),
    (["1,5"], 'toml decimal = ","$'), (["1,234"], r'which it is, decimal = "," or decimal = "\.", thousands = ","'), (["twelve"], "correct them in the source")])
def test_numbers_that_could_mean_two_things_are_refused_with_what_to_declare(opened, values, advice):
    with pytest.raises(ContractError, match="UNPARSABLE_VALUE: events.amount needs decimal numbers") as raised:
        opened({"订单.csv": "会员编号;下单时间;实付金额;品类\n" + "".join(f"m;2026-03-01;{value};x\n" for value in values)})
    assert re.search(advice, str(raised.value))


@pytest.mark.parametrize(("times", "advice"), [
    (["03/04/2026", "05/06/2026"], 'day and month could change places.*time_format = "%d/%m/%Y" or time_format = "%m/%d/%Y"'),
    (["03/04/2026", "25/06/2026"], 'toml: time_format = "%d/%m/%Y"'), (["31.12.2025 18:05"], 'time_format = "%d.%m.%Y %H:%M"'), (["2026年3月1日"], 'time_format = "%Y年%m月%d日"'),
    (["03/04/2026", "yesterday"], "correct them in the source")])
def test_times_that_could_mean_two_things_are_refused_with_what_to_declare(opened, times, advice):
    with pytest.raises(ContractError, match="UNPARSABLE_TIME: events.event_at needs times such as") as raised:
        opened({"订单.csv": "会员编号;下单时间;实付金额;品类\n" + "".join(f"m;{time};1;x\n" for time in times)})
    assert re.search(advice, str(raised.value))


def test_a_declared_time_format_is_local_time(opened):
    content = "会员编号;下单时间;实付金额;品类\nm;03/04/2026 08:00;1;x\n"
    for form, utc in (("%d/%m/%Y %H:%M", "2026-04-03 00:00:00"), ("%m/%d/%Y %H:%M", "2026-03-04 00:00:00")):
        dataset = opened({"订单.csv": content}, RENAMED + f'time_format = "{form}"\n')
        assert str(rows(dataset, "event_at")[0]["event_at"]) == utc
    with pytest.raises(ContractError, match="times as declared, %Y-%m-%d"):
        opened({"订单.csv": content}, RENAMED + 'time_format = "%Y-%m-%d"\n')


@pytest.mark.parametrize(("content", "looks"), [(ORDERS.encode("gb18030"), "gb18030"), ("id;name\n1;Müller, Zürich, café\n".encode("windows-1252"), "windows-1252")])
def test_another_encoding_is_refused_with_what_it_looks_like(opened, content, looks):
    with pytest.raises(ContractError, match=f'NOT_UTF8: 订单.csv must be UTF-8 text, found other bytes that look like {looks}; .*declare encoding = "{looks}"'):
        opened({"订单.csv": content})


@pytest.mark.parametrize(("declared", "message"), [
    ('zonne = "UTC"\n', "dataset.toml line 3 needs a known key, found 'zonne'; did you mean zone"),
    ("[tasks.churn]\n# why\nhorizont_days = 3\n", "line 5 needs a known key in tasks.churn, found 'horizont_days'; did you mean horizon_days"),
    ("[tables.event]\nfile = 'a.csv'\n", "line 3 needs a known key in tables, found 'event'; did you mean events"),
    ("[tables.events]\ncolums = { a = 'b' }\n", "line 4 needs a known key in tables.events, found 'colums'; did you mean columns"),
    ("[tasks.x]\nkind = 'lookalike'\n[tasks.x.seeds]\ncolum = 'a'\n", "line 6 needs a known key in tasks.x.seeds, found 'colum'; did you mean column"),
    ("[tasks.churn]\nhorizon_days = '28'\n", "line 4 needs a whole number in tasks.churn.horizon_days, found '28'"),
    ("[tasks.churn]\nhorizon_days = true\n", "needs a whole number in tasks.churn.horizon_days, found True"),
    ("sensitive = 'age'\n", "line 3 needs a list of texts in sensitive"), ("tasks = 3\n", "line 3 needs tasks as a table such as"),
    ("[tasks.look]\nkind = 'lookalike'\n", "tasks.look needs its seeds, found none; write .tasks.look.seeds."),
    ("[tasks.churn.campaign]\nclv = 90.0\n", "tasks.churn.campaign needs .*, found no incentive_cost, contact_cost, accept_rate; correct"),
    ("[tasks.buy.campaign]\nclv = 90\nincentive_cost = 5\ncontact_cost = 1\naccept_rate = 0.2\n", "tasks.buy.campaign needs a task of kind churn, .*, found kind conversion"),
    ("[tasks.look]\nkind = 'lookalike'\n[tasks.look.seeds]\ncolumn = 'x'\ntop_share = 2\n", "top_share must lie between 0 and 1, found 2"),
    ("[tasks.look]\nkind = 'lookalike'\n[tasks.look.seeds]\nevent_kind = 'x'\nfrom_date = 'May'\n", "from_date needs a date such as 2026-01-31, found 'May'"),
    ("[tasks.churn.seeds]\ncolumn = 'x'\n", "tasks.churn.seeds belong to a task of kind lookalike"),
    ("[tables.customers]\nfile = '../secret.csv'\n", "tables.customers.file must name a file of .*, found '../secret.csv'"),
    ("[tables.events]\nfile = 'none.csv'\n", "tables.events.file must name a file of"),
    ("[attributes.city]\nlabel_zh = '城市'\n", "attributes and sensitive must name columns of customers, found city"),
])
def test_a_declaration_with_a_fault_is_refused_with_its_line(opened, declared, message):
    with pytest.raises(ContractError, match=message):
        opened({"events.csv": "event_id,customer_id,event_at,kind\n1,a,2026-03-01,purchase\n"}, declared)


def test_a_declaration_that_is_no_utf8_is_refused(tmp_path):
    (tmp_path / "dataset.toml").write_bytes(HERE.encode() + 'name = "会员"'.encode("gb18030"))
    with pytest.raises(ContractError, match="dataset.toml must be UTF-8 text, found other bytes in line 3"):
        open_dataset(str(tmp_path))


def test_declared_columns_must_be_there(opened):
    with pytest.raises(ContractError, match=r"MISSING_COLUMN: 订单.csv needs the declared columns 付款时间; found 会员编号, 下单时间"):
        opened({"订单.csv": PLAIN}, RENAMED.replace("下单时间", "付款时间"))
    with pytest.raises(ContractError, match="events know the columns .*; found custmer_id in dataset.toml"):
        opened({"订单.csv": PLAIN}, RENAMED.replace("customer_id =", "custmer_id ="))


def test_attributes_have_names_in_both_languages(opened):
    dataset = opened({"订单.csv": PLAIN, "会员.csv": "会员编号,城市\nm1,{拉萨}\n"}, RENAMED + """[tables.customers]
file = "会员.csv"
columns = { customer_id = "会员编号", city = "城市" }
[attributes.city]
label_en = "home {town}"
label_zh = "城市"
sensitive = true
""")
    assert [(a.name, a.label_en, a.label_zh, a.is_sensitive) for a in dataset.attributes] == [("city", "home {town}", "城市", True)]
    assert next(feature for feature in features_of(dataset)[0] if feature.name == "city").label_en == "home {town}"


TEA = """[tasks.conversion-tea]
target_category = "tea"
horizon_days = 7
active_days = 14
slide_days = 7
lookbacks_days = [7, 14]
"""


def shop(declared):
    lines = ["event_id,customer_id,event_at,kind,category"]
    for day in range(40):
        for customer in range(6):
            category = "tea" if (day + customer) % 9 == 0 else "salt"
            lines.append(f"{day}-{customer},c{customer},2026-0{1 + day // 28}-{1 + day % 28:02} 12:00:00,purchase,{category}")
    return {"events.csv": "\n".join(lines)}, declared


def test_a_task_may_ask_about_one_category(opened):
    dataset, _ = hold(opened(*shop(TEA)))
    task = dataset.tasks[0]
    assert (task.kind, task.target_category) == ("conversion", "tea") and "in tea" in task.question()
    assert "purchase_in_tea_count_ever" in task.rules
    as_of = datetime(2026, 1, 20, 16)
    found = {row["customer_id"]: row["label"] for row in labels(dataset, task, [as_of]).to_pyarrow().to_pylist()}
    # 2026-01-21 to 27 local are days 20 to 26 of the shop.
    assert found == {f"c{customer}": int(any((day + customer) % 9 == 0 for day in range(20, 27))) for customer in range(6)}
    assert set(found.values()) == {0, 1}


def test_a_category_that_nobody_bought_is_refused_with_the_nearest(opened):
    dataset, _ = hold(opened(*shop(TEA.replace('"tea"', '"Tee"'))))
    with pytest.raises(ContractError, match="NO_SUCH_CATEGORY: conversion-tea needs .* in the category 'Tee', found none; nearest: tea; most frequent: salt, tea"):
        labels(dataset, dataset.tasks[0], [datetime(2026, 1, 20, 16)])


def test_lookalike_is_declared_with_its_seeds(opened):
    declared = '[tasks.lookalike]\nactive_days = 9\n[tasks.lookalike.seeds]\nevent_kind = "purchase"\nfrom_date = 2026-01-01\nuntil_date = "2026-02-01"\n'
    dataset = opened({"订单.csv": PLAIN}, RENAMED + declared)
    task = dataset.tasks[0]
    assert (task.kind, task.seeds) == ("lookalike", Seeds("purchase", "2026-01-01", "2026-02-01"))
    assert task.windows == WindowSpec(28)


def test_every_key_is_documented_and_every_documented_key_known():
    page = (Path(__file__).parent.parent.parent / "docs" / "your-own-data.md").read_text(encoding="utf-8")
    table = page.split("## Every key of dataset.toml")[1].split("```")[0]
    documented = set(re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))))

    def names(known):
        return set().union(*({key} | (names(inner) if isinstance(inner, dict) else set()) for key, inner in known.items())) if known else set()

    keys = names(KEYS) - {
        "*", "customers", "items", "campaigns", "events", "aliases", "stages", "unit", "label_en", "label_zh", "event_kind", "from_date", "until_date", "column", "top_share"}
    assert documented == keys
    example = page.split("```toml")[1].split("```")[0]
    assert [task.kind for task in tasks_of(tomllib.loads(example), "cny")] == ["churn", "conversion", "lookalike"]
