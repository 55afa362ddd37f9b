"""Tuning: Optuna studies that can be stopped at any trial and end with the same result."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from features.files import written_whole
from training.recipes import SEED


def make_storage(path: Path) -> str:
    """The address of a study database, made aside and renamed: one that is half made could never be opened again."""
    if not path.exists():
        import optuna

        with written_whole(path) as aside:
            storage = optuna.storages.RDBStorage(f"sqlite:///{aside}")
            storage.remove_session()
            storage.engine.dispose()
    return f"sqlite:///{path}"


def tuned(
    storage: str, name: str, trials: int, first: dict[str, Any], suggest: Callable[[Any], dict[str, Any]], loss: Callable[[dict[str, Any]], float],
    on_trial: Callable[[int, float], None],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Minimise `loss` over `trials` complete trials; give the best parameters and the history.

    The study is kept in `storage` under `name`, which must name everything that the loss depends on. Trials already complete are not
    repeated; one that was running when the process died is set aside. The sampler is seeded by the number of complete trials, so a
    study that was stopped goes on as if it had not been. A trial that raises or gives NaN fails, and the study goes on.
    """
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=storage, study_name=name, direction="minimize", load_if_exists=True)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    failures = 0
    last_error: Exception | None = None
    while (n_done := len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))) < trials and failures <= trials:
        study.sampler = optuna.samplers.TPESampler(seed=SEED + n_done + 1000 * failures, multivariate=False)
        if n_done == 0 and not failures and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.enqueue_trial(first)
        trial = study.ask()
        try:
            value = loss(suggest(trial))
        except Exception as error:
            last_error = error
            value = math.nan
        if math.isfinite(value):
            study.tell(trial, value)
            on_trial(n_done + 1, value)
        else:
            study.tell(trial, state=TrialState.FAIL)
            failures += 1
    if not n_done:
        raise RuntimeError(f"none of {failures} trials of {name} gave a finite loss") from last_error
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    # Numbered by place: a trial that was cut off took a number with it.
    history = [{"trial": i, "loss": trial.value, **trial.params} for i, trial in enumerate(complete)]
    return dict(study.best_params), history
