"""The door of the serving room: python -m serving score | serve | report | publish."""

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from features.doors.engines import add_engine
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
    add_engine(score)
    serve = commands.add_parser(
        "serve", help="serve the champions over HTTP", description="Serve the champions of a run on this machine with BentoML.",
        epilog="example: python -m serving serve --port 3000")
    serve.add_argument("--port", type=int, default=3000, metavar="PORT", help="a free port (default: 3000)")
    serve.add_argument("--workers", type=int, default=2, metavar="N", help="processes that answer, each with the models in memory (default: 2)")
    serve.add_argument("--host", default="127.0.0.1", metavar="HOST", help="the address to listen on (default: the loopback only)")
    serve.add_argument("--without-keys", action="store_true", help="for development on this machine: ask for no keys (the loopback only)")
    _keys_words(commands)
    withhold = commands.add_parser(
        "withhold", help="customers who must not be scored any more, at once", description="Add customers to the list of those whom no answer, audience or file may hold.",
        epilog="example: python -m serving withhold 352 1123")
    withhold.add_argument("ids", metavar="ID", nargs="*", help="a customer, as the data name it")
    withhold.add_argument("--file", type=Path, metavar="FILE", help="a file of customer ids")
    drift = commands.add_parser(
        "drift", help="how far the base has moved from what each model learned from",
        description="The population stability index of scores and of each feature, the base against training.",
        epilog="example: python -m serving drift --run out")
    drift.add_argument("--out", type=Path, metavar="FILE", help="a .json file")
    report = commands.add_parser(
        "report", help="the marketers' reports", description="Write what the models found, for people who do not code.",
        epilog="example: python -m serving report --out reports --lang zh")
    report.add_argument("--out", required=True, type=Path, metavar="DIR", help="a folder for the reports")
    report.add_argument("--lang", choices=("en", "zh"), default="en", help="the language of the reports (default: en)")
    publish = commands.add_parser(
        "publish", help="score the base, log the scores, write the reports; the last step of make run",
        description="Score the run's base with every champion, log the scores, write the reports.",
        epilog="example: python -m serving publish --run out")
    audience = commands.add_parser(
        "audience", help="the list to contact, with a holdout that is written down", description="Choose customers of a task, hold a random part out, write the list.",
        epilog="example: python -m serving audience churn --band high --out churn-high.csv")
    audience.add_argument("task", metavar="TASK")
    audience.add_argument("--out", required=True, type=Path, metavar="FILE", help="a .csv or .parquet file")
    audience.add_argument("--band", help="high, medium or low")
    audience.add_argument("--top", type=int, metavar="N", help="the first N")
    audience.add_argument("--share", type=float, help="the first share of all, such as 0.1")
    audience.add_argument("--similarity", type=float, help="lookalike: all with at least this likeness, 0 to 1")
    audience.add_argument("--seeds", type=Path, metavar="FILE", help="lookalike: a file of customer ids (default: the seeds of training)")
    audience.add_argument("--holdout", type=float, default=0.1, help="the random share to leave alone, 0 to 0.5 (default 0.1)")
    audience.add_argument("--seed", type=int, default=1, help="of the draw; it is written down (default 1)")
    audience.add_argument("--name", default="", help="what to call it, such as the campaign")
    outcomes = commands.add_parser(
        "outcomes", help="scores and audiences handed out before, against what happened since",
        epilog="example: python -m serving outcomes churn --data complete-journey --out outcomes.html")
    outcomes.add_argument("task", metavar="TASK", nargs="?", help="one task (default: all that were scored)")
    outcomes.add_argument("--data", required=True, metavar="DATA", help="the data as they are now")
    outcomes.add_argument("--out", type=Path, metavar="FILE", help="an .html or .json file")
    for command in (audience, outcomes):
        command.add_argument("--lang", choices=("en", "zh"), default="en", help="the language of reasons and pages (default: en)")
    for command in (score, audience):
        command.add_argument("--pseudonyms", action="store_true", help="keyed pseudonyms instead of ids, to hand on without handing on who it is")
    for command in (score, serve, report, publish, audience, outcomes, withhold, drift):
        command.add_argument("--run", type=Path, default=Path("out"), metavar="OUT", help=_RUN)
    given = parser.parse_args()
    {"score": _score, "serve": _serve, "report": _report, "publish": _publish, "audience": _audience, "outcomes": _outcomes, "keys": _keys,
     "withhold": _withhold, "drift": _drift}[given.command](given)


