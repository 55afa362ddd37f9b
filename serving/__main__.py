"""The door of the serving room: python -m serving score | serve | report | publish."""

import argparse
import json
import shlex
from pathlib import Path

from features.errors import run_door

_RUN = "the run folder, made by make run (default: out)"


def main() -> None:
    """Parse the command line and do what it asks."""
    parser = argparse.ArgumentParser(prog="python -m serving", description="Registered models in; scores, reasons and reports out.")
    commands = parser.add_subparsers(dest="command", required=True)
    score = commands.add_parser(
        "score", help="batch scores with reasons", description="Score everybody a task asks about, at the last midnight of the data.",
        epilog="example: python -m serving score churn --data complete-journey --out churn.csv")
    score.add_argument("task", metavar="TASK", help="churn, conversion, or another task of the dataset")
    score.add_argument("--data", required=True, metavar="DATA", help="complete-journey, or a folder of tables")
    score.add_argument("--out", required=True, type=Path, metavar="FILE", help="a .parquet or .csv file")
    serve = commands.add_parser(
        "serve", help="serve the champions over HTTP", description="Serve the champions of a run on this machine with BentoML.",
        epilog="example: python -m serving serve --port 3000")
    serve.add_argument("--port", type=int, default=3000, metavar="PORT", help="a free port (default: 3000)")
    report = commands.add_parser(
        "report", help="the marketers' reports", description="Write what the models found, for people who do not code.",
        epilog="example: python -m serving report --out reports --lang zh")
    report.add_argument("--out", required=True, type=Path, metavar="DIR", help="a folder for the reports")
    report.add_argument("--lang", choices=("en", "zh"), default="en", help="the language of the reports (default: en)")
    publish = commands.add_parser(
        "publish", help="score the base, log the scores, write the reports; the last step of make run",
        description="Score the run's base with every champion, log the scores, write the reports.",
        epilog="example: python -m serving publish --run out")
    for command in (score, serve, report, publish):
        command.add_argument("--run", type=Path, default=Path("out"), metavar="OUT", help=_RUN)
    given = parser.parse_args()
    {"score": _score, "serve": _serve, "report": _report, "publish": _publish}[given.command](given)


def _score(given: argparse.Namespace) -> None:
    from serving.batch import score

    table = score(given.task, given.data, given.out, given.run)
    bands = ", ".join(f"{band} {int((table['band'] == band).sum()):,}" for band in ("high", "medium", "low"))
    print(f"{len(table):,} customers scored as of {table['as_of'].iloc[0]} ({bands}): {given.out}")


def _serve(given: argparse.Namespace) -> None:
    from serving.serve import serve

    serve(given.run, given.port)


def _report(given: argparse.Namespace) -> None:
    from serving.report import write_reports

    write_reports(given.run, given.out, given.lang)
    print(f"reports: {given.out}")


def _publish(given: argparse.Namespace) -> None:
    from serving.batch import score_base
    from serving.report import write_reports

    by_task = score_base(given.run)
    for task, table in by_task.items():
        print(f"{task}: {len(table):,} customers scored as of {table['as_of'].iloc[0]}, {int((table['band'] == 'high').sum()):,} high")
    reports = given.run / "reports"
    write_reports(given.run, reports, "en")
    asked = {"customers": [{"customer_id": next(iter(by_task.values()))["customer_id"].iloc[0]}]}
    out = "" if given.run == Path("out") else f" OUT={given.run}"
    print(
        f"read:  {reports}/index.en.html\n"
        f"serve: make serve{out}\n"
        "ask:   curl -s http://127.0.0.1:3000/v1/explain -H 'Content-Type: application/json' "
        f"-d {shlex.quote(json.dumps(asked, ensure_ascii=False))}")


if __name__ == "__main__":
    run_door(main)
