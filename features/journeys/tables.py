"""All that is told of a dataset's journeys at one moment, as small tables; what the data do not allow is named with its reason."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import ibis.expr.types as ir
import pandas as pd

from features.dataset import Dataset
from features.errors import UsageError, first_few
from features.journeys import attribution as crediting
from features.journeys import funnels, paths, priority
from features.journeys.sessions import KEY, Sessions, sessions_of, with_segment
from features.journeys.shares import told_number
from features.journeys.stages import STANDARD, Ladder, declared, kinds_in, standard
from features.notes import note

HORIZON_DAYS = 28


@dataclass(frozen=True)
class Asked:
    """What is wanted: sessions of the `days` before `as_of`, of one funnel, by segment; `compare` names two segments."""

    as_of: datetime
    days: int = 90
    funnel: str = ""
    conversion: str = ""
    horizon_days: int = HORIZON_DAYS
    lookback_days: int = crediting.LOOKBACK_DAYS
    touches: str = ""  # the stage that a session must have come to if attribution is to count it; see attribution.touching()
    orders: tuple[int, ...] = (1,)
    by: str = "kind"
    compare: tuple[str, str] | None = None
    with_treatments: bool = False
    seed: int = 0

    @property
    def judged_since(self) -> datetime:
        """Priorities look at sessions from here on, so that the horizon of the last of them is over."""
        return self.as_of - timedelta(days=self.days + self.horizon_days)


@dataclass
class Journeys:
    """Tables by name, what a reader should be told, and what is not available and why."""

    ladder: Ladder
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)


def journeys(dataset: Dataset, asked: Asked, segments: ir.Table | None = None, scores: ir.Table | None = None) -> Journeys:
    """Count everything. `segments`: customer_id, segment. `scores`: customer_id, as_of, probability of a conversion (or of its absence: it is held against what happened).

    Raises: UsageError for a conversion or segment that there is not; ContractError for a declared funnel that makes no sense.
    """
    ladder, lacks = ladder_of(dataset, asked.funnel, asked.conversion)
    out = Journeys(ladder)
    found = sessions_of(dataset, ladder, asked.as_of)
    since = asked.as_of - timedelta(days=asked.days)
    window = with_segment(found.since(since), segments).cache()
    n_sessions = int(window.count().to_pyarrow().as_py())
    if not n_sessions:
        raise UsageError(f"NO_SESSIONS: journeys need {ladder.unit} in the {asked.days} days before {asked.as_of}, found none; choose another --as-of or more --days")
    if lacks:
        out.unavailable |= dict.fromkeys(("funnel", "times", "priority"), lacks)
    _credit(dataset, found, window, since, asked, out)
    if not lacks:
        out.tables["funnel"] = funnels.funnel(found, window, ("channel", "device", *(["segment"] if segments is not None else [])))
        out.notes += funnels.out_of_order(found, window)
    walk = found.walk(window).join(window.select(*KEY, "segment"), KEY).cache()
    transitions = paths.transitions(found, walk, asked.by, segments is not None)
    out.tables["transitions"] = transitions[paths.TOLD]
    out.tables["step_matrix"] = paths.step_matrix(found, walk, n_sessions, by=asked.by)
    out.tables["paths"], n_cut = paths.frequent_paths(found, walk)
    if n_cut:
        out.notes.append(note("paths_cut", "{n} {unit} have more than {most} steps: their paths are cut there", n=told_number(n_cut), unit=ladder.unit, most=paths.MOST_STEPS))
    if asked.compare:
        one, other = (_known_segment(value, window) for value in asked.compare)
        out.tables["compared_transitions"] = paths.different_transitions(transitions, one, other)
        n_tested = len(out.tables["compared_transitions"])
        out.notes.append(note("tested", "{n} transitions of {one} and {other} were tested: q allows for that, p does not", n=n_tested, one=one, other=other))
        if not lacks:
            out.tables["compared_funnel"] = funnels.differences(out.tables["funnel"], one, other)
    if not lacks and ladder.unit != "sessions":
        out.unavailable["priority"] = note("priorities_of_sessions", "priorities are of sessions, and this funnel counts customers")
    elif not lacks:
        out.tables["priority"], said = priority.priority(found, asked.judged_since, asked.horizon_days, scores, asked.seed)
        out.notes += said
        if out.tables["priority"].empty:
            out.unavailable["priority"] = said[-1]
    return out


def ladder_of(dataset: Dataset, name: str = "", conversion: str = "") -> tuple[Ladder, str]:
    """The funnel of that name, else the first that is declared, else the standard one; and why it is none, if it is not.

    Raises: UsageError for a funnel that is not declared.
    """
    own, marketers = kinds_in(dataset)
    by_name = {funnel.name: funnel for funnel in dataset.funnels}
    if name and name not in (*by_name, STANDARD):
        raise UsageError(f"--funnel must be {STANDARD} or declared in dataset.toml ({first_few(list(by_name)) or 'none is'}), found {name!r}; correct the name")
    chosen = by_name.get(name) if name else next(iter(dataset.funnels), None)
    return (declared(chosen, own, marketers, conversion), "") if chosen else standard(own, conversion)


def _credit(dataset: Dataset, found: Sessions, window: ir.Table, since: datetime, asked: Asked, out: Journeys) -> None:
    """Attribution, and the times that need whole journeys."""
    met, stage = crediting.touching(window, found.ladder, asked.touches)
    told = met.channel.nunique().to_pyarrow().as_py()
    if not found.ladder.last or found.ladder.unit != "sessions":
        out.unavailable["attribution"] = note("credit_needs_sessions", "attribution needs conversions in sessions")
    elif told < 2:
        out.unavailable["attribution"] = note("credit_needs_channels", "attribution needs two channels or more, and this data has {n}", n=told)
    treatments = crediting.messages(dataset, found, since) if asked.with_treatments else None
    ways, named = (None, {}) if "attribution" in out.unavailable else crediting.journeys(found, met, asked.lookback_days, treatments)
    if "times" not in out.unavailable:
        out.tables["times"] = funnels.times(found, window, ways)
    if ways is not None:
        taken = crediting.paths_from(ways, named)
        out.tables["attribution"], said = crediting.attribution(taken, asked.orders, seed=asked.seed)
        out.notes += said
        if stage != crediting.ANY:
            out.notes.append(note("touches", "attribution counts sessions that came at least to {stage}", stage=stage))
        n_long = int((ways.n_touches > crediting.MOST_TOUCHES).cast("int64").sum().to_pyarrow().as_py() or 0)
        if n_long:
            out.notes.append(note(
                "journeys_cut", "{n} journeys have more than {most} touches: the first and the latest are kept", n=told_number(n_long), most=crediting.MOST_TOUCHES))


def _known_segment(value: str, window: ir.Table) -> str:
    names = sorted(name for name in window.segment.as_table().distinct().to_pyarrow().column(0).to_pylist() if name is not None)
    if value not in names:
        raise UsageError(f"EMPTY_SEGMENT: --compare needs two values of --segment ({first_few(names, 8) or 'nobody with sessions has any'}), found {value!r}; correct it")
    return value