def _score(given: argparse.Namespace) -> None:
    from features.doors.engines import require_engine
    from features.lock import locked
    from serving.batch import score

    require_engine(given.engine)
    if given.engine == "spark":
        from serving.spark_scores import score_file

        with locked(given.run):
            counts, as_of = score_file(given.task, given.data, given.out, given.run, given.pseudonyms)
        bands = ", ".join(f"{band} {counts.get(band, 0):,}" for band in ("high", "medium", "low"))
        print(f"{sum(counts.values()):,} customers scored as of {as_of} ({bands}): {given.out}")
        return
    with locked(given.run):
        table = score(given.task, given.data, given.out, given.run, given.pseudonyms)
    if "band" not in table:
        print(f"{len(table):,} customers ranked as of {table['as_of'].iloc[0]}: {given.out}")
        return
    bands = ", ".join(f"{band} {int((table['band'] == band).sum()):,}" for band in ("high", "medium", "low"))
    print(f"{len(table):,} customers scored as of {table['as_of'].iloc[0]} ({bands}): {given.out}")


def _serve(given: argparse.Namespace) -> None:
    from serving.serve import serve

    serve(given.run, given.port, given.workers, given.host, given.without_keys)


def _keys_words(commands: Any) -> None:
    keys = commands.add_parser(
        "keys", help="who may ask the endpoints what", description="Keys of the endpoints: made, listed, ended; a running server notices within a second.",
        epilog="example: python -m serving keys add shop --scope score --per-second 200")
    does = keys.add_subparsers(dest="does", required=True)
    add = does.add_parser("add", help="make a key, which is told once", epilog="example: python -m serving keys add shop --scope score")
    add.add_argument("name", metavar="NAME", help="whose it is")
    add.add_argument("--scope", action="append", default=[], metavar="SCOPE", help="score, audience, profile, reports or admin; may be repeated")
    add.add_argument("--per-second", type=float, metavar="N", help="requests that it may ask each second (default: no limit)")
    listed = does.add_parser("list", help="all keys, without the keys themselves")
    revoke = does.add_parser("revoke", help="end a key")
    revoke.add_argument("id", metavar="ID", help="as keys list says")
    for command in (add, listed, revoke):
        command.add_argument("--run", type=Path, default=Path("out"), metavar="OUT", help=_RUN)


def _keys(given: argparse.Namespace) -> None:
    from serving.audit import audit
    from serving.keys import add, read_keys, revoke

    if given.does == "add":
        key, secret = add(given.run, given.name, given.scope, given.per_second)
        audit(given.run, "key made", "python -m serving keys", key=key.id, scopes=" ".join(key.scopes))
        print(f"{secret}\nkey {key.id} for {', '.join(key.scopes)}: it is told this once only; send it as Authorization: Bearer KEY")
    elif given.does == "revoke":
        key = revoke(given.run, given.id)
        audit(given.run, "key ended", "python -m serving keys", key=key.id)
        print(f"key {key.id} ({key.name}) opens nothing any more")
    else:
        for key in read_keys(given.run):
            limit = "" if key.per_second is None else f", {key.per_second:g} a second"
            print(f"{key.id}  {key.name}: {', '.join(key.scopes)}{limit}, made {key.created_at}" + (f", ended {key.revoked_at}" if key.revoked_at else ""))


