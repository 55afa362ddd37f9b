"""The benchmarks: `make bench`, or one of them with `make bench BENCH=name`. A table on the screen and out/bench/NAME.json."""

import argparse
import importlib
import json
import os
import platform
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

NAMES = ("audience", "features", "one_customer", "identity", "probable", "journeys", "serving", "soak", "tags", "explain", "lookalike", "ceiling")
OUT = Path("out/bench")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"processors": os.cpu_count(), "memory_gb": round(memory, 1), "system": platform.platform(), "python": platform.python_version()}


def main() -> None:
    """Run one benchmark or all, and write each one's rows down."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all if none is given")
    parser.add_argument("--large", action="store_true", help="also what takes long: 100 million events, a shop of 100,000 customers")
    given = parser.parse_args()
    odd = [name for name in given.names if name not in NAMES]
    if odd:
        parser.error(f"BENCH must be one of {', '.join(NAMES)}, found {odd[0]}")
    OUT.mkdir(parents=True, exist_ok=True)
    for name in given.names or NAMES:
        rows = importlib.import_module(f"tests.benchmarks.{name}").rows(given.large)
        (OUT / f"{name}.json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1), encoding="utf-8")
        show(name, rows)


def show(name: str, rows: list[dict[str, Any]]) -> None:
    """One table: what was measured, ours, the peer's, the ratio, the bar and whether it holds."""
    table = Table(title=name)
    for column in ("what", "ours", "peer", "unit", "ratio", "bar", "holds"):
        table.add_column(column)
    for row in rows:
        peer = f"{row['peer']} ({row['peer_name']})" if row["peer"] is not None else ""
        table.add_row(row["what"], str(row["ours"]), peer, row["unit"], str(row["ratio"] or ""), row["bar"], {True: "yes", False: "NO", None: ""}[row["holds"]])
    Console().print(table)


def row(what: str, ours: Any, unit: str, bar: str = "", holds: bool | None = None, peer: Any = None, peer_name: str = "", ratio: float | None = None) -> dict[str, Any]:
    """One line of a benchmark's table."""
    return {"what": what, "ours": ours, "peer": peer, "peer_name": peer_name, "unit": unit, "ratio": ratio, "bar": bar, "holds": holds}


if __name__ == "__main__":
    main()
