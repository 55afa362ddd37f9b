"""python -m features journeys: reads the command line, prints tables, writes Parquet."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.doors.engines import add_engine, moved, require_engine
from features.doors.held import read_held
from features.errors import ContractError, UsageError, first_few

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from features.dataset import Dataset
    from features.journeys.tables import Journeys

# What is shown of each table: its title, its columns, and how many rows at most.
SHOWN: dict[str, tuple[str, tuple[str, ...], int]] = {
    "funnel": ("Funnel: how far they come, and where they are lost", (
        "dimension", "value", "stage", "n_sessions", "n_people", "share_of_first", "drop_off", "drop_off_low", "drop_off_high"), 60),
    "times": ("How long it takes (seconds; of those who get there)", ("from", "to", "n", "q25", "q50", "median_low", "median_high", "q75", "q90"), 20),
    "transitions": ("What follows what", ("segment", "from", "to", "n", "n_people", "share", "share_low", "share_high"), 15),
    "step_matrix": ("The first steps", ("place", "step", "n", "share"), 20),
    "paths": ("The most frequent ways through a session", ("path", "n_sessions", "n_people", "share", "converted"), 12),
    "attribution": ("Attribution: who was there, not who caused it", ("method", "channel", "conversions", "low", "high", "share"), 60),
    "priority": ("Touchpoints to look at first: a ranking to investigate, not a cause", (
        "rank", "stage", "channel", "device", "n_people", "drop_off", "drop_off_elsewhere", "expected_per_1000", "excess_per_1000", "excess_per_1000_low",
        "excess_per_1000_high", "last_seen"), 30),
    "compared_funnel": ("Two segments' funnels", (
        "stage", "share_of_first_one", "share_of_first_other", "share_of_first_difference", "share_of_first_difference_low", "share_of_first_difference_high", "drop_off_one",
        "drop_off_other", "drop_off_difference", "drop_off_difference_low", "drop_off_difference_high"), 10),
    "compared_transitions": ("Where two segments walk differently", ("from", "to", "share_one", "share_other", "difference", "difference_low", "difference_high", "q"), 12)}


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The words of the command."""
    parser = commands.add_parser(
        "journeys", help="funnels, paths, attribution, and the touchpoints to look at first",
        description="Describes how people go from a first visit to a conversion. Nothing here says what caused what.",
        epilog="example: python -m features journeys demo-shop --segment signup_channel --compare app web --out journeys")
    parser.set_defaults(do=run)
    parser.add_argument("data", metavar="DATA", help="complete-journey, demo-shop, or a folder of tables")
    parser.add_argument("--as-of", metavar="T", help="what was known then; without an offset a local time of the dataset's zone (the end of the data)")
    parser.add_argument("--days", type=int, default=90, metavar="N", help="sessions that began in so many days before (90)")
    parser.add_argument("--funnel", default="", metavar="NAME", help="one of dataset.toml, or standard (the first declared, else standard)")
    parser.add_argument("--conversion", default="", metavar="KIND", help="the kind of event that the funnel ends with (purchase)")
    parser.add_argument("--segment", default="", metavar="COL", help="a column of customers, or of --segments")
    parser.add_argument("--segments", type=Path, metavar="FILE", help="a .parquet or .csv with customer_id and the column of --segment")
    parser.add_argument("--compare", nargs=2, metavar=("A", "B"), help="two values of --segment, side by side")
    parser.add_argument("--scores", type=Path, metavar="FILE", help="a .parquet or .csv with customer_id, as_of, probability: for the priorities")
    parser.add_argument("--horizon", type=int, default=28, metavar="N", help="days within which a conversion counts for a session, in the priorities (28)")
    parser.add_argument("--lookback", type=int, default=30, metavar="N", help="days before a conversion that attribution looks at (30)")
    parser.add_argument("--touches", default="", metavar="STAGE", help="attribution counts sessions that came at least so far, or any (the second stage of three or more)")
    parser.add_argument("--order", type=int, nargs="+", default=[1], choices=(1, 2, 3), metavar="K", help="orders of the Markov chains: 1, 2, 3 (1)")
    parser.add_argument("--by", choices=("kind", "stage", "both"), default="kind", help="what a step is called in transitions and the step matrix (kind)")
    parser.add_argument("--treatments", action="store_true", help="attribution counts messages of yours as touches too, named (sent)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="also write each table there as Parquet, and the notes as journeys.json")
    add_engine(parser)


def run(given: argparse.Namespace) -> None:
    """Do what the command line asks."""
    from rich.console import Console

    from features.doors.times import moment_of
    from features.journeys.tables import Asked, journeys
    from features.progress import Steps

    for name in ("days", "horizon", "lookback"):
        if getattr(given, name) < 1:
            raise UsageError(f"--{name} needs a number of 1 or more, found {getattr(given, name)}; choose for example 28")
    if given.compare and not given.segment:
        raise UsageError("--compare needs --segment COL, whose values it names, found none; give it")
    require_engine(given.engine)
    steps = Steps()
    dataset = read_held(given.data, steps)
    as_of = moment_of(given.as_of, dataset.zone) if given.as_of else dataset.observed_until.replace(microsecond=0)
    if as_of > dataset.observed_until:
        raise UsageError(f"--as-of must not be after the end of the data ({dataset.observed_until} UTC), found {given.as_of}; choose an earlier moment")
    asked = Asked(
        as_of, given.days, given.funnel, given.conversion, given.horizon, given.lookback, given.touches, tuple(dict.fromkeys(given.order)), given.by,
        tuple(given.compare) if given.compare else None, given.treatments)
    with moved(dataset, given.engine, steps) as dataset:
        segments = _segments(dataset, given, as_of)
        scores = _scores(dataset, given.scores) if given.scores else None
        with steps.step("journeys", f"counting the journeys of {given.days} days before {as_of} UTC"):
            found = journeys(dataset, asked, segments, scores)
    console = Console(highlight=False)
    for line in shown(found):
        console.print(line)
    if given.out:
        write(found, given.out)
        console.print(f"{given.out}: written", soft_wrap=True)


def shown(found: "Journeys") -> list[Any]:
    """What is printed: a table each, what is not available and why, and notes."""
    from features.doors.tables import pictured

    lines: list[Any] = []
    for name, (title, columns, most) in SHOWN.items():
        if name in found.unavailable:
            lines.append(f"{name}: not available. {found.unavailable[name]}")
        elif name in found.tables:
            lines.append(pictured(found.tables[name], title, columns, most))
    return [*lines, *(f"note: {note}" for note in found.notes)]


def write(found: "Journeys", folder: Path) -> None:
    """Each table as Parquet, whole; then the stages, notes and what is not available as journeys.json."""
    from features.doors.tables import write_frames
    from features.files import write_json

    write_frames({name: frame for name, frame in found.tables.items() if name not in found.unavailable}, folder)
    write_json(folder / "journeys.json", {
        "funnel": found.ladder.name, "unit": found.ladder.unit, "stages": list(found.ladder.stages), "notes": found.notes, "unavailable": found.unavailable})


def _segments(dataset: "Dataset", given: argparse.Namespace, as_of: Any) -> "ir.Table | None":
    """Who belongs to which segment. Raises: UsageError for a column that there is not or that is sensitive."""
    from features.contracts import COLUMNS
    from features.engine import read_given
    from features.journeys.sessions import attribute_at

    column = given.segment
    if given.segments and not column:
        raise UsageError("--segments needs --segment COL to say which of its columns is meant, found none; give it")
    if not column:
        return None
    if given.segments:
        table = read_given(given.segments, ("customer_id", column))
        n_twice = len(table) - len(set(table.column("customer_id").to_pylist()))
        if n_twice:
            raise ContractError(f"DUPLICATE_KEY: {given.segments.name} needs each customer once, found {n_twice:,} repeated; keep one row for each")
        return _in_engine(dataset, table).rename(segment=column).select("customer_id", "segment")
    known = [name for name in dataset.tables["customers"].columns if name not in COLUMNS["customers"]] if "customers" in dataset.tables else []
    if column not in known:
        raise UsageError(f"--segment needs a column of customers ({first_few(known, 12) or 'there is none'}) or of --segments, found {column!r}; correct the name")
    if any(attribute.name == column and attribute.is_sensitive for attribute in dataset.attributes):
        raise UsageError(f"--segment must not be a sensitive attribute, found {column!r}; choose another column")
    return attribute_at(dataset, column, as_of)


def _scores(dataset: "Dataset", path: Path) -> "ir.Table":
    """The model's scores. Raises: ContractError for a missing column, a time or number that is none."""
    import pandas as pd

    from features.engine import read_given

    frame = read_given(path, ("customer_id", "as_of", "probability")).to_pandas()
    frame["as_of"] = pd.to_datetime(frame["as_of"], utc=True, errors="coerce").dt.tz_localize(None)
    frame["probability"] = pd.to_numeric(frame["probability"], errors="coerce")
    odd = frame["customer_id"].isna() | frame["as_of"].isna() | ~frame["probability"].between(0, 1)
    if odd.any():
        raise ContractError(f"{path.name} needs a customer_id, an as_of such as 2026-01-31T00:00:00Z and a probability from 0 to 1 in every row, "
                            f"found {int(odd.sum()):,} without (the first in row {int(odd.to_numpy().argmax()) + 1}); correct or remove them")
    import pyarrow as pa

    return _in_engine(dataset, pa.table({
        "customer_id": frame["customer_id"].astype(str), "as_of": pa.array(frame["as_of"].dt.as_unit("us")), "probability": frame["probability"].astype(float)}))


def _in_engine(dataset: "Dataset", table: Any) -> "ir.Table":
    from ibis.util import gen_name

    return dataset.engine.create_table(gen_name("given"), table)
