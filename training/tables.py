"""Training tables: features and label side by side, and their way into a model's matrix."""

import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from features.dataset import Dataset
from features.feature import Feature
from features.moments import KEY
from features.tasks import Task
from training.members import Matrix
from training.saved_model import Column, encoded

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MOST_LEVELS = 24
# A fit learns from no more, a trial and a logistic regression from half of it; the figures are of all customers. Decision 0037 has what more rows bring and cost.
MOST_ROWS, FEWER_ROWS = 300_000, 150_000


@dataclass(frozen=True)
class Rows:
    """A block of the training table. Shape: x (n, p), y (n,) of 0 and 1, customers (n,) for grouping, as_ofs (n,)."""

    x: Matrix
    y: NDArray[np.float64]
    customers: NDArray[np.object_]
    as_ofs: NDArray[np.datetime64]

    def where(self, mask: NDArray[np.bool_]) -> "Rows":
        """The rows of a mask."""
        return Rows(self.x[mask], self.y[mask], self.customers[mask], self.as_ofs[mask])

    def at(self, as_ofs: Sequence[datetime], row_cap: int | None = None, most: int | None = None) -> "Rows":
        """The rows of some snapshots; at most `row_cap` of each customer; about `most` in all. Taken at once: of a large table each step alone would copy gigabytes."""
        mask = np.isin(self.as_ofs, np.array(as_ofs, dtype="datetime64[us]"))
        if row_cap is not None:
            mask[mask] = _latest(self.customers[mask], self.as_ofs[mask], row_cap)
        if most is not None:
            mask[mask] = _fewer(self.customers[mask], most)
        return self.where(mask)

    def capped(self, row_cap: int) -> "Rows":
        """At most `row_cap` rows of each customer, the latest, so that the steady ones do not dominate."""
        return self.where(_latest(self.customers, self.as_ofs, row_cap))

    def thinned(self, most: int) -> "Rows":
        """About `most` rows, by leaving out whole customers by a hash of their id; all of them where there are fewer."""
        return self if len(self.y) <= most else self.where(_fewer(self.customers, most))


def _latest(customers: NDArray[np.object_], as_ofs: NDArray[np.datetime64], row_cap: int) -> NDArray[np.bool_]:
    """Which rows are among the latest `row_cap` of their customer. Shape: (n,)."""
    order = np.lexsort((as_ofs, customers))
    _, counts = np.unique(customers[order], return_counts=True)
    place_from_end = np.concatenate([np.arange(n)[::-1] for n in counts]) if len(counts) else np.array([], dtype=int)
    keep = np.zeros(len(customers), dtype=bool)
    keep[order[place_from_end < row_cap]] = True
    return keep


def _fewer(customers: NDArray[np.object_], most: int) -> NDArray[np.bool_]:
    """Which rows stay where about `most` may. Shape: (n,)."""
    if len(customers) <= most:
        return np.ones(len(customers), dtype=bool)
    lots = np.array([zlib.crc32(str(customer).encode()) for customer in customers], dtype=np.int64)
    # The lowest lots among these, however they were chosen before: of rows that were thinned already, all lots are low.
    fewer: NDArray[np.bool_] = lots <= np.partition(lots, most - 1)[most - 1]
    return fewer


def beside_features(asked: "pd.DataFrame", snapshot_file: Path) -> Iterator["pa.Table"]:
    """Rows of customer x as_of with the features that were written of them, part by part in the file's order; the whole file may be larger than memory.

    Raises: ValueError for rows that are asked twice or were not written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(snapshot_file) as file:
        written = file.read(KEY).to_pandas()
        place = written.merge(asked.assign(place=np.arange(len(asked))), on=KEY, how="left", validate="one_to_one")["place"].to_numpy(np.float64, na_value=np.nan)
        if (n := int((~np.isnan(place)).sum())) != len(asked):
            raise ValueError(f"{len(asked)} rows need features, {snapshot_file.name} holds those of {n}")
        # Columns in the order of those asked, then the features.
        table, begin = pa.Table.from_pandas(asked, preserve_index=False), 0
        for i in range(file.num_row_groups):
            part = file.read_row_group(i)
            here = place[begin:begin + len(part)]
            begin += len(part)
            taken = ~np.isnan(here)
            if taken.any():
                rows = table.take(pa.array(here[taken].astype(np.int64)))
                part = part.filter(pa.array(taken))
                for name in part.column_names:
                    if name not in KEY:
                        rows = rows.append_column(part.schema.field(name), part.column(name))
                yield rows


def write_training_table(dataset: Dataset, task: Task, as_ofs: Sequence[datetime], snapshot_file: Path, path: Path) -> None:
    """Join the labels of a task to the snapshots already written, and write the table whole.

    Grain: eligible customer x as_of, ordered by both.
    """
    from features.engine import write_tables
    from features.labels import labels

    write_tables(beside_features(labels(dataset, task, as_ofs).to_pyarrow().to_pandas(), snapshot_file), path)


def columns_of(features: Sequence[Feature], train: "pd.DataFrame", allow: Sequence[str], exclude: Collection[str] = ()) -> tuple[Column, ...]:
    """The model's inputs: without what is excluded by name, sensitive features only if allowed by name; categories with the levels seen in training."""
    columns = []
    for feature in features:
        if feature.name in exclude or (feature.is_sensitive and feature.name not in allow):
            continue
        levels: tuple[str, ...] = ()
        if feature.is_category:
            counts = train[feature.name].value_counts()
            # A level of fewer than ten rows tells of persons, not of a kind of person; of very many levels the rare ones tell little and cost much.
            levels = tuple(sorted(str(level) for level, n in counts.head(MOST_LEVELS).items() if n >= 10))
        columns.append(Column(
            feature.name, feature.family, feature.unit, feature.label_en, feature.label_zh, feature.is_category, feature.is_actionable,
            feature.is_sensitive, feature.is_treatment, feature.is_undated, levels))
    return tuple(columns)


def rows_of(frame: "pd.DataFrame", columns: tuple[Column, ...]) -> Rows:
    """A training table as matrix, label and groups."""
    return Rows(
        encoded(frame, columns, "the training table"), frame["label"].to_numpy(np.float64), frame["customer_id"].to_numpy(object), frame["as_of"].to_numpy("datetime64[us]"))


def without(columns: tuple[Column, ...], flag: str) -> NDArray[np.bool_]:
    """A mask of the columns that do not carry a flag such as is_treatment."""
    return np.array([not getattr(column, flag) for column in columns])


def masked(rows: Rows, keep: NDArray[np.bool_]) -> Rows:
    """The same rows with the other columns unknown, so that shapes stay."""
    return replace(rows, x=np.where(keep[None, :], rows.x, np.nan))
