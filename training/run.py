"""From raw tables to registered models: what `make run` and `train` do. What is up to date is used again."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import ContractError, GateFailed, UsageError
from features.files import sha256
from features.progress import Steps

if TYPE_CHECKING:
    from datetime import datetime

    from features.dataset import Dataset, Finding
    from features.feature import Feature
    from features.tasks import Task
    from training.folds import Folds

_ROOM = Path(__file__).parent
# Doors and books: a change in them changes no model.
_NOT_OF_A_MODEL = ("__main__", "advise", "advise_page", "changes", "compare", "compare_page", "gate", "page", "registry", "run")


@dataclass(frozen=True)
class Given:
    """What a run is asked to do.

    `names` are tasks (all if None), `seeds` the ids of a list for the lookalike task; `allow` names sensitive features that may be learned from,
    `exclude` has words for those that may not.
    """

    data: str
    run: Path
    trials: int = 20
    names: Sequence[str] | None = None
    allow: Sequence[str] = ()
    promotes: bool = True
    seeds: Sequence[str] | None = None
    exclude: Sequence[str] = ()


@dataclass(frozen=True)
class Plan:
    """What one task needs of the feature table: its moments, and for churn and conversion its blocks."""

    task: "Task"
    as_ofs: "list[datetime]"
    folds: "Folds | None"


def run_tasks(given: Given) -> dict[str, Any]:
    """Read, check, build features, and train the tasks to registered challengers; write `run.json`.

    Tables, features and models that a run before made from the same files, code and parameters are used again. Where there is no champion
    yet and `promotes`, a challenger that passes the gate becomes it. Unless tasks are named, one that the data cannot answer is recorded as
    not applicable, as long as another remains.
    Raises: ContractError, UsageError; a refused gate is recorded, not raised.
    """
    from features.choice import meant
    from features.files import write_json
    from features.kept import open_kept
    from features.snapshots import features_of
    from training.registry import Registry
    from training.train import PACKAGES

    if given.trials < 1:
        raise UsageError(f"TRIALS must be 1 or more, found {given.trials}; 20 is a good beginning")
    steps = Steps()
    with steps.step("read", f"reading {given.data} and holding it against the contract"):
        dataset, findings, tables_key, was_kept = open_kept(given.data, given.run)
    _say_kept(steps, was_kept, "the tables")
    tasks = _chosen(dataset, given)
    features, absent = features_of(dataset)
    _tell(steps, dataset, findings, absent)
    unknown = [name for name in given.allow if name not in {feature.name for feature in features}]
    if unknown:
        raise UsageError(f"--allow must name features of {dataset.name}, found {', '.join(unknown)}; see python -m features describe --data {given.data}")
    left_out = meant(features, given.exclude)
    others = _set_aside(given, dataset)
    refused: dict[str, ContractError] = {}
    plans = [plan for task in tasks if (plan := _or_refused(task, refused, lambda task=task: _plan(dataset, task)))]  # type: ignore[misc]
    _require_one(plans, refused, given)
    with steps.step("features", f"building {len(features)} features at every snapshot"):
        snapshot_file, was_kept = _snapshots(dataset, plans, features, given.run, tables_key)
    _say_kept(steps, was_kept, "the features")
    tables = {plan.task.name: path for plan in plans if (path := _or_refused(plan.task, refused, lambda plan=plan: _table(dataset, plan, given, snapshot_file)))}  # type: ignore[misc]
    registry = Registry(given.run)
    came = {plan.task.name: _matured(steps, registry, dataset, given, plan.task.name) for plan in plans if plan.folds}
    # What was counted is on the disk; the engine would hold half of the memory while models are fitted.
    dataset.engine.disconnect()
    records = {}
    for plan in plans:
        if plan.task.name not in tables:
            continue
        record = _or_refused(plan.task, refused, lambda plan=plan: _one(steps, registry, dataset, plan, features, given, left_out, tables))  # type: ignore[misc]
        if record:
            records[plan.task.name] = record | {"matured": came.get(plan.task.name, [])}
    _require_one(records, refused, given)
    for name, why in refused.items():
        steps.say(f"  task {name} does not apply: {why}")
    summary = {
        "data": dataset.name, "is_simulated": dataset.is_simulated, "fingerprint": dataset.fingerprint, "seconds": steps.seconds,
        "quarantine": {finding.code: finding.count for finding in findings if finding.level == "quarantine"},
        "warnings": {finding.code: finding.count for finding in findings if finding.level == "warn"},
        "features": len(features), "excluded_features": sorted(left_out), "absent_features": absent,
        "not_applicable": dataset.not_applicable | {name: str(why) for name, why in refused.items()},
        "tasks": others | records, "reports": [], "packages": {name: version(name) for name in PACKAGES}}
    write_json(given.run / "run.json", summary)
    return summary


def _or_refused(task: "Task", refused: dict[str, ContractError], do: Callable[[], Any]) -> Any:
    """What a task's step gives, or None and the refusal written down."""
    try:
        return do()
    except ContractError as error:
        refused[task.name] = error
        return None


