"""The profile in a language, for the screen and for the page: what is too small to be told is left out here."""

from collections import Counter
from collections.abc import Iterable

from features.data_profile.activity import FEWEST_LABELS, JUMP_SHARE, JUMP_Z, MOST_MOMENTS, Activity, TaskRates
from features.data_profile.cells import SMALLEST_GROUP, hidden, is_small
from features.data_profile.coverage import Coverage, Table
from features.data_profile.distributions import QUANTILES, Distributions, Levels, Spread
from features.data_profile.grids import Bars, Cell, Chapter, Grid, Share, Told
from features.data_profile.profile import DataProfile
from features.data_profile.supply import Supplies
from features.data_profile.suspects import PERSONAL, Suspect
from features.data_profile.words import Words, harmless
from features.streams import ROLES

# The latest months that are told, and reasons for which features are absent.
MOST_MONTHS, MONTHS_ON_SCREEN, MOST_LACKS = 36, 13, 4
LEAKS = ("LEAK", "NAMES_THE_LABEL")
SEVERITY = (*LEAKS, "PERSONAL_DATA", "MIXED_UNITS", "COVERAGE_JUMP", "UNDATED", "FREE_TEXT", "ID_LIKE", "DATE_LIKE", "EMPTY", "ALMOST_EMPTY", "CONSTANT")


def told(profile: DataProfile, language: str) -> Told:
    """Write the profile out. `language`: en or zh."""
    w, covered = Words(language, profile.zone), profile.coverage
    odd = sorted(profile.suspects, key=lambda one: (SEVERITY.index(one.code), one.table, one.column))
    facts = (
        (w["events"], w.count(covered.n_events)), (w["customers"], w.count(covered.n_customers)), (w["days"], f"{covered.n_days:,}"),
        (w["features"], f"{sum(family.present for family in profile.supplies.families):,}"), (w["suspicious"], f"{len({(one.table, one.column) for one in odd})}"))
    leads = (w["lead"], w.say("span", first=w.day(covered.first), last=w.day(covered.last)) + f" · {profile.zone} · {profile.currency}", w.say("small", smallest=SMALLEST_GROUP))
    return Told(
        language, w.say("title", data=harmless(profile.name)), w["simulated"] if profile.is_simulated else "", leads, facts, w["first_look"],
        _looks(w, odd, profile.activity), (
            _coverage(w, covered), _distributions(w, profile.distributions, profile.currency), _activity(w, profile.activity, profile.currency),
            Chapter("suspects", w["suspects"], w["suspects_lead"], (_suspects(w, odd),)), _supply(w, profile.supplies)))


def _looks(w: Words, odd: Iterable[Suspect], activity: Activity) -> tuple[str, ...]:
    """What deserves the first look, in order of weight."""
    n = Counter("leaks" if one.code in LEAKS else "personal" if one.code in PERSONAL else "others" for one in odd)
    few = [harmless(one.task.name) for one in activity.tasks if one.rates and one.has_few]
    refused = [f"{harmless(one.task.name)} ({harmless(one.refused)})" for one in activity.tasks if one.refused]
    jumps = sum(rate.jump_z is not None for one in activity.tasks for rate in one.rates)
    looks = [w.say(f"odd_{key}", n=n[key]) for key in ("leaks", "personal", "others") if n[key]]
    looks += [w.say("odd_jumps", n=jumps)] if jumps else []
    looks += [w.say("odd_few", tasks=w.joined(few))] if few else []
    looks += [w.say("odd_refused", tasks=w.joined(refused))] if refused else []
    return tuple(looks) or (w["nothing_odd"],)


