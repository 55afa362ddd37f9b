"""Windows: one number for each asked customer and moment from rows in the order of time, for any number of windows and moments at once.

Rows of one customer lie next to each other, oldest first, so what a window holds is a range of rows [begin, end): found by binary search, counted
and summed by differences of running totals, whatever number of windows and moments is asked. Everything is whole numbers (seconds, minor units,
millionths), so no result depends on the order of adding. The same code serves a million customers and one.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.feature import UNKNOWN, Aggregate

Array = NDArray[Any]
DAY = 86400
_KEY_BITS = 40  # of seconds since 1970 in a row's key: beyond any date
HALF_LIFE_DAYS = 30


@dataclass(frozen=True)
class Cells:
    """What is asked: timelines at moments. Shape: (cell,) each; `as_of` in seconds since 1970, `line` a timeline's number."""

    line: Array
    as_of: Array

    def __len__(self) -> int:
        return len(self.line)


@dataclass(frozen=True)
class Rows:
    """Rows of a stream. Shape: (row,) each, ordered by line and `at` (seconds since 1970); columns are whole numbers, UNKNOWN where not told.

`named` tells the numbers that texts were given, for the columns of texts. `kept` holds what several statistics of the same rows and cells share.
    """

    line: Array
    at: Array
    columns: dict[str, Array]
    named: dict[str, dict[str, int]] = field(default_factory=dict)
    kept: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.line)

    def where(self, mask: Array, columns: Iterable[str] | None = None) -> "Rows":
        """The rows of a mask, or of a list of places, with these columns (all if none are named)."""
        if columns is None and mask.dtype == bool and mask.all():
            return self
        names = self.columns if columns is None else [name for name in columns if name in self.columns]
        return Rows(self.line[mask], self.at[mask], {name: self.columns[name][mask] for name in names}, self.named)

    def ordered(self) -> "Rows":
        """The same rows by line and time; equals stay in their order."""
        key = (self.line << _KEY_BITS) + self.at
        return self if (key[1:] >= key[:-1]).all() else self.where(np.argsort(key, kind="stable"))

    def is_(self, column: str, value: str) -> Array:
        """Where a column of texts has this text (nowhere if nobody has it), or one of numbers this number."""
        number = self.named[column].get(value, UNKNOWN + 1) if column in self.named else int(value)
        return np.asarray(self.columns[column] == number)

    def keeping(self, what: Any, make: Callable[[], Any]) -> Any:
        """What was made before for these rows, or is made now."""
        if what not in self.kept:
            self.kept[what] = make()
        return self.kept[what]


def aggregated(rows: Rows, cells: Cells, aggregates: Sequence[Aggregate]) -> dict[Aggregate, Array]:
    """Each aggregate of one stream for each cell.

    Shape: (cell,); counts and sums int64, the others float64 with NaN where there is no row.
    """
    found: dict[Aggregate, Array] = {}
    ends = _places(rows, cells, cells.as_of)
    begins = {window: _places(rows, cells, cells.as_of - window * DAY if window else np.full(len(cells), -DAY)) for window in {int(a.window) for a in aggregates}}
    for where in dict.fromkeys(aggregate.where for aggregate in aggregates):
        mine = [aggregate for aggregate in aggregates if aggregate.where == where]
        some, place = rows, None
        if where:
            mask = np.logical_and.reduce([rows.is_(column, value) for column, value in where])
            place = _running(mask)
            # The places alone tell how many rows of a slice a range holds; to look at them, they are taken out first.
            if any(aggregate.statistic != "count" or aggregate.column for aggregate in mine):
                some = rows.where(mask, {column for aggregate in mine for column in (aggregate.column, aggregate.by)})
        for aggregate in mine:
            begin = begins[int(aggregate.window)]
            found[aggregate] = STATISTICS[aggregate.statistic](some, cells, *((begin, ends) if place is None else (place[begin], place[ends])), aggregate)
    return found


def _places(rows: Rows, cells: Cells, at: Array) -> Array:
    """The first row of each cell's line at or after a second: where the line's rows before it end."""
    return np.searchsorted((rows.line << _KEY_BITS) + rows.at, (cells.line << _KEY_BITS) + at)


def _pairs(rows: Rows, begins: Array, ends: Array, asked: Aggregate) -> tuple[Array, Array]:
    """Every cell with every row in its range. Shape: (pair,) each, by cell and then row."""
    def pairs() -> tuple[Array, Array]:
        counts = ends - begins
        starts = np.cumsum(counts) - counts
        return np.repeat(np.arange(len(begins)), counts), np.arange(counts.sum()) - np.repeat(starts - begins, counts)

    return rows.keeping(("pairs", asked.window), pairs)  # type: ignore[no-any-return]  # kept things are of any type


