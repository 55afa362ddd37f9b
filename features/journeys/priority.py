"""The touchpoints to look at first: where more people like these are lost than elsewhere, times what being lost there costs.

For each stage: reached x drop-off x (predicted conversion of those who go on - of those like them who do not). For each place (channel and device) the same
with the part of the drop-off that people like these do not show elsewhere. A ranking to investigate: who goes on differs from who does not, and being
alike in what is known does not make them the same. docs/decisions/0016 says why both stand here.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from features.journeys.sessions import KEY, NOT_TOLD, PLACES, Sessions
from features.journeys.shares import FEWEST, Z, told_number
from features.journeys.stages import Ladder
from features.notes import Note, note

Array = np.ndarray[Any, Any]

DAY = 86400
RECENT_DAYS = 28
# A portrait: what was known of a person when the session began. Counts and days go in as logarithms.
PORTRAIT = ("sessions_recent", "conversions_recent", "conversions_before", "days_since_session", "days_since_conversion", "sessions_here", "conversions_here")
NEVER_DAYS = 365.0
NEIGHBOURS = 25
# Sessions that are matched at one touchpoint, and those they are matched from; sessions taken out of the engine.
MOST_HERE, MOST_POOL, MOST_TAKEN = 3_000, 9_000, 400_000
# Of each kind at a touchpoint, or it is not judged.
FEWEST_SESSIONS = 30


@dataclass(frozen=True)
class Entries:
    """Sessions in numbers, one place in each array for each.

    `portrait` is standardised, with the model's score as its last column where there are scores; `score` is that score (NaN where none is told).
    """

    person: Array
    furthest: Array
    place: Array  # number of the channel and device
    places: list[tuple[str, str]]
    portrait: Array
    names: tuple[str, ...]
    score: Array
    converts: Array
    last_kind: Array
    has: Array  # (place, stage): an event of that stage occurs there
    n_left_out: int


def priority(found: Sessions, since: datetime, horizon_days: int, scores: ir.Table | None = None, seed: int = 0) -> tuple[pd.DataFrame, list[Note]]:
    """Grain: stage, and stage x channel x device. For sessions that began since `since` and `horizon_days` or more before the end, so that what followed is known.

    `scores` (customer_id, as_of, probability): the last before a session belongs to what was known on entering. A person "converts" who comes to the last stage
    within the horizon, in the same session or later.
    Columns: reached_per_1000 sessions; drop_off; drop_off_elsewhere (of people like these, same stage, other places); p_continue and p_drop (predicted
    conversion of those who go on, like those who drop, and of those who drop) and their `difference`; expected_per_1000 = reached x drop_off x difference;
    excess_per_1000 = reached x (drop_off - drop_off_elsewhere) x difference; 95 % intervals that draw people; score_continue and score_drop (the model's own
    scores on entering); imbalance (largest standardised difference of the portraits, before and after matching); last_seen (what most of the lost did last).
    `rank` orders places by the lower end of excess_per_1000, so that chance does not lead.
    """
    from threadpoolctl import threadpool_limits

    entries = _entries(found, since, horizon_days, scores, seed)
    # Small matrices: more threads would only wait for each other.
    with threadpool_limits(1):
        rows = _all_judged(entries, found.ladder, np.random.default_rng(seed))
    frame = pd.DataFrame(rows)
    notes = []
    if entries.n_left_out:
        notes.append(note("no_score_before", "{n} sessions are left out of the priorities: their people have no score from before", n=told_number(entries.n_left_out)))
    if scores is None:
        notes.append(note("no_scores", "no scores were given: conversions are predicted from the portrait alone"))
    if frame.empty or "excess_per_1000" not in frame:
        return pd.DataFrame(), [*notes, note(
            "no_priorities", "priorities are not available: no stage has {n} sessions that go on and as many that do not", n=FEWEST_SESSIONS)]
    frame["rank"] = frame["excess_per_1000_low"].rank(ascending=False, method="first")
    return frame.sort_values(["rank", "expected_per_1000"], ascending=[True, False], ignore_index=True, na_position="last")[COLUMNS], notes


COLUMNS = [
    "rank", "stage", "next_stage", "channel", "device", "n_sessions", "n_people", "reached_per_1000", "drop_off", "drop_off_elsewhere", "p_continue", "p_drop", "difference",
    "expected_per_1000", "expected_per_1000_low", "expected_per_1000_high", "excess_per_1000", "excess_per_1000_low", "excess_per_1000_high", "score_continue", "score_drop",
    "imbalance_before", "imbalance", "last_seen", "last_seen_share"]


def _all_judged(entries: Entries, ladder: Ladder, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Every stage in all and at each place where it and the next occur."""
    rows = []
    for k in range(1, ladder.last):
        comparable = entries.has[:, k - 1] & entries.has[:, k]
        at_all = (entries.furthest >= k) & comparable[entries.place]
        rows.append(_judged(entries, ladder, k, at_all, None, rng) | {"channel": "all", "device": "all"})
        for number, (channel, device) in enumerate(entries.places):
            here = at_all & (entries.place == number)
            rows.append(_judged(entries, ladder, k, here, at_all & ~here, rng) | {"channel": channel, "device": device})
    return [row for row in rows if "stage" in row]


