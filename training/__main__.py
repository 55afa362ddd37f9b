"""The door of the training room: python -m training run | train | compare | promote | table."""

import argparse
import json
from pathlib import Path

from features.errors import UsageError, run_door

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
    for parser_ in (run, train):
        parser_.add_argument("--data", default="complete-journey", help="complete-journey (default) or a folder of tables")
        parser_.add_argument("--trials", type=int, default=20, help="LightGBM trials; half as many for the logistic regression (default 20)")
        parser_.add_argument("--allow", nargs="*", default=[], metavar="FEATURE", help="sensitive features that may be used, by name")
        parser_.add_argument("--seeds", type=Path, metavar="FILE", help="a file of customer ids as the seeds of the lookalike task")
    compare = commands.add_parser("compare", help="versions of a task side by side", epilog="example: python -m training compare churn")
    promote = commands.add_parser("promote", help="the gate: make the challenger champion", epilog="example: python -m training promote churn")
    for parser_ in (compare, promote):
        parser_.add_argument("task", metavar="TASK")
    for parser_ in (run, train, compare, promote):
        parser_.add_argument("--run", type=Path, default=Path("out"), metavar="OUT", help="the run folder (default out)")
    table = commands.add_parser(
        "table", help="a flat table that you already have: a judged, calibrated model and predictions",
        epilog="example: python -m training table customers.csv --label churned --id customer_id --score new.csv --predictions p.csv")
    table.add_argument("file", type=Path, metavar="FILE", help="CSV, TSV or Parquet (gzip and zstd too), one row for each case")
    table.add_argument("--label", required=True, metavar="COL", help="the column to predict, with two values")
    table.add_argument("--id", default="", metavar="COL", help="rows of one id stay together in every split")
    table.add_argument("--time", default="", metavar="COL", help="judge by the latest part")
    table.add_argument("--score", type=Path, metavar="FILE2", help="rows to predict")
    table.add_argument("--predictions", type=Path, metavar="FILE3", help="where to write them, in the order of FILE2")
    table.add_argument("--out", type=Path, metavar="DIR", help="for the model and table.json (default out/table-FILE)")
    table.add_argument("--trials", type=int, default=12, help="LightGBM trials in each part (default 12)")
    table.add_argument("--keep", nargs="*", default=[], metavar="COL", help="columns to use although they look like leaks")
    given = parser.parse_args()
    {"table": _table, "run": _run, "train": _run, "compare": _compare, "promote": _promote}[given.command](given)


def _run(given: argparse.Namespace) -> None:
    from features.lock import locked
    from features.seeds import read_ids
    from features.sources import raw_files
    from training.run import Given, run_tasks

    one = getattr(given, "task", None)
    seeds = read_ids(given.seeds) if given.seeds else None
    # A wrong name makes no run folder.
    raw_files(given.data)
    with locked(given.run, may_make=True):
        run_tasks(Given(given.data, given.run, given.trials, [one] if one else None, given.allow, one is None, seeds))
    print(f"{given.run / 'run.json'} holds every figure; compare versions: python -m training compare {one or 'churn'} --run {given.run}")


def _table(given: argparse.Namespace) -> None:
    from features.progress import Steps
    from training.table import Asked, in_short, run_table

    if given.trials < 1:
        raise UsageError(f"--trials must be 1 or more, found {given.trials}; 12 is a good beginning")
    out = given.out or Path("out") / f"table-{given.file.name.split('.')[0]}"
    record = run_table(Asked(
        given.file, given.label, out, given.id, given.time, given.score, given.predictions, given.trials, tuple(given.keep)), Steps())
    print(in_short(record))
    print(f"{out / 'table.json'} holds every figure, {out / 'model'} the model" + (f", {given.predictions} the predictions" if given.predictions else ""))


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
    Console().print(table)


def _promote(given: argparse.Namespace) -> None:
    from features.lock import locked
    from training.gate import promote
    from training.registry import Registry

    name = _model_name(given)
    with locked(given.run):
        verdict = promote(Registry(given.run), given.run, name)
    print(f"version {verdict.version} is champion: {verdict.says}")


if __name__ == "__main__":
    run_door(main)
