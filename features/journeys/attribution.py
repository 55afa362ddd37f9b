"""Attribution: conversions divided among the channels that were met on the way, by rules and by what a chain of all journeys loses without each.

It describes who was there; it does not say what a channel caused. For that, a campaign by lot is needed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from features.dataset import Dataset
from features.errors import ContractError, UsageError
from features.history import history
from features.journeys.chains import MOST_EXACT, HigherChain, coalitions, sampled_shapley, sets_of, shapley, without_each
from features.journeys.sessions import NOT_TOLD, Sessions, letters, spelled
from features.journeys.stages import Ladder
from features.notes import Note, note

Array = np.ndarray[Any, Any]

RULES = ("first", "last", "linear", "position")
# Of a longer journey the first touch and the latest ones are kept, and it is said.
MOST_TOUCHES = 40
# Channels beyond these go together.
MOST_CHANNELS = 60
ANY = "any"
LOOKBACK_DAYS = 30
FIRST, LAST = .4, .4  # what position-based attribution gives the ends; the rest is shared between
DRAWS, ORDERS = 200, 500
# Draws times paths that are in memory together.
MOST_NUMBERS = 5_000_000


@dataclass(frozen=True)
class Paths:
    """Different paths and how often each was taken with and without a conversion at its end.

    `touches` are the paths one after another, as places in `channels`; path i has those from starts[i] to starts[i + 1]. `takers` says which person (first
    column) took which path (second), how often with (third) and without (fourth) a conversion; None where only totals are known.
    """

    channels: tuple[str, ...]
    touches: Array
    starts: Array
    conversions: Array
    nulls: Array
    takers: Array | None = None

    @property
    def lengths(self) -> Array:
        """Touches of each path."""
        return np.diff(self.starts)

    def each(self) -> list[Array]:
        """The paths as arrays."""
        return np.split(self.touches, self.starts[1:-1])


def paths_from_totals(paths: Sequence[str], conversions: Sequence[float], nulls: Sequence[float] | None = None, separator: str = " > ") -> Paths:
    """Paths written as texts, with how many conversions and how many journeys without one each had.

    Raises: ContractError for an empty path or a negative number.
    """
    won, lost = np.asarray(conversions, float), np.zeros(len(paths)) if nulls is None else np.asarray(nulls, float)
    odd = [i for i, path in enumerate(paths) if not path.strip()] + np.flatnonzero(~((won >= 0) & (lost >= 0))).tolist()
    if odd:
        raise ContractError(f"a path needs a channel and numbers of 0 or more, found {len(odd)} without (the first in row {odd[0] + 1}); correct or remove them")
    words = [[word.strip() for word in path.split(separator.strip())] for path in paths]
    channels = tuple(sorted({word for path in words for word in path}))
    place = {channel: i for i, channel in enumerate(channels)}
    return Paths(channels, np.array([place[word] for path in words for word in path], int), np.cumsum([0, *map(len, words)]), won, lost)


def touching(sessions: ir.Table, ladder: Ladder, stage: str = "") -> tuple[ir.Table, str]:
    """The sessions that are touches: those that came at least to `stage`, or all (ANY); and that stage.

    Without one, the second stage of a funnel of three or more: who saw the first page and left, or only opened a message, met a channel but nothing in it.
    Raises: UsageError for a stage that the funnel does not have.
    """
    if stage and stage not in (*ladder.stages, ANY):
        raise UsageError(f"--touches must be a stage of the funnel ({', '.join(ladder.stages)}) or {ANY}, found {stage!r}; correct the name")
    stage = stage or (ladder.stages[1] if ladder.last > 2 else ANY)
    return (sessions if stage == ANY else sessions.filter(sessions.furthest >= ladder.stages.index(stage) + 1)), stage


def journeys(found: Sessions, sessions: ir.Table, lookback_days: int = LOOKBACK_DAYS, treatments: ir.Table | None = None) -> tuple[ir.Table, dict[str, str]]:
    """Grain: person and journey: what was met since the last conversion, up to the next or the end of the window, in the `lookback_days` before its last touch.

    Columns: start_at, end_at, n_touches, n_conversions (1 or 0), path (in letters; the second thing given back says which channel each is). A session is one
    touch, of its channel; so is, where they are given, each message of `treatments` (customer_id, at, touch).
    """
    touches = sessions.select("customer_id", at=sessions.start_at, touch=sessions.channel.fill_null(NOT_TOLD), key=sessions.session, is_conversion=(
        sessions.furthest >= found.ladder.last).cast("int64"))
    if treatments is not None:
        touches = touches.union(treatments.select("customer_id", "at", "touch", key=treatments.touch, is_conversion=ibis.literal(0, "int64")))
    order = ["at", "is_conversion", "key"]
    done = touches.is_conversion.sum().over(ibis.cumulative_window(group_by="customer_id", order_by=order))
    touches = touches.mutate(journey=done - touches.is_conversion)
    both = ["customer_id", "journey"]
    # A touch of long ago is no part of the way; seconds are whole numbers on every engine.
    seconds = touches["at"].epoch_seconds().floor().cast("int64")
    touches = touches.mutate(age=seconds.max().over(group_by=both) - seconds)
    touches = touches.filter(touches.age <= lookback_days * 86400)
    touches = touches.mutate(place=ibis.row_number().over(group_by=both, order_by=order), n=touches.count().over(group_by=both))
    kept = touches.filter((touches.place == 0) | (touches.n - touches.place < MOST_TOUCHES))
    place = ibis.ifelse((kept.n > MOST_TOUCHES) & (kept.place > 0), kept.place - (kept.n - MOST_TOUCHES), kept.place)
    named = _letters_of(touches)
    letter = kept.touch.cases(*named.items(), else_=named.get("other", ""))
    return spelled(
        kept, both, place, letter, MOST_TOUCHES, start_at=kept["at"].min(), end_at=kept["at"].max(), n_touches=kept.n.max(), n_conversions=kept.is_conversion.max()).cache(), named


def _letters_of(touches: ir.Table) -> dict[str, str]:
    """A letter for each channel, the rarest together."""
    counts = touches.group_by("touch").agg(n=touches.count()).order_by([ibis.desc("n"), "touch"]).to_pyarrow().column("touch").to_pylist()
    names = counts if len(counts) <= MOST_CHANNELS else [*counts[:MOST_CHANNELS - 1], "other"]
    return letters(sorted(dict.fromkeys(names)))


def messages(dataset: Dataset, found: Sessions, since: Any) -> ir.Table:
    """Grain: marketer's event as a touch, named by its channel and as sent."""
    seen = history(dataset, [found.until])
    sent = seen.filter((seen.initiator == "marketer") & (seen.event_at >= since))
    return sent.select("customer_id", at="event_at", touch=sent.channel.fill_null(NOT_TOLD) + " (sent)")


