"""Features of many events at many moments, against the same 48 in Polars: values, time, memory.

The peer is bench/polars_peer.py beside the project: its generator, its columns. Each measurement is a process of its own, so that its peak of memory is
its own; times are of the whole work from the file of events to the file of features, medians of three. The peer's own time is taken as it prints it, which
leaves its writing out.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

PEER = Path(__file__).parents[3] / "shared" / "bench" / "polars_peer.py"
HERE = Path("out/bench/data")
MONTHS = [f"2025-{month:02d}-01" for month in range(1, 13)]
WINDOWS = (30, 90, 365)


def declared() -> list[Any]:
    """The peer's 48 columns as declarations."""
    import runpy

    from features.feature import Aggregate, Feature, Formula, days

    peer = runpy.run_path(str(PEER))
    found = []

    def add(name: str, expression: Any) -> None:
        found.append(Feature(name, "behaviour", expression, "events", name, name))

    for d in WINDOWS:
        add(f"events_count_{d}d", Aggregate("events", window=d))
        for kind in peer["KINDS"]:
            add(f"{kind}_count_{d}d", Aggregate("events", where=(("kind", kind),), window=d))
        for channel in peer["CHANNELS"]:
            add(f"{channel}_events_count_{d}d", Aggregate("events", where=(("channel", channel),), window=d))
        add(f"spend_sum_{d}d_cents", Aggregate("events", "sum", "amount_minor", window=d))
        add(f"spend_max_{d}d_cents", Aggregate("events", "max", "amount_minor", window=d))
    add("days_since_last_event", Formula(days, (Aggregate("events", "min", "age", window=365),)))
    add("days_since_first_event_365d", Formula(days, (Aggregate("events", "max", "age", window=365),)))
    add("categories_nunique_365d", Aggregate("events", "distinct", window=365, by="category"))
    return found


def whole_catalogue() -> list[Any]:
    """Every entry of the catalogue, as if the events told everything; what no table here tells is computed all the same."""
    from features.catalogue import CATALOGUE, expand

    return [feature for feature in expand(CATALOGUE, WINDOWS, "USD") if not any(one.column == "campaign_end" for one in feature.aggregates())]


def build(events: Path, out: Path, which: str, as_ofs: list[str]) -> None:
    """Our side, in a process of its own: prints seconds, the peak of memory in GB, and where the time went."""
    import ibis

    from features.contracts import shaped
    from features.dataset import Dataset
    from features.engine import connect, read_table, write_tables
    from features.snapshots import parts

    start = time.perf_counter()
    engine = connect((events.parent,))
    table = read_table(engine, events)
    scan = time.perf_counter()
    table.aggregate(n=table.count(), total=table.amount_cents.sum(), last=table.event_at.max()).to_pyarrow()
    scan = time.perf_counter() - scan
    start += scan
    told = table.mutate(initiator=ibis.literal("customer"), local_at=table.event_at, amount_minor=table.amount_cents)
    dataset = Dataset("bench", "UTC", "USD", datetime(2024, 1, 1), datetime(2026, 1, 1), engine, {"events": shaped("events", told)}, (), "")
    spent = {"rows": 0, "compute": 0.0}

    def counted() -> Any:
        mark = time.perf_counter()
        for part in parts(dataset, [datetime.fromisoformat(as_of) for as_of in as_ofs], declared() if which == "peer" else whole_catalogue()):
            spent["rows"] += len(part)
            spent["compute"] += time.perf_counter() - mark
            yield part
            mark = time.perf_counter()

    write_tables(counted(), out)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": seconds, "gb": peak, "scan": scan, "write": seconds - spent["compute"], "rows": spent["rows"]}))


def measured(events: Path, out: Path, which: str, as_ofs: list[str], times: int = 3) -> dict[str, float]:
    """The median run of several."""
    command = [sys.executable, "-m", "tests.benchmarks.features", str(events), str(out), which, *as_ofs]
    runs = [json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]) for _ in range(times)]
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def peers(events: Path, out: Path, as_ofs: list[str], times: int = 3) -> float:
    """The peer's seconds as it prints them, the median."""
    command = [sys.executable, str(PEER), "features", str(events), str(out), *as_ofs]
    return statistics.median(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split(" in ")[1].split()[0]) for _ in range(times))


