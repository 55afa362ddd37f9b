"""Steps and sessions, counted in the engine: what each person did in one go, how far it went, and where it began.

Everything here is plain Ibis, so that any engine runs it; what is used more than once is kept by the engine until nobody needs it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import ibis
import ibis.expr.types as ir

from features.dataset import Dataset
from features.history import history
from features.journeys.stages import Ladder, staged
from features.streams import LATER

# So long without a sign of life, and what comes next is another session. A declared session_id goes before.
SILENCE_SECONDS = 30 * 60
KEY = ["customer_id", "session"]
# What a session tells about itself beside its times.
PLACES, NOT_TOLD = ("channel", "device"), "not told"


@dataclass(frozen=True)
class Sessions:
    """`steps`: one row per person, session, moment and kind. `sessions`: one row per person and session, all before `until`."""

    ladder: Ladder
    steps: ir.Table
    sessions: ir.Table
    until: datetime

    def since(self, since: datetime) -> ir.Table:
        """The sessions that began at or after a moment."""
        return self.sessions.filter(self.sessions.start_at >= since)

    def walk(self, sessions: ir.Table) -> ir.Table:
        """Grain: step of some of the sessions. `place` counts them from 0 within each."""
        steps = self.steps.semi_join(sessions, KEY)
        # Of two kinds in the same second, what is further towards the conversion comes later.
        return steps.mutate(place=ibis.row_number().over(group_by=KEY, order_by=["event_at", "stage", "kind"]))


def sessions_of(dataset: Dataset, ladder: Ladder, as_of: datetime) -> Sessions:
    """What was known at `as_of` of everybody's sessions; where the funnel counts customers, all that one did is one session."""
    seen = history(dataset, [as_of])
    device = seen.device.cast("string") if "device" in seen.columns else ibis.null("string")
    columns = {"customer_id": seen.customer_id, "event_id": seen.event_id, "event_at": seen.event_at, "kind": seen.kind, "channel": seen.channel, "device": device}
    if ladder.unit == "customers":
        told = seen.filter((seen.initiator == "customer") | seen.kind.isin(list(ladder.number_of)))
        told = told.select(**columns, session=ibis.literal("all"))
    else:
        told = _in_sessions(seen.filter((seen.initiator == "customer") & ~seen.kind.isin(LATER)).select(**columns, session_id=seen.session_id))
    # The lines of a basket are one step.
    steps = told.group_by([*KEY, "event_at", "kind"]).agg(channel=told.channel.min(), device=told.device.min())
    steps = steps.mutate(stage=staged(steps.kind, ladder)).cache()
    return Sessions(ladder, steps, _summed_up(steps, ladder).cache(), as_of)


def _in_sessions(told: ir.Table) -> ir.Table:
    """A declared session by its id; without one, by silence."""
    named = told.filter(told.session_id.notnull())
    alone = told.filter(told.session_id.isnull())
    at = alone.event_at.epoch_seconds().floor().cast("int64")
    order = ["event_at", "event_id"]
    alone = alone.mutate(silence=at - at.lag().over(group_by="customer_id", order_by=order))
    alone = alone.mutate(starts=(alone.silence.isnull() | (alone.silence > SILENCE_SECONDS)).cast("int64"))
    number = alone.starts.sum().over(ibis.cumulative_window(group_by="customer_id", order_by=order))
    columns = [column for column in told.columns if column != "session_id"]
    return named.select(*columns, session=ibis.literal("named ") + named.session_id).union(
        alone.select(*columns, session=ibis.literal("silence ") + number.cast("string")))


def _summed_up(steps: ir.Table, ladder: Ladder) -> ir.Table:
    """One row per session.

    `at_K` is when it came to stage K or further (null if never), `n_K` its events of that very stage; `channel` and `device` are those of its first step
    that tells one; `last_kind` is what it ended with.
    """
    # Twenty digits, down to microseconds, put texts into the order of time.
    when = steps.event_at.strftime("%Y%m%d%H%M%S%f")
    first = {name: (when + steps[name]).min(where=steps[name].notnull()).substr(20) for name in PLACES}
    numbers = range(1, ladder.last + 1)
    return steps.group_by(KEY).agg(
        start_at=steps.event_at.min(), end_at=steps.event_at.max(), n_steps=steps.count(), furthest=steps.stage.max(), **first,
        last_kind=(when + steps.stage.cast("string").lpad(2, "0") + steps.kind).max().substr(22),
        **{f"at_{k}": steps.event_at.min(where=steps.stage >= k) for k in numbers}, **{f"n_{k}": (steps.stage == k).cast("int64").sum() for k in numbers})


def with_segment(sessions: ir.Table, segments: ir.Table | None) -> ir.Table:
    """Add each person's segment; who has none is left without."""
    if segments is None:
        return sessions.mutate(segment=ibis.null("string"))
    return sessions.left_join(segments.select("customer_id", segment=segments.segment.cast("string")), "customer_id").drop("customer_id_right")


def attribute_at(dataset: Dataset, name: str, as_of: datetime) -> ir.Table:
    """Grain: customer. A column of customers as it was last known before as_of, as `segment`; an undated one counts as known long ago."""
    people = dataset.tables["customers"]
    people = people.filter(people.valid_from.isnull() | (people.valid_from < as_of))
    newest = ibis.row_number().over(group_by="customer_id", order_by=[people.valid_from.fill_null(datetime(1, 1, 1)).desc(), people[name].cast("string")])
    return people.mutate(place=newest).filter(lambda t: t.place == 0).select("customer_id", segment=people[name].cast("string"))


def spelled(table: ir.Table, keys: Sequence[str], place: ir.Value, letter: ir.Value, most: int, **more: ir.Value) -> ir.Table:
    """Grain: `keys`. The letters of a row's first `most` places as one text, with more aggregates beside it. (Not every engine can put in order what it joins.)"""
    parts = {f"letter_{i}": letter.max(where=place == i) for i in range(most)}
    found = table.group_by(list(keys)).agg(**parts, **more)
    text = found[next(iter(parts))].fill_null("")
    for name in list(parts)[1:]:
        text = text + found[name].fill_null("")
    return found.select(*keys, *more, path=text)


def letters(names: Sequence[str]) -> dict[str, str]:
    """One letter for each name, for paths spelled as texts."""
    return {name: chr(0x100 + i) for i, name in enumerate(names)}