def _drift(given: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    from serving.drift import drift_rows, write_drift
    from serving.scoring import open_base

    base = open_base(given.run)
    table = Table("task", "version", "feature", "PSI", "", title=f"{base.info.data} as of {base.info.as_of[:10]} against training")
    for row in drift_rows(base):
        table.add_row(row["task"], row["version"], row["feature"] or row["what"], f"{row['psi']:.3f}", row["says"])
    Console().print(table)
    if given.out:
        write_drift(base, given.out)
        print(given.out)


def _withhold(given: argparse.Namespace) -> None:
    from features.seeds import read_ids
    from serving.audit import audit
    from serving.withheld import withhold

    n = withhold(given.run, [*given.ids, *(read_ids(given.file) if given.file else [])])
    audit(given.run, "withheld", "python -m serving withhold", listed=n)
    print(f"{n:,} customers must not be scored any more; a running server knows within a second. Mark them in the data too, so that no table or model is built of them")


def _report(given: argparse.Namespace) -> None:
    from serving.report import write_reports
    from serving.words import words_of

    written = write_reports(given.run, given.out, [given.lang])
    print(words_of(given.lang)["written"].format(n=len(written), folder=given.out))


def _publish(given: argparse.Namespace) -> None:
    from features.lock import locked
    from serving.batch import score_base
    from serving.report import write_reports
    from serving.words import LANGUAGES

    gates = _gates(given.run)
    refused = {task: said for task, said in gates.items() if said.startswith("refused")}
    for task, said in refused.items():
        print(f"{task} is not served, {said}")
    if gates and len(refused) == len(gates):
        print("no model of these data is fit to be served, so there is nothing to publish; longer or other data, or another question, would be needed")
        return
    with locked(given.run):
        by_task = score_base(given.run)
        reports = given.run / "reports"
        write_reports(given.run, reports, LANGUAGES)
    for task, table in by_task.items():
        print(f"{task}: {len(table):,} customers scored as of {table['as_of'].iloc[0]}, {int((table['band'] == 'high').sum()):,} high")
    out = "" if given.run == Path("out") else f" OUT={given.run}"
    print(f"read:  {reports}/index.en.html (中文：{reports}/index.zh.html)\nserve: make serve{out}")
    if not by_task:
        return
    asked = {"customers": [{"customer_id": next(iter(by_task.values()))["customer_id"].iloc[0]}]}
    print(
        "ask:   curl -s http://127.0.0.1:3000/v1/explain -H 'Content-Type: application/json' "
        f"-d {shlex.quote(json.dumps(asked, ensure_ascii=False))}")


def _gates(run: Path) -> dict[str, str]:
    """What the gate said of each task of the last run."""
    path = run / "run.json"
    return {name: record["gate"] for name, record in json.loads(path.read_text(encoding="utf-8"))["tasks"].items()} if path.exists() else {}


def _audience(given: argparse.Namespace) -> None:
    from features.lock import locked
    from serving.audience import Asked, write_audience

    names = ("task", "band", "top", "share", "similarity", "seeds", "holdout", "seed", "name", "pseudonyms")
    with locked(given.run):
        handed = write_audience(given.run, Asked(**{name: getattr(given, name) for name in names}, language=given.lang), given.out)
    print("\n".join([*handed.sentences(), str(given.out)]))


def _outcomes(given: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    from features.contracts import hold
    from features.sources import open_dataset
    from serving.outcomes import outcomes, table_rows, write_outcomes

    told = outcomes(hold(open_dataset(given.data))[0], given.run, given.task)
    table = Table("task", "version", "as of", "band", "customers", "expected", "actual", "95 % interval", title=f"{told.data} until {told.observed_until[:10]}")
    for cells in table_rows(told):
        table.add_row(*cells)
    if told.scores:
        Console().print(table)
    for line in told.sentences():
        print(line)
    if given.out:
        write_outcomes(told, given.out, given.lang)
        print(given.out)


if __name__ == "__main__":
    run_door(main)
