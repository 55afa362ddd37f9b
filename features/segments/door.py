"""python -m features segments: reads the command line, prints tables, writes Parquet."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from features.doors.engines import add_engine, moved, require_engine
from features.doors.held import read_held
from features.doors.times import observed_moment
from features.errors import ContractError, UsageError

if TYPE_CHECKING:
    from features.dataset import Dataset
    from features.progress import Steps
    from features.segments.clusters import Clusters
    from features.segments.tables import Segments

# What is shown of each table: its title, its columns, and how many rows at most.
SHOWN: dict[str, tuple[str, tuple[str, ...], int]] = {
    "segments": ("Segments", ("scheme", "segment", "label_en", "label_zh", "n", "share", "share_of_revenue", "spend_mean"), 40),
    "rfm_grid": ("Recency x frequency (5 is best)", ("recency", "frequency", "n", "share_of_customers", "share_of_revenue"), 25),
    "revenue": ("Who brings the revenue: tenths of the customers with spend", ("tenth", "n", "share_of_revenue", "share_so_far"), 10),
    "stability": ("How well refits on resamples agree", ("clusters", "agreement_share"), 10),
    "migration": ("Who moved", ("scheme", "before", "now", "n", "share"), 40),
    "cohorts": ("Cohorts by the month of the first purchase", ("cohort", "since", "n", "retained_share", "repurchased_share", "basket_value"), 30)}


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The words of the command."""
    parser = commands.add_parser(
        "segments", help="RFM grid, value tiers, lifecycle and clusters: who they are, who moved, what became of cohorts",
        description="Groups customers in four schemes and says what sets each group apart.",
        epilog="example: python -m features segments demo-shop --as-of 2024-10-01 2024-12-01 --out segments")
    parser.set_defaults(do=run)
    parser.add_argument("data", metavar="DATA", help="complete-journey, demo-shop, or a folder of tables")
    parser.add_argument("--as-of", nargs="+", default=[], metavar="T", help="a moment, or two for who moved; without an offset local times (the last midnight of the data)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the clusters' beginnings and resamples (0)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write members.parquet (a row for each customer) and the tables there; clusters keep the names of the run before")
    add_engine(parser)


def run(given: argparse.Namespace) -> None:
    """Do what the command line asks."""
    from features.progress import Steps

    require_engine(given.engine)
    steps = Steps()
    dataset = read_held(given.data, steps)
    with moved(dataset, given.engine, steps) as dataset:
        _group(given, dataset, steps)


def _group(given: argparse.Namespace, dataset: "Dataset", steps: "Steps") -> None:
    from rich.console import Console

    from features.base import scoring_moment
    from features.doors.tables import pictured
    from features.segments.tables import segments

    as_ofs = sorted({observed_moment(text, dataset) for text in given.as_of}) or [scoring_moment(dataset)]
    if len(as_ofs) > 2:
        raise UsageError(f"--as-of takes one moment, or two for who moved, found {len(as_ofs)}; leave some out")
    with steps.step("segments", f"grouping the customers of {as_ofs[-1]} UTC"):
        found = segments(dataset, as_ofs, clusters_before(given.out) if given.out else None, given.seed)
    console = Console(highlight=False)
    for name, (title, columns, most) in SHOWN.items():
        if name in found.tables:
            console.print(pictured(found.tables[name], title, columns, most))
    for row in found.tables["segments"].to_dict("records") if "segments" in found.tables else []:
        if row["scheme"] == "cluster" and row["sentence_en"]:
            console.print(f"{row['label_en']}: {row['sentence_en']}\n{row['label_zh']}：{row['sentence_zh']}", markup=False, soft_wrap=True)
    if "revenue" in found.told:
        console.print(f"{found.told['revenue']['n']:,} customers ({100 * found.told['revenue']['share']:.0f} % of those with spend) bring 80 % of the revenue of the year")
    for name, why in found.unavailable.items():
        console.print(f"{name}: not available. {why}", markup=False)
    for note in found.notes:
        console.print(f"note: {note}", markup=False)
    if given.out:
        write(found, given.out)
        console.print(f"{given.out}: written", soft_wrap=True)


def write(found: "Segments", folder: Path) -> None:
    """Members and tables as Parquet, each whole; then the clusters, names and notes as segments.json."""
    from features.doors.tables import write_frames
    from features.files import write_json

    write_frames({"members": found.members.rename_axis("customer_id").reset_index().assign(as_of=found.as_of), **found.tables}, folder)
    write_json(folder / "segments.json", {
        "as_of": found.as_of.isoformat(), "clusters": found.clusters.as_json() if found.clusters else None, "notes": found.notes, "unavailable": found.unavailable, **found.told})


def clusters_before(folder: Path) -> "Clusters | None":
    """The clusters of the run before, whose names are kept. Raises: ContractError for a segments.json that is none."""
    from features.segments.clusters import Clusters

    path = folder / "segments.json"
    if not path.exists():
        return None
    try:
        said = json.loads(path.read_text(encoding="utf-8"))["clusters"]
        return Clusters.from_json(said) if said else None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ContractError(f"{path} must be what a run before wrote, found something else; choose another folder for --out") from None
