"""Killed at any moment and started again, a run ends as one that was left alone."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
DECLARED = (
    'zone = "Europe/London"\ncurrency = "GBP"\nname = "shop"\n[tasks.churn]\nhorizon_days = 21\nactive_days = 42\nlookbacks_days = [21, 42]\n'
    '[tasks.lookalike]\nkind = "lookalike"\nactive_days = 42\n[tasks.lookalike.seeds]\ncolumn = "spend_sum_42d_gbp"\ntop_share = 0.4\n')


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """400 customers whose habits differ, and change: small enough that a run takes seconds."""
    folder, draw = tmp_path_factory.mktemp("kill") / "shop", random.Random(4)
    folder.mkdir()
    lines = ["event_id,customer_id,event_at,kind,amount"]
    for customer in range(400):
        pace, day = draw.choice([4, 9, 16, 30]), draw.uniform(0, 30)
        while day < 330:
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(1735689600 + 86400 * day))
            lines.append(f"{customer}-{day:.2f},{customer},{stamp},purchase,{draw.uniform(2, 60):.2f}")
            pace *= draw.choice([0.8, 1.0, 1.0, 1.3])
            day += max(draw.expovariate(1 / pace), 0.2)
    (folder / "events.csv").write_text("\n".join(lines))
    (folder / "dataset.toml").write_text(DECLARED)
    return folder


def path_in(data, run):
    """What `make run` does, as one process group."""
    steps = f"{sys.executable} -m training run --data {data} --trials 3 --run {run} && {sys.executable} -m serving publish --run {run}"
    return subprocess.Popen(["bash", "-c", steps], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def finished(data, run):
    begin, process = time.perf_counter(), path_in(data, run)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said[-3000:]
    # A screen's width cuts lines anywhere.
    return time.perf_counter() - begin, " ".join(said.split())


def ends(run):
    """All that a run leaves which somebody could read: figures, versions with their aliases and files, scores, reports."""
    from training.registry import Registry

    summary = json.loads((run / "run.json").read_text())
    summary.pop("seconds")
    registry, versions = Registry(run), {}
    for record in summary["tasks"].values():
        for version in registry.versions(record["model"]):
            folder = next(Path(registry.client.get_model_version_download_uri(record["model"], version.version).removeprefix("file://")).glob("data/**/manifest.json"))
            versions[record["model"], version.version] = (folder.read_text(), version.tags["key"], sorted(
                alias for alias in ("champion", "challenger") if registry.version_of(record["model"], alias) == version.version))
    text = json.dumps(summary, sort_keys=True).replace(str(run), "RUN")
    scores = {path.name: pd.read_parquet(path).to_csv() for path in sorted((run / "scores").glob("*"))}
    reports = {path.name: path.read_text().replace(str(run), "RUN") for path in sorted((run / "reports").iterdir())}
    tables = {path.name: pd.read_parquet(path).to_csv() for path in sorted((run / "features").glob("*.parquet"))}
    return {"summary": text, "versions": versions, "scores": scores, "reports": reports, "tables": tables}


def test_killed_ten_times_it_ends_as_one_left_alone(data, tmp_path):
    took, _ = finished(data, tmp_path / "alone")
    draw, run = random.Random(9), tmp_path / "killed"
    done = 0
    for i in range(12):
        process = path_in(data, run)
        # Spread over the whole run, also over its end, where there is little left to do.
        time.sleep(draw.uniform(0.05, 1.0) * took * (0.4 if i % 2 else 0.9))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            done += 1
        process.communicate()
        if i == 5:
            # From the beginning again, so that the early steps are cut, too.
            shutil.rmtree(run)
    assert done >= 8
    finished(data, run)
    alone, killed = ends(tmp_path / "alone"), ends(run)
    for name, expected in alone.items():
        assert killed[name] == expected, name
    assert not list(run.rglob("*.part"))
    assert all(len([key for key in alone["versions"] if key[0] == model]) == 1 for model, _ in alone["versions"])


def test_a_second_run_uses_everything_again_and_changes_nothing(data, tmp_path):
    run = tmp_path / "out"
    took, _ = finished(data, run)
    before = ends(run)
    took_again, said = finished(data, run)
    assert ends(run) == before
    for what in ("the tables", "the features", "version 1 of shop.churn", "version 1 of shop.lookalike"):
        assert f"used again: {what}" in said
    assert took_again < took
    # A changed window of one task: its model is made again, the other's is not.
    changed = tmp_path / "shop"
    shutil.copytree(data, changed)
    (changed / "dataset.toml").write_text(DECLARED.replace("horizon_days = 21", "horizon_days = 14"))
    _, said = finished(changed, run)
    assert "used again: version 1 of shop.lookalike" in said
    assert "version 2, gate waiting" in said