def _judged(entries: Entries, ladder: Ladder, k: int, here: Array, elsewhere: Array | None, rng: np.random.Generator) -> dict[str, Any]:
    """One touchpoint's row; empty where too few people came or too few go on or drop."""
    n_people = len(np.unique(entries.person[here]))
    is_lost = entries.furthest == k
    n_lost = int((here & is_lost).sum())
    if n_people < FEWEST:
        return {}
    row: dict[str, Any] = {
        "stage": ladder.stages[k - 1], "next_stage": ladder.stages[k], "n_sessions": int(here.sum()), "n_people": n_people,
        "reached_per_1000": 1000 * here.sum() / len(here), "drop_off": n_lost / here.sum()}
    if min(n_lost, here.sum() - n_lost) < FEWEST_SESSIONS:
        return row
    scale = 1000 / len(here)
    some = _some(np.flatnonzero(here), entries.person, MOST_HERE, rng)
    lost, kept = some[is_lost[some]], some[~is_lost[some]]
    if min(len(lost), len(kept)) < FEWEST_SESSIONS:
        return row
    # What each of the lost would have had like those who went on; and how much each of those who went on counts in that.
    p = np.full(len(here), np.nan)
    for side in (lost, kept):
        p[side] = _predicted(entries.portrait[side], entries.converts[side])
    near = _nearest(entries.portrait[lost], entries.portrait[kept])
    gaps = p[kept][near].mean(axis=1) - p[lost]
    weight = np.bincount(near.ravel(), minlength=len(kept)) / NEIGHBOURS
    # By person: the sum of gaps, and what chance adds to it (who converts, on both sides).
    people = int(entries.person.max()) + 1
    by_person = np.bincount(entries.person[lost], gaps - (entries.converts[lost] - p[lost]), people) + np.bincount(
        entries.person[kept], weight * (entries.converts[kept] - p[kept]), people)
    lost_by_person = np.bincount(entries.person[lost], minlength=people).astype(float)
    difference = gaps.mean()
    said = entries.score[lost], entries.score[kept][near]
    row |= {
        "p_continue": p[kept][near].mean(), "p_drop": p[lost].mean(), "difference": difference, "score_continue": said[1].mean() if len(said[1]) else np.nan,
        "score_drop": said[0].mean(), "imbalance_before": _imbalance(entries.portrait[lost], entries.portrait[kept], None),
        "imbalance": _imbalance(entries.portrait[lost], entries.portrait[kept], weight), **_last_seen(entries.last_kind[here & is_lost])}
    share = here.sum() / len(some)
    row |= _product("expected_per_1000", scale * share, lost_by_person, by_person, lost_by_person)
    if elsewhere is None or min(elsewhere.sum(), (elsewhere & is_lost).sum()) < FEWEST_SESSIONS:
        return row
    pool = _some(np.flatnonzero(elsewhere), entries.person, MOST_POOL, rng)
    near = _nearest(entries.portrait[some], entries.portrait[pool])
    like_these = is_lost[pool][near].mean(axis=1)
    weight = np.bincount(near.ravel(), minlength=len(pool)) / NEIGHBOURS
    excess = np.bincount(entries.person[some], is_lost[some] - like_these, people)
    noise = np.bincount(entries.person[pool], weight * (is_lost[pool] - _predicted(entries.portrait[pool], is_lost[pool].astype(float))), people)
    row["drop_off_elsewhere"] = row["drop_off"] - excess.sum() / len(some)
    return row | _product("excess_per_1000", scale * share, excess, by_person, lost_by_person, noise)


