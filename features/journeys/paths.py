"""Paths: what follows what within a session, what the first steps are, which ways are taken most, and how two segments walk differently."""

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from features.journeys.sessions import KEY, Sessions, letters, spelled
from features.journeys.shares import FEWEST, clustered, with_shares
from features.journeys.stages import Ladder

START, END = "(start)", "(end)"
# The columns of transitions that are told; the others are sums that a comparison needs.
TOLD = ["segment", "from", "to", "n", "n_people", "share", "share_low", "share_high"]
# A path is told up to so many steps, the same step twice in a row counting once; what is longer is cut, and said.
MOST_STEPS = 30


def transitions(found: Sessions, walk: ir.Table, by: str = "kind", by_segment: bool = False) -> pd.DataFrame:
    """Grain: segment (null for all), from, to. How often one step follows another within a session, of how many people, and its share of what follows `from`.

    A session begins with (start) and finishes with (end). `by` is kind, stage or both (stage: kind). Transitions of fewer than 10 people are left out.
    """
    moves = _moves(walk, found.ladder, by)
    rows = pd.concat([_summed(moves, []), *([_summed(moves, ["segment"])] if by_segment else [])], ignore_index=True)
    rows = with_shares(rows, "share", rows["n"], rows["n_from"], rows["squared"], rows["cross"], rows["from_squared"])
    rows = rows[rows["n_people"] >= FEWEST]
    return rows.sort_values(["segment", "n", "from", "to"], ascending=[True, False, True, True], ignore_index=True, na_position="first")


def named_by(walk: ir.Table, ladder: Ladder, by: str) -> ir.Value:
    """What a step is called."""
    stage = walk.stage.cases(*((k, name) for k, name in enumerate(ladder.stages, 1)), (0, "other"), else_="other")
    return {"kind": walk.kind, "stage": stage, "both": stage + ": " + walk.kind}[by]


def _moves(walk: ir.Table, ladder: Ladder, by: str) -> ir.Table:
    """Grain: person, segment, from, to. The number of times, and of leaving `from` in all."""
    step = walk.mutate(step=named_by(walk, ladder, by))
    after = step.step.lead().over(group_by=KEY, order_by="place")
    inside = step.select("customer_id", "segment", before="step", after=after.fill_null(END))
    firsts = step.filter(step.place == 0)
    moves = inside.union(firsts.select("customer_id", "segment", before=ibis.literal(START), after="step"))
    counted = moves.group_by(["customer_id", "segment", "before", "after"]).agg(n=moves.count())
    return counted.mutate(m=counted.n.sum().over(group_by=["customer_id", "segment", "before"])).cache()


def _summed(moves: ir.Table, by: list[str]) -> pd.DataFrame:
    """Sums over people, by segment or in all."""
    rows = moves.group_by([*by, "before", "after"]).agg(n=moves.n.sum(), n_people=moves.count(), squared=(moves.n * moves.n).sum(), cross=(moves.n * moves.m).sum())
    # Everybody who was at `from` counts below, whether or not they went on to `to`.
    there = moves.group_by(["customer_id", *by, "before"]).agg(m=moves.m.max())
    there = there.group_by([*by, "before"]).agg(n_from=there.m.sum(), from_squared=(there.m * there.m).sum())
    found: pd.DataFrame = rows.to_pyarrow().to_pandas().merge(there.to_pyarrow().to_pandas(), on=[*by, "before"])
    if by:
        found = found[found["segment"].notna()]
    return found.rename(columns={"before": "from", "after": "to"}).assign(segment=found["segment"].astype(object) if by else None)


def step_matrix(found: Sessions, walk: ir.Table, n_sessions: int, steps: int = 10, by: str = "kind") -> pd.DataFrame:
    """Grain: place (1, 2, ...) and step. The share of all sessions that do it at that place; a session that is over counts as (end). Sums to 1 at each place."""
    few = walk.filter(walk.place < steps)
    few = few.mutate(step=named_by(few, found.ladder, by))
    rows: pd.DataFrame = few.group_by(["place", "step"]).agg(n=few.count(), n_people=few.customer_id.nunique()).to_pyarrow().to_pandas()
    rows["place"] += 1
    over = n_sessions - rows.groupby("place")["n"].sum().reindex(range(1, steps + 1), fill_value=0)
    ends = pd.DataFrame({"place": over.index, "step": END, "n": over.to_numpy(), "n_people": np.nan})
    # What few people do goes together, so that the places still sum to all.
    rows.loc[rows["n_people"] < FEWEST, "step"] = "(rare)"
    told: pd.DataFrame = pd.concat([rows, ends[ends["n"] > 0]]).groupby(["place", "step"], as_index=False).agg({"n": "sum"})
    return told.assign(share=told["n"] / max(n_sessions, 1)).sort_values(["place", "share", "step"], ascending=[True, False, True], ignore_index=True)