def _require_one(done: Any, refused: dict[str, ContractError], given: Given) -> None:
    """A task that was asked for by name, and the last of all, may not just be left out."""
    if refused and (given.names or not done):
        raise next(iter(refused.values()))


def _set_aside(given: Given, dataset: "Dataset") -> dict[str, Any]:
    """Move the summary of a run before aside, so that it is not taken for this one's; give its records of other tasks if the data are the same."""
    import json

    path = given.run / "run.json"
    if not path.exists():
        return {}
    said = json.loads(path.read_text(encoding="utf-8"))
    path.replace(given.run / "run.before.json")
    return {name: record for name, record in said["tasks"].items() if given.names and name not in given.names and said["fingerprint"] == dataset.fingerprint}


def _chosen(dataset: "Dataset", given: Given) -> list["Task"]:
    from features.tasks import Seeds

    by_name = {task.name: task for task in dataset.tasks}
    for name in given.names or ():
        if name not in by_name:
            why = dataset.not_applicable.get(name)
            said = f"it does not apply: {why}" if why else f"found {name!r}, which is none; correct the name"
            raise UsageError(f"TASK must be one of {', '.join(by_name)} for {dataset.name}; {said}")
    tasks = [by_name[name] for name in given.names] if given.names else list(dataset.tasks)
    return tasks if given.seeds is None else [replace(task, seeds=Seeds()) if task.kind == "lookalike" else task for task in tasks]


def _say_kept(steps: Steps, was_kept: bool, what: str) -> None:
    if was_kept:
        steps.say(f"  up to date, used again: {what}")


def _tell(steps: Steps, dataset: "Dataset", findings: "list[Finding]", absent: dict[str, str]) -> None:
    """Say once what was refused and what is not there."""
    from rich.markup import escape

    for finding in findings:
        steps.say(f"  {finding.level}: {escape(finding.sentence())}")
    missing = [name for name in ("customers", "items", "campaigns") if name not in dataset.tables]
    if missing:
        steps.say(f"  absent tables: {', '.join(missing)}")
    if absent:
        steps.say(f"  absent features: {len(absent)}, for lack of {', '.join(sorted(set(absent.values())))}")
    for task, why in dataset.not_applicable.items():
        steps.say(f"  task {task} does not apply: {why}")


def _plan(dataset: "Dataset", task: "Task") -> Plan:
    from features.labels import mature_as_ofs
    from features.seeds import seed_moments
    from training.folds import split

    if task.kind == "lookalike":
        return Plan(task, seed_moments(dataset, task), None)
    as_ofs = mature_as_ofs(dataset, task)
    return Plan(task, as_ofs, split(as_ofs, task))