def _known(rows: Rows, column: str) -> Array:
    return np.asarray(rows.columns[column] != UNKNOWN)


def _running(values: Array) -> Array:
    """Running totals from 0 on. int64 may wrap around; a difference of two is right all the same."""
    return np.concatenate([[0], np.cumsum(values, dtype=np.int64)])


def _count(rows: Rows, cells: Cells, begins: Array, ends: Array, asked: Aggregate) -> Array:
    if not asked.column:
        return ends - begins
    total = _running(_known(rows, asked.column))
    return np.asarray(total[ends] - total[begins])


def _sum(rows: Rows, cells: Cells, begins: Array, ends: Array, asked: Aggregate) -> Array:
    values = rows.columns[asked.column]
    total = _running(np.where(values == UNKNOWN, 0, values))
    return np.asarray(total[ends] - total[begins])


def _age(rows: Rows, cells: Cells, begins: Array, ends: Array, asked: Aggregate) -> Array:
    """Seconds since the newest row (min) or the oldest (max)."""
    place = ends - 1 if asked.statistic == "min" else begins
    return _taken(rows.at, place, ends > begins, cells.as_of)


def _taken(values: Array, places: Array, there: Array, less: Array | None = None) -> Array:
    out = np.full(len(places), np.nan)
    taken = values[places[there]]
    out[there] = taken if less is None else less[there] - taken
    return out


def _extreme(rows: Rows, cells: Cells, begins: Array, ends: Array, asked: Aggregate) -> Array:
    if asked.column == "age":
        return _age(rows, cells, begins, ends, asked)
    rows, begins, ends = _of_known(rows, begins, ends, asked.column)
    there = ends > begins
    out = np.full(len(cells), np.nan)
    if there.any():
        values = np.append(rows.columns[asked.column], 0)  # so that an end past the last row may be named
        edges = np.column_stack([begins[there], ends[there]]).ravel()
        out[there] = (np.minimum if asked.statistic == "min" else np.maximum).reduceat(values, edges)[::2]
    return out


def _of_known(rows: Rows, begins: Array, ends: Array, *columns: str) -> tuple[Rows, Array, Array]:
    """Only the rows that tell these columns, and the ranges among them."""
    def known() -> tuple[Rows, Array | None]:
        told = np.logical_and.reduce([_known(rows, column) for column in columns])
        return (rows, None) if told.all() else (rows.where(told, columns), _running(told))

    some, place = rows.keeping(("known", columns), known)
    return (some, begins, ends) if place is None else (some, place[begins], place[ends])


def _edge(rows: Rows, cells: Cells, begins: Array, ends: Array, asked: Aggregate) -> Array:
    """What the newest (last) or the oldest (first) row tells."""
    rows, begins, ends = _of_known(rows, begins, ends, asked.column)
    return _taken(rows.columns[asked.column], ends - 1 if asked.statistic == "last" else begins, ends > begins)


def _edge_text(rows: Rows, cells: Cells, begins: Array, ends: Array, asked: Aggregate) -> Array:
    """What the newest or the oldest row tells, as a whole number (of a text); UNKNOWN where there is none."""
    rows, begins, ends = _of_known(rows, begins, ends, asked.column)
    out, there = np.full(len(cells), UNKNOWN), ends > begins
    out[there] = rows.columns[asked.column][(ends - 1 if asked.statistic == "newest" else begins)[there]]
    return out


