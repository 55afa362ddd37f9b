"""Probable links: Febrl's persons, whose truth is known, and families, who look alike without being one."""

import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

FEBRL = Path(__file__).parents[3] / "shared" / "data" / "febrl"
AT = datetime(2026, 1, 1)
N_FAMILIES = 2000


def linked(*names: str) -> list[dict[str, Any]]:
    """The links within one file of Febrl's or between two."""
    from features.engine import connect
    from features.persons import read_persons
    from features.probable import learn, proposed_links

    engine = connect((FEBRL,))
    learned = learn(engine, [read_persons(engine, FEBRL / f"dataset{name}.csv.zst", "rec_id", {})[0] for name in names])
    return proposed_links(learned, AT).to_pyarrow().to_pylist()  # type: ignore[no-any-return]


def probable_rows() -> list[dict[str, Any]]:
    """The rows of this benchmark; none learned from a label."""
    import pyarrow as pa

    from features.engine import connect
    from features.persons import one_form, readings
    from features.probable import learn, proposed_links
    from tests.benchmarks.__main__ import row
    from tests.features.families import families, figures

    def person(record: str) -> str:
        return record.split("-")[1]

    start = time.perf_counter()
    four = linked("4a", "4b")
    seconds = time.perf_counter() - start
    found = []
    for what, figure in zip(("precision", "recall", "F1"), figures(four, person, 5000), strict=True):
        found.append(row(f"febrl 4, a against b: {what} of pairs", round(figure, 4), "share", "at least .99", figure >= 0.99))
    found.append(row("febrl 4: from files to links", round(seconds, 1), "s"))
    one = figures(linked("1"), person, 500)[2]
    nobody = len(linked("4a"))
    found += [row("febrl 1: F1 of pairs", round(one, 4), "share", "at least .99", one >= 0.99), row("febrl 4a, where nobody comes twice: links", nobody, "links", "0", nobody == 0)]

    rows, who = families(N_FAMILIES)
    n_true = len(who) - len(set(who.values()))
    engine = connect(())
    table = engine.create_table("raw", pa.Table.from_pylist(rows))
    learned = learn(engine, [one_form(table, "id", readings(table, "id", {}))])
    ours, peer = (figures(proposed_links(one, AT).to_pyarrow().to_pylist(), who.__getitem__, n_true) for one in (learned, replace(learned, share_household=0)))
    for what, mine, theirs in zip(("precision", "recall"), ours, peer, strict=False):
        found.append(row(f"{N_FAMILIES:,} families, {len(rows):,} records: {what} of pairs", round(mine, 4), "share", "", None, round(theirs, 4), "against strangers alone"))
    return found


def rows(large: bool) -> list[dict[str, Any]]:
    """The table of this benchmark, by itself."""
    return probable_rows()
