"""The door of the training room: python -m training run | train | advise | compare | promote | rollback | table."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import UsageError, run_door

if TYPE_CHECKING:
    from rich.console import Console

    from training.registry import Registry

_COMPARED = {
    "AUC": "auc", "rule": "rule_auc", "gain": "gain_over_rule_auc", "log loss": "log_loss", "ECE": "ece", "lift 10 %": "lift_at_10", "rule's lift": "rule_lift_at_10",
    "slope": "calibration_slope"}


def main() -> None:
    """Parse the command line and do what it asks."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Features and labels in; tuned, calibrated, judged, registered models out.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="every task of a dataset, from raw tables to champions", epilog="example: python -m training run --data complete-journey")
    train = commands.add_parser("train", help="one task to a registered challenger", epilog="example: python -m training train churn --data complete-journey --trials 40")
    train.add_argument("task", metavar="TASK")
    advise = commands.add_parser(
        "advise", help="before training: when customers return and convert, suggested windows, three horizons side by side",
        epilog="example: python -m training advise churn --data complete-journey --out advice.html")
    advise.add_argument("task", metavar="TASK")
    advise.add_argument("--out", type=Path, metavar="FILE", help="a page (.html) or every figure and curve (.json)")
    for parser_ in (run, train, advise):
        parser_.add_argument("--data", default="complete-journey", help="complete-journey (default) or a folder of tables")
    for parser_ in (run, train):
        parser_.add_argument("--trials", type=int, default=20, help="LightGBM trials; half as many for the logistic regression (default 20)")
        parser_.add_argument("--allow", nargs="*", default=[], metavar="FEATURE", help="sensitive features that may be used, by name")
        parser_.add_argument("--exclude", nargs="*", default=[], metavar="WORD", help=(
            "features that may not be learned from: a name, a pattern such as 'spend_*', family:NAME, or actionable, treatment, undated, category"))
        parser_.add_argument("--seeds", type=Path, metavar="FILE", help="a file of customer ids as the seeds of the lookalike task")
    compare = commands.add_parser(
        "compare", help="versions of a task side by side: is the new one better, for whom, is it noise?", epilog="example: python -m training compare churn --out compare.html",
        description="List the versions; fit two recipes anew on the same rows and judge them on the same later ones.")
    compare.add_argument("--versions", nargs=2, metavar=("OLD", "NEW"), help="which two (default: the champion and the challenger, else the newest two)")
    compare.add_argument("--out", type=Path, metavar="FILE", help="a page (.html) or every figure (.json)")
    promote = commands.add_parser("promote", help="the gate: make the challenger champion", epilog="example: python -m training promote churn")
    rollback = commands.add_parser("rollback", help="make the champion before this one champion again", epilog="example: python -m training rollback churn")
    for parser_ in (compare, promote, rollback):
        parser_.add_argument("task", metavar="TASK")
    for parser_ in (run, train, compare, promote, rollback):
        parser_.add_argument("--run", type=Path, default=Path("out"), metavar="OUT", help="the run folder (default out)")
    table = commands.add_parser(
        "table", help="a flat table of your own: typed, tuned, calibrated, judged, predictions",
        epilog="example: python -m training table customers.csv --label churned --id customer_id")
    table.add_argument("file", type=Path, metavar="FILE", help="CSV, TSV or Parquet, also gzip or zstd; one row per case")
    table.add_argument("--label", required=True, metavar="COL", help="the column to predict; two values")
    table.add_argument("--id", metavar="COL", help="whose row it is: rows of one id stay together, and predictions carry it")
    table.add_argument("--time", metavar="COL", help="when the row was known: judged on the latest quarter")
    table.add_argument("--drop", nargs="*", default=[], metavar="COL", help="columns to leave out, such as what is known only after the label")
    table.add_argument("--increasing", nargs="*", default=[], metavar="COL", help="columns of numbers that may only raise the odds")
    table.add_argument("--decreasing", nargs="*", default=[], metavar="COL", help="columns of numbers that may only lower the odds")
    table.add_argument("--seconds", type=float, metavar="S", help="begin no trial when the time for tuning is over: about so long in all; then the result depends on the machine")
    table.add_argument("--score", type=Path, metavar="FILE2", help="rows to predict")
    table.add_argument("--predictions", type=Path, metavar="FILE3", help="where to write their probabilities, in order (.csv or .parquet)")
    table.add_argument("--out", type=Path, metavar="DIR", help="where table.json and the model go (default out/table-NAME)")
    table.add_argument("--trials", type=int, default=20, help="LightGBM trials of each tuning; half as many for the logistic regression (default 20)")
    given = parser.parse_args()
    {"table": _table, "run": _run, "train": _run, "advise": _advise, "compare": _compare, "promote": _promote, "rollback": _rollback}[given.command](given)