def frequent_paths(found: Sessions, walk: ir.Table, most: int = 20) -> tuple[pd.DataFrame, int]:
    """The most frequent ways through a session, and how many sessions were cut because they were longer than 30 steps.

    Grain: path. The same step several times in a row counts once. Paths of fewer than 10 people are left out. Shares are of all sessions; `converted` is the
    share of a path's sessions that came to the last stage. Memory: a session's steps beyond the cut are never put together.
    """
    # One scan for the names: there are few.
    kinds = sorted(walk.kind.as_table().distinct().to_pyarrow().column(0).to_pylist())
    named = letters(kinds)
    before = walk.kind.lag().over(group_by=KEY, order_by="place")
    changed = walk.mutate(before=before)
    changed = changed.filter(changed.before.isnull() | (changed.before != changed.kind))
    changed = changed.mutate(turn=ibis.row_number().over(group_by=KEY, order_by="place"))
    spelt = spelled(changed, KEY, changed.turn, changed.kind.cases(*named.items(), else_=""), MOST_STEPS, turns=changed.count(), furthest=changed.stage.max())
    rows = spelt.group_by("path").agg(
        n_sessions=spelt.count(), n_people=spelt.customer_id.nunique(), n_converted=(spelt.furthest >= found.ladder.last).cast("int64").sum(),
        n_cut=(spelt.turns > MOST_STEPS).cast("int64").sum())
    totals = rows.aggregate(n_sessions=rows.n_sessions.sum(), n_cut=rows.n_cut.sum()).to_pyarrow().to_pylist()[0]
    top = rows.filter(rows.n_people >= FEWEST).order_by([ibis.desc("n_sessions"), "path"]).limit(most).to_pyarrow().to_pandas()
    spoken = {letter: kind for kind, letter in named.items()}
    top["path"] = [" > ".join(spoken[letter] for letter in path) + (" > ..." if cut else "") for path, cut in zip(top["path"], top["n_cut"], strict=True)]
    shares = top["n_sessions"] / max(totals["n_sessions"] or 0, 1)
    converted = top["n_converted"] / top["n_sessions"] if found.ladder.last else np.nan
    return top.assign(share=shares, converted=converted)[["path", "n_sessions", "n_people", "share", "converted"]], int(totals["n_cut"] or 0)


def different_transitions(rows: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    """Which transitions differ most between two segments. Grain: from, to.

    `p` is of a z test that knows that a person has several; `q` is what is left of it with so many tests (Benjamini-Hochberg): among those with q < .05, at most
    one in twenty is expected to be no difference.
    """
    from scipy.stats import false_discovery_control, norm

    sides = [rows[rows["segment"] == value].set_index(["from", "to"]) for value in (one, other)]
    both = sides[0].merge(sides[1], left_index=True, right_index=True, suffixes=("_one", "_other"))
    if both.empty:
        return pd.DataFrame(columns=["from", "to", "share_one", "share_other", "difference", "difference_low", "difference_high", "p", "q"])
    variance = 0.0
    for side in ("one", "other"):
        share, worth = clustered(*(both[f"{name}_{side}"] for name in ("n", "n_from", "squared", "cross", "from_squared")))
        variance = variance + share * (1 - share) / np.maximum(worth, 1)
    gap, error = both["share_one"] - both["share_other"], np.sqrt(variance)
    p = np.where(error > 0, 2 * norm.sf(np.abs(gap) / np.where(error > 0, error, 1)), np.where(gap == 0, 1.0, 0.0))
    found = pd.DataFrame({
        "share_one": both["share_one"], "share_other": both["share_other"], "difference": gap, "difference_low": gap - 1.959964 * error,
        "difference_high": gap + 1.959964 * error, "p": p, "q": false_discovery_control(p)}).reset_index()
    return found.sort_values(["q", "p", "from", "to"], ignore_index=True)
