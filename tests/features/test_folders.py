"""Folders that cannot be used: each says what was required, what was found, and the next step. Nothing ends in a trace."""

import gzip
import re
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import ContractError, UsageError
from features.sources import open_dataset

TOML = 'zone = "Asia/Shanghai"\ncurrency = "CNY"\n'
HEAD = "event_id,customer_id,event_at,kind"
ROW = "1,ann,2026-03-01 10:00:00,purchase"
GOOD = f"{HEAD}\n{ROW}\n"


def parquet(tmp_path):
    path = tmp_path / "whole"
    n = 200
    pq.write_table(
        pa.table(
            {"event_id": [str(i) for i in range(n)], "customer_id": ["ann"] * n, "event_at": [datetime(2026, 3, 1)] * n, "kind": ["purchase"] * n}
        ),
        path,
    )
    return path.read_bytes()


@pytest.fixture
def refused(tmp_path):
    """A function: files by name -> the error's message, which has all its parts."""

    def opened(files, error=ContractError):
        folder = tmp_path / "data"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(error) as raised:
            open_dataset(str(folder))
        message = str(raised.value)
        assert re.search(r"(?s)\b(needs?|must|requires?|required)\b.*\bfound\b.*[;,] \w+", message), f"required, found, next step: {message}"
        return message

    return opened


def csv(*rows, head=HEAD):
    return "\n".join([head, *rows]) + "\n"


def more(column, *values):
    """Good events with one more column, quoted."""
    return csv(*(f'{i},ann,2026-03-01,purchase,"{value}"' for i, value in enumerate(values)), head=f"{HEAD},{column}")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, "needs a file events.parquet or events.csv .* found nothing; export your events there", id="empty folder"),
        pytest.param({"orders.csv": GOOD, "dataset.toml": TOML}, "found dataset.toml, orders.csv;", id="no events"),
        pytest.param({"events.csv": GOOD}, "NO_ZONE: the source must declare its zone and currency", id="no declaration"),
        pytest.param(
            {"events.csv": GOOD, "dataset.toml": 'currency = "CNY"\n'}, "NO_ZONE: the source must declare its zone, found none", id="no zone"
        ),
        pytest.param(
            {"events.csv": GOOD, "dataset.toml": 'zone = "UTC"\n'}, "NO_CURRENCY: the source must declare its currency, found none", id="no currency"
        ),
        pytest.param({"events.csv": GOOD, "dataset.toml": "zone = \n"}, "dataset.toml must be valid TOML, found: .*line 1", id="broken TOML"),
        pytest.param({"events.csv": csv(), "dataset.toml": TOML}, "events", id="no event in events"),
        pytest.param({"events.csv": csv("1,ann,,purchase"), "dataset.toml": TOML}, "event_at", id="no event with a time"),
        pytest.param(
            {"events.csv": "", "dataset.toml": TOML},
            "MISSING_COLUMN: events.csv needs the columns customer_id, event_at, kind",
            id="no bytes in events",
        ),
        pytest.param(
            {"events.csv": "event_id,who,event_at\n1,ann,2026-03-01\n", "dataset.toml": TOML},
            "MISSING_COLUMN: events.csv needs the columns customer_id, kind; found event_id, who, event_at; add or rename",
            id="events lack columns",
        ),
        pytest.param(
            {"events.csv": GOOD, "campaigns.csv": "campaign_id,start_at\nc1,2026-01-01\n", "dataset.toml": TOML},
            "MISSING_COLUMN: campaigns.* end_at",
            id="campaigns lack one",
        ),
        pytest.param(
            {"events.csv": GOOD, "customers.csv": "id,city\nann,Lhasa\n", "dataset.toml": TOML},
            "MISSING_COLUMN: customers.* customer_id",
            id="customers lack one",
        ),
        pytest.param(
            {"events.csv": more("currency", "CNY", "USD"), "dataset.toml": TOML},
            "MIXED_CURRENCY: all money must be in CNY as declared, found CNY, USD;",
            id="two currencies",
        ),
        pytest.param(
            {"events.csv": more("currency", "USD"), "dataset.toml": TOML}, "MIXED_CURRENCY: .* in CNY as declared, found USD;", id="another currency"
        ),
        pytest.param({"events.csv": b"\xff\xfe\x00\x01\n\x80\x81", "dataset.toml": TOML}, "NOT_UTF8: events.csv .* look like utf-16", id="no text"),
        pytest.param(
            {"events.csv.gz": gzip.compress(GOOD.encode())[:30], "dataset.toml": TOML},
            "must be readable as tables.*write that file again",
            id="cut gzip",
        ),
        pytest.param({"events.csv.zst": b"zstd?", "dataset.toml": TOML}, "must be readable as tables.*write that file again", id="no zstd"),
    ],
)
def test_a_folder_is_refused(refused, files, expected):
    assert re.search(f"(?s){expected}", refused(files))


