"""What a rule may name: features over any window, and scores of models; with the unit of each."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
from ibis.util import gen_name

from features.catalogue import expand
from features.dataset import Dataset
from features.engine import read_given
from features.errors import ContractError, first_few
from features.feature import Feature
from features.snapshots import lacking, templates
from features.tags.units import PERCENT, SHARE, TEXT

# What `serving score` writes of each customer, with its unit.
SCORES = {"probability": SHARE, "percentile": PERCENT, "score": "score", "likeness": "likeness", "band": TEXT}
BANDS = ("low", "medium", "high")


@dataclass(frozen=True)
class Column:
    """A name that rules may use: its unit, its only texts where they are known, and why the data lack it, if they do."""

    unit: str
    texts: tuple[str, ...] = ()
    lacks: str = ""
    is_sensitive: bool = False


def features_named(dataset: Dataset, names: Iterable[str]) -> tuple[dict[str, Feature], dict[str, str]]:
    """Every feature that the catalogue can build, over the dataset's lookbacks and over every window that these names have; and what those named lack.

    A rule says "in 30 days" whatever the tasks look back on.
    """
    names, lookbacks, all_templates = set(names), dataset.lookbacks_days(), templates(dataset)
    windows = sorted({int(d) for name in names for d in re.findall(r"_(\d+)d(?:_|$)", name) if 0 < int(d) < 10_000})
    found: dict[str, Feature] = {}
    for these in (lookbacks, *((lookbacks[0], d) if d > lookbacks[0] else (d,) for d in windows)):
        for feature in expand(all_templates, these, dataset.currency):
            found.setdefault(feature.name, feature)
    return found, lacking(dataset, [feature for name, feature in found.items() if name in names])


def column_of(feature: Feature, lacks: str = "") -> Column:
    """A feature as rules know it."""
    texts = tuple(name for name, _ in feature.texts) if isinstance(feature.texts, tuple) else ()
    return Column(feature.unit, texts, lacks, feature.is_sensitive)


def score_columns(tasks: Iterable[str], told: Iterable[str]) -> dict[str, Column]:
    """TASK.probability and the like, of the tasks that every dataset may have, each of this one's and each whose scores are `told` by name ("churn.band")."""
    told = set(told)
    tasks = dict.fromkeys(["churn", "conversion", "lookalike", *tasks, *(name.rpartition(".")[0] for name in told)])
    return {f"{task}.{column}": Column(unit, BANDS if column == "band" else (), "" if f"{task}.{column}" in told else f"{column} of {task} (--scores)")
            for task in tasks for column, unit in SCORES.items()}


def read_scores(dataset: Dataset, paths: Iterable[Path]) -> dict[str, ir.Table]:
    """Scores as `serving score` writes them, by task. Grain of each: customer x as_of, with those of SCORES that it has.

    Raises: ContractError for a file that cannot be read or lacks customer_id, as_of or model (or task), a time that is none, a customer who is told twice.
    """
    import pandas as pd

    told: list[tuple[str, Any]] = []
    for path in paths:
        frame = read_given(path, ("customer_id", "as_of")).to_pandas()
        if "task" not in frame and "model" not in frame:
            raise ContractError(
                f"MISSING_COLUMN: {path.name} needs the column model (such as shop.churn) or task, found {', '.join(frame.columns)}; take what serving score writes")
        frame["task"] = frame["task"].astype(str) if "task" in frame else frame["model"].astype(str).str.rpartition(".")[2]
        frame["as_of"] = pd.to_datetime(frame["as_of"], utc=True, errors="coerce").dt.tz_localize(None).dt.as_unit("us")
        odd = frame["customer_id"].isna() | frame["as_of"].isna()
        if odd.any():
            raise ContractError(f"{path.name} needs a customer_id and an as_of such as 2026-01-31T00:00:00Z in every row, found {int(odd.sum()):,} without "
                                f"(the first in row {int(odd.to_numpy().argmax()) + 1}); correct or remove them")
        told += [(str(task), rows) for task, rows in frame.groupby("task")]
    return score_tables(dataset, told)


def score_tables(dataset: Dataset, told: Iterable[tuple[str, Any]]) -> dict[str, ir.Table]:
    """Scores in the engine, from pairs of a task and its frame (customer_id, as_of and columns of SCORES). Raises: ContractError for a customer who is told twice."""
    import pandas as pd

    parts: dict[str, list[Any]] = {}
    for task, frame in told:
        rows = frame[["customer_id", "as_of", *(column for column in SCORES if column in frame)]].copy()
        rows["as_of"] = pd.to_datetime(rows["as_of"], utc=True).dt.tz_localize(None).dt.as_unit("us")
        for column in (name for name, unit in SCORES.items() if unit != TEXT and name in rows):
            rows[column] = pd.to_numeric(rows[column], errors="coerce")
        parts.setdefault(task, []).append(rows)
    tables = {}
    for task, frames in parts.items():
        whole = pd.concat(frames).drop_duplicates()
        twice = whole[whole.duplicated(["customer_id", "as_of"])]
        if len(twice):
            raise ContractError(f"DUPLICATE_KEY: the scores of {task} need each customer once at a moment, found {len(twice):,} repeated "
                                f"({first_few(twice['customer_id'].tolist())}); keep one row for each")
        tables[task] = dataset.engine.create_table(gen_name("scores"), whole)
    return tables


def with_scores(table: ir.Table, scores: dict[str, ir.Table], names: Iterable[str]) -> ir.Table:
    """Add to each customer and as_of what of `names` ("churn.band") was told last by then, and when ("churn.at")."""
    names = list(names)
    for task, told in scores.items():
        wanted = [name.rpartition(".")[2] for name in names if name.rpartition(".")[0] == task]
        if not wanted:
            continue
        known = told.rename(told_at="as_of").join(table.select("customer_id", "as_of"), "customer_id")
        known = known.filter(known.told_at <= known.as_of)
        newest = known.mutate(place=ibis.row_number().over(ibis.window(group_by=["customer_id", "as_of"], order_by=known.told_at.desc())))
        newest = newest.filter(newest.place == 0).select("customer_id", "as_of", **{f"{task}.at": "told_at"}, **{f"{task}.{column}": column for column in wanted})
        table = table.left_join(newest, ["customer_id", "as_of"]).drop("customer_id_right", "as_of_right")
    return table
