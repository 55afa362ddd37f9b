"""The batch door: fresh scores with reasons for everybody a task asks about, and the log of scores handed out."""

import re
from collections.abc import Iterator
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from features.errors import ContractError, UsageError, first_few
from features.files import written_whole
from serving import reasons
from serving.alike import SpaceBase
from serving.champions import Champion, champions
from serving.scoring import Base, TaskBase, load_base, open_base, read_info
from serving.withheld import Pseudonyms

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from features.dataset import Dataset

N_REASONS = 3
# What a spreadsheet takes for a formula at the beginning of a cell, also in full width.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


def score(task: str, data: str, out_file: Path, run: Path, pseudonyms: bool = False) -> "pd.DataFrame":
    """Score a dataset's customers at its last midnight, write them with reasons to a file, log the scores.

    The run's base is rewritten, so that services then answer for the same moment.
    Grain: customer that the task asks about, highest probability first.
    Raises: UsageError, ContractError before anything is written.
    """
    dataset, served = opened(task, data, out_file, run)
    from features.base import write_base

    write_base(dataset, run)
    base = load_base(run, read_info(run), {task: served[task]})
    if task in base.spaces:
        table = alike(base.spaces[task])
        write_table(named(table, run) if pseudonyms else table, out_file)
        return table
    table = with_reasons(base.tasks[task])
    write_table(named(table, run) if pseudonyms else table, out_file)
    append_log(base.tasks[task], run)
    return table


def opened(task: str, data: str, out_file: Path, run: Path) -> "tuple[Dataset, dict[str, Champion]]":
    """What is to be scored, held against its contract, and the champions of its tasks. Raises: UsageError, ContractError."""
    if out_file.suffix not in (".parquet", ".csv"):
        raise UsageError(f"--out must end in .parquet or .csv, found {out_file.name}; name it so")
    if not run.is_dir():
        raise UsageError(f"--run must name a run folder, found none at {run}; make one first: make run OUT={run}")
    from features.contracts import hold
    from features.sources import open_dataset

    dataset, _ = hold(open_dataset(data))
    names = [one.name for one in dataset.tasks]
    if task not in names:
        why = dataset.not_applicable.get(task)
        said = f"it does not apply: {why}" if why else "found another; correct the name"
        raise UsageError(f"TASK must be one of {', '.join(names)} for {dataset.name}; {said}")
    served = champions(run, dataset.name, names)
    if task not in served:
        raise UsageError(
            f"{dataset.name}.{task} needs a champion in {run}, found none; train it, then promote it: "
            f"python -m training train {task} --data {data} --run {run}")
    _require_features(dataset, served)
    return dataset, served


def alike(space: SpaceBase) -> "pd.DataFrame":
    """Everybody who is not a seed, by likeness to the seeds of training, with up to three reasons each. Grain: customer, most alike first."""
    import pandas as pd

    found = space.audience(reach=len(space.ids))
    said = space.reasons(found, found.rows, N_REASONS)
    table = pd.DataFrame({
        "customer_id": [space.ids[row] for row in found.rows], "likeness": found.likeness, "percentile": found.percentiles, "as_of": space.as_of,
        "model": space.space.name, "version": space.version})
    return table.assign(**{f"reason_{i + 1}": [reasons_[i]["sentence"] if i < len(reasons_) else "" for reasons_ in said] for i in range(N_REASONS)})


def score_base(run: Path) -> "dict[str, pd.DataFrame]":
    """Score the run's base with every champion and log the scores; give each task's, highest probability first.

    Raises: UsageError, ContractError.
    """
    return log_all(open_base(run), run)


def log_all(base: Base, run: Path) -> "dict[str, pd.DataFrame]":
    """Log the scores of every task of an open base; give them."""
    for task in base.tasks.values():
        append_log(task, run)
    return {name: scores(task) for name, task in base.tasks.items()}


def scores(task: TaskBase) -> "pd.DataFrame":
    """One task's base as handed out. Grain: customer, highest probability first, then by id."""
    import pandas as pd

    frame = pd.DataFrame(task.results(task.ids, task.answer(task.ids, [], task.x[:0])))
    order = np.lexsort((np.array(task.ids, dtype=object).astype(str), -task.log_odds))
    columns = ["customer_id", "score", "probability", "percentile", "band", "as_of", "model", "version"]
    return frame.loc[order, columns].reset_index(drop=True)