def paths_from(table: ir.Table, named: dict[str, str]) -> Paths:
    """journeys() as different paths; whose they are is kept, so that intervals can draw people."""
    counts = table.group_by(["customer_id", "path"]).agg(won=table.n_conversions.sum(), n=table.count()).to_pyarrow().to_pandas()
    counts = counts.sort_values(["customer_id", "path"], ignore_index=True)
    person = np.unique(counts["customer_id"].to_numpy(object).astype(str), return_inverse=True)[1] if len(counts) else np.zeros(0, int)
    texts, which = np.unique(counts["path"].to_numpy(object).astype(str), return_inverse=True) if len(counts) else (np.zeros(0, str), np.zeros(0, int))
    won, lost = counts["won"].to_numpy(float), (counts["n"] - counts["won"]).to_numpy(float)
    spoken = sorted(named, key=lambda name: named[name])
    codes = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32).astype(int) - ord(named[spoken[0]]) if len(texts) else np.zeros(0, int)
    lengths = np.array([len(text) for text in texts], int)
    return Paths(
        tuple(spoken), codes, np.concatenate([[0], np.cumsum(lengths)]).astype(int), np.bincount(which, won, len(texts)), np.bincount(which, lost, len(texts)),
        np.column_stack([person, which, won, lost]))


