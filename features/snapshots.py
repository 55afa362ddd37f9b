"""Snapshots: the feature table at many moments at once, from nothing that was unknown at each.

The path of one call: events -> timelines (history.py: what each moment saw, read once) -> streams (the grain of a family) -> windows (ranges of
rows) -> features. One customer's events take the same path from the streams on.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
import numpy as np
from ibis.util import gen_name
from numpy.typing import NDArray

from features import catalogue
from features.choice import chosen
from features.dataset import Dataset, minor_units
from features.errors import ContractError
from features.feature import UNKNOWN, Aggregate, AsOf, Feature, Formula, Numbers
from features.history import TEXTS, Timelines, numbered, timelines
from features.identity import with_identifiers
from features.moments import KEY
from features.streams import BOUGHT, ROLES, STAGES, STREAMS, needs_of
from features.tasks import Task
from features.windows import Cells, Rows, aggregated

if TYPE_CHECKING:
    import pyarrow as pa

# Own kinds of events beside purchases that get features.
MOST_KINDS = 20
# Channels and categories of purchases that get features of their own.
MOST_CHANNELS, MOST_CATEGORIES = 8, 12
# What every table of features or labels has beside them.
RESERVED = (*KEY, "label", "is_seed", "may_contact")
# What attributes are called beside what is asked. (The blank keeps these names apart from anybody's.)
_KNOWN = "known "
# Events times moments of a part: so few that its arrays stay near the processor (docs/decisions/0020). A part a thread.
MOST_PAST, MOST_THREADS = 1_000_000, 4
# What events can be asked for, beside texts: windows.py counts in whole numbers.
COLUMNS = (*TEXTS, "is_own", "local", "quantity", "amount_minor", "discount_minor", "is_promoted", "value", "campaign_end")


@dataclass(frozen=True)
class Vocabulary:
    """The words of its own that a dataset adds to the catalogue: frequent kinds of events, those that tell a category, channels and categories of purchases."""

    kinds: tuple[str, ...]
    kinds_with_category: tuple[str, ...]
    channels: tuple[str, ...]
    categories: tuple[str, ...]


def vocabulary(dataset: Dataset) -> Vocabulary:
    """What its events tell."""
    return Vocabulary(
        tuple(_frequent_kinds(dataset)), tuple(_frequent_kinds(dataset, "category")), tuple(_frequent(dataset, "channel", MOST_CHANNELS)),
        tuple(_frequent(dataset, "category", MOST_CATEGORIES)))


def templates_of_events(tasks: Sequence[Task], words: Vocabulary) -> tuple[Feature, ...]:
    """Every entry that the catalogue has for events of these words and these tasks, before it is written out for lookbacks and a currency."""
    return (
        *catalogue.CATALOGUE, *catalogue.of_kinds(words.kinds), *catalogue.of_targets(tasks, words.kinds_with_category), *catalogue.of_channels(words.channels),
        *catalogue.of_categories(words.categories))


def templates(dataset: Dataset) -> tuple[Feature, ...]:
    """Every entry that the catalogue has for this dataset's attributes, kinds of events and tasks, before it is written out."""
    undated = "customers" in dataset.tables and not _has_values(dataset.tables["customers"], "valid_from")
    return (*catalogue.profile(dataset.attributes, undated), *templates_of_events(dataset.tasks, vocabulary(dataset)))


def candidates(dataset: Dataset) -> tuple[Feature, ...]:
    """Every feature that the catalogue has for this dataset, for its lookbacks and currency, whether its tables allow it or not."""
    return _named_once(catalogue.expand(templates(dataset), dataset.lookbacks_days(), dataset.currency))


