"""The catalogue: every feature there is, in six families. A new feature is one entry."""

from collections.abc import Sequence
from dataclasses import replace

from features.dataset import Attribute
from features.families import behaviour, consumption, interest, lifecycle, touchpoints
from features.feature import EACH, EVER, LONGEST, SHORTEST, Aggregate, AsOf, Family, Feature, Formula, days
from features.tasks import Task, slug

CATALOGUE = (*behaviour.FEATURES, *consumption.FEATURES, *interest.FEATURES, *lifecycle.FEATURES, *touchpoints.FEATURES)


# Kinds of events that have features of their own above, or say nothing of a customer.
_TOLD = ("purchase", "return", "coupon_redemption", "fee")


def of_kinds(kinds: Sequence[str]) -> tuple[Feature, ...]:
    """How often and how lately customers did what else the data tell: visits, views, completed offers."""
    return tuple(feature for kind in kinds if kind not in _TOLD for feature in _counted(
        "events", (("kind", kind),), slug(kind), kind.replace("_", " "), kind, "behaviour"))


def of_targets(tasks: Sequence[Task], kinds: Sequence[str]) -> tuple[Feature, ...]:
    """The customer's own past of a category that a task asks about: of what is asked, and of the other kinds of events that tell a category, such as looks."""
    asked = {(kind, task.target_category): kind == task.target_kind for task in tasks if task.target_category for kind in (task.target_kind, *kinds)}
    return tuple(feature for (kind, category), is_target in asked.items() for feature in _counted(
        "events", (("kind", kind), ("category", category)), f"{slug(kind)}_in_{slug(category)}", f"{kind.replace('_', ' ')} in {category}",
        category if is_target else f"{category} {kind}", "interest"))


def _counted(stream: str, where: tuple[tuple[str, str], ...], column: str, what: str, what_zh: str, family: Family) -> tuple[Feature, ...]:
    en, zh = _plain(what), _plain(what_zh)
    last = Formula(days, (Aggregate(stream, "min", "age", where, EVER),))
    return (
        Feature(f"{column}_count_{{d}}d", family, Aggregate(stream, where=where), "events", f"{en} in the last {{d}} days, times", f"近{{d}}天“{zh}”次数", 0),
        Feature(f"{column}_count_ever", family, Aggregate(stream, where=where, window=EVER), "events", f"{en} ever, times", f"累计“{zh}”次数", 0),
        Feature(f"days_since_last_{column}", family, last, "days", f"days since the last {en}", f"距上次“{zh}”天数"))


def _plain(text: str) -> str:
    """A text from the data in a template: its braces are no places to fill."""
    return text.replace("{", "{{").replace("}", "}}")


def profile(attributes: tuple[Attribute, ...], are_undated: bool) -> tuple[Feature, ...]:
    """The profile family: one feature for each attribute that the dataset declares of its customers."""
    return tuple(
        Feature(_plain(a.name), "profile", AsOf(a.name), "category", _plain(a.label_en), _plain(a.label_zh), is_category=True, is_sensitive=a.is_sensitive, is_undated=are_undated)
        for a in attributes)


def expand(templates: tuple[Feature, ...], lookbacks_days: tuple[int, ...], currency: str) -> tuple[Feature, ...]:
    """Write a feature out for the dataset's lookbacks and currency; names are then complete and windows are days (0 for ever)."""
    words = {SHORTEST: lookbacks_days[0], LONGEST: lookbacks_days[-1], EVER: 0}

    def at(feature: Feature, d: int) -> Feature:
        def fixed(aggregate: Aggregate) -> Aggregate:
            return replace(aggregate, window=aggregate.window if isinstance(aggregate.window, int) else words.get(aggregate.window, d))

        expression = feature.expression
        if isinstance(expression, Aggregate):
            expression = fixed(expression)
        elif isinstance(expression, Formula):
            expression = replace(expression, inputs=tuple(fixed(one) for one in expression.inputs))
        code = currency.lower()
        name = feature.name.format(d=d, currency=code)
        return replace(feature, name=name, expression=expression, unit=feature.unit.format(currency=currency),
                       label_en=feature.label_en.format(d=d), label_zh=feature.label_zh.format(d=d))

    written: list[Feature] = []
    for feature in templates:
        windows = {aggregate.window for aggregate in feature.aggregates()}
        if EACH in windows:
            written += [at(feature, d) for d in lookbacks_days]
        else:
            written.append(at(feature, lookbacks_days[0] if windows == {SHORTEST} else lookbacks_days[-1]))
    return tuple(written)
