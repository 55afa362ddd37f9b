"""Batch scores where the data outgrow a machine: features on Spark's workers, and the model applied there, partition by partition.

The wide table stays with the workers. This process sees one number of each customer (their log-odds, for the ranks) and the rows of the finished file as they
are written, some at a time. The numbers are those of the batch in one process.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.errors import ContractError, UsageError
from features.files import written_whole
from serving.withheld import Listed, Withheld

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from features.dataset import Dataset
    from features.tasks import Task
    from training.saved_model import SavedModel

Array = NDArray[np.float64]
N_REASONS = 3
_REASONS = tuple(f"reason_{i + 1}" for i in range(N_REASONS))
_TOLD = ("customer_id", "score", "probability", "percentile", "band", "as_of", "model", "version", *_REASONS)


def score_file(task: str, data: str, out_file: Path, run: Path, pseudonyms: bool = False) -> tuple[dict[str, int], str]:
    """As `serving.batch.score` on Spark's workers; give how many are in each band, and the moment. The run's base stays as it is: it is for one machine.

    Raises: UsageError, ContractError before anything is written.
    """
    from features.doors.engines import moved
    from features.progress import Steps
    from serving.batch import log_files, log_rows, named, opened
    from training.space import Space

    dataset, served = opened(task, data, out_file, run)
    champion, steps = served[task], Steps()
    if isinstance(champion.model, Space):
        raise UsageError(f"--engine spark scores tasks with probabilities, found {task}, which ranks by likeness; leave --engine out")
    counts: Counter[str] = Counter()
    with moved(dataset, "spark", steps) as on_spark:
        asked = next(one for one in on_spark.tasks if one.name == task)
        with steps.step("scores", "building features and scoring on the workers"):
            scored = score_on_spark(on_spark, asked, champion.model, champion.version, Withheld(run).now())
        with steps.step("file", f"writing {scored.n:,} customers"):

            def told() -> "Iterator[pd.DataFrame]":
                for batch in scored.told():
                    frame = batch.to_pandas()
                    counts.update(frame["band"])
                    yield named(frame, run) if pseudonyms else frame

            _write(told(), out_file)
            about = (champion.model.name, champion.version, scored.same["as_of"])
            log = next(path for path in log_files(run, *about) if not path.exists())
            _write((log_rows(task, *about, *batch.columns).to_pandas() for batch in scored.logged()), log)
    return dict(counts), scored.same["as_of"]


def _write(frames: "Iterable[pd.DataFrame]", path: Path) -> None:
    """Write frames of the same columns below each other, whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from serving.batch import safe

    with written_whole(path) as aside, ExitStack() as until_done:
        writer = None
        for i, frame in enumerate(frames):
            if path.suffix == ".csv":
                safe(frame).to_csv(aside, index=False, encoding="utf-8", mode="a", header=i == 0)
                continue
            rows = pa.Table.from_pandas(frame, preserve_index=False)
            writer = writer or until_done.enter_context(pq.ParquetWriter(aside, rows.schema))
            writer.write_table(rows)


@dataclass(frozen=True)
class Scored:
    """One task's scores on Spark, until its session ends: the frame, `customer_id, log_odds, probability, band, reason_1 ...`; the ranks; how many customers."""

    frame: Any
    ranks: "Ranks"
    n: int
    same: dict[str, str]

    def told(self) -> "pa.RecordBatchReader":
        """As handed out. Grain: customer, highest probability first, then by id; some at a time."""
        return self._batches(["log_odds", "customer_id"], [False, True], _TOLD)

    def logged(self) -> "pa.RecordBatchReader":
        """For the log of scores, by id."""
        return self._batches(["customer_id"], [True], ("customer_id", "probability", "band"))

    def _batches(self, order: list[str], is_ascending: list[bool], columns: tuple[str, ...]) -> "pa.RecordBatchReader":
        from features.spark import frame_batches

        kinds = {"score": "long", "probability": "double", "percentile": "double"}
        schema = ", ".join(f"{name} {kinds.get(name, 'string')}" for name in columns)
        ordered = self.frame.orderBy(*order, ascending=is_ascending)
        return frame_batches(ordered.mapInArrow(partial(_finished, self.ranks, self.same, columns), schema))


@dataclass(frozen=True)
class Ranks:
    """Percentiles within a base as steps: from each of the probabilities `edges` on, the percentile of the same place. There are at most 1,001."""

    edges: Array
    percentiles: Array

    def of(self, probabilities: Array) -> Array:
        """Shape: (n,) -> (n,), probabilities of the base. The share of the base with a probability at most as high, times 100, to one decimal."""
        found: Array = self.percentiles[self.edges.searchsorted(probabilities, side="right") - 1]
        return found


