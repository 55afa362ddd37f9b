"""Studies on a PostgreSQL server of Debian's: the same trials as in a file, several processes, kills; and a server that is away."""

import os
import pwd
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import optuna
import pytest
from test_tune import FIRST, WORKER, quiet, square, suggest, workers

from features.errors import UsageError
from training.tune import make_storage, study_storage, tuned

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def server(need):
    """The address of a server that listens on a socket in its own folder alone; as root it runs as Debian's own user for it, since it refuses root."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = need(programs[-1] if programs else Path("/usr/lib/postgresql/15/bin/initdb"), "apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="likeness-pg-"))
    who = {}
    if os.getuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        who = {"user": "postgres", "group": owner.pw_gid, "extra_groups": []}
    same = {"cwd": folder, "capture_output": True, "text": True, "timeout": 120, **who}
    made = subprocess.run([str(initdb), "-D", str(folder / "data"), "-U", "likeness", "-A", "trust", "--no-sync"], **same)
    assert made.returncode == 0, made.stderr
    process = subprocess.Popen(
        [str(initdb.parent / "postgres"), "-D", str(folder / "data"), "-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **who)
    ready = [str(initdb.parent / "pg_isready"), "-h", str(folder), "-U", "likeness"]
    for _ in range(200):
        if subprocess.run(ready, capture_output=True, check=False).returncode == 0:
            break
        time.sleep(0.1)
    yield folder
    # At once, whoever is still connected.
    process.send_signal(signal.SIGINT)
    process.wait(30)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def address(server, monkeypatch, request):
    """A database of its own for each test, by the plain name that people write."""
    import psycopg

    name = request.node.name.split("[")[0][:40]
    with psycopg.connect(f"host={server} user=likeness dbname=postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    monkeypatch.setenv("LIKENESS_OPTUNA_STORAGE", f"postgresql://likeness@/{name}?host={server}")
    return study_storage(Path("nowhere"))


def complete(address):
    database = optuna.storages.RDBStorage(address)
    found = [trial.state.name for trial in optuna.load_study(study_name="s", storage=database).trials].count("COMPLETE")
    database.remove_session()
    database.engine.dispose()
    return found


def test_a_server_gives_the_same_trials_as_a_file(address, tmp_path):
    assert address.startswith("postgresql+psycopg://")
    at_server, in_file = (tuned(storage, "s", 12, FIRST, suggest, square, quiet) for storage in (address, make_storage(tmp_path / "a.db")))
    assert at_server == in_file


def test_two_processes_end_a_study_at_a_server_with_just_so_many_trials(address):
    both = workers(2, address, 30)
    said = [process.communicate(timeout=200)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert complete(address) == 30 and min(map(len, said)) > 0, "both took part"


def test_killed_three_times_no_trial_at_a_server_is_lost(address):
    lot, kept = random.Random(7), 0
    for _ in range(3):
        (process,) = workers(1, address, 40)
        for _ in range(lot.randint(3, 8)):
            process.stdout.readline()
        process.kill()
        process.communicate()
        done = complete(address)
        assert kept < done < 40
        kept = done
    (process,) = workers(1, address, 40)
    assert len(process.communicate(timeout=200)[0].split()) == 40 - kept and complete(address) == 40


def test_a_server_that_is_away_is_said_in_a_line(tmp_path):
    code = f"from features.errors import run_door\ndef main():\n{textwrap.indent(WORKER, '    ')}\nrun_door(main)"
    done = subprocess.run(
        [sys.executable, "-c", code, f"postgresql+psycopg://likeness@/none?host={tmp_path}", "3"], cwd=Path(__file__).parents[2], input="go\n", capture_output=True, text=True,
        timeout=100, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: STUDIES_GONE: ") and done.stderr.count("\n") == 1, done.stderr


def test_a_server_without_its_driver_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("LIKENESS_OPTUNA_STORAGE", "postgres://somebody:secret@server/studies")
    monkeypatch.setattr("training.tune.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="NO_DRIVER: .*needs psycopg") as refusal:
        study_storage(tmp_path)
    assert "secret" not in str(refusal.value)
    monkeypatch.delenv("LIKENESS_OPTUNA_STORAGE")
    assert study_storage(tmp_path) == f"sqlite:///{tmp_path / 'optuna.db'}"
