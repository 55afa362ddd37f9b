"""Funnels: which kinds of events are which stage, as the data has them and in the order that they were declared."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import ibis

from features.dataset import Dataset, Funnel
from features.errors import ContractError, UsageError
from features.notes import note
from features.streams import BOUGHT, STAGES

# What the stages of the standard funnel are called, by how far towards a purchase they are.
NAMES = ("visit", "product_view", "cart", "checkout", "purchase")
STANDARD = "standard"


@dataclass(frozen=True)
class Ladder:
    """A funnel as this data has it: its stages in order, and the number (1, 2, ...) of the stage that each kind of event is."""

    name: str
    stages: tuple[str, ...]
    number_of: Mapping[str, int]
    unit: str = "sessions"

    @property
    def last(self) -> int:
        """The number of the stage that counts as the conversion."""
        return len(self.stages)


def kinds_in(dataset: Dataset) -> tuple[list[str], list[str]]:
    """The kinds of events that customers began, and those that marketers began, by name."""
    events = dataset.tables["events"]
    rows = events.group_by(["initiator", "kind"]).agg(n=events.count()).to_pyarrow().to_pylist()
    return tuple(sorted(row["kind"] for row in rows if row["initiator"] == who and row["kind"]) for who in ("customer", "marketer"))  # type: ignore[return-value]  # (two)


def standard(own: Iterable[str], conversion: str = "") -> tuple[Ladder, str]:
    """From a visit to the purchase, over those stages that occur; and why that is no funnel where it has fewer than two.

    `conversion` is another kind of event to end with: the stages before its own stay, or all but the purchase where it has none.
    Raises: UsageError for a conversion that never occurs.
    """
    own = list(own)
    if conversion:
        require_kind(conversion, own)
    end = STAGES.get(conversion, BOUGHT) if conversion else BOUGHT
    last = [conversion] if conversion else [kind for kind in own if STAGES.get(kind) == BOUGHT]
    before = {depth: [kind for kind in own if STAGES.get(kind) == depth and kind != conversion] for depth in range(1, end)}
    held = [depth for depth, kinds in before.items() if kinds]
    if not last:
        return Ladder(STANDARD, (), {}), note("funnel_needs_purchases", "a funnel needs purchases at its end, and this data has none; name another conversion")
    number_of = {kind: number for number, depth in enumerate(held, 1) for kind in before[depth]}
    ladder = Ladder(STANDARD, (*(NAMES[depth - 1] for depth in held), conversion or NAMES[-1]), number_of | dict.fromkeys(last, len(held) + 1))
    shown = ", ".join(NAMES[:end - 1])
    return ladder, "" if held else note(
        "funnel_needs_browsing", "a funnel needs browsing events ({shown} or the like) before the conversion, and this data has none", shown=shown)


def declared(funnel: Funnel, own: Iterable[str], marketers: Iterable[str] = (), conversion: str = "") -> Ladder:
    """A funnel of `dataset.toml`. A stage is a kind of event, or a name of the standard funnel for all its kinds that are not named themselves.

    Raises: ContractError for a stage that never occurs, stands twice or is a marketer's where sessions are counted, and for an order that goes backwards.
    """
    stages = list(funnel.stages)
    if conversion:
        stages = [*stages[:stages.index(conversion)], conversion] if conversion in stages else [*stages, conversion]
    where = f"funnels.{funnel.name}"
    if len(stages) < 2 or len(set(stages)) < len(stages):
        raise ContractError(f"FUNNEL_STAGES: {where} needs two stages or more, each once, found {', '.join(stages) or 'none'}; correct dataset.toml")
    depths = [(stage, NAMES.index(stage) + 1 if stage in NAMES else STAGES.get(stage, 0)) for stage in stages]
    known = [pair for pair in depths if pair[1]]
    for (before, depth), (after, next_depth) in zip(known, known[1:], strict=False):
        if depth > next_depth:
            turned = f"{before} (a {NAMES[depth - 1]}) before {after} (a {NAMES[next_depth - 1]})"
            raise ContractError(f"STAGE_ORDER: {where} needs its stages in the order in which they happen, found {turned}; turn them round in dataset.toml")
    own, marketers = list(own), list(marketers)
    allowed = [*own, *marketers] if funnel.unit == "customers" else own
    number_of: dict[str, int] = {}
    for number, stage in enumerate(stages, 1):
        group = [kind for kind in own if stage in NAMES and STAGES.get(kind) == NAMES.index(stage) + 1 and kind not in stages]
        kinds = [*group, *([stage] if stage in allowed else [])]
        if not kinds and stage in marketers:
            raise ContractError(f'STAGE_OF_MARKETERS: {where} counts sessions, which marketers do not make, found the stage {stage}; write unit = "customers" there')
        if not kinds:
            raise ContractError(f"STAGE_NEVER_OCCURS: {where} needs stages that occur, found {stage!r}, which never does; {_nearest(stage, [*allowed, *NAMES])}")
        number_of |= dict.fromkeys(kinds, number)
    return Ladder(funnel.name, tuple(stages), number_of, funnel.unit)


def require_kind(kind: str, kinds: Iterable[str]) -> None:
    """Raises: UsageError for a kind of event that never occurs, with the nearest that does."""
    kinds = list(kinds)
    if kind not in kinds:
        raise UsageError(f"KIND_NEVER_OCCURS: --conversion needs a kind of event that customers begin, found {kind!r}, which never occurs; {_nearest(kind, kinds)}")


def staged(kind: ibis.Value, ladder: Ladder) -> ibis.Value:
    """The number of the stage that a kind of event is, 0 for none."""
    return kind.cases(*ladder.number_of.items(), else_=0).cast("int64") if ladder.number_of else ibis.literal(0, "int64")


def _nearest(name: str, names: Iterable[str]) -> str:
    names = list(dict.fromkeys(names))
    near = difflib.get_close_matches(name, names, 1, .5)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
