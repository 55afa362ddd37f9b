"""python -m features alerts: reads the command line, prints what is unlike the weeks before, writes Parquet."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from features.doors.held import read_held
from features.doors.times import observed_moment
from features.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("metric", "series", "value", "expected", "low", "high", "change_share", "p", "p_holm", "n_weeks")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The words of the command."""
    parser = commands.add_parser(
        "alerts", help="what changed more in the last week than weeks usually do",
        description="Holds the last seven days against the weeks before (up to 26): conversion, drop-off at each touchpoint, volume of data, sizes of tags, mean scores. "
                    "Of runs in which nothing happened at most --false-alarms report anything (Student's t against the weeks before, Holm over all that is watched).",
        epilog="example: python -m features alerts demo-shop --out alerts")
    parser.set_defaults(do=run)
    parser.add_argument("data", metavar="DATA", help="complete-journey, demo-shop, or a folder of tables")
    parser.add_argument("--as-of", metavar="T", help="the end of the week; without an offset a local time of the dataset's zone (the last midnight of the data)")
    parser.add_argument("--tags", type=Path, metavar="FILE", help="the file of tags (tags.toml in the dataset's folder, else the default set)")
    parser.add_argument("--scores", type=Path, nargs="+", default=[], metavar="FILE", help="scores of several weeks, as the run folder keeps them under scores/")
    parser.add_argument("--false-alarms", type=float, default=.05, metavar="SHARE", help="of quiet runs with any alert, at most (0.05)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write alerts.parquet there, every series with its test")


def run(given: argparse.Namespace) -> None:
    """Do what the command line asks."""
    import pandas as pd
    from rich.console import Console

    from features.alerts.judged import FEWEST_CASES, FEWEST_WEEKS, judged
    from features.alerts.panel import mean_scores, tag_sizes, touchpoints, volume
    from features.base import scoring_moment
    from features.doors.tables import pictured, write_frames
    from features.progress import Steps
    from features.tags.declared import read_tags
    from features.tags.door import own_file
    from features.tags.known import read_scores

    if not 0 < given.false_alarms < 1:
        raise UsageError(f"--false-alarms needs a share between 0 and 1, found {given.false_alarms}; choose for example 0.05")
    steps = Steps()
    dataset = read_held(given.data, steps)
    as_of = observed_moment(given.as_of, dataset) if given.as_of else scoring_moment(dataset)
    n_weeks = (as_of - dataset.observed_from).days // 7
    if n_weeks <= FEWEST_WEEKS:
        raise UsageError(f"TOO_FEW_WEEKS: alerts need {FEWEST_WEEKS + 1} whole weeks before {as_of} UTC, found {n_weeks}; choose a later --as-of, or bring earlier data")
    scores = read_scores(dataset, given.scores)
    with steps.step("weeks", f"counting the weeks before {as_of} UTC"):
        funnel, lacks = touchpoints(dataset, as_of)
        parts = [funnel, volume(dataset, as_of), tag_sizes(dataset, as_of, read_tags(given.tags or own_file(given.data), dataset.currency)), mean_scores(scores, as_of)]
        found = judged(pd.concat([part for part in parts if len(part)], ignore_index=True), given.false_alarms)
    if found.empty:
        raise UsageError(f"TOO_FEW_CASES: alerts need a series with {FEWEST_CASES} cases in each of {FEWEST_WEEKS + 1} weeks to {as_of} UTC, found none; choose a later --as-of")
    console = Console(highlight=False)
    for line in told(found, given.false_alarms):
        console.print(line, markup=False, soft_wrap=True)
    shown = found.assign(change_share=found["change"])
    alerts = shown[shown["is_alert"]]
    console.print(pictured(alerts, "Alerts", _COLUMNS, 40) if len(alerts) else pictured(shown.head(5), "The most unusual, none an alert", _COLUMNS, 5))
    for name, why in {"drop_off": lacks, "mean_score": "" if given.scores else "it needs scores of several weeks (--scores)"}.items():
        if why:
            console.print(f"{name}: not available. {why}", markup=False)
    if given.out:
        write_frames({"alerts": found.assign(as_of=as_of, false_alarms=given.false_alarms)}, given.out)
        console.print(f"{given.out}: written", soft_wrap=True)


def told(found: "pd.DataFrame", false_alarms: float) -> list[str]:
    """How many alerts among how many series, and how often such a list is not empty though nothing happened."""
    n = int(found["is_alert"].sum())
    return [f"{n} of {len(found)} series {'is' if n == 1 else 'are'} unlike the weeks before. Of quiet runs at most {100 * false_alarms:g} % report anything."]
