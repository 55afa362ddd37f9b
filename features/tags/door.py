"""python -m features tags: reads the command line, prints tables, writes Parquet."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.doors.engines import add_engine, moved, require_engine
from features.doors.held import read_held
from features.doors.times import observed_moment
from features.errors import ContractError, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    import ibis.expr.types as ir

    from features.dataset import Dataset
    from features.progress import Steps

# What is shown of each table: its title, its columns, and how many rows at most.
SHOWN: dict[str, tuple[str, tuple[str, ...], int]] = {
    "coverage": ("Tags: who holds them", ("as_of", "tag", "label_en", "label_zh", "layer", "n_holders", "share", "n_unknown", "remark"), 60),
    "pairs": ("Tags held together, the most alike first", ("tag", "other", "n_both", "share_of_tag", "share_of_other", "lift"), 15),
    "changes": ("What changed", ("since", "as_of", "tag", "n_before", "n_now", "n_gained", "n_lost", "share_before", "share_now"), 60)}


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The words of the command."""
    parser = commands.add_parser(
        "tags", help="named, dated statements about customers, by rules in a text file",
        description="Evaluates the tags of tags.toml in the dataset's folder, or of the default set; who holds which, what overlaps, what changed since the last run.",
        epilog="example: python -m features tags demo-shop --as-of 2024-10-01 2024-11-01 --out tags")
    parser.set_defaults(do=run)
    parser.add_argument("data", metavar="DATA", help="complete-journey, demo-shop, or a folder of tables")
    parser.add_argument("--as-of", nargs="+", default=[], metavar="T", help="moments; without an offset they are local times of the dataset's zone (the last midnight of the data)")
    parser.add_argument("--tags", type=Path, metavar="FILE", help="the file of tags (tags.toml in the dataset's folder, else the default set)")
    parser.add_argument("--scores", type=Path, nargs="+", default=[], metavar="FILE", help="what serving score wrote, for the tags of models")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write tags.parquet (a row for each customer and tag) and the tables there, compared with the run before")
    add_engine(parser)


def run(given: argparse.Namespace) -> None:
    """Do what the command line asks."""
    from features.progress import Steps

    require_engine(given.engine)
    steps = Steps()
    dataset = read_held(given.data, steps)
    with moved(dataset, given.engine, steps) as dataset:
        _evaluate(given, dataset, steps)


def _evaluate(given: argparse.Namespace, dataset: "Dataset", steps: "Steps") -> None:
    from rich.console import Console

    from features.base import scoring_moment
    from features.doors.tables import pictured, write_frames
    from features.engine import write_table
    from features.files import write_json
    from features.tags.declared import read_tags
    from features.tags.evaluate import plan, statements, tagged
    from features.tags.known import read_scores
    from features.tags.told import coverage, pairs, remarks

    as_ofs = sorted({observed_moment(text, dataset) for text in given.as_of}) or [scoring_moment(dataset)]
    path = given.tags or own_file(given.data)
    declared = read_tags(path, dataset.currency)
    planned = plan(dataset, declared, read_scores(dataset, given.scores))
    if not planned.tags:
        raise UsageError(f"NO_TAG: tags need some tag that the data allow, found none of {len(declared)} in {path.name}: {next(iter(planned.lacks.items()))}; bring those data")
    with steps.step("tags", f"evaluating {len(planned.tags)} tags at {len(as_ofs)} moments"):
        table = tagged(dataset, planned, as_ofs)
        if not table.count().to_pyarrow().as_py():
            raise UsageError(f"NOBODY_KNOWN: tags need customers known before {as_ofs[-1]} UTC, found none; choose a later --as-of")
        said = dataset.engine.create_table("tag_statements", statements(table, planned), overwrite=True)
        tables = {"coverage": coverage(table, planned), "pairs": pairs(table, planned, as_ofs[-1])}
        compared, notes = _changes(dataset, table, said, as_ofs, {tag.name: tag.texts[0] for tag in planned.tags}, given.out)
        if compared is not None:
            tables["changes"] = compared
    notes = [*remarks(planned, tables["coverage"], tables["pairs"], declared), *notes]
    console = Console(highlight=False)
    for name, (title, columns, most) in SHOWN.items():
        if name in tables:
            console.print(pictured(tables[name], title, columns, most))
    for note in notes:
        console.print(f"note: {note}", markup=False)
    if given.out:
        write_table(said.order_by(["as_of", "customer_id", "tag"]), given.out / "tags.parquet")
        write_frames(tables, given.out)
        n = table.group_by("as_of").agg(n=table.count()).to_pyarrow().to_pylist()
        write_json(given.out / "tags.json", {
            "file": path.name, "rules": {tag.name: tag.texts[0] for tag in planned.tags}, "unavailable": planned.lacks, "notes": notes,
            "n_customers": {row["as_of"].isoformat(): row["n"] for row in n}})
        console.print(f"{given.out}: written", soft_wrap=True)


def own_file(data: str) -> Path:
    """tags.toml beside the dataset's tables or its declaration; else the default set."""
    from features.tags.declared import DEFAULT, OWN

    path = Path(data)
    own = (path if path.is_dir() else path.parent) / OWN
    return own if path.exists() and own.exists() else DEFAULT


def _changes(
    dataset: "Dataset", table: "ir.Table", said: "ir.Table", as_ofs: "list[datetime]", rules: dict[str, str], out: Path | None,
) -> "tuple[Any, list[str]]":
    """Between one moment and the next; and from the last moment of the run before, where there is one, to the first."""
    import pandas as pd

    from features.tags.told import changes

    counts = {row["as_of"]: row["n"] for row in table.group_by("as_of").agg(n=table.count()).to_pyarrow().to_pylist()}
    frames = [
        changes(said.filter(said.as_of == before), said.filter(said.as_of == now), before, now, counts[before], counts[now])
        for before, now in zip(as_ofs, as_ofs[1:], strict=False)]
    notes: list[str] = []
    if out and (out / "tags.json").exists() and (out / "tags.parquet").exists():
        earlier = _run_before(dataset, out)
        if earlier:
            former, since, n, old_rules = earlier
            frames.insert(0, changes(former, said.filter(said.as_of == as_ofs[0]), since, as_ofs[0], n, counts[as_ofs[0]]))
            notes = [f"{name}: the rule is another than in the run before ({old_rules[name]}); its change is of both"
                     for name in rules if old_rules.get(name, rules[name]) != rules[name]]
    return (pd.concat(frames, ignore_index=True), notes) if frames else (None, notes)


def _run_before(dataset: "Dataset", out: Path) -> "tuple[ir.Table, datetime, int, dict[str, str]] | None":
    from datetime import datetime

    from ibis.util import gen_name

    from features.engine import read_given

    try:
        told = json.loads((out / "tags.json").read_text(encoding="utf-8"))
        last = max(told["n_customers"])
    except (ValueError, KeyError, TypeError):
        raise ContractError(f"{out}/tags.json must be what a run before wrote, found something else; choose another folder for --out") from None
    former = dataset.engine.create_table(gen_name("former"), read_given(out / "tags.parquet", ("customer_id", "as_of", "tag")))
    since = datetime.fromisoformat(last)
    return former.filter(former.as_of == since), since, int(told["n_customers"][last]), told["rules"]