def _median(rows: Rows, cells: Cells, begins: Array, ends: Array, asked: Aggregate) -> Array:
    """The middle value, or the mean of the two in the middle."""
    rows, begins, ends = _of_known(rows, begins, ends, asked.column)

    def arranged() -> tuple[Array, Array]:
        """All values in order, and every cell with the places of its own among them, in order: one sort of whole numbers."""
        order = np.argsort(rows.columns[asked.column])
        rank = np.empty(len(rows), np.int64)
        rank[order] = np.arange(len(rows))
        cell, row = _pairs(rows, begins, ends, asked)
        key = cell * len(rows) + rank[row]
        key.sort()
        return rows.columns[asked.column][order].astype(np.float64), key

    values, key = rows.keeping(("arranged", asked.column, asked.window), arranged)
    counts = ends - begins
    starts, there = np.cumsum(counts) - counts, np.flatnonzero(counts)
    low, high = (values[key[(starts + half)[there]] - there * len(rows)] for half in ((counts - 1) // 2, counts // 2))
    out = np.full(len(cells), np.nan)
    out[there] = (low + high) / 2
    return out


def _weeks(rows: Rows, cells: Cells, begins: Array, ends: Array, asked: Aggregate) -> Array:
    """Weeks back from as_of (the first is the last seven days) that hold a row."""
    cell, row = _pairs(rows, begins, ends, asked)
    week = (cells.as_of[cell] - rows.at[row] - 1) // (7 * DAY)
    is_new = np.ones(len(cell), bool)
    is_new[1:] = (cell[1:] != cell[:-1]) | (week[1:] != week[:-1])
    return np.bincount(cell[is_new], minlength=len(cells))


def _after(rows: Rows, cells: Cells, begins: Array, ends: Array, asked: Aggregate) -> Array:
    """Rows whose column, a time, is still to come."""
    cell, row = _pairs(rows, begins, ends, asked)
    return np.bincount(cell[rows.columns[asked.column][row] > cells.as_of[cell]], minlength=len(cells))


def _shorter(rows: Rows, cells: Cells, begins: Array, ends: Array, asked: Aggregate) -> Array:
    """Rows whose column, a time in seconds, is less than the time since the newest row."""
    rows, begins, ends = _of_known(rows, begins, ends, asked.column)
    silence = np.nan_to_num(_taken(rows.at, ends - 1, ends > begins, cells.as_of))
    cell, row = _pairs(rows, begins, ends, asked)
    return np.bincount(cell[rows.columns[asked.column][row] < silence[cell]], minlength=len(cells))


def _decayed(rows: Rows, cells: Cells, begins: Array, ends: Array, asked: Aggregate) -> Array:
    """Rows, or the sum of a column, where each weighs half as much for each half-life of age; of the rows that tell the column and `by`."""
    told = _both(asked)
    rows, begins, ends = _of_known(rows, begins, ends, *told) if told else (rows, begins, ends)
    cell, row = _pairs(rows, begins, ends, asked)
    # (Of no pair at all NumPy makes whole numbers.)
    return np.bincount(cell, _weights(rows, cells, cell, row, asked.column), minlength=len(cells)).astype(np.float64)


def _weights(rows: Rows, cells: Cells, cell: Array, row: Array, column: str) -> Array:
    weight = np.exp2((rows.at[row] - cells.as_of[cell]) / (HALF_LIFE_DAYS * DAY))
    return weight * rows.columns[column][row] if column else weight


def _distinct(rows: Rows, cells: Cells, begins: Array, ends: Array, asked: Aggregate) -> Array:
    """Different values of `by`: rows whose row of the same value before them lies outside of the range."""
    rows, begins, ends = _of_known(rows, begins, ends, asked.by)

    def before() -> Array:
        order, again = _by_value(rows, asked.by)
        out = np.full(len(rows), -1)
        out[order[1:][again]] = order[:-1][again]
        return out

    def rises() -> Array | None:
        """Where a line comes to another value, if it never falls, as days do: then equal values lie next to each other. Running totals."""
        values, is_same_line = rows.columns[asked.by], rows.line[1:] == rows.line[:-1]
        if (values[1:] < values[:-1])[is_same_line].any():
            return None
        return _running(np.r_[True, ~is_same_line | (values[1:] != values[:-1])][:len(rows)])

    total = rows.keeping(("rises", asked.by), rises)
    if total is not None:
        first = np.minimum(begins + 1, len(rows))
        return np.where(ends > begins, total[ends] - total[first] + 1, 0)
    cell, row = _pairs(rows, begins, ends, asked)
    return np.bincount(cell[rows.keeping(("before", asked.by), before)[row] < begins[cell]], minlength=len(cells))


def _by_value(rows: Rows, by: str) -> tuple[Array, Array]:
    """The order of rows by line, value and time, and whether each row but the first has line and value of the one before."""
    values = rows.columns[by]
    order = np.lexsort((values, rows.line))
    return order, (rows.line[order][1:] == rows.line[order][:-1]) & (values[order][1:] == values[order][:-1])


@dataclass(frozen=True)
class Totals:
    """What the values of `by` hold in each cell. Shape: (slot,), several of each cell; `newest` is the newest row there, -1 where there is none."""

    cell: Array
    total: Array
    newest: Array


def _by(rows: Rows, cells: Cells, begins: Array, ends: Array, asked: Aggregate) -> tuple[Rows, Totals]:
    """Rows, or sums of `column` where one is named, by each value of `by`; decayed where the statistic is. A cell has a slot for each value of its line."""
    rows, begins, ends = _of_known(rows, begins, ends, *_both(asked))
    is_decayed = asked.statistic.startswith("decayed")

    def coded() -> tuple[Array, Array]:
        """The place of each row's value among those of its line, and how many the line has."""
        order, again = _by_value(rows, asked.by)
        line = rows.line[order]
        starts = np.flatnonzero(np.r_[True, line[1:] != line[:-1]][:len(rows)])
        number, sizes = np.cumsum(np.r_[True, ~again][:len(rows)]) - 1, np.diff(np.append(starts, len(rows)))
        code, width = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
        code[order] = number - np.repeat(number[starts], sizes)
        width[order] = np.repeat(np.maximum.reduceat(number, starts) - number[starts] + 1, sizes) if len(rows) else number
        return code, width

    def totals() -> Totals:
        code, width = rows.keeping(("code", asked.by), coded)
        there, widths = ends > begins, np.zeros(len(cells), np.int64)
        widths[there] = width[begins[there]]
        cell, row = _pairs(rows, begins, ends, asked)
        slot, n = (np.cumsum(widths) - widths)[cell] + code[row], int(widths.sum())
        if is_decayed:
            total = np.bincount(slot, _weights(rows, cells, cell, row, asked.column), n)
        elif asked.column:
            # (Sums of whole numbers are exact in floating point up to 2 ** 53.)
            total = np.bincount(slot, rows.columns[asked.column][row], n).astype(np.int64)
        else:
            total = np.bincount(slot, minlength=n)
        newest = np.full(n, -1)
        newest[slot] = row  # rows of a slot come in order, and the last one stays
        return Totals(np.repeat(np.arange(len(cells)), widths), total, newest)

    return rows, rows.keeping(("totals", asked.by, asked.column, asked.window, is_decayed), totals)


def _largest(rows: Rows, cells: Cells, begins: Array, ends: Array, asked: Aggregate) -> Array:
    """The total of the value with the largest."""
    _, by = _by(rows, cells, begins, ends, asked)
    return _most(by, cells)


def _most(by: Totals, cells: Cells) -> Array:
    out = np.zeros(len(cells), by.total.dtype)
    np.maximum.at(out, by.cell, by.total)
    return out


def _told(rows: Rows, cells: Cells, begins: Array, ends: Array, asked: Aggregate) -> Array:
    """The total over all values of `by`: of the rows that tell it."""
    rows, begins, ends = _of_known(rows, begins, ends, *_both(asked))
    return (_sum if asked.column else _count)(rows, cells, begins, ends, asked)


def _both(asked: Aggregate) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in (asked.by, asked.column) if name))


