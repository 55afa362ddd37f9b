"""Training tables: features and label side by side, and their way into a model's matrix."""

import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from features.dataset import Dataset
from features.feature import Feature
from features.files import written_whole
from features.tasks import Task
from training.members import Matrix
from training.saved_model import Column, encoded

if TYPE_CHECKING:
    import pandas as pd

MOST_LEVELS = 24


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

    def at(self, as_ofs: Sequence[datetime]) -> "Rows":
        """The rows of some snapshots."""
        return self.where(np.isin(self.as_ofs, np.array(as_ofs, dtype="datetime64[us]")))

    def capped(self, row_cap: int) -> "Rows":
        """At most `row_cap` rows of each customer, the latest, so that the steady ones do not dominate."""
        order = np.lexsort((self.as_ofs, self.customers))
        _, starts, counts = np.unique(self.customers[order], return_index=True, return_counts=True)
        place_from_end = np.concatenate([np.arange(n)[::-1] for n in counts]) if len(counts) else np.array([], dtype=int)
        assert len(starts) == len(counts)
        keep = np.zeros(len(self.y), dtype=bool)
        keep[order[place_from_end < row_cap]] = True
        return self.where(keep)


    def thinned(self, most: int) -> "Rows":
        """About `most` rows, by leaving out whole customers by a hash of their id; all of them where there are fewer."""
        if len(self.y) <= most:
            return self
        share = most / len(self.y) * 2**32
        return self.where(np.array([zlib.crc32(str(customer).encode()) < share for customer in self.customers]))


def write_training_table(dataset: Dataset, task: Task, as_ofs: Sequence[datetime], snapshot_file: Path, path: Path) -> "pd.DataFrame":
    """Join the labels of a task to the snapshots already written, write the table whole and give it back.

    Grain: eligible customer x as_of, ordered by both.
    """
    import pandas as pd

    from features.labels import labels

    label = labels(dataset, task, as_ofs)
    frame: pd.DataFrame = label.to_pyarrow().to_pandas().merge(pd.read_parquet(snapshot_file), on=["customer_id", "as_of"], how="left", validate="one_to_one")
    with written_whole(path) as aside:
        frame.to_parquet(aside, index=False)
    return frame


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
