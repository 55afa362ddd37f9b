"""Tags evaluated in the engine: rules become expressions over the feature table and the scores, and nothing leaves it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import reduce
from operator import and_, or_

import ibis
import ibis.expr.types as ir
from ibis.util import gen_name

from features.dataset import Dataset
from features.feature import Feature
from features.moments import KEY
from features.snapshots import snapshots
from features.tags.declared import Tag, chosen_rules, in_order
from features.tags.known import Column, column_of, features_named, score_columns, with_scores
from features.tags.rules import Both, Known, Not, Rule
from features.tags.rules import Tag as Named
from features.tags.units import converted

# What a tag is called in the wide table: whether it holds, and what it tells.
HOLDS, TELLS = "holds:", "tells:"


@dataclass(frozen=True)
class Plan:
    """Tags that the data allow, each with the one rule that counts; the others with what they lack; and the features that they are made of."""

    tags: tuple[Tag, ...]
    lacks: dict[str, str]
    columns: dict[str, Column]
    features: tuple[Feature, ...]
    scores: dict[str, ir.Table] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Every feature and score that counts."""
        return list(dict.fromkeys(name for tag in self.tags for name in tag.names()))


def plan(dataset: Dataset, tags: Sequence[Tag], scores: dict[str, ir.Table]) -> Plan:
    """Hold the tags against what this dataset and these scores can tell. Raises: ContractError for a rule that cannot be evaluated, with its line."""
    ordered = in_order(tags)
    found, lacks = features_named(dataset, [name for tag in tags for name in tag.names()])
    columns = score_columns([task.name for task in dataset.tasks], [f"{task}.{column}" for task, told in scores.items() for column in told.columns if column not in KEY])
    columns |= {name: column_of(feature, lacks.get(name, "")) for name, feature in found.items()}
    which, missing = chosen_rules(ordered, columns)
    kept = tuple(
        replace(tag, rules=(tag.rules[n],), texts=(tag.texts[n],), values=tag.values[n:n + 1]) for tag in ordered if (n := which.get(tag.name)) is not None)
    used = {name for tag in kept for name in tag.names()}
    return Plan(kept, missing, columns, tuple(feature for name, feature in found.items() if name in used), scores)


def tagged(dataset: Dataset, plan: Plan, as_ofs: Sequence[datetime], of: ir.Table | None = None) -> ir.Table:
    """Grain: customer x as_of, with `holds:TAG` (yes, no, or unknown) and `tells:TAG` (a text) for each tag. `of`: as in snapshots()."""
    return evaluated(plan, snapshots(dataset, as_ofs, plan.features, of))


def evaluated(plan: Plan, features: ir.Table) -> ir.Table:
    """The same from a feature table that is there already."""
    table = with_scores(features, plan.scores, [name for name in plan.names() if "." in name])
    for tag in plan.tags:
        holds = _expression(tag.rules[0], table, tag, plan.columns)
        table = table.mutate(**{HOLDS + tag.name: holds, **({TELLS + tag.name: _told(table[tag.values[0]])} if tag.values else {})})
    columns = [*(HOLDS + tag.name for tag in plan.tags), *(TELLS + tag.name for tag in plan.tags if tag.values)]
    return features.get_backend().create_table(gen_name("tagged"), table.select(*KEY, *columns))


def statements(table: ir.Table, plan: Plan) -> ir.Table:
    """Grain: customer x as_of x tag that holds: `value` is what it tells, `valid_until` when it is out of date."""
    parts = []
    for tag in plan.tags:
        holding = table.filter(table[HOLDS + tag.name])
        value = holding[TELLS + tag.name] if tag.values else ibis.null("string")
        until = holding.as_of + ibis.interval(days=tag.valid_days)
        parts.append(holding.select("customer_id", "as_of", tag=ibis.literal(tag.name), layer=ibis.literal(tag.layer), value=value, valid_until=until.cast("timestamp(6)")))
    return ibis.union(*parts) if len(parts) > 1 else parts[0]


def _told(value: ir.Value) -> ir.Value:
    """A value as people read it: whole numbers without a point."""
    if value.type().is_string():
        return value
    return ibis.ifelse(value == value.round(), value.round().cast("int64").cast("string"), value.round(2).cast("string"))


def _expression(rule: Rule, table: ir.Table, tag: Tag, columns: dict[str, Column]) -> ir.BooleanValue:
    if isinstance(rule, Named):
        return table[HOLDS + rule.name]
    if isinstance(rule, Not):
        return ~_expression(rule.of, table, tag, columns)
    if isinstance(rule, Both):
        return reduce(and_ if rule.word == "and" else or_, [_expression(part, table, tag, columns) for part in rule.parts])
    column = _fresh(rule.name, table, tag)
    if isinstance(rule, Known):
        return column.notnull() if rule.is_known else column.isnull()
    known = columns[rule.name]
    values = converted(rule, known.unit, known.texts, tag.where)
    if rule.operator == "in":
        return column.isin(values)
    value = ibis.literal(values[0])
    return {"=": column == value, "!=": column != value, "<": column < value, "<=": column <= value, ">": column > value, ">=": column >= value}[rule.operator]


def _fresh(name: str, table: ir.Table, tag: Tag) -> ir.Value:
    """A feature; or a score, unless it is older than the tag is valid: what is out of date is not known."""
    if "." not in name:
        return table[name]
    return ibis.ifelse(table[f"{name.rpartition('.')[0]}.at"] > table.as_of - ibis.interval(days=tag.valid_days), table[name], ibis.null(table[name].type()))