def _coverage(w: Words, covered: Coverage) -> Chapter:
    rows: list[tuple[Cell, ...]] = [(w["silent"], w.say("silent_value", n=f"{covered.n_silent_days:,}", of=f"{covered.n_days:,}", months=covered.n_silent_months))]
    rows += [(w["gap"], w["list"].join(w.say("gap_value", first=w.day(gap.first), last=w.day(gap.last), n=gap.days) for gap in covered.gaps))] if covered.gaps else []
    all_events = covered.n_events + sum(n for (table, _), n in covered.quarantine.items() if table == "events")
    filled = {column.name: column.n_filled for column in covered.table("events").columns}
    rows += [
        (w["no_customer"], _share(w, covered.quarantine.get(("events", "NO_CUSTOMER"), 0), all_events)),
        (w["no_session"], _share(w, covered.n_events - filled["session_id"], covered.n_events)),
        (w["no_item"], _share(w, covered.n_events - filled["item_id"], covered.n_events)), (w["late"], _share(w, covered.n_late, covered.n_events))]
    if covered.n_described:
        both = w.count(covered.n_both, covered.n_customers)
        rows.append((w["described"], w.say("described_value", n=both, of=w.count(covered.n_customers))))
        rows.append((w["undescribed"], w.count(covered.n_described - covered.n_both)))
    else:
        rows.append((w["no_customers_table"], ""))
    if covered.aliases:
        rows.append((w["linked"], w.say("described_value", n=w.count(covered.aliases.n_linked, covered.n_customers), of=w.count(covered.n_customers))))
        rows.append((w["links"], f"{covered.aliases.n_links:,}"))
        groups = [n for _, n in covered.aliases.kinds.values()]
        links, people = w.counts([n for n, _ in covered.aliases.kinds.values()], groups), w.counts(groups, groups)
        rows += [
            (w.say("aliases", kind=harmless(kind)), w.say("aliases_value", links=link, customers=customers))
            for kind, link, customers in zip(covered.aliases.kinds, links, people, strict=True)]
    rows += [(w.say("quarantine", reason=reason, table=table), w.count(n)) for (table, reason), n in covered.quarantine.items()]
    return Chapter("coverage", w["coverage"], w["coverage_lead"], (Grid((), tuple(rows)), *(_columns(w, table) for table in covered.tables)))


def _share(w: Words, n: int, of: int) -> Share:
    return Share(n / of, w.share(n, of))


def _columns(w: Words, table: Table) -> Grid:
    """The columns of a table that tell anything, and the names of the others."""
    is_events = table.name == "events"
    rows: list[tuple[Cell, ...]] = []
    for column in table.columns:
        if not column.n_filled:
            continue
        is_few = column.n_customers is not None and is_small(column.n_customers)
        missing = table.n_rows - column.n_filled
        text = w.count(column.n_customers or 0) if is_few else w.count(column.n_filled, table.n_rows) if is_small(missing) else w.share(column.n_filled, table.n_rows)
        distinct = w.count(column.n_distinct) if column.name == "customer_id" else f"{column.n_distinct:,}"
        distinct = w.say("about", n=distinct) if column.is_estimate else distinct
        row: tuple[Cell, ...] = (harmless(column.name), Share(0.0 if is_few else column.n_filled / table.n_rows, text), distinct)
        if is_events:
            kind = f"{harmless(column.fullest_kind)} {w.share(column.fullest_share)}" if column.fullest_kind and not is_few else ""
            row = (*row, kind, f"{column.n_months_without:,}" if column.n_months_without else "")
        rows.append(row)
    empty = [harmless(column.name) for column in table.columns if not column.n_filled]
    notes = ([w.say("never_filled", columns=w.joined(empty))] if empty else []) + ([w["estimate"]] if any(column.is_estimate for column in table.columns) else [])
    header = (w["column"], w["filled"], w["different"], *((w["fullest"], w["months_without"]) if is_events else ()))
    title, on_screen = w.say("table_of", table=harmless(table.name), n=w.count(table.n_rows)), table.name in ("events", "customers")
    return Grid(header, tuple(rows), title, notes=tuple(notes), numbers=frozenset((2, 4)), on_screen=on_screen)


def _distributions(w: Words, found: Distributions, currency: str) -> Chapter:
    header = (w["number"], w["kind"], w["rows"], w["customers"], *(w.share(q) for q in QUANTILES), w["picture"])
    numbers = Grid(header, tuple(_spread(w, one, currency) for one in found.spreads), numbers=frozenset(range(2, len(header) - 1)))
    levels = Grid(
        (w["column"], w["level_count"], w["values"]), tuple(_level(w, one) for one in found.levels), w["levels"], w["levels_lead"], numbers=frozenset((1,)), is_prose=True)
    clock = Grid((), ((w["hours"], _bars(found.hours, w["hours"])), (w["weekdays"], _bars(found.weekdays, w["weekdays"]))), w["clock"])
    return Chapter("distributions", w["distributions"], w["distributions_lead"], (numbers, levels, clock))


def _bars(cells: Iterable[tuple[int, int]], title: str, ticks: tuple[str, str] = ("", "")) -> Bars:
    """A picture of rows, each of so many customers."""
    return Bars(tuple(None if is_small(customers) else float(n) for n, customers in cells), title, ticks)


