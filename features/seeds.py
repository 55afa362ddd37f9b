"""Seeds: the example of a lookalike task, each customer once, at a moment before what made it a seed."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir

from features.dataset import Dataset
from features.errors import ContractError, UsageError, first_few
from features.feature import Feature
from features.identity import in_hindsight
from features.labels import eligible, local_midnight
from features.moments import KEY
from features.streams import ROLES, needs_of
from features.tasks import Seeds, Task

MIN_SEEDS = 50


def seed_moments(dataset: Dataset, task: Task) -> list[datetime]:
    """The moments of prediction of a lookalike task, oldest first.

    Seeds by an event: midnights `slide` apart from the first with enough history to the end of the seeds' dates. Otherwise the last midnight.
    Raises: ContractError where no moment has enough history.
    """
    seeds = _seeds_of(task)
    if not seeds.event_kind:
        return [local_midnight(dataset.observed_until, dataset.zone)]
    begin, end = _dates(seeds, dataset)
    earliest = max(begin, dataset.observed_from + timedelta(days=task.history_days))
    found, moment = [], local_midnight(min(end, dataset.observed_until) - timedelta(seconds=1), dataset.zone)
    while moment >= earliest:
        found.append(moment)
        moment = local_midnight(moment - timedelta(days=task.windows.slide_days) + timedelta(hours=12), dataset.zone)
    if not found:
        raise ContractError(
            f"TOO_LITTLE_HISTORY: {task.name} needs {task.history_days} days before its seeds' dates {seeds.from_date} to {seeds.until_date}, "
            f"found data from {dataset.observed_from:%Y-%m-%d}; choose later dates")
    return found[::-1]


def event_seeds(dataset: Dataset, task: Task) -> ir.Table:
    """Grain: customer, with `as_of` and `is_seed`, ordered by customer. Only for seeds by an event.

    A seed stands at the last moment before its first event of the kind; a customer who had one before the dates is left out. Everybody
    without such an event stands at one moment, drawn in the proportions of the seeds' moments: else a date, and not a likeness, would tell
    the two apart. The draw is by a hash of customer and moment, so it is the same every time.
    Raises: ContractError for fewer than 50 seeds or for no one else.
    """
    seeds, moments = _seeds_of(task), seed_moments(dataset, task)
    begin, end = _dates(seeds, dataset)
    events = dataset.tables["events"]
    happened = in_hindsight(dataset, events.filter((events.kind == seeds.event_kind) & (events.initiator == "customer")).select("customer_id", "event_at"))
    first = happened.group_by("person").agg(seeded_at=happened.event_at.min())
    asked = in_hindsight(dataset, eligible(dataset, task, moments)).left_join(first, "person")
    is_just_before = (asked.as_of <= asked.seeded_at) & (asked.seeded_at < asked.as_of + ibis.interval(days=task.windows.slide_days))
    # A customer who becomes a seed after the dates is, within them, one of the others.
    chosen = asked.filter(asked.seeded_at.between(begin, end - timedelta(microseconds=1)) & is_just_before).select(*KEY, is_seed=ibis.literal(1, "int8"))
    others = asked.filter(asked.seeded_at.isnull() | (asked.seeded_at >= end)).select(KEY)
    at = chosen.group_by("as_of").agg(n_seeds=chosen.count())
    others = others.join(at, "as_of")
    # Efraimidis and Spirakis (2006): the smallest -ln(u) / weight is a draw in proportion to the weights.
    u = ((others.customer_id + "|" + others.as_of.cast("string")).hash().abs() % 2**31 + 1).cast("float64") / 2**31
    drawn = others.mutate(place=ibis.row_number().over(ibis.window(group_by="customer_id", order_by=[-u.ln() / others.n_seeds, others.as_of])))
    drawn = drawn.filter(drawn.place == 0).select(*KEY, is_seed=ibis.literal(0, "int8"))
    rows = dataset.engine.create_table(f"seeds_{task.name}", chosen.union(drawn), overwrite=True).order_by(KEY[0])
    require_seeds(task.name, int(rows.is_seed.sum().to_pyarrow().as_py() or 0), int(rows.count().to_pyarrow().as_py()))
    return rows


def require_seeds(name: str, n_seeds: int, n_all: int) -> None:
    """Raises: ContractError for fewer than 50 seeds, or where fewer than 50 customers are none."""
    if n_seeds < MIN_SEEDS:
        raise ContractError(f"TOO_FEW_SEEDS: {name} needs at least {MIN_SEEDS} seeds in the population, found {n_seeds} among {n_all:,}; bring more, or a wider rule")
    if n_all - n_seeds < MIN_SEEDS:
        raise ContractError(f"ALL_SEEDS: {name} needs at least {MIN_SEEDS} customers beside the seeds, found {n_all - n_seeds} of {n_all:,}; there is nobody to rank")


def read_ids(path: Path, say: Callable[[str], None] | None = None) -> list[str]:
    """The ids of a seed file, each once: a column `customer_id`, or the only column of the file, with or without a header. `say` is told of repeated ones.

    Raises: UsageError for a file that is missing or has several columns and none called customer_id.
    """
    import csv

    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"--seeds must name a file of customer ids, found none at {path}; write one id in each line") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--seeds must be a text file in UTF-8, found {type(error).__name__} in {path.name}; save it as CSV UTF-8") from None
    lines = [row for row in csv.reader(text.splitlines(), delimiter="\t" if "\t" in text else ";" if ";" in text else ",") if any(cell.strip() for cell in row)]
    if not lines:
        raise UsageError(f"--seeds must hold customer ids, found nothing in {path.name}; write one id in each line")
    header = [cell.strip() for cell in lines[0]]
    if "customer_id" in header:
        place, lines = header.index("customer_id"), lines[1:]
    elif len(header) == 1:
        place = 0
    else:
        raise UsageError(f"--seeds needs a column customer_id, found {first_few(header)} in {path.name}; name the column of ids so")
    ids = [row[place].strip() for row in lines if len(row) > place and row[place].strip()]
    once = list(dict.fromkeys(ids))
    if say and len(once) < len(ids):
        say(f"note: {len(ids) - len(once):,} of the {len(ids):,} ids in {path.name} stand there again; each counts once")
    return once


def _seeds_of(task: Task) -> Seeds:
    if task.seeds is None:
        raise UsageError(f"{task.name} needs seeds, found none; declare them under [tasks.{task.name}.seeds] or give --seeds FILE")
    return task.seeds


def _dates(seeds: Seeds, dataset: Dataset) -> tuple[datetime, datetime]:
    """The first and the last moment (excluded) of the seeds' dates, naive UTC; open ends are the data's."""
    def moment(text: str) -> datetime:
        local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(dataset.zone))
        return local.astimezone(ZoneInfo("UTC")).replace(tzinfo=None)

    begin = moment(seeds.from_date) if seeds.from_date else dataset.observed_from
    return begin, moment(seeds.until_date) if seeds.until_date else dataset.observed_until


def excluded_columns(features: Sequence[Feature], task: Task) -> dict[str, str]:
    """Features that may not tell who is like the seeds, and why: those that define them, and what marketers did.

    Seeds by an event are defined by every feature that counts it. Seeds by a column are defined by every feature made of the same measure,
    since a sum of logarithms of its parts is the column again (tried: basket value and count rebuild spend with an AUC of .999).
    """
    seeds = _seeds_of(task)
    defining = {measure for feature in features if feature.name == seeds.column for measure in _measures(feature)}
    why = {}
    for feature in features:
        slices = {pair for aggregate in feature.aggregates() for pair in aggregate.where}
        kinds = {kind for column, value in slices for kind in ((value,) if column == "kind" else ROLES[value] if column == "role" else ())}
        if feature.name == seeds.column or (seeds.event_kind and seeds.event_kind in kinds) or defining & _measures(feature):
            why[feature.name] = "defines the seeds"
        elif feature.is_treatment:
            why[feature.name] = "done by marketers"
    return why


def _measures(feature: Feature) -> set[str]:
    """What a feature is made of: columns of events that it needs, or else what it counts."""
    columns = {need for aggregate in feature.aggregates() for need in needs_of(aggregate) if ":" not in need and need != "browsing"}
    return columns or {f"{aggregate.stream}.{aggregate.statistic}.{aggregate.column}" for aggregate in feature.aggregates()}