def _product(name: str, scale: float, lost: Array, gaps: Array, weight: Array, noise: Array | float = 0.0) -> dict[str, float]:
    """scale x sum(lost) x sum(gaps) / sum(weight), all sums over people, with an interval by the delta method: each person's share in every sum moves together."""
    a, b, d = lost.sum(), gaps.sum(), weight.sum()
    value = scale * a * b / d
    moves = scale * ((lost - noise) * b / d + gaps * a / d - weight * a * b / d**2)
    half = Z * float(np.sqrt((moves**2).sum()))
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def _predicted(portrait: Array, converts: Array) -> Array:
    """The chance to convert, from the portrait, among one kind of people."""
    from sklearn.linear_model import LogisticRegression

    if converts.min() == converts.max():
        return converts.astype(float)
    return np.asarray(LogisticRegression(solver="newton-cholesky").fit(portrait, converts).predict_proba(portrait)[:, 1])


def _nearest(of: Array, among: Array) -> Array:
    """The most alike of `among` for each of `of`. Shape: (of, neighbours)."""
    from scipy.spatial import KDTree

    k = min(NEIGHBOURS, len(among))
    places = KDTree(among).query(of, k=k)[1].reshape(len(of), k)
    return np.asarray(places[:, np.arange(NEIGHBOURS) % k])


def _imbalance(one: Array, other: Array, weight: Array | None) -> float:
    """The largest difference of means, in standard deviations of both together."""
    spread = np.concatenate([one, other]).std(axis=0)
    gap = np.abs(one.mean(axis=0) - np.average(other, axis=0, weights=weight))
    return float(np.divide(gap, spread, out=np.zeros(len(gap)), where=spread > 0).max())


def _last_seen(kinds: Array) -> dict[str, Any]:
    names, counts = np.unique(kinds.astype(str), return_counts=True)
    return {"last_seen": names[counts.argmax()], "last_seen_share": counts.max() / counts.sum()}


def _some(places: Array, person: Array, most: int, rng: np.random.Generator) -> Array:
    """Everything of so many people, by lot, that about `most` sessions are left."""
    if len(places) <= most:
        return places
    people = rng.permutation(np.unique(person[places]))
    order = np.empty(int(person.max()) + 1, int)
    order[people] = np.arange(len(people))
    by_order = np.sort(order[person[places]])
    return np.asarray(places[order[person[places]] <= by_order[most - 1]])


def _entries(found: Sessions, since: datetime, horizon_days: int, scores: ir.Table | None, seed: int) -> Entries:
    """Take the sessions of the window out of the engine, each with what was known when it began and what followed."""
    until = found.until - timedelta(days=horizon_days)

    def asked(sessions: ir.Table) -> ir.Table:
        return sessions.filter((sessions.start_at >= since) & (sessions.start_at < until) & (sessions.furthest > 0))

    n = int(asked(found.sessions).count().to_pyarrow().as_py())
    if n > MOST_TAKEN:
        # By lot and by person, the same on every engine: the hash of a name decides. Nothing is worked out for the others.
        drawn = (found.sessions.customer_id + str(seed)).hexdigest("md5").substr(0, 6) < f"{int(16**6 * MOST_TAKEN / n):06x}"
        found = replace(found, sessions=found.sessions.filter(drawn))
    told = asked(_told(found, horizon_days, scores))
    frame = told.drop("start_at").to_pyarrow().to_pandas().sort_values(KEY, ignore_index=True)
    frame = frame.assign(**{name: frame[name].astype(object).where(frame[name].notna(), NOT_TOLD).astype(str) for name in PLACES})
    n_all = len(frame)
    if scores is not None:
        frame = frame[frame["score"].notna()].reset_index(drop=True)
    keys = list(zip(frame["channel"], frame["device"], strict=True))
    places = sorted(set(keys))
    number = {pair: i for i, pair in enumerate(places)}
    place = np.array([number[key] for key in keys], int)
    has = np.array([[bool((frame.loc[place == i, f"n_{k}"] > 0).any()) for k in range(1, found.ladder.last + 1)] for i in range(len(places))]).reshape(-1, found.ladder.last)
    columns = {name: np.log1p(frame[name].fillna(NEVER_DAYS).clip(upper=NEVER_DAYS).to_numpy(float)) for name in PORTRAIT}
    columns["share_here"] = (frame["conversions_here"].to_numpy(float) + .25) / (frame["sessions_here"].to_numpy(float) + 1)
    score = np.clip(frame["score"].to_numpy(float), 1e-6, 1 - 1e-6) if scores is not None else np.full(len(frame), np.nan)
    if scores is not None:
        columns["score"] = np.log(score / (1 - score))
    portrait = np.column_stack(list(columns.values()))
    spread = portrait.std(axis=0) if len(portrait) else np.ones(portrait.shape[1])
    portrait = (portrait - portrait.mean(axis=0)) / np.where(spread > 0, spread, 1) if len(portrait) else portrait
    return Entries(
        np.unique(frame["customer_id"].to_numpy(object).astype(str), return_inverse=True)[1], frame["furthest"].to_numpy(int), place, places, portrait, tuple(columns), score,
        (frame["conversions_after"].to_numpy(float) > 0).astype(float), frame["last_kind"].to_numpy(object), has, n_all - len(frame))