def with_reasons(task: TaskBase) -> "pd.DataFrame":
    """As `scores`, with up to three reasons each; empty where there are fewer."""
    table = scores(task)
    rows = [task.row_of[customer] for customer in table["customer_id"]]
    said = reasons.top_sentences(task.model, task.x[rows], N_REASONS)
    for i in range(N_REASONS):
        table[f"reason_{i + 1}"] = [sentences[i] if i < len(sentences) else "" for sentences in said]
    return table


def append_log(task: TaskBase, run: Path) -> Path:
    """Add one file to the score log, unless it is there already with the same content; give its path.

    Grain: customer. Units: probability; `as_of` is naive UTC. Nothing that was logged is ever changed: other content gets another number.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = scores(task).sort_values("customer_id", kind="stable")
    columns = (pa.array(table["customer_id"].tolist(), pa.string()), pa.array(table["probability"].tolist(), pa.float64()), pa.array(table["band"].tolist(), pa.string()))
    logged = log_rows(task.task, task.model.name, task.version, task.as_of, *columns)
    for path in log_files(run, task.model.name, task.version, task.as_of):
        if not path.exists():
            with written_whole(path) as aside:
                pq.write_table(logged, aside)
            return path
        if pq.read_table(path).equals(logged):
            return path
    raise AssertionError("there is always another number")


def log_rows(task: str, model: str, version: str, as_of: str, ids: "pa.Array", probabilities: "pa.Array", bands: "pa.Array") -> "pa.Table":
    """Rows of the log of scores. Grain: customer. Units: probability; `as_of` is naive UTC."""
    import pyarrow as pa

    n, moment = len(ids), datetime.fromisoformat(as_of).replace(tzinfo=None)
    return pa.table({
        "customer_id": ids, "task": pa.array([task] * n, pa.string()), "model": pa.array([model] * n, pa.string()), "version": pa.array([version] * n, pa.string()),
        "as_of": pa.array([moment] * n, pa.timestamp("us")), "probability": probabilities, "band": bands})


def log_files(run: Path, model: str, version: str, as_of: str) -> Iterator[Path]:
    """The files of the log that scores of a version at a moment may stand in, the first one first."""
    stem = re.sub(r"[^\w.-]", "_", f"{model}.v{version}.{as_of[:10]}")
    for number in count(1):
        yield run / "scores" / f"{stem}{'' if number == 1 else f'.{number}'}.parquet"


def _require_features(dataset: "Dataset", served: dict[str, Champion]) -> None:
    """Before the base is rewritten: every champion must be able to read the new one, or services could not start again."""
    from features.snapshots import features_of

    present, absent = features_of(dataset)
    names = {feature.name for feature in present}
    for champion in served.values():
        missing = [column.name for column in champion.model.columns if column.name not in names]
        if missing:
            lacking = sorted({absent[name] for name in missing if name in absent})
            raise ContractError(
                f"{champion.model.name} version {champion.version} needs features that {dataset.name} lacks: {first_few(missing)}"
                + (f" for want of {', '.join(lacking)}" if lacking else "") + "; bring those data or train again without them")


def named(table: "pd.DataFrame", run: Path) -> "pd.DataFrame":
    """The same rows with keyed pseudonyms for ids, and the id of the key: to hand on without handing on who it is."""
    names = Pseudonyms(run)
    return table.assign(customer_id=[names.of(customer) for customer in table["customer_id"]], pseudonym_key=names.key_id)


def write_table(table: "pd.DataFrame", path: Path, for_spreadsheets: bool = False) -> None:
    """Write a table whole, as Parquet or as CSV whose texts no spreadsheet runs; for spreadsheets with the mark by which they know UTF-8."""
    with written_whole(path) as aside:
        if path.suffix == ".parquet":
            table.to_parquet(aside, index=False)
        else:
            safe(table).to_csv(aside, index=False, encoding="utf-8-sig" if for_spreadsheets else "utf-8")


def safe(table: "pd.DataFrame") -> "pd.DataFrame":
    """The same rows with texts that no spreadsheet runs."""
    return table.assign(**{name: [_safe(cell) for cell in table[name]] for name in table.columns if not _is_number(table[name])})


def _is_number(column: "pd.Series[float]") -> bool:
    return column.dtype.kind in "iuf"


def _safe(cell: str) -> str:
    """A text that a spreadsheet shows instead of running (OWASP)."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
