"""Attributes that know a task's label: one of them alone ranks the customers almost without fault, or its name or values speak of what is asked."""

import re
from collections import defaultdict
from collections.abc import Sequence

import ibis
import ibis.expr.types as ir
from ibis.util import gen_name

from features.data_profile.activity import Rate, TaskRates, task_events
from features.data_profile.counted import rows_of
from features.data_profile.distributions import NUMBER_SHARE, latest
from features.data_profile.suspects import Suspect
from features.dataset import Dataset
from features.labels import labels
from features.tasks import Task

SUSPECT_AUC = 0.95
# Labels of each kind that an AUC needs; values of a number that stand for themselves, more are cut into as many groups.
FEWEST_LABELS, MOST_STEPS = 20, 100
# What an attribute is called that tells the end of the story.
WORDS = {"churn": r"churn|cancel+ed|cancel+ation|lapsed|terminated|流失|退订|注销", "conversion": r"converted|conversion|responded|转化|已购"}


def leaks(dataset: Dataset, tasks: Sequence[TaskRates]) -> list[Suspect]:
    """Hold every attribute against every task's label, at the latest moment that has enough labels of both kinds."""
    names = [attribute.name for attribute in dataset.attributes]
    if not names:
        return []
    found = []
    for told in tasks:
        rate = next((one for one in reversed(told.rates) if min(one.positives, one.n - one.positives) >= FEWEST_LABELS), None)
        areas = _areas(dataset, told.task, rate, names) if rate else {}
        speaking = _speaking(dataset.tables["customers"], names, told.task)
        for name in names:
            if areas.get(name, 0.5) > SUSPECT_AUC:
                found.append(Suspect("LEAK", "customers", name, {"auc": areas[name], "task": told.task.name}))
            elif name in speaking:
                found.append(Suspect("NAMES_THE_LABEL", "customers", name, {"task": told.task.name}))
    return found


def undated(dataset: Dataset) -> list[Suspect]:
    """Attributes without a date may have been learned after the moment of prediction."""
    if not dataset.attributes:
        return []
    people = dataset.tables["customers"]
    has_date = int(people.valid_from.count().to_pyarrow().as_py())
    return [] if has_date else [Suspect("UNDATED", "customers", "valid_from")]


def _speaking(people: ir.Table, names: Sequence[str], task: Task) -> set[str]:
    """The attributes whose name, or whose values for some customers, speak of what the task asks."""
    words = WORDS.get(task.kind, re.escape(task.kind))
    said = re.compile(rf"{words}|{re.escape(task.name)}|{re.escape(task.target_column())}", re.IGNORECASE)
    hits = {f"n{i}": people.customer_id.nunique(where=people[name].re_search(f"(?i){words}")) for i, name in enumerate(names) if people[name].type().is_string()}
    row = rows_of(people.aggregate(**hits))[0] if hits else {}
    return {name for i, name in enumerate(names) if said.search(name) or row.get(f"n{i}", 0) >= FEWEST_LABELS}


def _areas(dataset: Dataset, task: Task, rate: Rate, names: Sequence[str]) -> dict[str, float]:
    """The AUC of each attribute alone, as it was known at the moment; each half of the customers is ranked by what the other half teaches."""
    asked = labels(task_events(dataset, task), task, [rate.as_of]).select("customer_id", "label")
    people = dataset.tables["customers"]
    # Names of our own for columns of theirs.
    people = people.select("customer_id", "valid_from", **{f"a{i}": people[name] for i, name in enumerate(names)})
    known = latest(people.filter(people.valid_from.isnull() | (people.valid_from < rate.as_of)))
    met = dataset.engine.create_table(gen_name("asked"), asked.left_join(known, "customer_id"))
    half = met.customer_id.hash().abs() % 2
    out = {}
    for i, name in enumerate(names):
        told = met.select(half=half, label="label", value=_grouped(met, f"a{i}"))
        cells = told.group_by(["half", "value"]).agg(n=told.count(), positives=told.label.sum())
        out[name] = crossed_auc([(row["half"], row["value"], row["n"], int(row["positives"])) for row in rows_of(cells)])
    return out


def _grouped(table: ir.Table, column: str) -> ir.Value:
    """A column's values as texts; numbers and times of many values as hundredths of their ranks."""
    value = table[column]
    if value.type().is_timestamp() or value.type().is_date():
        number = value.cast("timestamp").epoch_seconds().cast("float64")
    else:
        text = value.cast("string")
        number = ibis.coalesce(text.try_cast("float64"), text.try_cast("timestamp").epoch_seconds().cast("float64"))
    row = rows_of(table.aggregate(n=value.count(), numbers=number.count(), levels=number.nunique()))[0]
    if row["levels"] <= MOST_STEPS or row["numbers"] < NUMBER_SHARE * row["n"]:
        return value.cast("string")
    rank = ibis.percent_rank().over(ibis.window(order_by=number))
    return ibis.ifelse(number.isnull(), ibis.null("string"), (rank * MOST_STEPS).floor().cast("string"))


def crossed_auc(cells: Sequence[tuple[int, str | None, int, int]]) -> float:
    """The AUC of values ranked by their rate of positives in the other half, drawn to the overall rate by ten rows' weight. Cells: half, value, n, positives."""
    n_all, positives_all = sum(n for _, _, n, _ in cells), sum(positives for *_, positives in cells)
    if not 0 < positives_all < n_all:
        return 0.5
    rates = {(half, value): (positives + 10 * positives_all / n_all) / (n + 10) for half, value, n, positives in cells}
    ranked: defaultdict[float, list[int]] = defaultdict(lambda: [0, 0])
    for half, value, n, positives in cells:
        group = ranked[rates.get((1 - half, value), positives_all / n_all)]
        group[0] += n - positives
        group[1] += positives
    below, area = 0, 0.0
    for _, (negatives, positives) in sorted(ranked.items()):
        area += positives * (below + negatives / 2)
        below += negatives
    return area / (positives_all * (n_all - positives_all))
