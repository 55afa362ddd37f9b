"""Tuning: Optuna studies that can be stopped at any trial and end with the same result."""

import math
import os
import re
import socket
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import UsageError
from features.files import written_whole
from training.recipes import SEED

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

_WORKER = "worker"


def make_storage(path: Path) -> str:
    """The address of a study database, made aside and renamed: one that is half made could never be opened again."""
    if not path.exists():
        import optuna

        with written_whole(path) as aside:
            storage = optuna.storages.RDBStorage(f"sqlite:///{aside}")
            storage.remove_session()
            storage.engine.dispose()
    return f"sqlite:///{path}"


def study_storage(run: Path) -> str:
    """Where the studies of a run are kept: the address that LIKENESS_OPTUNA_STORAGE names, else a file of the run folder.

    Raises: UsageError for a server whose driver is not installed.
    """
    address = os.environ.get("LIKENESS_OPTUNA_STORAGE")
    if not address:
        return make_storage((run / "optuna.db").resolve())
    # SQLAlchemy would take an older driver by the plain name.
    address = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", address)
    if address.startswith("postgresql+psycopg://") and find_spec("psycopg") is None:
        raise UsageError("NO_DRIVER: LIKENESS_OPTUNA_STORAGE names a PostgreSQL server, which needs psycopg, found none; install it: pip install -r requirements-extra.lock")
    return address


def tuned(
    storage: str, name: str, trials: int, first: Sequence[dict[str, Any]], suggest: Callable[[Any], dict[str, Any]], loss: Callable[[dict[str, Any]], float],
    on_trial: Callable[[int, float], None], seconds: float | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Minimise `loss` over `trials` complete trials, of which the first have the parameters in `first`; give the best parameters and the history.

    With `seconds`, no trial begins after so long, but one there is always; then the result depends on the machine.

    The study is kept in `storage` under `name`, which must name everything that the loss depends on. Trials already complete are not
    repeated; one whose process died is set aside. The sampler is seeded by the number of complete trials, so a study that was stopped
    goes on as if it had not been. A trial that raises or gives NaN fails, and the study goes on.
    Several processes may work on one study, and end it together with exactly `trials`; then the order, and so the result, is theirs.
    Raises: UsageError for a study of another kind under the same name, and for a database that does not answer.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    database = _database(storage)
    try:
        study = optuna.create_study(storage=database, study_name=name, load_if_exists=True)
        return _tuned(study, storage.startswith("sqlite"), trials, first, suggest, loss, on_trial, seconds)
    finally:
        # A server keeps a place for each connection until it is closed.
        database.remove_session()
        database.engine.dispose()


def _database(storage: str) -> "RDBStorage":
    """Open the database of studies, and make its tables where there are none. Raises: UsageError where it does not answer."""
    import optuna
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    for tries_left in reversed(range(10)):
        try:
            return optuna.storages.RDBStorage(storage)
        except OperationalError as error:
            why = str(error.orig).strip().splitlines()[-1]
            raise UsageError(
                f"STUDIES_GONE: LIKENESS_OPTUNA_STORAGE must name a database that answers, found: {why}; start it or correct the address; what is complete there is kept") from None
        except (IntegrityError, ProgrammingError):
            # Two processes made the same table at once (seen at a server): the other's will be there in a moment.
            if not tries_left:
                raise
            time.sleep(0.3)
    raise AssertionError("the last try returns or raises")


def _tuned(
    study: "Study", is_file: bool, trials: int, first: Sequence[dict[str, Any]], suggest: Callable[[Any], dict[str, Any]], loss: Callable[[dict[str, Any]], float],
    on_trial: Callable[[int, float], None], seconds: float | None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The same on an open study."""
    import optuna
    from optuna.trial import TrialState

    if study.directions != [optuna.study.StudyDirection.MINIMIZE]:
        found = ", ".join(direction.name.lower() for direction in study.directions)
        raise UsageError(
            f"OTHER_OBJECTIVE: the study {study.study_name} must minimise one loss, found one to {found} under its name; name another database in LIKENESS_OPTUNA_STORAGE")
    failures = 0
    last_error: Exception | None = None
    begin = time.monotonic()
    while (n_done := len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))) < trials and failures <= trials:
        if n_done and seconds is not None and time.monotonic() - begin > seconds:
            break
        running = [trial for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) if _is_at_work(trial, is_file) or _set_aside(study, trial)]
        if n_done + len(running) >= trials:
            # Others work on the last ones; should one of them die, it is begun anew.
            time.sleep(0.2)
            continue
        study.sampler = optuna.samplers.TPESampler(seed=SEED + n_done + 1000 * failures + 1_000_003 * len(running), multivariate=False)
        place = n_done + failures + len(running)
        if place < len(first) and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.enqueue_trial(first[place])
        trial = study.ask()
        trial.set_user_attr(_WORKER, _worker())
        ahead = [one for one in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING)) if one.number < trial.number]
        if len(ahead) >= trials:
            # Two processes saw room for one: the later number gives way.
            study.tell(trial, state=TrialState.FAIL)
            continue
        try:
            value = loss(suggest(trial))
        except Exception as error:
            last_error = error
            value = math.nan
        except BaseException:
            # Stopped by hand: this process lives on, and would be waited for.
            study.tell(trial, state=TrialState.FAIL)
            raise
        if math.isfinite(value):
            study.tell(trial, value)
            on_trial(n_done + 1, value)
        else:
            study.tell(trial, state=TrialState.FAIL)
            failures += 1
    if not n_done:
        raise RuntimeError(f"none of {failures} trials of {study.study_name} gave a finite loss") from last_error
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    # Numbered by place: a trial that was cut off took a number with it.
    history = [{"trial": i, "loss": trial.value, **trial.params} for i, trial in enumerate(complete)]
    return dict(study.best_params), history


def _worker() -> str:
    """This process: its machine, its number, and when it began, since numbers are used again."""
    return f"{socket.gethostname()} {os.getpid()} {_began(os.getpid())}"


def _began(process: int) -> str:
    """When a process began, in the kernel's ticks; empty where there is none."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _is_at_work(trial: "FrozenTrial", is_file: bool) -> bool:
    """Whether a running trial's process lives. A file is of this machine alone; of another machine at a server nothing is known: it has an hour.

    A trial in its first moments, which no process has signed yet, has ten seconds.
    """
    host, _, process = str(trial.user_attrs.get(_WORKER, "")).partition(" ")
    if host == socket.gethostname():
        number, _, began = process.partition(" ")
        return _began(int(number)) == began
    return trial.datetime_start is not None and (datetime.now() - trial.datetime_start).total_seconds() < (10 if not host else 0 if is_file else 3600)


def _set_aside(study: "Study", trial: "FrozenTrial") -> bool:
    """Fail a trial whose process died, so that it is begun anew; another process may have done so."""
    from optuna.trial import TrialState

    study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    return False