def _favourite(rows: Rows, cells: Cells, begins: Array, ends: Array, asked: Aggregate) -> Array:
    """The value with the largest total, among equals the one met last; UNKNOWN where there is none."""
    rows, by = _by(rows, cells, begins, ends, asked)
    is_best = by.total == _most(by, cells)[by.cell]
    newest = np.full(len(cells), -1)
    np.maximum.at(newest, by.cell[is_best], by.newest[is_best])
    return np.where(newest >= 0, np.append(rows.columns[asked.by], UNKNOWN)[newest], UNKNOWN)


def _entropy(rows: Rows, cells: Cells, begins: Array, ends: Array, asked: Aggregate) -> Array:
    """-sum p ln p over the values' shares of the total; unknown where there is none. Source: Shannon (1948)."""
    _, by = _by(rows, cells, begins, ends, asked)
    total = np.maximum(by.total, 0).astype(np.float64)
    whole = np.bincount(by.cell, total, minlength=len(cells))
    share = np.divide(total, whole[by.cell], out=np.ones(len(total)), where=total > 0)
    return np.where(whole > 0, np.abs(np.round(np.bincount(by.cell, -share * np.log(share), minlength=len(cells)), 6)), np.nan)


Statistic = Callable[[Rows, Cells, Array, Array, Aggregate], Array]
STATISTICS: dict[str, Statistic] = {
    "count": _count, "sum": _sum, "min": _extreme, "max": _extreme, "first": _edge, "last": _edge, "newest": _edge_text, "oldest": _edge_text, "median": _median,
    "weeks": _weeks, "after": _after, "shorter": _shorter, "decayed": _decayed, "distinct": _distinct, "largest": _largest, "decayed_largest": _largest, "total": _told,
    "favourite": _favourite, "decayed_favourite": _favourite, "entropy": _entropy}
