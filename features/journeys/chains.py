"""Journeys as a Markov chain over the last channels met: what is lost when a channel is not there, and the Shapley value of each.

Order 1 is dense and solved for many chains at once by elimination in which nothing is ever subtracted (Grassmann, Taksar and Heyman 1985), so no chance comes
out negative. Higher orders are sparse and solved chain by chain.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# Up to so many channels every coalition is counted; above, orders of joining are drawn.
MOST_EXACT = 12


def without_each(flows: Array) -> tuple[Array, Array]:
    """The chance of a conversion, and that chance where each channel in turn leads nowhere.

    `flows`: weights from (start, channels) to (channels, conversion, nothing), (chain, 1 + C, C + 2). Shapes: (chain,) and (chain, C).
    """
    n = flows.shape[-1] - 2
    chances = _chances(flows)
    return _worth(chances, []), np.stack([_worth(chances, [channel]) for channel in range(n)], axis=-1) if n else np.zeros((len(flows), 0))


def coalitions(flows: Array) -> Array:
    """The chance of a conversion where only some channels are there and the others lead nowhere, for every set of channels. Shape: (chain, 2**C), bit c for channel c."""
    table, n = _chances(flows)[:, None], flows.shape[-1] - 2
    for channel in reversed(range(n)):
        table = np.concatenate([_removed(table, channel), _passed_through(table, channel)], axis=1)
    # The last channel was decided first, so its bit stands highest.
    places = np.array([int(format(i, f"0{n}b")[::-1], 2) if n else 0 for i in range(2**n)])
    found = np.empty((len(flows), 2**n))
    found[:, places] = table[:, :, 0, 0]
    return found


def shapley(worth: Array) -> Array:
    """The Shapley value of each of C players from the worth of every coalition, (..., 2**C). Shape: (..., C)."""
    from math import factorial

    n = worth.shape[-1].bit_length() - 1
    masks = np.arange(2**n)
    sizes = np.array([int(mask).bit_count() for mask in masks])
    weights = np.array([factorial(k) * factorial(n - k - 1) / factorial(n) if k < n else 0.0 for k in range(n + 1)])
    values = []
    for player in range(n):
        out = masks[(masks >> player) & 1 == 0]
        values.append(((worth[..., out | 1 << player] - worth[..., out]) * weights[sizes[out]]).sum(axis=-1))
    return np.stack(values, axis=-1)


def sampled_shapley(worth: Callable[[Array], Array], n: int, orders: Array) -> tuple[Array, Array]:
    """Shapley values from some orders of joining, (order, C), and the standard error of each. `worth` takes sets as true and false, (set, C)."""
    values = np.empty((len(orders), n))
    for i, order in enumerate(orders):
        sets = np.zeros((n + 1, n), bool)
        for k, player in enumerate(order):
            sets[k + 1:, player] = True
        values[i, order] = np.diff(worth(sets))
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(orders))


def sets_of(flows: Array) -> Callable[[Array], Array]:
    """The chance of a conversion in one chain where only the channels of a set are there, for sampled_shapley."""
    chances = _chances(flows[None])[0]
    n = flows.shape[-1] - 2

    def worth(sets: Array) -> Array:
        inside = chances[None, 1:, :n] * sets[:, None, :] * sets[:, :, None]
        reached = np.linalg.solve(np.eye(n) - inside, np.broadcast_to(chances[1:, n][:, None], (len(sets), n, 1)) * sets[:, :, None])[:, :, 0]
        return np.asarray(chances[0, n] + (chances[0, :n] * sets * reached).sum(axis=1))

    return worth


def _chances(flows: Array) -> Array:
    """Rows that sum to 1; where nothing was seen to go, it ends in nothing. Shape: as flows."""
    total = flows.sum(axis=-1, keepdims=True)
    chances = np.divide(flows, total, out=np.zeros(flows.shape), where=total > 0)
    chances[..., -1:] = np.where(total > 0, chances[..., -1:], 1.0)
    return np.asarray(chances)


def _worth(chances: Array, gone: list[int]) -> Array:
    table = chances
    for channel in reversed(range(chances.shape[-1] - 2)):
        table = _removed(table, channel) if channel in gone else _passed_through(table, channel)
    return np.asarray(table[..., 0, 0])


def _removed(table: Array, last: int) -> Array:
    """The last channel leads nowhere."""
    out = np.delete(np.delete(table, last + 1, axis=-2), last, axis=-1)
    out[..., -1] += np.delete(table[..., last], last + 1, axis=-1)
    return out


def _passed_through(table: Array, last: int) -> Array:
    """The last channel is left out of sight: whoever came to it went on to where it leads."""
    leaves = np.delete(table[..., last + 1, :], last, axis=-1)
    total = leaves.sum(axis=-1, keepdims=True)
    on = np.divide(leaves, total, out=np.zeros(leaves.shape), where=total > 0)
    on[..., -1:] = np.where(total > 0, on[..., -1:], 1.0)
    came = np.delete(table[..., last], last + 1, axis=-1)
    return np.asarray(np.delete(np.delete(table, last + 1, axis=-2), last, axis=-1) + came[..., :, None] * on[..., None, :])


class HigherChain:
    """A chain whose state is the last `order` channels; built once for the paths, solved for any weights of them."""

    def __init__(self, paths: list[Array], n_channels: int, order: int) -> None:
        states: dict[tuple[int, ...], int] = {(): 0}
        edges: dict[tuple[int, int], int] = {}
        rows, columns = [], []
        for i, path in enumerate(paths):
            names = [tuple(path[max(0, k - order + 1):k + 1].tolist()) for k in range(len(path))]
            visited = [0, *(states.setdefault(name, len(states)) for name in names)]
            for edge in pairwise(visited):
                rows.append(i)
                columns.append(edges.setdefault(edge, len(edges)))
        self.n_channels = n_channels
        # What a state ends with: the channel just met; none for the start.
        self.last = np.array([name[-1] if name else -1 for name in states])
        self.edges = np.array(list(edges), int).reshape(-1, 2)
        self.uses = (np.array(rows, int), np.array(columns, int))
        self.ends = np.array([states[tuple(path[-order:].tolist())] for path in paths], int)

    def without_each(self, conversions: Array, nulls: Array) -> tuple[float, Array]:
        """The chance of a conversion, and that chance without each channel. Shape: (), (C,)."""
        from scipy.sparse import csc_array, eye_array
        from scipy.sparse.linalg import splu

        n = len(self.last)
        flow = np.bincount(self.uses[1], (conversions + nulls)[self.uses[0]], len(self.edges))
        won = np.bincount(self.ends, conversions, n)
        total = np.bincount(self.edges[:, 0], flow, n) + won + np.bincount(self.ends, nulls, n)
        share = np.divide(1.0, total, out=np.zeros(n), where=total > 0)

        def chance(gone: int) -> float:
            # States that no weighted path visits are left out, and so the matrix is never singular: from every other one a path ends.
            there = np.flatnonzero((total > 0) & ((self.last != gone) | (self.last < 0)))
            if not len(there) or there[0] != 0:
                return 0.0
            place = np.full(n, -1)
            place[there] = np.arange(len(there))
            a, b = place[self.edges[:, 0]], place[self.edges[:, 1]]
            held = (a >= 0) & (b >= 0) & (flow > 0)
            inside = csc_array((flow[held] * share[self.edges[held, 0]], (a[held], b[held])), shape=(len(there), len(there)))
            system = (eye_array(len(there), format="csc") - inside).tocsc()
            return float(np.clip(splu(system).solve((won * share)[there])[0], 0, 1))

        base = chance(-2)
        return base, np.array([min(chance(channel), base) for channel in range(self.n_channels)])