def _run(given: argparse.Namespace) -> None:
    from features.lock import locked
    from features.seeds import read_ids
    from features.sources import raw_files
    from training.run import Given, run_tasks

    one = getattr(given, "task", None)
    seeds = read_ids(given.seeds, print) if given.seeds else None
    # A wrong name makes no run folder.
    raw_files(given.data)
    with locked(given.run, may_make=True):
        run_tasks(Given(given.data, given.run, given.trials, [one] if one else None, given.allow, one is None, seeds, given.exclude))
    print(f"{given.run / 'run.json'} holds every figure; compare versions: python -m training compare {one or 'churn'} --run {given.run}")


def _advise(given: argparse.Namespace) -> None:
    from rich.console import Console

    from features.contracts import hold
    from features.progress import Steps
    from features.sources import open_dataset, raw_files
    from training.advise import advise
    from training.advise_page import page_of, show

    _require_page_or_figures(given.out)
    raw_files(given.data)
    steps = Steps()
    with steps.step("read", f"reading {given.data} and holding it against the contract"):
        dataset, _ = hold(open_dataset(given.data))
    tasks = {task.name: task for task in dataset.tasks}
    if given.task not in tasks:
        raise UsageError(f"TASK must be one of {', '.join(tasks)} for {dataset.name}, found {given.task!r}; correct the name")
    with steps.step("advise", "counting silences and delays, and trying three horizons"):
        said = advise(dataset, tasks[given.task])
    show(Console(), said)
    _write(given.out, said, page_of)


def _model_name(given: argparse.Namespace) -> str:
    path = given.run / "run.json"
    if not path.exists():
        raise UsageError(f"--run must name a run folder with run.json, found none in {given.run}; make one: make run")
    return f"{json.loads(path.read_text(encoding='utf-8'))['data']}.{given.task}"