def attribution(paths: Paths, orders: Sequence[int] = (1,), draws: int = DRAWS, seed: int = 0) -> tuple[pd.DataFrame, list[Note]]:
    """Grain: method and channel. Conversions, their share, and its 95 % interval (`low`, `high`, in conversions); and what a reader should be told.

    Methods: first, last, linear, position (40 % first, 40 % last, 20 % between), markov-K, shapley. Each method's credits sum to the conversions. Markov:
    what the chance of a conversion loses without the channel, as a share of all losses. Shapley: of the game in which a set of channels is worth the chance
    of a conversion when only they are there (order 1). Journeys without a conversion count in both. Intervals draw people again (paths where people are not
    known). With more than 12 channels Shapley values are sampled: `error` is the standard error of that.
    Raises: UsageError for an order that is not 1, 2 or 3.
    """
    odd = [order for order in orders if order not in (1, 2, 3)]
    if odd:
        raise UsageError(f"--order must be 1, 2 or 3, found {odd[0]}; choose one of them")
    rng = np.random.default_rng(seed)
    total = float(paths.conversions.sum())
    notes, frames = [], []
    parts: dict[str, list[Array]] = {}
    chains = {order: HigherChain(paths.each(), len(paths.channels), order) for order in orders if order > 1}
    for won, lost in _drawn(paths, draws, rng):
        for rule, table in _by_rules(paths, won).items():
            parts.setdefault(rule, []).append(table)
        parts.setdefault("flows", []).append(_flows(paths, won + lost, won, lost))
        for order, chain in chains.items():
            effects = [np.subtract(*chain.without_each(*pair)) for pair in zip(won, lost, strict=True)]
            parts.setdefault(f"markov-{order}", []).append(_normalised(np.array(effects)))
    shares = {name: np.concatenate(tables) for name, tables in parts.items()}
    flows = shares.pop("flows")
    if 1 in orders:
        base, without = without_each(flows)
        shares["markov-1"] = _normalised(np.maximum(base[:, None] - without, 0))
    errors: dict[str, Array] = {}
    shares["shapley"], errors["shapley"], said = _shapley(flows, rng)
    for method, table in shares.items():
        low, high = np.percentile(table[1:], [2.5, 97.5], axis=0) if len(table) > 1 else (np.full(len(paths.channels), np.nan),) * 2
        frames.append(pd.DataFrame({
            "method": method, "channel": paths.channels, "conversions": table[0] * total, "share": table[0], "low": low * total, "high": high * total,
            "error": errors[method] * total if method in errors else np.nan}))
    notes += said
    if total == 0:
        notes.append(note("no_conversions", "nobody converted in the window: there is nothing to attribute"))
    found = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    return found, notes


def _drawn(paths: Paths, draws: int, rng: np.random.Generator) -> Iterator[tuple[Array, Array]]:
    """How often each path was taken with and without conversion: as it was, then as it might have been, some draws at a time. Shapes: (draw, path)."""
    n = len(paths.conversions)
    yield paths.conversions[None], paths.nulls[None]
    at_once = max(1, MOST_NUMBERS // max(n, 1))
    for begin in range(0, draws, at_once):
        size = min(at_once, draws - begin)
        if paths.takers is None:
            yield rng.poisson(paths.conversions, (size, n)).astype(float), rng.poisson(paths.nulls, (size, n)).astype(float)
            continue
        person, which = paths.takers[:, 0].astype(int), paths.takers[:, 1].astype(int)
        weights = rng.poisson(1.0, (size, int(person.max(initial=-1)) + 1))
        yield tuple(np.stack([np.bincount(which, weight[person] * paths.takers[:, column], n) for weight in weights]) for column in (2, 3))  # type: ignore[misc]  # (two arrays)


def _normalised(table: Array) -> Array:
    """Rows as shares of their sum; equal shares of nothing are nothing."""
    total = table.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(table, total, out=np.zeros(table.shape), where=total > 0))


