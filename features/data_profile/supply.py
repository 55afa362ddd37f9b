"""What each family of features has to work with: how many features, what the others lack, and how many customers have data for it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import and_, or_
from typing import get_args

import ibis
import ibis.expr.types as ir

from features.base import scoring_moment
from features.dataset import Dataset
from features.feature import Aggregate, AsOf, Family, Feature
from features.history import population
from features.snapshots import candidates, features_of
from features.streams import ROLES, STREAMS

# One condition that an event must meet: a column and its value; a column alone must be told.
Condition = tuple[str, str]


@dataclass(frozen=True)
class Supply:
    """A family: features that can be built, features that cannot, by what they lack, and customers with any data for those that can."""

    family: Family
    present: int
    absent: dict[str, int]
    n_customers: int


@dataclass(frozen=True)
class Supplies:
    """All families at the last moment, and how many customers were known by then."""

    as_of: datetime
    n_known: int
    families: tuple[Supply, ...]


def supplies(dataset: Dataset) -> Supplies:
    """Hold the catalogue against the tables."""
    present, absent = features_of(dataset)
    moment = scoring_moment(dataset)
    # What attributes lack is said of them before they become features.
    family_of: dict[str, Family] = {**dict.fromkeys((attribute.name for attribute in dataset.attributes), "profile"), **{f.name: f.family for f in candidates(dataset)}}
    lacks: dict[Family, Counter[str]] = {family: Counter() for family in get_args(Family)}
    for name, lack in absent.items():
        lacks[family_of[name]][lack] += 1
    families = []
    for family in get_args(Family):
        mine = [feature for feature in present if feature.family == family]
        families.append(Supply(family, len(mine), dict(lacks[family].most_common()), _with_data(dataset, mine, moment)))
    return Supplies(moment, int(population(dataset, [moment]).count().to_pyarrow().as_py()), tuple(families))


def _with_data(dataset: Dataset, features: Sequence[Feature], moment: datetime) -> int:
    """Customers of whom anything is known by then that one of the features is made of: an event that it counts, or an attribute."""
    asked = [feature.expression.attribute for feature in features if isinstance(feature.expression, AsOf)]
    if asked:
        people = dataset.tables["customers"].filter(lambda t: t.valid_from.isnull() | (t.valid_from < moment))
        return int(people.filter(reduce(or_, [people[name].notnull() for name in asked])).customer_id.nunique().to_pyarrow().as_py())
    needs = {frozenset(_conditions(aggregate)) for feature in features for aggregate in feature.aggregates() if aggregate.stream}
    if not needs:
        return 0
    # What a weaker need lets through, a stronger one need not be asked.
    weakest = [need for need in needs if not any(other < need for other in needs)]
    events = dataset.tables["events"].filter(lambda t: (t.event_at < moment) & (t.ingested_at < moment))
    fits = [reduce(and_, [_meets(events, *condition) for condition in sorted(need)]) for need in sorted(weakest, key=sorted)]
    return int(events.filter(reduce(or_, fits)).customer_id.nunique().to_pyarrow().as_py())


def _conditions(aggregate: Aggregate) -> set[Condition]:
    """What an event must be and tell so that this aggregate counts it."""
    who = "marketer" if aggregate.stream == "treatments" else "customer"
    kind = {("kind", "purchase")} if aggregate.stream in ("purchases", "goods") else set()
    made_of = [STREAMS[aggregate.stream].made_of.get(measure, ()) for measure in (aggregate.column, aggregate.by)]
    told = {(column, "") for columns in made_of for column in columns if ":" not in column}
    return {("initiator", who), *kind, *aggregate.where, *told}


def _meets(events: ir.Table, column: str, value: str) -> ir.BooleanValue:
    if column == "role":
        return events.kind.isin(ROLES[value])
    if column not in events.columns:
        # A slice that only its stream makes.
        return ibis.literal(True)
    return (events[column] == value).fill_null(False) if value else events[column].notnull()