def _snapshots(dataset: "Dataset", plans: list[Plan], features: "Sequence[Feature]", run: Path, tables_key: str) -> tuple[Path, bool]:
    """The feature table of everybody whom any task asks about at any of its moments, and the base; each built only if something that it depends on has changed."""
    import ibis

    from features import kept
    from features.base import write_base
    from features.engine import write_tables
    from features.labels import eligible
    from features.snapshots import parts

    room = Path(kept.__file__).parent
    as_ofs = sorted({as_of for plan in plans for as_of in plan.as_ofs})
    path, base = run / "features" / f"{dataset.name}.snapshots.parquet", run / "features" / "base.parquet"
    key = kept.digest(tables_key, as_ofs, dataset.lookbacks_days(), [feature.name for feature in features], [asdict(plan.task.eligibility) for plan in plans],
                      kept.code_digest(room, (*kept.FEATURE_CODE, "labels")))
    base_key = kept.digest(tables_key, dataset.lookbacks_days(), [asdict(task) for task in dataset.tasks], kept.code_digest(room, kept.BASE_CODE))
    is_kept, is_base_kept = kept.is_kept(path, key), kept.is_kept(base, base_key) and base.with_suffix(".json").exists()
    if not is_kept:
        asked = ibis.union(*(eligible(dataset, plan.task, plan.as_ofs) for plan in plans), distinct=True)
        asked = dataset.engine.create_table("asked", asked, overwrite=True)
        write_tables(parts(dataset, as_ofs, features, asked), path)
        kept.keep(path, key)
    if not is_base_kept:
        write_base(dataset, run)
        kept.keep(base, base_key)
    return path, is_kept and is_base_kept


def _table(dataset: "Dataset", plan: Plan, given: Given, snapshot_file: Path) -> Path:
    """Write what a task learns from: labels, or seeds, beside the features."""
    from training.lookalike import write_population
    from training.tables import write_training_table

    path = given.run / "features" / f"{dataset.name}.{plan.task.name}.parquet"
    if plan.folds is None:
        write_population(dataset, plan.task, snapshot_file, path, given.seeds)
    else:
        write_training_table(dataset, plan.task, plan.as_ofs, snapshot_file, path)
    return path


def _one(
    steps: Steps, registry: Any, dataset: "Dataset", plan: Plan, features: "Sequence[Feature]", given: Given, left_out: Collection[str], tables: dict[str, Path],
) -> dict[str, Any]:
    """Train one task on its table, or find that it was trained on just this, and let the gate judge it."""
    from features import kept
    from training.train import PACKAGES

    task, path = plan.task, tables[plan.task.name]
    steps.say(f"[bold]{task.name}[/bold]: {task.question()}")
    code = kept.code_digest(_ROOM, [file.stem for file in _ROOM.glob("*.py") if file.stem not in _NOT_OF_A_MODEL])
    declared = [(feature.name, feature.label_en, feature.label_zh, feature.is_sensitive, feature.is_actionable, feature.is_treatment) for feature in features]
    key = kept.digest(sha256(path), asdict(task), given.trials, sorted(given.allow), sorted(left_out), declared, code, [version(name) for name in PACKAGES])
    name = f"{dataset.name}.{task.name}"
    found = registry.kept(name, key)
    if found:
        _say_kept(steps, True, f"version {found[0]} of {name}")
        number, record = found
    else:
        trained = _trained(steps, dataset, plan, features, given, left_out, path)
        with steps.step("register", f"registering {name}"):
            number, record = registry.register(trained, dataset.name, key), trained.record
    record = {**record, "model": name, "version": number, "gate": _gate(registry, given, name, number)}
    steps.say(f"  {_in_short(record)}; version {number}, gate {record['gate']}")
    return record


