"""Funnels in numbers: who reaches which stage, where they are lost, and how long it takes, in all and by channel, device and segment."""

from collections.abc import Sequence
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from features.journeys.sessions import NOT_TOLD, PLACES, Sessions
from features.journeys.shares import FEWEST, Z, hidden, quantiles, with_shares
from features.journeys.stages import Ladder
from features.notes import Note, note

QUANTILES = (.1, .25, .5, .75, .9)


def funnel(found: Sessions, sessions: ir.Table, by: Sequence[str] = ("channel", "device", "segment")) -> pd.DataFrame:
    """Grain: dimension, value and stage. How many sessions came to a stage or further, of how many people, and the share that is lost before the next.

    `n_without` came further without an event of the stage itself. A stage of which a channel or device has no event does not exist there and has no row.
    Shares come with 95 % intervals that know that a person has several sessions. Rows of fewer than 10 people are empty (`is_hidden`), and where there is one
    such row, the next smallest too.
    """
    parts = [_counted(sessions, found.ladder, dimension) for dimension in ("", *by)]
    # Where no session tells its channel or device, those rows would be the first ones again.
    counts = pd.concat([part for part in parts if not (part["dimension"].isin(PLACES) & (part["value"] == NOT_TOLD)).all()], ignore_index=True)
    rows = _long(counts, found.ladder)
    rows = with_shares(rows, "share_of_first", rows["n_sessions"], rows["n_first"], rows["squared"], rows["with_first"], rows["first_squared"])
    rows = with_shares(rows, "drop_off", rows["n_sessions"] - rows["n_next"], rows["n_sessions"], rows["squared"] - 2 * rows["with_next"] + rows["next_squared"],
                       rows["squared"] - rows["with_next"], rows["squared"])
    rows.loc[rows["place"] == 1, ["share_of_first_low", "share_of_first_high"]] = 1.0
    is_last = rows["place"] == found.ladder.last
    rows.loc[is_last, ["drop_off", "drop_off_low", "drop_off_high"]] = np.nan
    rows["is_hidden"] = hidden(rows["n_people"], rows["dimension"] + " " + rows["place"].astype(str))
    rows.loc[rows["is_hidden"], ["n_sessions", "n_people", "n_without", *_shares_of("share_of_first"), *_shares_of("drop_off")]] = np.nan
    exists = (rows["dimension"].isin(["", "segment"])) | (rows["n_own"] > 0)
    columns = ["dimension", "value", "stage", "place", "n_sessions", "n_people", "n_without", *_shares_of("share_of_first"), *_shares_of("drop_off"), "is_hidden"]
    return rows.loc[exists, columns].sort_values(["dimension", "value", "place"], ignore_index=True)


def _shares_of(name: str) -> list[str]:
    return [name, f"{name}_low", f"{name}_high"]


def _counted(sessions: ir.Table, ladder: Ladder, dimension: str) -> pd.DataFrame:
    """One row per value: sums over people of sessions by stage, of their squares and products; all whole numbers."""
    numbers = range(1, ladder.last + 1)
    value = sessions[dimension].fill_null(NOT_TOLD) if dimension else ibis.literal("all")
    marked = sessions.mutate(value=value)
    reached = {f"r_{k}": (marked.furthest >= k).cast("int64").sum() for k in numbers}
    people = marked.group_by(["customer_id", "value"]).agg(**reached, **{f"own_{k}": marked[f"n_{k}"].sum() for k in numbers}, **{
        f"without_{k}": ((marked.furthest >= k) & (marked[f"n_{k}"] == 0)).cast("int64").sum() for k in numbers})
    sums: dict[str, Any] = {}
    for k in numbers:
        r, after = people[f"r_{k}"], people[f"r_{min(k + 1, ladder.last)}"]
        sums |= {f"n_sessions_{k}": r.sum(), f"n_people_{k}": (r > 0).cast("int64").sum(), f"n_own_{k}": people[f"own_{k}"].sum(), f"n_without_{k}": people[f"without_{k}"].sum(),
                 f"squared_{k}": (r * r).sum(), f"with_first_{k}": (r * people.r_1).sum(), f"with_next_{k}": (r * after).sum()}
    # In one order, since of equal cells the first is hidden.
    found: pd.DataFrame = people.group_by("value").agg(**sums).order_by("value").to_pyarrow().to_pandas()
    return found.assign(dimension=dimension)


def _long(counts: pd.DataFrame, ladder: Ladder) -> pd.DataFrame:
    """One row per value and stage, with what is needed of the first and the next stage beside it."""
    parts: list[pd.DataFrame] = []
    for k, stage in enumerate(ladder.stages, 1):
        after = min(k + 1, ladder.last)
        columns = ("n_sessions", "n_people", "n_own", "n_without", "squared", "with_first", "with_next")
        part = pd.DataFrame({name: counts[f"{name}_{k}"] for name in columns}).astype(float)
        parts.append(part.assign(
            dimension=counts["dimension"], value=counts["value"], stage=stage, place=k, n_first=counts["n_sessions_1"], first_squared=counts["squared_1"],
            n_next=counts[f"n_sessions_{after}"], next_squared=counts[f"squared_{after}"]))
    return pd.concat(parts, ignore_index=True)