def differences(ours: Path, theirs: Path) -> int:
    """How many values differ on the peer's rows: counts and cents exactly, ages to 1e-9 days."""
    import pyarrow.parquet as pq

    mine, peer = pq.read_table(ours).to_pandas(), pq.read_table(theirs).to_pandas()
    mine["customer_id"] = mine["customer_id"].astype("int64")
    both = peer.merge(mine, on=["customer_id", "as_of"], how="left", suffixes=("", "_ours"), validate="one_to_one")
    wrong = 0
    for name in peer.columns.drop(["customer_id", "as_of"]):
        a, b = both[name].astype(float), both[f"{name}_ours"].astype(float)
        wrong += int((~((a - b).abs() <= 1e-9) & ~(a.isna() & b.isna())).sum())
    return wrong


def generated(n_events: int, n_customers: int) -> Path:
    """The peer's events; made once."""
    path = HERE / f"events{n_events}.parquet"
    HERE.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        subprocess.run([sys.executable, str(PEER), "generate", str(n_events), str(n_customers), str(path)], check=True)
    return path


def rows(large: bool) -> list[dict[str, Any]]:
    """The table of this benchmark."""
    from tests.benchmarks.__main__ import row

    if not PEER.exists():
        sys.exit(f"the benchmark of features needs its peer {PEER}, found none; it stands beside the project")
    events, ours, theirs = generated(10_000_000, 200_000), HERE / "ours.parquet", HERE / "peer.parquet"
    peer = peers(events, theirs, MONTHS)
    twelve = measured(events, ours, "peer", MONTHS)
    wrong = differences(ours, theirs)
    one = measured(events, HERE / "one.parquet", "peer", MONTHS[-1:])
    every = measured(events, HERE / "all.parquet", "all", MONTHS)
    found = [
        row("values that differ from the peer's, of 115 million", wrong, "values", "0", wrong == 0),
        row("48 features, 12 snapshots, 10 million events", round(twelve["seconds"], 1), "s", "at least as fast, aim 2 x", twelve["seconds"] <= peer, round(peer, 1), "Polars",
            round(peer / twelve["seconds"], 2)),
        row("12 snapshots against one", round(twelve["seconds"], 1), "s", "at most 3 x", twelve["seconds"] <= 3 * one["seconds"], round(one["seconds"], 1), "one snapshot",
            round(twelve["seconds"] / one["seconds"], 2)),
        row("peak of memory", round(twelve["gb"], 2), "GB", "at most 6", twelve["gb"] <= 6),
        row("against a bare scan", round(twelve["seconds"], 1), "s", "", None, round(twelve["scan"], 2), "count, sum, max", round(twelve["seconds"] / twelve["scan"], 1)),
        row("of which writing the file, parts being computed beside it", round(twelve["write"], 1), "s"),
        row(f"{len(whole_catalogue())} features", round(every["seconds"], 1), "s", "at most 4 x the 48", every["seconds"] <= 4 * twelve["seconds"], round(twelve["seconds"], 1),
            "48 features", round(every["seconds"] / twelve["seconds"], 2)),
        row("peak of memory, all features", round(every["gb"], 2), "GB")]
    if large:
        many = measured(generated(100_000_000, 2_000_000), HERE / "many.parquet", "peer", MONTHS, times=1)
        ratio = many["seconds"] / twelve["seconds"] / 10
        found += [row("100 million events, time per event against 10 million", round(many["seconds"], 1), "s", "at most 1.3 x", ratio <= 1.3, None, "", round(ratio, 2)),
                  row("peak of memory, 100 million events", round(many["gb"], 2), "GB", "at most 24", many["gb"] <= 24)]
    return found


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
