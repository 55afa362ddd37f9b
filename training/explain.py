"""Exact TreeSHAP of many rows at once, by tables: what a part of a tree adds to each column, for every way that a row can fall in it.

The contributions are the path-dependent ones of Lundberg et al. (2018), the same that LightGBM gives. In that game a leaf of value v on a path of d columns is worth
v * product over its columns of (o_i if column i is known else z_i), where o_i is 1 for a row that follows every split of column i on the path and z_i is the share of the
training rows that follow them. Its Shapley values have the closed form

    phi_i = v (o_i - z_i) * integral from 0 to 1 of the product over j != i of (o_j t + z_j (1 - t)) dt,

a polynomial of degree d - 1, for which ceil(d / 2) points of Gauss and Legendre are exact (as in Linear TreeSHAP, Yu et al. 2022). A row enters by its d bits alone, so a
leaf has 2^d answers (Fast TreeSHAP v2, Yang 2021). Here leaves that stand together share a table over the cells that their splits cut: a row then costs one look-up for each
column of a part, where the usual way walks every leaf.
"""

from collections.abc import Callable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.threads import N_THREADS

Matrix = NDArray[np.float64]
Places = NDArray[np.intp]
# Below so many rows the tables cost more than they save: they take as long as 1,200 to 1,500 rows by LightGBM.
MANY_ROWS = 3_000
# Cells of a table: it stays in the processor's nearest memory. A leaf alone may need more, one for each way to fall in its columns.
MOST_CELLS = 2_048
# A leaf with more columns on its path would have a table too large; its tree is left to LightGBM. Trees of 24 leaves rarely have one.
MOST_COLUMNS = 12
# Rows whose places and sums stay in the processor's memory together.
BLOCK = 8_192
# Numbers worked on together where leaves' tables are made.
_NUMBERS = 500_000


@dataclass(frozen=True)
class Codes:
    """A column's values as codes that no split tells apart, the last one for what is not known.

    Numbers: how many thresholds lie below. Categories: the level itself; one that no split names is as good as not known.
    """

    thresholds: Matrix
    is_category: bool
    n: int

    def of(self, values: Matrix) -> Places:
        """Shape: (n,) -> (n,)."""
        if self.is_category:
            # LightGBM cuts off what stands behind the point.
            with np.errstate(invalid="ignore"):
                return np.where((values > -1) & (values < self.n - 1), values, self.n - 1).astype(np.intp)
        return np.where(np.isnan(values), self.n - 1, np.searchsorted(self.thresholds, values, side="left"))

    def goes_left(self, node: dict[str, Any]) -> NDArray[np.bool_]:
        """For each code, as LightGBM decides: a category that is not named goes right, what is not known by default, or as 0 where training knew all."""
        left = np.zeros(self.n, dtype=bool)
        if self.is_category:
            left[_levels(node)] = True
        else:
            threshold = float(node["threshold"])
            left[:np.searchsorted(self.thresholds, threshold, side="right")] = True
            left[-1] = node["default_left"] if node["missing_type"] == "NaN" else threshold >= 0
        return left


@dataclass
class Leaf:
    """A leaf's value, the columns on its path, the share of the training rows that take all splits of each, and for each the cells whose rows do so, too.

    `table` has what the leaf adds to each of its columns, for each of the 2^d ways (the first column is the highest bit). Shape: (d, 2^d).
    """

    value: float
    shares: dict[int, float]
    follows: dict[int, NDArray[np.bool_]]
    table: Matrix


@dataclass(frozen=True)
class Tree:
    """Leaves from left to right; for each column of the tree the cell of each code, and how many cells there are."""

    leaves: list[Leaf]
    cells: dict[int, Places]
    sizes: dict[int, int]


@dataclass(frozen=True)
class Part:
    """Leaves that share a table: its columns, what each code of a column adds to a row's place in it, and what each place adds to each column.

    Shape of `table`: (columns, places).
    """

    columns: list[int]
    steps: list[Places]
    table: Matrix