@pytest.mark.parametrize("time", ["yesterday", "31.01.2026 10:00", "2026-02-30 10:00:00", "2026-01-31 25:00:00", "infinity"])
def test_a_time_that_cannot_be_read_is_refused(refused, time):
    message = refused({"events.csv": csv(ROW, f"2,ann,{time},purchase", f"3,bo,{time},purchase"), "dataset.toml": TOML})
    assert re.search(rf"UNPARSABLE_TIME: events.event_at needs times such as .*; found 2 that are not \({time}, {time}\)", message)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("amount", "a lot"),
        ("amount", "1,50"),
        ("amount", "nan"),
        ("amount", "inf"),
        ("amount", "1e300"),
        ("discount", "x"),
        ("amount_minor", "x"),
        ("quantity", "few"),
        ("quantity", "1.5"),
        ("is_promoted", "perhaps"),
        ("value", "good"),
    ],
)
def test_a_number_that_cannot_be_read_is_refused(refused, column, value):
    message = refused({"events.csv": more(column, "1", value, value), "dataset.toml": TOML})
    assert re.search(rf"UNPARSABLE_VALUE: events.{column} needs .*; found 2 that are not \({value}, {value}\)", message)


@pytest.mark.parametrize("zone", ['"Mars/Olympus"', '"../etc/passwd"', '"Asia"'])
def test_a_zone_that_is_none_is_refused(refused, zone):
    assert re.search(
        "NO_ZONE: zone must be an IANA name, found .*Asia/Shanghai",
        refused({"events.csv": GOOD, "dataset.toml": f'zone = {zone}\ncurrency = "CNY"\n'}),
    )


@pytest.mark.parametrize(
    ("declared", "named"),
    [
        ("[tasks.churn]\nhorizon_days = 0\n", "days"),
        ("[tasks.churn]\nlookbacks_days = [56, 28]\n", "lookbacks must rise"),
        ("[tasks.churn]\ngap_days = -1\n", "days"),
        ("[tasks.stay]\nkind = 'guess'\n", "tasks.stay.kind must be churn, conversion or lookalike, found 'guess'"),
        ("[tasks.churn]\nhorizon_days = 'long'\n", "horizon_days"),
        ("[tasks.churn]\nlookbacks_days = 28\n", "lookbacks"),
        ("[tasks.churn]\nlookbacks_days = []\n", "lookbacks"),
        ("[tasks]\nchurn = 3\n", "churn"),
        ("tasks = 3\n", "tasks"),
        ("observed_until = 'soon'\n", "observed_until"),
        ("sensitive = 3\n", "sensitive"),
    ],
)
def test_a_wrong_declaration_is_refused(refused, declared, named):
    assert named in refused({"events.csv": GOOD, "dataset.toml": TOML + declared}, (ContractError, UsageError))


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_parquet_file_that_was_cut_is_refused(refused, tmp_path, share):
    whole = parquet(tmp_path)
    message = refused({"events.parquet": whole[: int(len(whole) * share)], "dataset.toml": TOML})
    assert re.search("must be readable as tables, found: .*events.parquet.*; write that file again", message)


@pytest.mark.parametrize("place", ["data", "footer"])
def test_a_parquet_file_with_other_bytes_inside_is_refused(refused, tmp_path, place):
    whole = bytearray(parquet(tmp_path))
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    start = 10 if place == "data" else footer
    whole[start : start + 50] = b"\xff" * 50
    assert "must be readable as tables" in refused({"events.parquet": bytes(whole), "dataset.toml": TOML})


@pytest.mark.parametrize("name", ["complete-journeys", "/no/such/folder"])
def test_an_unknown_dataset_is_refused_with_the_names_that_there_are(name):
    with pytest.raises(
        UsageError, match=rf"DATA must be one of complete-journey.* a folder of tables, or a .toml .*; found '{name}', which is neither; correct the name"
    ):
        open_dataset(name)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "events.csv").write_text(GOOD)
    with pytest.raises(UsageError, match="a folder of tables, or a .toml .*; found .*events.csv"):
        open_dataset(str(tmp_path / "events.csv"))


@pytest.mark.parametrize("name", ["events.csv", "events.csv.gz", "events.parquet"])
def test_every_form_of_file_gives_the_same_events(tmp_path, name):
    (tmp_path / "dataset.toml").write_text(TOML)
    if name == "events.parquet":
        pq.write_table(
            pa.table({"event_id": ["1"], "customer_id": ["ann"], "event_at": [datetime(2026, 3, 1, 10)], "kind": ["purchase"]}), tmp_path / name
        )
    else:
        (tmp_path / name).write_bytes(gzip.compress(GOOD.encode()) if name.endswith("gz") else GOOD.encode())
    rows = open_dataset(str(tmp_path)).tables["events"].to_pyarrow().to_pylist()
    assert [(row["event_id"], row["customer_id"], row["event_at"], row["kind"]) for row in rows] == [
        ("1", "ann", datetime(2026, 3, 1, 2), "purchase")
    ]


def test_the_fingerprint_follows_every_byte_of_the_folder(tmp_path):
    def written(events=GOOD, toml=TOML):
        (tmp_path / "events.csv").write_text(events)
        (tmp_path / "dataset.toml").write_text(toml)
        return open_dataset(str(tmp_path)).fingerprint

    first = written()
    assert written() == first
    assert len({first, written(events=GOOD.replace("ann", "bob")), written(toml=TOML.replace("CNY", "EUR"))}) == 3
