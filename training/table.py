"""A flat table to a judged model and predictions: what `python -m training table` does."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.errors import ContractError, UsageError, first_few
from features.files import write_json, written_whole
from features.lock import locked
from features.progress import Steps
from training import recipes
from training.flat import Field, Label, columns_of_inputs, date_form, inputs_of, is_number, label_of, moments, read_flat, typed, unread, written
from training.leaks import suspects
from training.nested import Each, Learned, Split, Wishes, figures, judge, learn, n_learned, n_trials, outer_splits
from training.reference import band_cuts, drivers, reference_of
from training.saved_model import Column, SavedModel, encoded
from training.tables import Rows
from training.threads import N_THREADS
from training.tune import study_storage

if TYPE_CHECKING:
    import pandas as pd

PACKAGES = ("lightgbm", "numpy", "optuna", "pandas", "scikit-learn", "scipy")
FEWEST, FEW_ROWS = 20, 500
# A combination that more rows than this share is common, not a copied row.
COPIES, COPIES_SHARE = 20, 0.01


@dataclass(frozen=True)
class Asked:
    """What a person asks of a flat table."""

    file: Path
    label: str
    id: str | None = None
    time: str | None = None
    score: Path | None = None
    predictions: Path | None = None
    out: Path | None = None
    trials: int = 20
    seconds: float | None = None
    drop: Sequence[str] = ()
    increasing: Sequence[str] = ()
    decreasing: Sequence[str] = ()


@dataclass(frozen=True)
class Prepared:
    """A table ready for a model. Rows stand in an order of their own content and columns by name, so that the file's order changes nothing.

    Shape: inputs (n, p), y, groups, times (n,); `digest` names the content.
    """

    inputs: "pd.DataFrame"
    y: NDArray[np.float64]
    groups: NDArray[np.object_]
    times: NDArray[np.datetime64]
    label: Label
    fields: tuple[Field, ...]
    dropped: dict[str, str]
    warnings: list[str]
    copies: int
    digest: str
    monotone: dict[str, int]

    def encode(self, seen: NDArray[np.bool_]) -> tuple[Rows, tuple[Column, ...]]:
        """All rows as a matrix with the levels of the rows seen, and its columns."""
        columns = columns_of_inputs(self.inputs, self.fields, seen)
        return Rows(encoded(self.inputs, columns, "the table"), self.y, self.groups, self.times), columns


def train_table(asked: Asked) -> dict[str, Any]:
    """Read, type, tune, judge, refit, save, predict; give the record of table.json.

    Raises: UsageError, ContractError before anything is written.
    """
    steps = Steps()
    out = asked.out or Path("out") / f"table-{_stem(asked.file)}"
    _require_words(asked)
    with steps.step("read", f"reading {asked.file.name}"):
        table = prepare(asked)
        wanted = _read_score(asked, table) if asked.score else None
    for text in table.warnings:
        steps.say(f"[yellow]note[/yellow] {_plain(text)}")
    rows, columns = table.encode(np.ones(len(table.y), dtype=bool))
    suspected = suspects(rows, columns, table.label.column)
    for name, reason in suspected.items():
        steps.say(f"[red]suspected leak[/red] {_plain(name)}: {_plain(reason)}; if it is known only after the label, leave it out: --drop {_plain(name)}")

    is_timed = asked.time is not None
    splits = outer_splits(rows, is_timed)
    # So many are learned, so many of them at a time.
    n = n_learned(splits)
    each = None if asked.seconds is None else asked.seconds * min(N_THREADS, n) / n
    wishes = Wishes(asked.trials, each, table.monotone)
    _require_both(rows, splits[0], is_timed)
    says = f"tuning on {len(rows.y):,} rows x {len(columns)} columns, judged by {'the latest quarter' if is_timed else f'{len(splits)} held-out parts'}"
    bars, on_trial = _progress(steps, n_trials(rows, is_timed, asked.trials))
    with locked(out, may_make=True):
        storage = study_storage(out)

        def learn_on(i: int, fit: Rows, columns: tuple[Column, ...], how: Each) -> Learned:
            return learn(fit, columns, is_timed, wishes, storage, f"flat.{table.digest}.{i}", on_trial, how)

        with steps.step("learn", says, bars):
            judged, final = judge(splits, table.encode, learn_on, wishes)
        with steps.step("judge", "judging"):
            record = _record(asked, table, rows, suspected, splits) | figures(judged) | {
                "winner": final.winner, "inner_log_loss": {kind: round(loss, 5) for kind, loss in final.losses.items()}, "params": final.params}
            model = _saved(_stem(asked.file), table, rows, columns, final, record)
        model.save(out / "model")
        if wanted is not None and asked.predictions:
            _write_predictions(asked, wanted, model.probabilities(encoded(inputs_of(wanted, table.fields), model.columns, asked.file.name)))
        write_json(out / "table.json", record | {"seconds": steps.seconds})
    return record | {"out": str(out)}


def prepare(asked: Asked) -> Prepared:
    """A file -> inputs, label, groups. Raises: ContractError for what cannot teach."""
    import pandas as pd

    frame = read_flat(asked.file)
    named = {"--label": [asked.label], "--id": [asked.id] if asked.id else [], "--time": [asked.time] if asked.time else [], "--drop": list(asked.drop),
             "--increasing": list(asked.increasing), "--decreasing": list(asked.decreasing)}
    for option, names in named.items():
        lost = [name for name in names if name not in frame.columns]
        if lost:
            raise UsageError(f"{option} must name a column of {asked.file.name}, found no {first_few(lost)} among {first_few(list(frame.columns), 12)}; correct the name")
    warnings = []
    blank = frame[asked.label].isna()
    if blank.any():
        warnings.append(f"{int(blank.sum()):,} rows without a label are left out")
        frame = frame[~blank].reset_index(drop=True)
    label = label_of(frame[asked.label], asked.label)
    times = _times(frame, asked)
    y = (written(frame[asked.label]) == label.positive).to_numpy().astype(np.float64)
    positives = int(y.sum())
    if min(positives, len(y) - positives) < FEWEST:
        raise ContractError(
            f"TOO_FEW_LABELS: {asked.label} needs at least {FEWEST} rows of each value, found {positives:,} {label.positive!r} of {len(y):,} rows; bring more rows")
    if len(y) < FEW_ROWS:
        warnings.append(f"only {len(y)} rows: read the interval of each figure, not the figure alone")

    kept_out = {asked.label, *asked.drop, *(name for name in (asked.id, asked.time) if name)}
    fields, dropped = typed(frame, sorted(name for name in frame.columns if name not in kept_out))
    dropped = dict.fromkeys(asked.drop, "left out as asked") | dropped
    inputs = inputs_of(frame, fields)
    warnings += unread(frame, inputs, fields, asked.file.name)
    columns = columns_of_inputs(inputs, fields, np.ones(len(y), dtype=bool))
    if not columns:
        raise ContractError(f"NO_COLUMN: {asked.file.name} needs at least one column that can tell rows apart, found none: {_reasons(dropped)}; bring more columns")
    content = pd.util.hash_pandas_object(inputs, index=False).to_numpy()
    ids = frame[asked.id] if asked.id else pd.Series([None] * len(y), dtype=object)
    key = pd.util.hash_pandas_object(pd.DataFrame({"content": content, "y": y, "times": times, "ids": ids.astype(str)}), index=False).to_numpy()
    order = np.argsort(key, kind="stable")
    groups, copies = _groups(content[order], ids.iloc[order])
    monotone = _monotone(asked, fields)
    digest = hashlib.sha256(key[order].tobytes() + repr((label, fields, asked.time, recipes.SEED, monotone)).encode()).hexdigest()[:12]
    return Prepared(inputs.iloc[order].reset_index(drop=True), y[order], groups, times[order], label, fields, dropped, warnings, copies, digest, monotone)


def _monotone(asked: Asked, fields: Sequence[Field]) -> dict[str, int]:
    """The columns declared to raise (1) or lower (-1) the odds. Raises: UsageError for one that is no number or date."""
    kinds = {field.name: field.kind for field in fields}
    declared = dict.fromkeys(asked.increasing, 1) | dict.fromkeys(asked.decreasing, -1)
    odd = [f"{name} ({kinds.get(name, 'left out')})" for name in declared if kinds.get(name) not in ("number", "date")]
    if odd:
        raise UsageError(f"--increasing and --decreasing must name columns of numbers or dates that are learned from, found {first_few(odd)}; correct them")
    return declared


def _groups(content: NDArray[Any], ids: "pd.Series") -> tuple[NDArray[np.object_], int]:
    """Rows that must not be parted: copies of each other, and rows of one id; and how many rows are copies."""
    import pandas as pd
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    own = np.arange(len(content))
    _, first, place, sizes = np.unique(content, return_index=True, return_inverse=True, return_counts=True)
    is_copied = (sizes[place] > 1) & (sizes[place] <= max(COPIES, COPIES_SHARE * len(content)))
    code = pd.factorize(ids)[0]
    _, first_of, place_of = np.unique(code, return_index=True, return_inverse=True)
    partners = np.concatenate([np.where(is_copied, first[place], own), np.where(code < 0, own, first_of[place_of])])
    _, component = connected_components(coo_array((np.ones(2 * len(own)), (np.tile(own, 2), partners)), shape=(len(own), len(own))), directed=False)
    return component.astype(str).astype(object), int(is_copied.sum())


def _times(frame: "pd.DataFrame", asked: Asked) -> NDArray[np.datetime64]:
    """The column of --time as moments; without one, all rows are of one moment."""
    import pandas as pd

    if asked.time is None:
        return np.full(len(frame), np.datetime64("1970-01-01", "us"))
    values = frame[asked.time]
    if is_number(values):
        # Years, months as 202601, seconds: only their order counts.
        at = pd.to_datetime(values, unit="s", errors="coerce")
    else:
        form = date_form(values.dropna())
        if "|" in form:
            raise ContractError(f"--time needs dates whose day and month are told apart, found {first_few(values.dropna().tolist())} in {asked.time}; write them as 2026-01-31")
        numbers = pd.to_numeric(values, errors="coerce")
        at = moments(values, form).dt.tz_localize(None) if form else pd.to_datetime(numbers, unit="s", errors="coerce")
    if at.isna().any():
        bad = values[at.isna()]
        raise ContractError(f"--time needs a date such as 2026-01-31 in each row, found {len(bad):,} rows of {asked.time} without ({first_few(bad.tolist())}); correct them")
    return at.to_numpy("datetime64[us]")


def _require_words(asked: Asked) -> None:
    """Raises: UsageError for options that do not go together."""
    if asked.trials < 1:
        raise UsageError(f"TRIALS must be at least 1, found {asked.trials}; give for example --trials 20")
    if (asked.score is None) != (asked.predictions is None):
        raise UsageError("--score FILE2 and --predictions FILE3 go together, found one of them; give both")
    if asked.predictions and asked.predictions.suffix not in (".csv", ".parquet"):
        raise UsageError(f"--predictions must end in .csv or .parquet, found {asked.predictions.name}; name it so")
    if asked.predictions and asked.predictions.resolve() in {asked.file.resolve(), asked.score.resolve() if asked.score else None}:
        raise UsageError(f"--predictions must be a file of its own, found {asked.predictions} among those to read; choose another name")
    if asked.seconds is not None and asked.seconds <= 0:
        raise UsageError(f"--seconds must be more than 0, found {asked.seconds:g}; give for example --seconds 60")
    roles = [name for name in (asked.label, asked.id, asked.time, *asked.drop, *asked.increasing, *asked.decreasing) if name]
    if len(set(roles)) < len(roles):
        twice = first_few(sorted({role for role in roles if roles.count(role) > 1}))
        raise UsageError(f"--label, --id, --time, --drop, --increasing and --decreasing must name different columns, found {twice} twice; correct them")


def _require_both(rows: Rows, split: Split, is_timed: bool) -> None:
    """Raises: ContractError where time parts the labels so that too few are left to learn from or to judge by."""
    for mask, part in zip(split, ("before the latest quarter", "in the latest quarter"), strict=True):
        positives, n = int(rows.y[mask].sum()), int(mask.sum())
        if is_timed and min(positives, n - positives) < FEWEST:
            raise ContractError(f"TOO_FEW_LABELS: the rows {part} need at least {FEWEST} of each label, found {positives} positive of {n}; leave --time out or bring more rows")


def _read_score(asked: Asked, table: Prepared) -> "pd.DataFrame":
    """The file to score, with every column that the model needs."""
    assert asked.score
    frame = read_flat(asked.score)
    lost = [field.name for field in table.fields if field.name not in frame.columns]
    if lost:
        raise ContractError(f"MISSING_COLUMN: {asked.score.name} needs the columns of {asked.file.name}, found none called {first_few(lost, 8)}; add them")
    known = {field.name for field in table.fields} | {asked.label, asked.id, asked.time, *table.dropped}
    extra = [name for name in frame.columns if name not in known]
    if extra:
        table.warnings.append(f"{asked.score.name} has columns that {asked.file.name} has not, ignored: {first_few(extra, 8)}")
    if asked.id and asked.id not in frame.columns:
        table.warnings.append(f"{asked.score.name} has no column {asked.id}: predictions go without it, in the order of its rows")
    table.warnings.extend(unread(frame, inputs_of(frame, table.fields), table.fields, asked.score.name))
    return frame


def _write_predictions(asked: Asked, frame: "pd.DataFrame", p: NDArray[np.float64]) -> None:
    import pandas as pd

    assert asked.predictions
    said = {asked.id: frame[asked.id]} if asked.id and asked.id in frame.columns else {}
    if asked.predictions.suffix == ".csv":
        # What a spreadsheet would take for a formula is marked as text.
        said = {name: ids if is_number(ids) else ids.str.replace(r"^([=+@\t\r＝＋－＠-])", r"'\1", regex=True) for name, ids in said.items()}
    table = pd.DataFrame({**said, "probability": p})
    with written_whole(asked.predictions) as aside:
        if asked.predictions.suffix == ".parquet":
            table.to_parquet(aside, index=False)
        else:
            table.to_csv(aside, index=False)


def _record(asked: Asked, table: Prepared, rows: Rows, suspected: dict[str, str], splits: Sequence[Split]) -> dict[str, Any]:
    return {
        "kind": "table", "table": asked.file.name, "fingerprint": table.digest, "label": table.label.column, "positive": table.label.positive, "negative": table.label.negative,
        "rows": len(rows.y), "positives": int(rows.y.sum()), "base_rate": round(float(rows.y.mean()), 5), "columns": {field.name: field.kind for field in table.fields},
        "dropped": table.dropped, "suspected_leaks": suspected, "copied_rows": table.copies, "groups": len(set(rows.customers)), "notes": table.warnings,
        "judged_by": {"kind": "time" if asked.time else "groups", "by": asked.time or asked.id, "splits": len(splits)}, "trials": asked.trials,
        "seconds_asked": asked.seconds, "monotone": table.monotone, "packages": {name: version(name) for name in PACKAGES}}


def _saved(name: str, table: Prepared, rows: Rows, columns: tuple[Column, ...], final: Learned, record: dict[str, Any]) -> SavedModel:
    """The procedure once more on all rows. Its calibrator comes from out-of-fold margins, its bands from out-of-fold probabilities."""
    fitted = final.fitted[final.winner]
    task = {"name": table.label.column, "kind": "table", "label": asdict(table.label), "fields": [asdict(field) for field in table.fields]}
    card = {**record, "figures": "of held-out rows, judged by models that were tuned, calibrated and chosen without them; the model saved is the same procedure on all rows"}
    model = SavedModel(name, task, columns, fitted.members, fitted.weights, *final.calibrators[final.winner], band_cuts(final.out_of_fold), card=card)
    return replace(model, reference=reference_of(model, rows), card=card | {"drivers": drivers(model, rows)})


def _progress(steps: Steps, total: int) -> tuple[Any, Any]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bars = Progress(TextColumn("  trials"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=steps.console)
    shown = bars.add_task("trials", total=total)
    return bars, lambda: bars.advance(shown)


def _stem(path: Path) -> str:
    return path.name.split(".")[0]


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _reasons(dropped: dict[str, str]) -> str:
    return first_few([f"{name} ({reason})" for name, reason in dropped.items()])