def _matured(steps: Steps, registry: Any, dataset: "Dataset", given: Given, task: str) -> list[dict[str, Any]]:
    """What came of the scores that this run folder's champions handed out before, now that their horizon is over: the only judgement on what was really served."""
    from features.matured import matured, score_log
    from features.tasks import Task
    from training.registry import CHAMPION

    log = score_log(given.run)
    log = None if log is None else log[log["model"] == f"{dataset.name}.{task}"]
    if log is None or log.empty:
        return []
    try:
        told, _ = matured(dataset, log, lambda model, version: Task.from_json(registry.model(model, version).task))
    except ContractError as error:
        # An old version that is gone is no reason not to train a new one.
        steps.say(f"  scores handed out before cannot be judged: {error}")
        return []
    champion = registry.version_of(f"{dataset.name}.{task}", CHAMPION)
    for one in told:
        one["is_champion"] = one["version"] == champion
        steps.say(f"  {_came_in_short(one)}")
    return told


def _came_in_short(one: dict[str, Any]) -> str:
    everybody = one["all"]
    low, high = everybody["interval"] or (0, 0)
    came = "too few or too many to be told" if everybody["actual"] is None else f"{everybody['actual']:,} ({100 * low:.1f} to {100 * high:.1f} %)"
    return (
        f"handed out by version {one['version']}{' (champion)' if one['is_champion'] else ''} as of {one['as_of'][:10]}: expected {everybody['expected']:,.0f} of "
        f"{everybody['customers']:,} ({100 * everybody['expected_share']:.1f} %), came {came}" + ("" if one["auc"] is None else f", AUC {one['auc']:.3f}"))


def _trained(steps: Steps, dataset: "Dataset", plan: Plan, features: "Sequence[Feature]", given: Given, left_out: Collection[str], path: Path) -> Any:
    import pandas as pd
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from training.lookalike import train_space
    from training.train import train

    task, says = plan.task, f"tuning, judging and refitting {plan.task.name}"
    if plan.folds is None:
        with steps.step(f"train_{task.name}", says):
            return train_space(dataset, task, pd.read_parquet(path), features, given.allow, left_out)
    bars = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[best]}"), TimeRemainingColumn(), console=steps.console)
    shown = {kind: bars.add_task(f"  {kind}", total=n, best="") for kind, n in (("lightgbm", given.trials), ("logistic", max(1, given.trials // 2)))}
    best: dict[str, float] = {}

    def on_trial(kind: str, n: int, loss: float) -> None:
        best[kind] = min(loss, best.get(kind, loss))
        bars.update(shown[kind], completed=n, best=f"loss {best[kind]:.4f}")

    with steps.step(f"train_{task.name}", says, bars):
        return train(
            dataset, task, pd.read_parquet(path), features, plan.folds, run=given.run, trials=given.trials, allow=given.allow, exclude=left_out, on_trial=on_trial,
            on_doubt=lambda doubt: steps.say(f"  doubt: {escape(doubt.sentence())}"))


def _gate(registry: Any, given: Given, name: str, number: str) -> str:
    """Promote where there is no champion yet; else say what the challenger waits for."""
    from training import gate
    from training.registry import CHAMPION

    champion = registry.version_of(name, CHAMPION)
    if champion == number:
        return "passed"
    if champion is not None or not given.promotes:
        return f"waiting: python -m training promote {name.split('.')[-1]} --run {given.run}"
    try:
        gate.promote(registry, given.run, name)
    except GateFailed as refusal:
        return f"refused: {refusal}"
    return "passed"


def _in_short(record: dict[str, Any]) -> str:
    rule, gain = record["rule"], record["gain_over_rule"]
    figure = "auc" if record["auc"] is not None else "lift_at_10"
    said, interval = "AUC" if figure == "auc" else "lift at 10 %", record[f"{figure}_interval"]
    return (
        f"{record['winner']}: {said} {record[figure]:.3f} [{interval[0]:.3f}, {interval[1]:.3f}] against {rule[figure]:.3f} for the rule {rule['name']} "
        f"(gain {gain[figure]:+.3f} {gain['interval']}: {record['grade']})" + (f"; quality {record['quality']['word']}" if "quality" in record else ""))