def times(found: Sessions, sessions: ir.Table, journeys: ir.Table | None = None) -> pd.DataFrame:
    """How long it takes from each stage to the next, from the first to the conversion, and (with `journeys`) from the first touch of a journey to it.

    Grain: from, to. Units: seconds. Only of those who got there. `median_low` and `median_high` bound the median (95 %, as if each person counted once).
    """
    ladder, parts = found.ladder, []
    pairs = [(k, k + 1) for k in range(1, ladder.last)] + ([(1, ladder.last)] if ladder.last > 2 else [])
    for k, after in pairs:
        there = sessions.filter(sessions[f"at_{after}"].notnull())
        parts.append((ladder.stages[k - 1], ladder.stages[after - 1], there.select("customer_id", seconds=_seconds(there[f"at_{after}"]) - _seconds(there[f"at_{k}"]))))
    if journeys is not None:
        done = journeys.filter(journeys.n_conversions > 0)
        parts.append(("first touch", ladder.stages[-1], done.select("customer_id", seconds=_seconds(done.end_at) - _seconds(done.start_at))))
    rows = []
    for before, next_stage, waits in parts:
        counts = waits.group_by("seconds").agg(n=waits.count()).to_pyarrow().to_pandas()
        n_people = int(waits.customer_id.nunique().to_pyarrow().as_py() or 0)
        values, n = counts["seconds"].to_numpy(float), counts["n"].to_numpy(float)
        row: dict[str, Any] = {"from": before, "to": next_stage, "n": int(n.sum()), "n_people": n_people}
        if n_people >= FEWEST:
            half = Z * .5 / np.sqrt(n_people)
            told = quantiles(values, n, (*QUANTILES, max(.5 - half, 0), min(.5 + half, 1)))
            row |= {f"q{round(100 * q)}": value for q, value in zip(QUANTILES, told, strict=False)} | {"median_low": told[-2], "median_high": told[-1]}
        else:
            row |= {"n": None, "n_people": None}
        rows.append(row)
    columns = ["from", "to", "n", "n_people", *(f"q{round(100 * q)}" for q in QUANTILES), "median_low", "median_high"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[2:], float))


def _seconds(at: ir.Value) -> ir.Value:
    return at.epoch_seconds().floor().cast("int64")


def out_of_order(found: Sessions, sessions: ir.Table) -> list[Note]:
    """Stages that mostly come before the one that they were declared after: said, since a company's words may hide it."""
    walk = found.walk(sessions)
    numbers = range(1, found.ladder.last + 1)
    firsts = walk.group_by(["customer_id", "session"]).agg(**{f"first_{k}": walk.place.min(where=walk.stage == k) for k in numbers})
    counted: dict[str, Any] = {}
    for k in numbers[:-1]:
        counted |= {f"both_{k}": (firsts[f"first_{k}"].notnull() & firsts[f"first_{k + 1}"].notnull()).cast("int64").sum(),
                    f"turned_{k}": (firsts[f"first_{k + 1}"] < firsts[f"first_{k}"]).fill_null(False).cast("int64").sum()}
    row = firsts.aggregate(**counted).to_pyarrow().to_pylist()[0]
    stages = found.ladder.stages
    return [
        note("turned", "{after} comes before {before} in {share} of the {n} {unit} with both: the order may go backwards", after=stages[k], before=stages[k - 1],
             share=f"{row[f'turned_{k}'] / row[f'both_{k}']:.0%}", n=f"{row[f'both_{k}']:,}", unit=found.ladder.unit)
        for k in numbers[:-1] if row[f"both_{k}"] and row[f"turned_{k}"] > row[f"both_{k}"] / 2]


def differences(rows: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    """Two segments' funnels side by side. Grain: stage. The difference of their drop-offs and of their shares of the first stage, with 95 % intervals (Newcombe's)."""
    mine = rows[rows["dimension"] == "segment"].set_index(["value", "stage"])
    out = []
    for stage in rows.loc[rows["dimension"] == "", "stage"]:
        a, b = (mine.loc[(value, stage)] if (value, stage) in mine.index else None for value in (one, other))
        if a is None or b is None:
            continue
        row: dict[str, Any] = {"stage": stage}
        for name in ("share_of_first", "drop_off"):
            gap = a[name] - b[name]
            row |= {f"{name}_one": a[name], f"{name}_other": b[name], f"{name}_difference": gap,
                    f"{name}_difference_low": gap - np.hypot(a[name] - a[f"{name}_low"], b[f"{name}_high"] - b[name]),
                    f"{name}_difference_high": gap + np.hypot(a[f"{name}_high"] - a[name], b[name] - b[f"{name}_low"])}
        out.append(row)
    return pd.DataFrame(out)