def _compare(given: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    from training.registry import CHALLENGER, CHAMPION, Registry

    name, registry = _model_name(given), Registry(given.run)
    versions = registry.versions(name)
    if not versions:
        raise UsageError(f"TASK must have a registered version in {given.run}, found none called {name}; train it first")
    aliases = {registry.version_of(name, alias): alias for alias in (CHALLENGER, CHAMPION)}
    data = {str(version.version): registry.client.get_run(version.run_id).data for version in versions}
    # Figures that at least one version has: a lookalike has no probabilities.
    shown = {name: key for name, key in _COMPARED.items() if any(key in one.metrics for one in data.values())}
    table = Table("version", "is", "winner", *shown, "grade", title=name)
    for version, one in data.items():
        figures = [f"{one.metrics[key]:.4f}" if key in one.metrics else "" for key in shown.values()]
        table.add_row(version, aliases.get(version, ""), one.params.get("winner", ""), *figures, one.tags.get("grade", ""))
    console = Console()
    console.print(table)
    _replay(given, registry, name, list(data), aliases, console)


def _replay(given: argparse.Namespace, registry: "Registry", name: str, numbers: list[str], aliases: dict[str | None, str], console: "Console") -> None:
    """Two versions' recipes on the same rows, on the screen and in a file."""
    from features.progress import Steps
    from features.tasks import Task
    from training.compare import compared, replayed
    from training.compare_page import page_of, show
    from training.gate import newest_rows
    from training.registry import CHALLENGER, CHAMPION
    from training.space import Space

    _require_page_or_figures(given.out)
    chosen = given.versions or [number for alias in (CHAMPION, CHALLENGER) for number in numbers if aliases.get(number) == alias]
    chosen = chosen if len(chosen) == 2 else numbers[-2:]
    unknown = [number for number in chosen if number not in numbers]
    if unknown:
        raise UsageError(f"--versions must name versions of {name}, found no {', '.join(unknown)} among {', '.join(numbers)}; correct them")
    if len(chosen) < 2 or chosen[0] == chosen[1]:
        if given.versions or given.out:
            raise UsageError(f"comparing needs two versions of {name}, found {', '.join(sorted(set(chosen)))}; train another: python -m training train {given.task}")
        return
    models = [registry.model(name, number) for number in chosen]
    kept = [model for model in models if not isinstance(model, Space)]
    if len(kept) < 2:
        console.print("lookalike spaces are compared by the gate, on the same held-out seeds: python -m training promote")
        return
    frame, task, steps = newest_rows(given.run, name), Task.from_json(kept[1].task), Steps()
    sides = []
    for number, model in zip(chosen, kept, strict=True):
        with steps.step(f"version {number}", f"fitting version {number} anew and asking it about the latest rows"):
            sides.append(replayed(number, model, task, frame))
    said = compared(*sides)
    show(console, said)
    _write(given.out, said, page_of)


def _require_page_or_figures(out: Path | None) -> None:
    if out and out.suffix not in (".html", ".json"):
        raise UsageError(f"--out must end in .html or .json, found {out.name}; name it so")


def _write(out: Path | None, said: dict[str, Any], page_of: Callable[[dict[str, Any]], str]) -> None:
    """What was found, as figures or as a page, where it was asked for."""
    from features.files import write_json, written_whole

    if out and out.suffix == ".json":
        write_json(out, said)
    elif out:
        with written_whole(out) as aside:
            aside.write_text(page_of(said), encoding="utf-8")


def _rollback(given: argparse.Namespace) -> None:
    from features.lock import locked
    from training.gate import roll_back
    from training.registry import Registry

    name = _model_name(given)
    with locked(given.run):
        verdict = roll_back(Registry(given.run), given.run, name)
    print(f"version {verdict.version} is champion again: {verdict.says}")


def _promote(given: argparse.Namespace) -> None:
    from features.lock import locked
    from training.gate import promote
    from training.registry import Registry

    name = _model_name(given)
    with locked(given.run):
        verdict = promote(Registry(given.run), given.run, name)
    print(f"version {verdict.version} is champion: {verdict.says}")


def _table(given: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from training.table import Asked, train_table

    said = train_table(Asked(**{name: value for name, value in vars(given).items() if name != "command"}))
    title = f"{said['table']}: {said['label']} = {said['positive']}, {said['positives']:,} of {said['rows']:,} rows"
    shown = Table("", "AUC", "interval", "log loss", "ECE", "lift 10 %", title=escape(title))
    named = {f"best column: {said['rule']['name']}": said["rule"], **{kind: said[kind] for kind in ("logistic", "lightgbm", "blend")}, "as chosen in each part": said}
    for name, figures in named.items():
        rest = [f"{figures[key]:.4f}" if key in figures else "" for key in ("log_loss", "ece", "lift_at_10")]
        shown.add_row(escape(name), f"{figures['auc']:.4f}", "{:.3f} to {:.3f}".format(*figures["auc_interval"]), *rest)
    Console().print(shown)
    for name, reason in said["dropped"].items():
        print(f"left out: {name} ({reason})")
    if said["suspected_leaks"]:
        print(f"do not believe these figures before it is clear when these columns are known: {', '.join(said['suspected_leaks'])}")
    print(f"{said['grade']}, quality {said['quality']['word']}; saved is the {said['winner']}, refitted on all rows: {said['out']}/model; every figure: {said['out']}/table.json")


if __name__ == "__main__":
    run_door(main)
