"""What local times cannot tell: hours that clocks skip in spring and show twice in autumn, and times without an offset among others with one."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir

from features.dataset import Finding
from features.parsing import Form, local_part

_DAY, _SECOND = timedelta(days=1), timedelta(seconds=1)


def clock_notes(events: ir.Table, zone: str, form: Form) -> list[Finding]:
    """What is doubtful about the local times of `event_at`, and how it was read."""
    told = events.select(local=local_part(events.event_at, form), is_given=events.event_at.cast("string").length() > 0)
    span = told.aggregate(first=told.local.min(), last=told.local.max(), n=told.local.count(), given=told.is_given.sum()).to_pyarrow().to_pylist()[0]
    if not span["n"]:
        return []
    notes = []
    if span["n"] < span["given"]:
        fix = f"the others were read as local times of {zone}; if they are not, write their offset too"
        notes.append(_note("NO_OFFSET", told.filter(told.local.notnull()), "an offset on every time, where some have one", fix))
    changes = clock_changes(zone, span["first"], span["last"])
    for code, is_twice, required, fix in (
        ("SKIPPED_HOUR", False, f"local times that clocks in {zone} show",
            "read as an hour later; if there are many, they may be times of another zone: correct zone in dataset.toml"),
        ("REPEATED_HOUR", True, f"local times that clocks in {zone} show only once", "read as the second of the two (after the change); write offsets to tell them apart")):
        spans = [(told.local >= begin) & (told.local < end) for begin, end, twice in changes if twice == is_twice]
        if spans:
            notes.append(_note(code, told.filter(ibis.or_(*spans)), required, fix))
    return [note for note in notes if note.count]


def clock_changes(zone: str, first: datetime, last: datetime) -> list[tuple[datetime, datetime, bool]]:
    """The local times [begin, end) between two that clocks skip (False) or show twice (True)."""
    place = ZoneInfo(zone)

    def offset(at: datetime) -> timedelta:
        return at.replace(tzinfo=UTC).astimezone(place).utcoffset() or timedelta()

    found = []
    day = datetime(first.year, first.month, first.day) - _DAY
    while day < last + _DAY:
        before, after = day, day + _DAY
        if offset(before) != offset(after):
            while after - before > _SECOND:
                middle = before + (after - before) // (2 * _SECOND) * _SECOND
                before, after = (middle, after) if offset(middle) == offset(day) else (before, middle)
            begin, end = sorted((after + offset(before), after + offset(after)))
            found.append((begin, end, offset(after) < offset(before)))
        day += _DAY
    return found


def _note(code: str, times: ir.Table, required: str, fix: str) -> Finding:
    examples = times.select("local").distinct().order_by("local").limit(3).to_pyarrow().column(0).to_pylist()
    return Finding(code, "events", "warn", int(times.count().to_pyarrow().as_py()), tuple(f"{at:%Y-%m-%d %H:%M:%S}" for at in examples), required, fix)