def features_of(dataset: Dataset, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> tuple[tuple[Feature, ...], dict[str, str]]:
    """The features that this dataset's tables allow, and for each of the others what it lacks; of those that the dataset and then the caller choose.

    A feature without its data is absent; a column of zeros would look like knowledge.
    Raises: ContractError for a word of the choice that means no feature, an attribute that is called like a feature.
    """
    found = chosen(chosen(candidates(dataset), dataset.include, dataset.exclude), include, exclude)
    absent = {attribute.name: attribute.note for attribute in dataset.attributes if attribute.kind == "text"} | lacking(dataset, found)
    return tuple(feature for feature in found if feature.name not in absent), absent


def lacking(dataset: Dataset, features: Sequence[Feature]) -> dict[str, str]:
    """Of these features, those that the dataset's tables do not allow, and what each lacks."""
    has, absent = _supply(dataset), {}
    for feature in features:
        needs = sorted({need for aggregate in feature.aggregates() for need in needs_of(aggregate) if need not in has})
        if needs:
            absent[feature.name] = " and ".join(needs)
    return absent


def _named_once(features: Sequence[Feature]) -> tuple[Feature, ...]:
    """What is made of kinds and categories that a company names itself may be called like a feature before it: then the one before stays.

    Raises: ContractError for an attribute that is called like a feature, or like a column of every table.
    """
    found: dict[str, Feature] = {}
    for feature in features:
        first = found.setdefault(feature.name, feature)
        if feature.name in RESERVED or (first is not feature and first.family == "profile"):
            raise ContractError(f"an attribute needs a name that nothing else has, found {feature.name}; give it another (in dataset.toml: [tables.customers.columns])")
    return tuple(found.values())


def _supply(dataset: Dataset) -> set[str]:
    """What there is to build on: kinds of events and their roles, filled columns of events (and of a role's), what marketers did, optional tables."""
    events = dataset.tables["events"]
    counts = events.group_by(["kind", "initiator"]).agg(**{column: events[column].count() for column in events.columns if column not in ("kind", "initiator")})
    has = {f"table:{name}" for name in dataset.tables}
    for row in counts.to_pyarrow().to_pylist():
        kind, initiator = row.pop("kind"), row.pop("initiator")
        filled = [column for column, n in row.items() if n]
        has |= {f"kind:{kind}", *filled}
        if initiator == "marketer":
            has |= {"contacts", *(f"{column} of contacts" for column in filled)}
        else:
            roles = [role for role, kinds in ROLES.items() if kind in kinds]
            has |= {*(f"role:{role}" for role in roles), *(f"{column} of {role}" for column in filled for role in roles)}
            has |= {"browsing"} if 0 < STAGES.get(kind, 0) < BOUGHT else set()
    return has


def _frequent_kinds(dataset: Dataset, telling: str = "kind") -> list[str]:
    """The kinds of customers' own events that tell a column, most frequent first; rare ones say little and would make the table wide."""
    events = dataset.tables["events"]
    own = events.filter((events.initiator == "customer") & events.kind.notnull() & events[telling].notnull())
    counts = own.group_by("kind").agg(n=own.count()).order_by(ibis.desc("n"), "kind").limit(MOST_KINDS)
    return [str(kind) for kind in counts.to_pyarrow().column("kind").to_pylist()]


def _frequent(dataset: Dataset, column: str, most: int) -> list[str]:
    """The values of a column of purchases that most customers have, most first."""
    events = dataset.tables["events"]
    bought = events.filter((events.initiator == "customer") & (events.kind == "purchase") & events[column].notnull())
    counts = bought.group_by(column).agg(n=bought.customer_id.nunique()).order_by(ibis.desc("n"), column).limit(most)
    return [str(value) for value in counts.to_pyarrow().column(column).to_pylist()]


def _has_values(table: ir.Table, column: str) -> bool:
    return bool(table[column].count().to_pyarrow().as_py())


def snapshots(dataset: Dataset, as_ofs: Sequence[datetime], features: Sequence[Feature], of: ir.Table | None = None) -> ir.Table:
    """The feature table.

    Grain: customer x as_of, for every customer known before as_of (an event or a dated attribute), or for the rows `of` (customer_id, as_of), ordered by both.
    Units: as each feature says; money in major units. Empty: a customer without events has counts 0, recency and ratios null.
    """
    import pyarrow as pa

    if dataset.engine.name == "pyspark":
        from features.spark import spread

        return spread(*_asked(dataset, as_ofs, features, of), MOST_PAST // len(as_ofs)).order_by(KEY)
    # Computed now, under a name of its own: what a later call does to the engine cannot change it.
    table = pa.concat_tables(parts(dataset, as_ofs, features, of))
    return dataset.engine.create_table(gen_name("snapshots"), table).order_by(KEY)


def parts(dataset: Dataset, as_ofs: Sequence[datetime], features: Sequence[Feature], of: ir.Table | None = None) -> "Iterator[pa.Table]":
    """The same table in order, customers after customers, as much at a time as memory holds with ease."""
    past, portray = _asked(dataset, as_ofs, features, of)
    threads = min(MOST_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        begun: deque[Future[pa.Table]] = deque()
        for part in past.parts(MOST_PAST // len(as_ofs)):
            begun.append(pool.submit(portray, *part))
            if len(begun) > threads:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


def _asked(
    dataset: Dataset, as_ofs: Sequence[datetime], features: Sequence[Feature], of: ir.Table | None,
) -> "tuple[Timelines, Callable[[pa.Table, pa.Table], pa.Table]]":
    """Whose past is asked, with their attributes beside it, and what makes features of a part of it."""
    aggregates = list(dict.fromkeys(aggregate for feature in features for aggregate in feature.aggregates()))
    named = _numbers_of(dataset, _looked_for(aggregates))
    past = timelines(dataset, as_ofs, _read(aggregates), of)
    attributes = {feature.name: feature.expression.attribute for feature in features if isinstance(feature.expression, AsOf)}
    if attributes:
        past = replace(past, cells=_with_attributes(dataset, past.cells, attributes, as_ofs))
    return past, partial(_portraits, features=features, currency=dataset.currency, named=named, texts=_texts_of(dataset, features))


def _read(aggregates: Sequence[Aggregate]) -> list[str]:
    """The columns of events that these aggregates need."""
    needed = {column for aggregate in aggregates for column in (
        *(STREAMS[aggregate.stream].reads if aggregate.stream else ()), aggregate.column, aggregate.by, *(column for column, _ in aggregate.where))}
    return [column for column in COLUMNS if column in needed]


def _looked_for(aggregates: Sequence[Aggregate]) -> set[tuple[str, str]]:
    return {pair for aggregate in aggregates for pair in (*(one for one in aggregate.where if one[0] in TEXTS), *(STREAMS[aggregate.stream].looks_for if aggregate.stream else ()))}


def _numbers_of(dataset: Dataset, pairs: set[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """The numbers by which the engine knows texts, by column."""
    values = sorted({value for _, value in pairs})
    if not values:
        return {}
    texts = ibis.memtable({"value": values}, schema={"value": "string"})
    told = dataset.engine.to_pyarrow(texts.mutate(number=numbered(dataset.engine, texts.value))).to_pydict()
    number = dict(zip(told["value"], told["number"], strict=True))
    named: dict[str, dict[str, int]] = {}
    for column, value in pairs:
        named.setdefault(column, {})[value] = number[value]
    return named


def _portraits(
    asked: "pa.Table", told: "pa.Table", features: Sequence[Feature], currency: str, named: dict[str, dict[str, int]], texts: "Mapping[str, dict[int, str]]",
) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = {name: pc.fill_null(told.column(name), UNKNOWN).to_numpy() for name in told.column_names if name not in ("person", "line", "at")}
    history = Rows(told.column("line").to_numpy(), told.column("at").to_numpy(), columns, named)
    seconds = asked.column("as_of").cast(pa.timestamp("s")).cast(pa.int64()).to_numpy()
    values = portraits(history, Cells(asked.column("line").to_numpy(), seconds), features, currency)
    out = {name: asked.column(name) for name in KEY}
    for feature in features:
        if isinstance(feature.expression, AsOf):
            out[feature.name] = asked.column(_KNOWN + feature.name)
        else:
            is_text = feature.name in texts
            # (Nobody's texts are texts too: without a type an empty column would have none.)
            out[feature.name] = pa.array(worded(values[feature.name], texts[feature.name]) if is_text else values[feature.name], pa.string() if is_text else None, from_pandas=True)
    return pa.table(out)


def _texts_of(dataset: Dataset, features: Sequence[Feature]) -> dict[str, dict[int, str]]:
    """What the numbers of each category of events stand for."""
    columns = {feature.texts for feature in features if isinstance(feature.texts, str) and feature.texts}
    told = {}
    for column in columns:
        texts = dataset.tables["events"].select(column).distinct()
        texts = texts.filter(texts[column].notnull())
        found = texts.select(text=texts[column], number=numbered(dataset.engine, texts[column])).to_pyarrow().to_pydict()
        told[column] = dict(zip(found["number"], found["text"], strict=True))
    return {
        feature.name: told[feature.texts] if isinstance(feature.texts, str) else {i: name for i, (name, _) in enumerate(feature.texts)}
        for feature in features if feature.texts}


def worded(numbers: Numbers, texts: Mapping[int, str]) -> NDArray[np.object_]:
    """The texts that numbers stand for, None where not known."""
    different, place = np.unique(numbers, return_inverse=True)
    words: NDArray[np.object_] = np.array([None if number != number else texts.get(int(number)) for number in different], object)
    return words[place]


def portraits(history: Rows, cells: Cells, features: Sequence[Feature], currency: str) -> dict[str, Numbers]:
    """The features of events, from history (rows of events by timeline and time) for each cell.

    Shape: (cell,) each: counts int64, the others float64 with NaN for what is not known.
    """
    aggregates = list(dict.fromkeys(aggregate for feature in features for aggregate in feature.aggregates()))
    found: dict[Aggregate, Numbers] = {aggregate: cells.as_of for aggregate in aggregates if not aggregate.stream}
    for stream in dict.fromkeys(aggregate.stream for aggregate in aggregates if aggregate.stream):
        found |= aggregated(STREAMS[stream].of(history), cells, [aggregate for aggregate in aggregates if aggregate.stream == stream])
    return {feature.name: _value(feature, found, currency) for feature in features if not isinstance(feature.expression, AsOf)}


def _value(feature: Feature, found: Mapping[Aggregate, Numbers], currency: str) -> Numbers:
    values = [found[aggregate] for aggregate in feature.aggregates()]
    value: Numbers = feature.expression.compute(*values) if isinstance(feature.expression, Formula) else values[0]
    return value / float(minor_units(currency)) if feature.unit == currency else value


def _with_attributes(dataset: Dataset, cells: ir.Table, attributes: Mapping[str, str], as_ofs: Sequence[datetime]) -> ir.Table:
    """Add each feature's attribute as it was last known before as_of (type-2 history); undated rows count as known long ago.

    Of a person of several identifiers it is what the one with the newest row tells, among equals the person's own, or else the next that tells it.
    """
    people = dataset.tables["customers"].rename(identifier="customer_id")
    cells = dataset.engine.create_table(gen_name("cells"), cells)
    who = with_identifiers(dataset, cells.select(KEY), as_ofs)
    known = who.join(people, "identifier").filter(lambda t: t.valid_from.isnull() | (t.valid_from < t.as_of))
    since = known.valid_from.fill_null(datetime(1, 1, 1))
    latest = ibis.row_number().over(ibis.window(group_by=[*KEY, "identifier"], order_by=since.desc()))
    last = known.mutate(place=latest, since=since, is_other=known.identifier != known.customer_id).filter(lambda t: t.place == 0)
    last = last.mutate(turn=ibis.row_number().over(ibis.window(group_by=KEY, order_by=[last.since.desc(), last.is_other, last.identifier])))
    last = last.mutate(**{_KNOWN + name: _as_known(last, attribute) for name, attribute in attributes.items()})
    columns = [_KNOWN + name for name in attributes]
    last = last.group_by(KEY).agg(**{name: last[name].argmin(last.turn, where=last[name].notnull()) for name in columns})
    return cells.left_join(last, KEY).select(*cells.columns, *columns)


def _as_known(known: ir.Table, attribute: str) -> ir.Value:
    """An attribute by its type: a date as days before as_of, yes or no as 1 or 0. Of an undated date that is still to come nobody can say that it was known."""
    value = known[attribute]
    if value.type().is_timestamp():
        since = (known.as_of.epoch_seconds() - value.epoch_seconds().floor()).cast("float64") / 86400
        return ibis.ifelse(known.valid_from.isnull() & (value >= known.as_of), ibis.null("float64"), since)
    if value.type().is_boolean():
        return value.cast("int64")
    return value.cast("float64" if value.type().is_numeric() else "string")