def ranks_in(probabilities: Array) -> Ranks:
    """Shape: (n,), of the whole base."""
    values, counts = np.unique(probabilities, return_counts=True)
    percentiles = (100.0 * np.cumsum(counts) / len(probabilities)).round(1)
    begins = np.append(True, percentiles[1:] != percentiles[:-1])
    return Ranks(values[begins], percentiles[begins])


def score_on_spark(dataset: "Dataset", task: "Task", model: "SavedModel", version: str, withheld: Listed) -> Scored:
    """Score everybody whom a task asks about, of a dataset that is on Spark. Raises: ContractError where it asks about nobody."""
    from ibis.util import gen_name

    from features.base import base_of, scoring_moment
    from features.snapshots import features_of
    from features.spark import frame_batches, frame_of, send_room
    from training.saved_model import sigmoid

    as_of = scoring_moment(dataset)
    wanted = {column.name for column in model.columns}
    features = [feature for feature in features_of(dataset)[0] if feature.name in wanted]
    base = base_of(dataset, as_of, features, [task])
    rows = frame_of(base.filter(base[f"eligible_{task.name}"]).select("customer_id", *(column.name for column in model.columns)))
    for room in ("training", "serving"):
        send_room(rows.sparkSession, Path(__file__).resolve().parents[1] / room)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "saved")
        texts = tuple((path.name, path.read_text(encoding="utf-8")) for path in sorted((Path(folder) / "saved").iterdir()))
    schema = "customer_id string, log_odds double, probability double, band string, " + ", ".join(f"{name} string" for name in _REASONS)
    name = gen_name("scored")
    # Written by the workers: the features are made once, whatever is asked of the scores.
    rows.mapInArrow(partial(_scored, texts, withheld), schema).write.saveAsTable(name)
    frame = rows.sparkSession.table(name)
    parts = [batch.column(0).to_numpy(zero_copy_only=False) for batch in frame_batches(frame.select("log_odds"))]
    log_odds = np.concatenate(parts) if parts else np.empty(0)
    if not len(log_odds):
        raise ContractError(f"{task.name} needs customers to rank, found none that it asks about at {as_of.isoformat()}Z; bring data up to a later day")
    return Scored(frame, ranks_in(sigmoid(log_odds)), len(log_odds), {"as_of": as_of.isoformat() + "Z", "model": model.name, "version": version})


def _scored(texts: tuple[tuple[str, str], ...], withheld: Listed, batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
    """On a worker: features -> scores and reasons, without the withheld."""
    import pyarrow as pa

    from serving.reasons import top_sentences
    from training.saved_model import sigmoid

    model = _loaded(texts)
    for batch in batches:
        frame = batch.to_pandas()
        if gone := withheld.among(frame["customer_id"].tolist()):
            frame = frame.drop(frame.index[list(gone)])
        x = model.encode(frame)
        log_odds = model.log_odds(x) if len(x) else np.empty(0)
        said = top_sentences(model, x, N_REASONS) if len(x) else []
        reasons = {name: pa.array([sentences[i] if i < len(sentences) else "" for sentences in said], pa.string()) for i, name in enumerate(_REASONS)}
        yield pa.record_batch({
            "customer_id": pa.array(frame["customer_id"].tolist(), pa.string()), "log_odds": pa.array(log_odds, pa.float64()),
            "probability": pa.array(sigmoid(log_odds), pa.float64()), "band": pa.array(model.bands(sigmoid(log_odds)), pa.string()), **reasons})


def _finished(ranks: Ranks, same: dict[str, str], columns: tuple[str, ...], batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
    """On a worker: scores -> what is handed out."""
    import pyarrow as pa

    for batch in batches:
        given = {name: batch.column(name) for name in batch.schema.names}
        probabilities = given["probability"].to_numpy(zero_copy_only=False)
        percentiles = ranks.of(probabilities)
        # As Python rounds, half to even on the number itself, which is how one process does it.
        said = {
            **given, "score": pa.array([round(percentile) for percentile in percentiles.tolist()], pa.int64()), "percentile": pa.array(percentiles, pa.float64()),
            "probability": pa.array([round(p, 6) for p in probabilities.tolist()], pa.float64()),
            **{name: pa.array([value] * batch.num_rows, pa.string()) for name, value in same.items()}}
        yield pa.record_batch({name: said[name] for name in columns})


@cache
def _loaded(texts: tuple[tuple[str, str], ...]) -> "SavedModel":
    """The saved model of these files, verified as everywhere; once for each worker."""
    from training.saved_model import load

    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts:
            (Path(folder) / name).write_text(text, encoding="utf-8")
        return load(Path(folder))
