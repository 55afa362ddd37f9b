"""One customer, now: the features of raw events in process, from the same declarations, streams and windows as the whole table.

Made once (`Portrait`), asked often: nothing is built per call, no engine is started, and the values equal the batch's.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from features.catalogue import expand
from features.dataset import Dataset, minor_units
from features.errors import ContractError
from features.feature import UNKNOWN, AsOf, Feature
from features.files import write_json
from features.history import MILLIONTHS, TEXTS
from features.snapshots import Vocabulary, portraits, templates_of_events, vocabulary
from features.tasks import Task
from features.windows import Cells, Rows

Value = int | float | str | None
_EPOCH = datetime(1970, 1, 1)
# Times and numbers beyond are mistakes: sums of whole numbers would not hold them.
YEARS, MOST = (1900, 2200), 10**15
_WHOLE = ("quantity", "is_promoted")
_MONEY = {"amount_minor": "amount", "discount_minor": "discount"}


@dataclass(frozen=True)
class Portrait:
    """The compiled form of a dataset's features of events.

    `campaign_ends` (naive UTC), `goods` (item -> category, brand) and `marketer_kinds` stand for what the tables tell of an event.
    """

    features: tuple[Feature, ...]
    zone: str
    currency: str
    marketer_kinds: tuple[str, ...] = ("campaign_received",)
    campaign_ends: Mapping[str, datetime] = field(default_factory=dict)
    goods: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)

    def of(self, events: Sequence[Mapping[str, Any]], as_of: datetime) -> dict[str, Value]:
        """The features of one customer at `as_of` (naive UTC, whole seconds) from events in the contract's form, in any order.

        An event has event_id, event_at, kind and what else is known; times are datetimes or ISO texts (naive: UTC), money `amount` and `discount` in
        major units or `amount_minor` and `discount_minor`. An event_id that comes again counts once; what happened or arrived at as_of or later is not seen.
        Empty: no events give counts 0, recency and ratios None.
        Raises: ContractError for an event without id, time or kind, or with a number that is none.
        """
        told = sorted({one["event_id"]: one for one in (self._event(given) for given in events)}.values(), key=lambda one: (one["micro"], one["event_id"]))
        seen = [one for one in told if one["event_at"] < as_of and one["ingested_at"] < as_of]
        named: dict[str, dict[str, int]] = {}
        history = Rows(np.zeros(len(seen), np.int64), _whole([one["micro"] // MILLIONTHS for one in seen]), self._columns(seen, named), named)
        cells = Cells(np.zeros(1, np.int64), np.array([int((as_of - _EPOCH).total_seconds())]))
        values = portraits(history, cells, self.features, self.currency)
        return {feature.name: _told(values[feature.name][0], feature, named) for feature in self.features if not isinstance(feature.expression, AsOf)}

    def _event(self, given: Mapping[str, Any]) -> dict[str, Any]:
        missing = [column for column in ("event_id", "event_at", "kind") if given.get(column) in (None, "")]
        if missing:
            raise ContractError(f"an event needs event_id, event_at and kind, found none for {', '.join(missing)} in {given.get('event_id') or 'one without id'}; supply it")
        one = dict(given)
        one["event_at"] = _time(given["event_at"], one)
        one["ingested_at"] = _time(given["ingested_at"], one) if given.get("ingested_at") else one["event_at"]
        since = one["event_at"] - _EPOCH
        one["micro"] = (since.days * 86400 + since.seconds) * MILLIONTHS + since.microseconds
        one["is_own"] = (given.get("initiator") or ("marketer" if given["kind"] in self.marketer_kinds else "customer")) == "customer"
        if given.get("item_id") in self.goods:
            category, brand = self.goods[given["item_id"]]
            one["category"], one["brand"] = given.get("category") or category, given.get("brand") or brand
        return one

    def _columns(self, seen: Sequence[dict[str, Any]], named: dict[str, dict[str, int]]) -> dict[str, Any]:
        columns: dict[str, Any] = {}
        for column in TEXTS:
            numbers = named.setdefault(column, {})
            columns[column] = _whole([UNKNOWN if one.get(column) is None else numbers.setdefault(str(one[column]), len(numbers)) for one in seen])
        zone = ZoneInfo(self.zone)
        columns["is_own"] = _whole([one["is_own"] for one in seen])
        columns["local"] = _whole([one["micro"] // MILLIONTHS + _offset(one["event_at"], zone) for one in seen])
        for column in _WHOLE:
            columns[column] = _whole([UNKNOWN if one.get(column) is None else _number(one, column, 1) for one in seen])
        for column, major in _MONEY.items():
            units = minor_units(self.currency)
            columns[column] = _whole([
                _number(one, column, 1) if one.get(column) is not None else UNKNOWN if one.get(major) is None else _number(one, major, units) for one in seen])
        columns["value"] = _whole([UNKNOWN if one.get("value") is None else _number(one, "value", MILLIONTHS) for one in seen])
        ends = {campaign: int((end - _EPOCH).total_seconds()) for campaign, end in self.campaign_ends.items()}
        columns["campaign_end"] = _whole([ends.get(one.get("campaign_id") or "", UNKNOWN) for one in seen])
        return columns


def _whole(values: list[int]) -> "np.ndarray[Any, np.dtype[np.int64]]":
    return np.array(values, np.int64)


def _time(value: Any, event: Mapping[str, Any]) -> datetime:
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        if not YEARS[0] <= at.year < YEARS[1]:
            raise ValueError
    except ValueError:
        raise ContractError(f"event {event['event_id']} needs a time such as 2026-01-31T10:00:00Z, found {value!r}; correct it") from None
    return at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at


def _offset(at: datetime, zone: ZoneInfo) -> int:
    """Seconds that local clocks are ahead of UTC."""
    offset = at.replace(tzinfo=UTC).astimezone(zone).utcoffset()
    return int(offset.total_seconds()) if offset else 0


def _number(event: Mapping[str, Any], column: str, units: int) -> int:
    try:
        number = round(float(event[column]) * units)
        if abs(number) > MOST:
            raise ValueError
        return number
    except (TypeError, ValueError, OverflowError):
        raise ContractError(f"event {event['event_id']} needs a number in {column}, found {event[column]!r}; correct it") from None


def _told(value: Any, feature: Feature, named: Mapping[str, Mapping[str, int]]) -> Value:
    if feature.texts:
        names = {number: text for text, number in named[feature.texts].items()} if isinstance(feature.texts, str) else {i: name for i, (name, _) in enumerate(feature.texts)}
        return None if value != value else names.get(int(value))
    return None if value != value else value.item()


def write_portrait(dataset: Dataset, features: Sequence[Feature], path: Path) -> None:
    """Write down all that `read_portrait` needs of a dataset, as JSON: where raw events are asked about, the dataset need not be."""
    one = compiled(dataset, features)
    write_json(path, {
        "zone": one.zone, "currency": one.currency, "lookbacks_days": dataset.lookbacks_days(), "tasks": [asdict(task) for task in dataset.tasks],
        "words": asdict(vocabulary(dataset)), "features": [feature.name for feature in one.features if not isinstance(feature.expression, AsOf)],
        "marketer_kinds": one.marketer_kinds, "campaign_ends": {name: end.isoformat() for name, end in one.campaign_ends.items() if end}, "goods": one.goods})


def read_portrait(path: Path) -> Portrait:
    """The compiled form that was written down. Raises: OSError; ContractError for a file that is not as it was written."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        words = Vocabulary(**{name: tuple(values) for name, values in said["words"].items()})
        known: dict[str, Feature] = {}
        for feature in expand(templates_of_events([Task.from_json(task) for task in said["tasks"]], words), said["lookbacks_days"], said["currency"]):
            known.setdefault(feature.name, feature)
        return Portrait(
            tuple(known[name] for name in said["features"]), said["zone"], said["currency"], tuple(said["marketer_kinds"]),
            {name: datetime.fromisoformat(end) for name, end in said["campaign_ends"].items()}, {item: (told[0], told[1]) for item, told in said["goods"].items()})
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ContractError(f"{path.name} must be as make run wrote it, found {type(error).__name__}; run it again") from None


def compiled(dataset: Dataset, features: Sequence[Feature]) -> Portrait:
    """The compiled form for a dataset: what its tables of campaigns and goods tell of an event goes along."""
    tables = dataset.tables
    sent = tables["events"].filter(tables["events"].initiator == "marketer").select("kind").distinct().to_pyarrow().column("kind").to_pylist()
    ends = tables["campaigns"].select("campaign_id", "end_at").to_pyarrow().to_pylist() if "campaigns" in tables else []
    goods = tables["items"].select("item_id", "category", "brand").to_pyarrow().to_pylist() if "items" in tables else []
    return Portrait(
        tuple(features), dataset.zone, dataset.currency, tuple(sorted(sent)), {row["campaign_id"]: row["end_at"] for row in ends},
        {row["item_id"]: (row["category"], row["brand"]) for row in goods})