def _spread(w: Words, one: Spread, currency: str) -> tuple[Cell, ...]:
    name = harmless(one.column) if one.table == "customers" else w.say(f"numbers.{one.column}", currency=currency)
    texts = [w["hidden"] if at is None else w.number(at, one.unit, currency) for at in one.quantiles]
    n = w.count(one.n_customers)
    return name, _kind(w, one.kind, one.n_customers), n if is_small(one.n_customers) else f"{one.n:,}", n, *texts, Bars(one.bins, name)


def _kind(w: Words, kind: str, n_customers: int) -> str:
    """A kind of event; one that few customers have may be about one of them."""
    return w["hidden"] if is_small(n_customers) else harmless(kind)


def _level(w: Words, one: Levels) -> tuple[Cell, ...]:
    values = w["list"].join(f"{harmless(value.value)} ({w.share(value.n, one.n_rows)})" for value in one.values)
    return f"{one.table}.{harmless(one.column)}", f"{one.n_levels:,}", values or w["hidden"]


def _activity(w: Words, found: Activity, currency: str) -> Chapter:
    months = found.months[-MOST_MONTHS:]
    met, people, new, buyers = ([getattr(month, name) for month in months] for name in ("met", "customers", "new", "buyers"))
    columns = [
        w.counts([month.events for month in months], met), w.counts(people, people), w.counts(new, new), w.counts([month.purchases for month in months], buyers),
        [text if is_small(n) or text == w["hidden"] else w.number(month.spend_minor, "minor", currency)
         for text, n, month in zip(w.counts([month.spend_minor for month in months], buyers), buyers, months, strict=True)]]
    names = [f"{month.first:%Y-%m}{'*' if month.is_partial else ''}" for month in months]
    rows = tuple(zip(names, *columns, strict=True))
    ticks = (names[0], names[-1])
    pictures = (_by_month(w, w["events"], [month.events for month in months], met, ticks), _by_month(w, w["active"], people, people, ticks))
    notes = (w.say("earlier", n=len(found.months) - len(months)),) if len(found.months) > len(months) else ()
    by_month = Grid(
        (w["month"], w["events"], w["active"], w["new"], w["purchases"], w.say("spend", currency=currency)), rows, notes=notes, numbers=frozenset(range(1, 6)),
        pictures=pictures, most_on_screen=MONTHS_ON_SCREEN)
    groups = [kind.n_customers for kind in found.kinds]
    texts = zip(found.kinds, w.counts([kind.n for kind in found.kinds], groups), w.counts(groups, groups), strict=True)
    by_kind = Grid(
        (w["kind"], w["events"], w["customers"], w["over_time"]),
        tuple((_kind(w, kind.kind, kind.n_customers), n, customers, _bars(kind.months[-MOST_MONTHS:], w["over_time"])) for kind, n, customers in texts),
        w["by_kind"], numbers=frozenset((1, 2)))
    return Chapter("activity", w["activity"], w["activity_lead"], (by_month, by_kind, *_rates(w, found.tasks)))


def _by_month(w: Words, name: str, numbers: list[int], groups: list[int], ticks: tuple[str, str]) -> Bars:
    values = tuple(None if is_hidden else float(n) for n, is_hidden in zip(numbers, hidden(groups), strict=True))
    most = max((value for value in values if value is not None), default=None)
    return Bars(values, w.say("picture_of", what=name, highest=w["hidden"] if most is None else f"{most:,.0f}"), ticks)


def _rates(w: Words, tasks: tuple[TaskRates, ...]) -> list[Grid]:
    """A line for each task, and where there is room a table of all its moments."""
    rows: list[tuple[Cell, ...]] = []
    for one in tasks:
        told = [rate.positives / rate.n for rate in one.rates if not rate.is_few]
        asked = [rate.n for rate in one.rates]
        jumps = sum(rate.jump_z is not None for rate in one.rates)
        notes = [w.say("refused", code=harmless(one.refused))] if one.refused else []
        notes += [w.say("task_few", few=FEWEST_LABELS)] if one.rates and one.has_few else []
        notes += [w.say("task_jumps", n=jumps)] if jumps else []
        rows.append((
            harmless(one.task.name), w.say("range", low=w.count(min(asked)), high=w.count(max(asked))) if asked else "",
            w.say("range", low=w.share(min(told)), high=w.share(max(told))) if told else "", _rate_bars(w, one), w["list"].join(notes)))
    lead = w.say("rates_lead", z=f"{JUMP_Z:.0f}", share=w.share(JUMP_SHARE), few=FEWEST_LABELS, most=MOST_MOMENTS)
    if not rows:
        return [Grid((), (), w["rates"], lead, (w["no_tasks"],))]
    summary = Grid((w["task"], w["asked"], w["rate"], w["over_time"], w["note"]), tuple(rows), w["rates"], lead)
    return [summary, *(_moments(w, one) for one in tasks if one.rates)]