def contributions(booster: Any, x: Matrix) -> Matrix:
    """Contributions of a LightGBM booster, the base in the last column, halves of the rows side by side. Shape: (n, p) -> (n, p + 1)."""
    said = booster.dump_model()
    roots = [tree["tree_structure"] for tree in said["tree_info"]]
    codes = _codes([node for root in roots for node in _splits(root)])
    trees = [_tree(root, codes) for root in roots]
    is_deep = [any(len(leaf.shares) > MOST_COLUMNS for leaf in tree.leaves) for tree in trees]
    leaves = [leaf for tree, deep in zip(trees, is_deep, strict=True) if not deep for leaf in tree.leaves]
    _fill(leaves)
    parts = [part for tree, deep in zip(trees, is_deep, strict=True) if not deep for part in _parts(tree)]
    result = np.zeros((len(x), int(said["max_feature_idx"]) + 2))
    result[:, -1] = sum(leaf.value * prod(leaf.shares.values()) for leaf in leaves)
    if parts:
        add = _adder(parts, codes)
        with ThreadPoolExecutor(N_THREADS) as pool:
            list(pool.map(lambda begin: add(x[begin:begin + BLOCK], result[begin:begin + BLOCK]), range(0, len(x), BLOCK)))
    for i in np.flatnonzero(is_deep):
        result += booster.predict(x, pred_contrib=True, start_iteration=int(i), num_iteration=1, num_threads=1)
    return result


def _adder(parts: Sequence[Part], codes: dict[int, Codes]) -> Callable[[Matrix, Matrix], None]:
    """What adds the parts' say of some rows to their contributions; the parts are laid end to end for it."""
    from training.look_up import look_up

    at = {j: i for i, j in enumerate(codes)}
    steps, tables = [step for part in parts for step in part.steps], [values for part in parts for values in part.table]
    laid = (
        _begins([part.columns for part in parts]), np.array([at[j] for part in parts for j in part.columns], dtype=np.int32),
        np.concatenate(steps, dtype=np.int32), _begins(steps), np.concatenate(tables), _begins(tables))
    # One kind of number nearly always, so that the loop is compiled for one.
    kind = np.promote_types(np.uint16, np.min_scalar_type(max(known.n for known in codes.values())))

    def add(x: Matrix, result: Matrix) -> None:
        asked = np.empty((len(codes), len(x)), kind)
        for row, (j, known) in zip(asked, codes.items(), strict=True):
            row[:] = known.of(x[:, j])
        total = np.zeros((len(codes), len(x)))
        look_up(*laid, asked, total)
        result[:, list(codes)] += total.T

    return add


def _begins(lists: Sequence[Sized]) -> Places:
    """Where each of some lists begins once they are laid end to end, and the end."""
    return np.cumsum([0, *(len(one) for one in lists)], dtype=np.intp)