def _told(found: Sessions, horizon_days: int, scores: ir.Table | None) -> ir.Table:
    """Grain: session. What was known of its person when it began (strictly before), and how often the person converts from then on within the horizon."""
    sessions, last = found.sessions, found.ladder.last
    begun = sessions.select("customer_id", "channel", at=_seconds(sessions.start_at), is_begun=ibis.literal(1, "int64"), is_won=ibis.literal(0, "int64"))
    won = sessions.filter(sessions.furthest >= last)
    won = won.select("customer_id", "channel", at=_seconds(won[f"at_{last}"]), is_begun=ibis.literal(0, "int64"), is_won=ibis.literal(1, "int64"))
    marks = begun.union(won).mutate(score_at=ibis.null("int64"))
    if scores is not None:
        at = _seconds(scores.as_of)
        marks = marks.union(scores.select(
            "customer_id", channel=ibis.null("string"), at=at, is_begun=ibis.literal(0, "int64"), is_won=ibis.literal(0, "int64"), score_at=at))

    def before(by: list[str], days: int | None = None) -> Any:
        return ibis.range_window(group_by=by, order_by="at", preceding=(None if days is None else days * DAY, 1))

    after = ibis.range_window(group_by="customer_id", order_by="at", preceding=0, following=horizon_days * DAY)
    known = marks.mutate(
        sessions_recent=marks.is_begun.sum().over(before(["customer_id"], RECENT_DAYS)), conversions_recent=marks.is_won.sum().over(before(["customer_id"], RECENT_DAYS)),
        conversions_before=marks.is_won.sum().over(before(["customer_id"])), session_at=marks["at"].max(where=marks.is_begun == 1).over(before(["customer_id"])),
        conversion_at=marks["at"].max(where=marks.is_won == 1).over(before(["customer_id"])), sessions_here=marks.is_begun.sum().over(before(["customer_id", "channel"])),
        conversions_here=marks.is_won.sum().over(before(["customer_id", "channel"])), conversions_after=marks.is_won.sum().over(after),
        last_score_at=marks.score_at.max().over(ibis.range_window(group_by="customer_id", order_by="at", preceding=None, following=0)))
    known = known.filter(known.is_begun == 1)
    counts = {name: known[name].fill_null(0) for name in ("sessions_recent", "conversions_recent", "conversions_before", "sessions_here", "conversions_here", "conversions_after")}
    known = known.select(
        "customer_id", "channel", "at", "last_score_at", **counts, days_since_session=(known["at"] - known.session_at) / DAY,
        days_since_conversion=(known["at"] - known.conversion_at) / DAY).distinct()
    if scores is not None:
        rated = scores.select("customer_id", last_score_at=_seconds(scores.as_of), score=scores.probability.cast("float64")).group_by(["customer_id", "last_score_at"]).agg(
            score=lambda t: t.score.max())
        known = known.left_join(rated, ["customer_id", "last_score_at"]).drop("customer_id_right", "last_score_at_right")
    own = sessions.select(*KEY, *PLACES, "start_at", "furthest", "last_kind", *(f"n_{k}" for k in range(1, last + 1)), at=_seconds(sessions.start_at))
    # A person's sessions of the same second and channel are known the same.
    joined = own.left_join(known, ["customer_id", "at", own.channel.fill_null("") == known.channel.fill_null("")])
    return joined.drop("customer_id_right", "at_right", "channel_right", "last_score_at")


def _seconds(at: ir.Value) -> ir.Value:
    return at.epoch_seconds().floor().cast("int64")
