"""The catalogue: every feature there is, in six families. A new feature is one entry."""

from collections.abc import Sequence
from dataclasses import replace

from features.dataset import Attribute
from features.families import behaviour, consumption, interest, lifecycle, touchpoints
from features.feature import EACH, EVER, LONGEST, SHORTEST, Aggregate, AsOf, Family, Feature, Formula, days, ratio
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


def of_channels(channels: Sequence[str]) -> tuple[Feature, ...]:
    """The mix of channels: which share of the purchases came by each, where there are several."""
    all_told = Aggregate("purchases", "total", window=LONGEST, by="channel")
    return tuple(
        Feature(f"{slug(channel)}_purchases_share_{{d}}d", "behaviour", Formula(ratio, (Aggregate("purchases", where=(("channel", channel),), window=LONGEST), all_told)), "share",
                f"share of purchases by {_plain(channel)}, last {{d}} days", f"近{{d}}天“{_plain(channel)}”购买占比")
        for channel in channels if len(channels) > 1)


def of_categories(categories: Sequence[str]) -> tuple[Feature, ...]:
    """The affinity to each: its share of the spend, where a purchase weighs half as much for each thirty days of age."""
    all_told = Aggregate("goods", "decayed", "amount_minor", window=LONGEST, by="category")
    return tuple(
        Feature(f"affinity_to_{slug(category)}_{{d}}d", "interest", Formula(
            ratio, (Aggregate("goods", "decayed", "amount_minor", (("category", category),), LONGEST, "category"), all_told)), "share",
                f"share of spend on {_plain(category)}, the recent weighing more, last {{d}} days", f"近{{d}}天“{_plain(category)}”消费占比（越近权重越大）")
        for category in categories if len(categories) > 1)


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
    """The profile family: one feature for each attribute of the customers, by its type: a number, the age of a date in days, yes or no as 1 or 0, a category.

    What is no attribute but a text of everybody's own (an id, a note) becomes none.
    """
    units = {"number": "number", "date": "days", "boolean": "yes or no", "category": "category"}
    return tuple(
        Feature(
            f"days_since_{_plain(a.name)}" if a.kind == "date" else _plain(a.name), "profile", AsOf(a.name), units[a.kind],
            f"days since {_plain(a.label_en)}" if a.kind == "date" else _plain(a.label_en), f"距{_plain(a.label_zh)}天数" if a.kind == "date" else _plain(a.label_zh),
            is_category=a.kind == "category", is_sensitive=a.is_sensitive, is_undated=are_undated)
        for a in attributes if a.kind != "text")


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