def _splits(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "split_feature" in node:
        yield node
        yield from _splits(node["left_child"])
        yield from _splits(node["right_child"])


def _levels(node: dict[str, Any]) -> list[int]:
    return [int(level) for level in str(node["threshold"]).split("||")]


def _codes(splits: Sequence[dict[str, Any]]) -> dict[int, Codes]:
    found = {}
    for j in sorted({node["split_feature"] for node in splits}):
        nodes = [node for node in splits if node["split_feature"] == j]
        if nodes[0]["decision_type"] == "==":
            found[j] = Codes(np.array([]), True, max(max(_levels(node)) for node in nodes) + 2)
        else:
            thresholds = np.unique([float(node["threshold"]) for node in nodes])
            found[j] = Codes(thresholds, False, len(thresholds) + 2)
    return found


def _tree(root: dict[str, Any], codes: dict[int, Codes]) -> Tree:
    """A tree's leaves, with the codes of each column drawn together to the cells that this tree tells apart."""
    cells: dict[int, Places] = {}
    # A code of each cell, which stands for it.
    first: dict[int, Places] = {}
    left = {}
    for node in _splits(root):
        j = node["split_feature"]
        left[node["split_index"]] = goes = codes[j].goes_left(node)
        _, first[j], cells[j] = np.unique(2 * cells.get(j, 0) + goes, return_index=True, return_inverse=True)
    sizes = {j: len(codes_of_cells) for j, codes_of_cells in first.items()}

    def leaves(node: dict[str, Any], shares: dict[int, float], follows: dict[int, NDArray[np.bool_]]) -> Iterator[Leaf]:
        if "split_feature" not in node:
            yield Leaf(float(node["leaf_value"]), shares, follows, np.empty((0, 0)))
            return
        j, goes = node["split_feature"], left[node["split_index"]][first[node["split_feature"]]]
        for side, taken in (("left_child", goes), ("right_child", ~goes)):
            child = node[side]
            share = child.get("internal_count", child.get("leaf_count")) / node["internal_count"]
            yield from leaves(child, {**shares, j: shares.get(j, 1.0) * share}, {**follows, j: follows[j] & taken if j in follows else taken})

    return Tree(list(leaves(root, {}, {})), cells, sizes)


def _fill(leaves: Sequence[Leaf]) -> None:
    """The tables of all leaves, those of one depth together: the closed form above for each of the 2^d ways."""
    for d in sorted({len(leaf.shares) for leaf in leaves} - {0}):
        few = [leaf for leaf in leaves if len(leaf.shares) == d]
        t, weight = np.polynomial.legendre.leggauss((d + 1) // 2)
        t, weight = (t + 1) / 2, weight / 2
        # Shape: ways, columns, points.
        o = ((np.arange(2**d)[:, None, None] >> np.arange(d)[::-1, None]) & 1).astype(np.float64)
        at_once = max(1, _NUMBERS // (2**d * d * len(t)))
        for begin in range(0, len(few), at_once):
            some = few[begin:begin + at_once]
            z = np.array([list(leaf.shares.values()) for leaf in some])[:, None, :, None]
            factors = o * t + z * (1 - t)
            integrals = (factors.prod(axis=2, keepdims=True) / factors) @ weight
            values = np.array([leaf.value for leaf in some])[:, None, None] * (o - z)[..., 0] * integrals
            for leaf, table in zip(some, values.transpose(0, 2, 1), strict=True):
                leaf.table = table


def _parts(tree: Tree) -> Iterator[Part]:
    """Neighbouring leaves together, while their columns' cells give no more than MOST_CELLS places."""
    leaves = [leaf for leaf in tree.leaves if leaf.shares]
    begin = 0
    while begin < len(leaves):
        end, columns = begin + 1, dict(leaves[begin].shares)
        while end < len(leaves) and prod(tree.sizes[j] for j in columns | leaves[end].shares) <= MOST_CELLS:
            columns |= leaves[end].shares
            end += 1
        yield _part(leaves[begin:end], list(columns), tree)
        begin = end


def _part(leaves: Sequence[Leaf], columns: list[int], tree: Tree) -> Part:
    sizes = [tree.sizes[j] for j in columns]
    places = np.unravel_index(np.arange(prod(sizes)), sizes)
    table = np.zeros((len(columns), len(places[0])))
    for leaf in leaves:
        at = [columns.index(j) for j in leaf.shares]
        way = np.zeros(len(places[0]), dtype=np.intp)
        for a, follows in zip(at, leaf.follows.values(), strict=True):
            way = 2 * way + follows[places[a]]
        for a, values in zip(at, leaf.table, strict=True):
            table[a] += values[way]
    steps = [prod(sizes[k + 1:]) for k in range(len(sizes))]
    return Part(columns, [tree.cells[j] * step for j, step in zip(columns, steps, strict=True)], table)
