"""What was known when: the past of each moment, as one row per event and moment, or as timelines that moments share.

An event is seen at as_of if it happened and had arrived before, by whoever its identifier was then known to be. Almost always, what one moment sees of a
person is the beginning of what the next sees; then one timeline serves all moments. Where it is not, because an event was on its way, a session under way
or a link between identifiers not yet known at a moment, that person has a timeline of its own for that moment.
So histories are read once, however many moments are asked, and no moment sees more than it knew.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir
from ibis.backends import BaseBackend
from ibis.util import gen_name

from features.dataset import Dataset
from features.engine import hashed
from features.identity import is_linked, persons, with_identifiers, with_persons
from features.moments import KEY, moments
from features.streams import LATER

if TYPE_CHECKING:
    import pyarrow as pa

# Texts go to windows.py as numbers that are equal where the texts are.
TEXTS = ("kind", "channel", "session_id", "item_id", "category", "brand", "campaign_id")
MILLIONTHS = 1_000_000


def history(dataset: Dataset, as_ofs: Sequence[datetime]) -> ir.Table:
    """Grain: event x as_of, for events that happened and had arrived before as_of, of the persons known by then. `age` is whole seconds before as_of.

    Strictly before: what happens at as_of belongs to the future.
    """
    events, at = dataset.tables["events"], dataset.engine.create_table(gen_name("moments"), moments(as_ofs).drop("moment"))
    seen = with_persons(dataset, events.join(at, _is_seen(events, at)), as_ofs)
    return seen.mutate(age=(seen.as_of.epoch_seconds() - seen.event_at.epoch_seconds().floor()).cast("int64"))


def population(dataset: Dataset, as_ofs: Sequence[datetime]) -> ir.Table:
    """Grain: customer x as_of, for every person known before as_of by an event or by an attribute (an undated one counts as known long ago)."""
    events = dataset.tables["events"]
    known = events.select("customer_id", since=ibis.greatest(events.event_at, events.ingested_at))
    if "customers" in dataset.tables:
        people = dataset.tables["customers"]
        known = known.union(people.select("customer_id", since=people.valid_from.fill_null(datetime(1, 1, 1)).cast(known.since.type())))
    first, at = known.group_by("customer_id").agg(since=known.since.min()), moments(as_ofs)
    return with_persons(dataset, first.join(at, first.since < at.as_of).select(KEY), as_ofs).distinct()


def _is_seen(events: ir.Table, at: ir.Table) -> ir.BooleanValue:
    return (events.event_at < at.as_of) & (events.ingested_at < at.as_of)


@dataclass(frozen=True)
class Timelines:
    """What is asked, and the histories that answer it, both still to be ordered.

    `cells`: one row per asked customer and as_of: customer_id, as_of, person (0, 1, ... in the order of customers), line.
    `events`: one row per event and timeline: line, person, event_at, event_id and the columns that were wanted.
    """

    cells: ir.Table
    events: ir.Table

    def parts(self, most_rows: int) -> "Iterator[tuple[pa.Table, pa.Table]]":
        """Cells and their events by line and time, in parts of about so many events that never cut a customer in two."""
        import numpy as np
        import pyarrow as pa

        engine, cells = self.events.get_backend(), self.cells.order_by(["person", "as_of"]).to_pyarrow()
        ordered = f"SELECT * EXCLUDE (event_at, event_id) FROM ({engine.compile(self.events)}) ORDER BY line, event_at, event_id"
        # Until all is read the engine answers nothing else.
        reader = engine.con.sql(ordered).to_arrow_reader(min(most_rows, 1_000_000))
        persons = cells.column("person").to_numpy()
        held, n_held, first = [], 0, 0
        for batch in reader:
            held.append(batch)
            n_held += len(batch)
            if n_held < most_rows:
                continue
            table = pa.Table.from_batches(held)
            person = table.column("person").to_numpy()
            last = int(person[-1])  # whose events may go on in the next batch
            cut, end = int(np.searchsorted(person, last)), int(np.searchsorted(persons, last))
            if cut:
                yield cells.slice(first, end - first), table.slice(0, cut)
                held, n_held, first = table.slice(cut).to_batches(), n_held - cut, end
        yield cells.slice(first), pa.Table.from_batches(held, reader.schema)


def timelines(dataset: Dataset, as_ofs: Sequence[datetime], columns: Sequence[str], of: ir.Table | None = None) -> Timelines:
    """The timelines of everybody known before as_of, or of the rows `of` (customer_id, as_of)."""
    def settled(name: str, table: ir.Table) -> ir.Table:
        return dataset.engine.create_table(gen_name(name), table)

    at = settled("moments", moments(as_ofs))
    asked = settled("asked", (population(dataset, as_ofs) if of is None else of.select(KEY)).join(at, "as_of").select(*KEY, "moment"))
    ids = asked.select("customer_id").distinct()
    people = settled("people", ids.mutate(person=ibis.row_number().over(order_by="customer_id").cast("int32")))
    asked = asked.join(people, "customer_id")
    events = dataset.tables["events"].rename(identifier="customer_id")
    if "campaign_end" in columns:
        ends = dataset.tables["campaigns"].select("campaign_id", campaign_end=dataset.tables["campaigns"].end_at.epoch_seconds())
        events = events.left_join(ends, "campaign_id").drop("campaign_id_right")

    of_people = people.select("person", identifier="customer_id")
    bears, moved, members = of_people, None, None
    if is_linked(dataset):
        members = settled("members", _members(dataset, asked, as_ofs))
        base = settled("base", members.semi_join(members.group_by("person").agg(moment=members.moment.max()), ["person", "moment"]))
        of_people = of_people.anti_join(base, "person")
        bears, moved = of_people.union(base.select("person", "identifier")), _moved(members, base, asked)
    shared_events = events.join(bears, "identifier")
    under_way = _under_way(shared_events, at, as_ofs)
    own = settled("own", under_way if moved is None else under_way.union(moved, distinct=True))
    lines = people.select("person", moment=ibis.literal(-1, "int64")).union(own.select("person", "moment"))
    lines = settled("lines", lines.mutate(line=ibis.row_number().over(order_by=["person", "moment"]).cast("int64")))

    lines = lines.mutate(line=lines.line.cast("int64"))  # (a row's number has 32 bits on Spark)
    shared, alone = lines.filter(lines.moment == -1).select("person", "line"), lines.filter(lines.moment >= 0)
    latest = max(as_ofs)
    told = shared_events.filter((shared_events.event_at < latest) & (shared_events.ingested_at < latest)).join(shared, "person")
    rows = told.select(**_wanted(dataset.engine, told, columns), line=told.line)
    if int(own.count().to_pyarrow().as_py()):
        bears_alone = alone.join(of_people, "person")
        if members is not None:
            bears_alone = bears_alone.union(alone.join(members.select("person", "moment", "identifier"), ["person", "moment"]))
        mine = events.join(bears_alone, "identifier").join(at, "moment")
        mine = mine.filter(_is_seen(mine, mine))
        rows = rows.union(mine.select(**_wanted(dataset.engine, mine, columns), line=mine.line))
    cells = asked.join(shared, "person").left_join(alone, ["person", "moment"], rname="{name}_alone")
    return Timelines(cells.select(*KEY, "person", line=ibis.coalesce(cells.line_alone, cells.line)), rows)


def _members(dataset: Dataset, asked: ir.Table, as_ofs: Sequence[datetime]) -> ir.Table:
    """Grain: person of several identifiers x moment x identifier whose `first` event was seen by then."""
    found, events = persons(dataset, as_ofs), dataset.tables["events"]
    first = events.group_by("customer_id").agg(first=ibis.greatest(events.event_at, events.ingested_at).min()).rename(identifier="customer_id")
    asked = asked.semi_join(found, asked.customer_id == found.person)
    told = with_identifiers(dataset, asked, as_ofs).join(first, "identifier")
    return told.filter(told.first < told.as_of).select("person", "moment", "identifier", "first")


def _moved(members: ir.Table, base: ir.Table, asked: ir.Table) -> ir.Table:
    """Grain: person x moment at which its identifiers, as far as they had events, were not the beginning of what they are at its last moment."""
    expected = base.drop("moment").join(asked.select("person", "moment", "as_of"), "person")
    expected = expected.filter(expected.first < expected.as_of)
    key = ["person", "moment", "identifier"]
    lost, come = expected.anti_join(members, key), members.anti_join(expected, key)
    return lost.select("person", "moment").union(come.select("person", "moment"), distinct=True)


def _under_way(events: ir.Table, at: ir.Table, as_ofs: Sequence[datetime]) -> ir.Table:
    """Grain: person x moment at which an event had happened but not arrived, or a session had begun but not ended."""
    late = events.filter(events.ingested_at > events.event_at).select("person", begin="event_at", end="ingested_at")
    known = events.filter(events.session_id.notnull() & ~events.kind.isin(LATER))
    sessions = known.group_by(["person", "session_id"]).agg(begin=known.event_at.min(), end=known.event_at.max())
    spans = late.union(sessions.filter(sessions.end > sessions.begin).select("person", "begin", "end"))
    # Nearly all are over before the next moment: looking that up is many times faster than the join, which would sort them all.
    next_moment = ibis.cases(*((spans.begin < as_of, as_of) for as_of in sorted(set(as_ofs))))
    spans = spans.filter(next_moment <= spans.end)
    return spans.join(at, (spans.begin < at.as_of) & (at.as_of <= spans.end)).select("person", "moment").distinct()


def _wanted(engine: BaseBackend, events: ir.Table, columns: Sequence[str]) -> dict[str, Any]:
    """The columns as whole numbers, null where not told."""
    told: dict[str, Any] = {"person": events.person, "event_at": events.event_at, "event_id": events.event_id, "at": events.event_at.epoch_seconds().floor().cast("int64")}
    for column in columns:
        if column in TEXTS:
            told[column] = numbered(engine, events[column])
        elif column == "is_own":
            told[column] = (events.initiator == "customer").cast("int64")
        elif column == "local":
            told[column] = events.local_at.epoch_seconds().floor().cast("int64")
        elif column == "value":
            told[column] = (events.value * MILLIONTHS).round().cast("int64")
        else:
            told[column] = events[column].cast("int64")
    return told


def numbered(engine: BaseBackend, text: ir.Value) -> ir.Value:
    """Texts as numbers of 63 bits, equal where the texts are. (The engine gives no text a number too.)"""
    return ibis.ifelse(text.notnull(), hashed(engine, text).abs(), ibis.null("int64"))