def _by_rules(paths: Paths, won: Array) -> dict[str, Array]:
    """The shares that the rules give. Shapes: (draw, channel)."""
    from scipy.sparse import csr_array

    n, lengths = len(paths.conversions), paths.lengths
    path = np.repeat(np.arange(n), lengths)
    place = np.arange(len(path)) - paths.starts[:-1][path]
    length = lengths[path]
    is_first, is_last = place == 0, place == length - 1
    between = np.where((length > 2) & ~is_first & ~is_last, (1 - FIRST - LAST) / np.maximum(length - 2, 1), 0.0)
    ends = np.where(length == 1, 1.0, np.where(length == 2, .5, np.where(is_first, FIRST, LAST)))
    weights = {"first": is_first.astype(float), "last": is_last.astype(float), "linear": 1 / length, "position": np.where(is_first | is_last, ends, between)}
    return {name: _normalised(np.asarray(won @ csr_array((weight, (path, paths.touches)), shape=(n, len(paths.channels))))) for name, weight in weights.items()}


def _flows(paths: Paths, taken: Array, won: Array, lost: Array) -> Array:
    """Weights from (start, channels) to (channels, conversion, nothing). Shape: (draw, 1 + C, C + 2)."""
    from scipy.sparse import csr_array

    c, n = len(paths.channels), len(paths.conversions)
    path = np.repeat(np.arange(n), paths.lengths)
    is_first = np.zeros(len(path), bool)
    is_first[paths.starts[:-1]] = True
    before = np.where(is_first, 0, np.concatenate([[0], paths.touches[:-1] + 1])[:len(path)])
    cells = (1 + c) * (c + 2)
    edges = csr_array((np.ones(len(path)), (path, before * (c + 2) + paths.touches)), shape=(n, cells))
    end = (paths.touches[paths.starts[1:] - 1] + 1) * (c + 2) if n else np.zeros(0, int)
    wins, losses = (csr_array((np.ones(n), (np.arange(n), end + c + k)), shape=(n, cells)) for k in (0, 1))
    return np.asarray(taken @ edges + won @ wins + lost @ losses).reshape(len(taken), 1 + c, c + 2)


def _shapley(flows: Array, rng: np.random.Generator) -> tuple[Array, Array, list[Note]]:
    """Shares, their error by sampling (0 where every coalition was counted), and what to say."""
    c = flows.shape[-1] - 2
    if c <= MOST_EXACT:
        # Memory and time grow with 2**C: with many channels fewer draws are taken.
        few = flows[:1 + min(len(flows) - 1, max(20, 2**19 // 2**c))]
        values = np.concatenate([shapley(coalitions(part)) for part in np.array_split(few, max(1, len(few) * 2**c // 2**18))])
        return _normalised(np.maximum(values, 0)), np.zeros(c), []
    half = np.array([rng.permutation(c) for _ in range(ORDERS // 2)])
    orders = np.concatenate([half, half[:, ::-1]])
    values, errors = sampled_shapley(sets_of(flows[0]), c, orders)
    drawn = [sampled_shapley(sets_of(one), c, orders[::10])[0] for one in flows[1:41]]
    table = _normalised(np.maximum(np.array([values, *drawn]), 0))
    errors = errors / max(values.sum(), 1e-300)
    return table, errors, [note(
        "shapley_sampled", "Shapley values of {c} channels come from {orders} orders of joining; their standard error is at most {error} of all conversions",
        c=c, orders=len(orders), error=f"{errors.max():.2%}")]