def _rate_bars(w: Words, one: TaskRates) -> Bars:
    values = tuple(None if rate.is_few else rate.positives / rate.n for rate in one.rates)
    ticks = (w.moment(one.rates[0].as_of), w.moment(one.rates[-1].as_of)) if one.rates else ("", "")
    most = max((value for value in values if value is not None), default=None)
    title = w.say("picture_of", what=w["rate"], highest=w["hidden"] if most is None else f"{100 * most:.1f}%")
    return Bars(values, title, ticks, frozenset(i for i, rate in enumerate(one.rates) if rate.jump_z is not None))


def _moments(w: Words, one: TaskRates) -> Grid:
    rows = []
    for rate in one.rates:
        note = w["too_few"] if rate.is_few else w.say("jump", z=f"{rate.jump_z:+.1f}") if rate.jump_z is not None else ""
        positives = w.say("few", n=SMALLEST_GROUP) if rate.positives < SMALLEST_GROUP else w["hidden"] if rate.is_few else f"{rate.positives:,}"
        rows.append((w.moment(rate.as_of), w.count(rate.n), positives, "" if rate.is_few else w.rate(rate.positives, rate.n), note))
    return Grid(
        (w["as_of"], w["asked"], w["positives"], w["rate"], w["note"]), tuple(rows), harmless(one.task.name), numbers=frozenset((1, 2, 3)), pictures=(_rate_bars(w, one),),
        on_screen=False)


def _suspects(w: Words, odd: list[Suspect]) -> Grid:
    rows = tuple((one.code, f"{harmless(one.table)}.{harmless(one.column)}", _why(w, one), w.say(f"whats.{one.code}")) for one in odd)
    return Grid((w["code"], w["where"], w["why"], w["what"]), rows, notes=() if rows else (w["none"],), is_prose=True)


def _why(w: Words, one: Suspect) -> str:
    figures = {key: w.share(value) if key in ("share", "before", "after") and isinstance(value, float) else value for key, value in one.figures.items()}
    if one.code == "PERSONAL_DATA":
        if figures["what"] == "name":
            return w.say("whys.PERSONAL_NAME")
        figures["what"] = w.say(f"kinds_of_personal.{figures['what']}")
    if one.code == "COVERAGE_JUMP":
        figures["kind"] = w.say("whys.of_kind", kind=harmless(str(figures["kind"]))) if figures["kind"] else ""
    if "auc" in one.figures:
        figures["auc"] = f"{one.figures['auc']:.3f}"
    if "length" in one.figures:
        figures["length"] = f"{one.figures['length']:.0f}"
    if "task" in one.figures:
        figures["task"] = harmless(str(one.figures["task"]))
    return w.say(f"whys.{one.code}", **figures)


def _supply(w: Words, found: Supplies) -> Chapter:
    rows: list[tuple[Cell, ...]] = []
    for family in found.families:
        lacks = [w.say("lack", n=n, what=_lack(w, lack)) for lack, n in list(family.absent.items())[:MOST_LACKS]]
        more = sum(list(family.absent.values())[MOST_LACKS:])
        lacks += [w.say("lack_more", n=more)] if more else []
        people = w.count(family.n_customers, found.n_known)
        rows.append((
            w.say(f"families.{family.family}"), f"{family.present:,}", f"{sum(family.absent.values()):,}",
            Share(0.0 if is_small(family.n_customers) else family.n_customers / max(found.n_known, 1), people), w["reasons"].join(lacks)))
    lead = w.say("supply_lead", as_of=w.moment(found.as_of), n=w.count(found.n_known))
    return Chapter("supply", w["supply"], lead, (Grid((w["family"], w["present"], w["absent"], w["customers"], w["lacks"]), tuple(rows), numbers=frozenset((1, 2))),))


def _lack(w: Words, lack: str) -> str:
    """What features lack, in words."""
    said = []
    for need in lack.split(" and "):
        what, _, name = need.partition(":")
        if what in ("kind", "role"):
            said.append(w.say("lack_kind", kinds=w["or"].join(ROLES.get(name, (name,)) if what == "role" else (harmless(name),))))
        elif what == "table":
            said.append(w.say("lack_table", table=name))
        else:
            said.append(w["lack_browsing"] if need == "browsing" else w.say("lack_column", column=need))
    return w["and"].join(said)
