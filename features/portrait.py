"""One customer's portrait in words: what is known at a moment, by family, and what is not."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import ibis

from features.dataset import Dataset
from features.errors import UsageError, first_few
from features.feature import Feature
from features.identity import with_persons
from features.snapshots import snapshots

Value = int | float | str | None
LANGUAGES = ("en", "zh")
FAMILIES = {
    "profile": ("Who they are", "静态画像"), "behaviour": ("How they come", "行为画像"), "consumption": ("What they spend", "消费画像"), "interest": ("What they like", "兴趣画像"),
    "lifecycle": ("Where they stand", "生命周期"), "touchpoints": ("Where we meet", "触点")}
WORDS = {
    "en": {"head": "{customer} of {data}, as known at {as_of} ({zone})", "unknown": "not known", "hidden": "not shown", "value": "{label}: {value}", "and": "; ",
           "yes": "yes", "no": "no", "simulated": " (simulated: no real person)"},
    "zh": {"head": "{data} 的 {customer}，截至 {as_of}（{zone}）", "unknown": "未知", "hidden": "不展示", "value": "{label}：{value}", "and": "；", "yes": "是", "no": "否",
           "simulated": "（模拟数据，非真实个人）"}}
WEEKDAYS = (("Monday", "周一"), ("Tuesday", "周二"), ("Wednesday", "周三"), ("Thursday", "周四"), ("Friday", "周五"), ("Saturday", "周六"), ("Sunday", "周日"))
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
# What is counted, in Chinese; a number without one of these stands alone.
COUNTED = {
    "days": "天", "weeks": "周", "seconds": "秒", "items": "种", "lines": "行", "units": "件", "steps": "步",
    **dict.fromkeys(("categories", "brands", "channels", "campaigns"), "个"),
    **dict.fromkeys(("purchases", "sessions", "events", "looks", "searches", "contacts", "redemptions", "complaints", "ratings"), "次")}


def values_of(dataset: Dataset, customer: str, as_of: datetime, features: Sequence[Feature]) -> dict[str, Value]:
    """The features of one customer, named by any of its identifiers, at a moment (naive UTC).

    Raises: UsageError for a customer whom nobody knew then; of whoever is erased or may not be profiled a dataset knows nothing.
    """
    asked = ibis.memtable({"customer_id": [customer], "as_of": [as_of]}, schema={"customer_id": "string", "as_of": "timestamp(6)"})
    ids = dataset.tables["events"].filter(lambda t: (t.event_at < as_of) & (t.ingested_at < as_of)).select("customer_id")
    if "customers" in dataset.tables:
        ids = ids.union(dataset.tables["customers"].filter(lambda t: t.valid_from.isnull() | (t.valid_from < as_of)).select("customer_id"))
    if not int(ids.filter(ids.customer_id == customer).count().to_pyarrow().as_py()):
        some = ids.distinct().order_by("customer_id").limit(4).to_pyarrow().column(0).to_pylist()
        raise UsageError(
            f"CUSTOMER must be known before {as_of} UTC, and be neither erased nor refuse profiling, found {customer!r}, who is not; "
            f"known are such as {first_few(some) or 'nobody'}")
    row = snapshots(dataset, [as_of], features, with_persons(dataset, asked, [as_of])).to_pyarrow().to_pylist()[0]
    return {feature.name: row[feature.name] for feature in features}


def portrait(dataset: Dataset, customer: str, as_of: datetime, features: Sequence[Feature], values: Mapping[str, Value], language: str, shows_sensitive: bool) -> list[str]:
    """The values as lines of text, family after family; what is not known stands at the end of each. Sensitive values are said only if asked for."""
    words = WORDS[language]
    local = as_of.replace(tzinfo=UTC).astimezone(ZoneInfo(dataset.zone))
    lines = [words["head"].format(customer=customer, data=dataset.name, as_of=f"{local:%Y-%m-%d %H:%M}", zone=dataset.zone) + (words["simulated"] if dataset.is_simulated else "")]
    for family, names in FAMILIES.items():
        mine = [feature for feature in features if feature.family == family]
        if not mine:
            continue
        lines += ["", names[LANGUAGES.index(language)]]
        unknown = []
        for feature in mine:
            label = feature.label_zh if language == "zh" else feature.label_en
            if feature.is_sensitive and not shows_sensitive:
                lines.append("  " + words["value"].format(label=label, value=words["hidden"]))
            elif values[feature.name] is None:
                unknown.append(label)
            else:
                lines.append("  " + words["value"].format(label=label, value=shown(values[feature.name], feature, language)))
        if unknown:
            lines.append("  " + words["value"].format(label=words["unknown"], value=words["and"].join(unknown)))
    return lines


def shown(value: Any, feature: Feature, language: str) -> str:
    """A value as people write it: money with its currency, shares in per cent, weekdays and months by name."""
    place, unit = LANGUAGES.index(language), feature.unit
    if isinstance(value, str):
        return dict(feature.texts).get(value, value) if language == "zh" and isinstance(feature.texts, tuple) else value
    if unit == "share":
        return f"{_number(100 * value, 1)}%"
    if unit == "hour":
        return f"{int(value)}:00"
    if unit == "weekday":
        return WEEKDAYS[int(value)][place]
    if unit == "month":
        return f"{int(value)}月" if language == "zh" else MONTHS[int(value) - 1]
    if unit == "yes or no":
        return WORDS[language]["yes" if value else "no"]
    if unit.isupper():
        return f"{value:,.2f} {unit}"
    number = _number(value, 2 if abs(value) < 10 else 1)
    if unit not in COUNTED:
        return number
    return f"{number} {COUNTED[unit]}" if language == "zh" else f"{number} {_one(unit) if number == '1' else unit}"


def _number(value: float, digits: int) -> str:
    """At most `digits` decimals, thousands apart."""
    text = f"{value:,.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _one(unit: str) -> str:
    """A counted thing in the singular."""
    return unit[:-3] + "y" if unit.endswith("ies") else unit[:-2] if unit.endswith("ches") else unit[:-1]
