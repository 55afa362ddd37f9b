"""From raw tables to registered models: what `make run` and `train` do."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import GateFailed, UsageError
from features.progress import Steps

if TYPE_CHECKING:
    from features.contracts import Finding
    from features.dataset import Dataset
    from features.tasks import Task


def run_tasks(data: str, run: Path, trials: int, names: Sequence[str] | None, allow: Sequence[str], promotes: bool) -> dict[str, Any]:
    """Read, check, build features, and train the named tasks (all if None) to registered challengers; write `run.json`.

    Where there is no champion yet and `promotes`, a challenger that passes the gate becomes it.
    Raises: ContractError, UsageError; a refused gate is recorded, not raised.
    """
    from features.base import write_base
    from features.contracts import hold
    from features.files import write_json
    from features.snapshots import features_of
    from features.sources import open_dataset
    from training.train import PACKAGES

    if trials < 1:
        raise UsageError(f"TRIALS must be 1 or more, found {trials}; 20 is a good beginning")
    steps = Steps()
    with steps.step("read", f"reading {data}"):
        dataset = open_dataset(data)
    with steps.step("check", "holding the tables against the contract"):
        dataset, findings = hold(dataset)
    tasks = _chosen(dataset, names)
    features, absent = features_of(dataset)
    _tell(steps, dataset, findings, absent)
    sensitive = [name for name in allow if name not in {feature.name for feature in features}]
    if sensitive:
        raise UsageError(f"--allow must name features of {dataset.name}, found {', '.join(sensitive)}; see python -m features describe --data {data}")
    folder = run / "features"
    snapshot_file = folder / f"{dataset.name}.snapshots.parquet"
    with steps.step("features", f"building {len(features)} features at every snapshot"):
        folds = _write_snapshots(dataset, tasks, snapshot_file)
        write_base(dataset, run)
    summary: dict[str, Any] = {
        "data": dataset.name, "fingerprint": dataset.fingerprint, "seconds": steps.seconds,
        "quarantine": {finding.code: finding.count for finding in findings if finding.level == "quarantine"},
        "warnings": {finding.code: finding.count for finding in findings if finding.level == "warn"},
        "features": len(features), "absent_features": absent, "not_applicable": dataset.not_applicable,
        "tasks": {}, "reports": [], "packages": {name: version(name) for name in PACKAGES}}
    for task in tasks:
        summary["tasks"][task.name] = _one(steps, dataset, task, features, folds[task.name], run, snapshot_file, trials, allow, promotes)
    write_json(run / "run.json", summary)
    return summary


def _chosen(dataset: "Dataset", names: Sequence[str] | None) -> list["Task"]:
    by_name = {task.name: task for task in dataset.tasks}
    for name in names or ():
        if name not in by_name:
            why = dataset.not_applicable.get(name)
            said = f"it does not apply: {why}" if why else f"found {name!r}, which is none; correct the name"
            raise UsageError(f"TASK must be one of {', '.join(by_name)} for {dataset.name}; {said}")
    return [by_name[name] for name in names] if names else list(dataset.tasks)


def _tell(steps: Steps, dataset: "Dataset", findings: "list[Finding]", absent: dict[str, str]) -> None:
    """Say once what was refused and what is not there."""
    for finding in findings:
        steps.say(f"  {finding.level}: {finding.sentence()}")
    missing = [name for name in ("customers", "items", "campaigns") if name not in dataset.tables]
    if missing:
        steps.say(f"  absent tables: {', '.join(missing)}")
    if absent:
        steps.say(f"  absent features: {len(absent)}, for lack of {', '.join(sorted(set(absent.values())))}")
    for task, why in dataset.not_applicable.items():
        steps.say(f"  task {task} does not apply: {why}")


def _write_snapshots(dataset: "Dataset", tasks: "list[Task]", path: Path) -> dict[str, Any]:
    """Build the features once, for every moment that any task needs; give each task's folds."""
    from features.engine import write_table
    from features.labels import mature_as_ofs
    from features.snapshots import features_of, snapshots
    from training.folds import split

    as_ofs = {task.name: mature_as_ofs(dataset, task) for task in tasks}
    folds = {task.name: split(as_ofs[task.name], task) for task in tasks}
    write_table(snapshots(dataset, sorted({t for ts in as_ofs.values() for t in ts}), features_of(dataset)[0]), path)
    return folds


def _one(
    steps: Steps, dataset: "Dataset", task: "Task", features: Any, folds: Any, run: Path, snapshot_file: Path, trials: int, allow: Sequence[str],
    promotes: bool,
) -> dict[str, Any]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from features.labels import mature_as_ofs
    from training import gate
    from training.registry import CHAMPION, Registry
    from training.tables import write_training_table
    from training.train import train

    steps.say(f"[bold]{task.name}[/bold]: {task.question()}")
    frame = write_training_table(dataset, task, mature_as_ofs(dataset, task), snapshot_file, run / "features" / f"{dataset.name}.{task.name}.parquet")
    bars = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[best]}"), TimeRemainingColumn(), console=steps.console)
    shown = {kind: bars.add_task(f"  {kind}", total=n, best="") for kind, n in (("lightgbm", trials), ("logistic", max(1, trials // 2)))}
    best: dict[str, float] = {}

    def on_trial(kind: str, n: int, loss: float) -> None:
        best[kind] = min(loss, best.get(kind, loss))
        bars.update(shown[kind], completed=n, best=f"loss {best[kind]:.4f}")

    with steps.step(f"train_{task.name}", f"tuning, judging and refitting {task.name}", bars):
        trained = train(dataset, task, frame, features, folds, run=run, trials=trials, allow=allow, on_trial=on_trial)
    with steps.step("register", f"registering {trained.model.name}"):
        registry = Registry(run)
        record = {**trained.record, "model": trained.model.name, "version": registry.register(trained, dataset.name)}
        if promotes and registry.version_of(trained.model.name, CHAMPION) is None:
            try:
                gate.promote(registry, run, trained.model.name)
                record["gate"] = "passed"
            except GateFailed as refusal:
                record["gate"] = f"refused: {refusal}"
        else:
            record["gate"] = f"waiting: python -m training promote {task.name} --run {run}"
    interval, rule = record["auc_interval"], record["rule"]
    steps.say(
        f"  {record['winner']}: AUC {record['auc']:.3f} [{interval[0]:.3f}, {interval[1]:.3f}] against {rule['auc']:.3f} for the rule {rule['name']} "
        f"(gain {record['gain_over_rule']['auc']:+.3f} {record['gain_over_rule']['interval']}: {record['grade']}); "
        f"version {record['version']}, gate {record['gate']}")
    return record
