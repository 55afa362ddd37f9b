"""Splits by time: four blocks of snapshots, each with its labels known before the next block begins."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from features.errors import ContractError
from features.tasks import Task

# Fewer snapshots than this before an earlier tuning block would tune for a history much shorter than the served one.
MIN_TRAIN_SNAPSHOTS = 4


@dataclass(frozen=True)
class Folds:
    """Moments of prediction, oldest first. Parameters come from train and tune, the winner from calibrate, the judgement from test, read once.

    `tune` is one or two blocks; each is asked of models that knew only what was known before it (`known_before`).
    `fit` is all that was known before the test block: what the judged model is fitted on, as the served one is on all that is known now.
    """

    train: tuple[datetime, ...]
    tune: tuple[tuple[datetime, ...], ...]
    calibrate: tuple[datetime, ...]
    test: tuple[datetime, ...]
    fit: tuple[datetime, ...]

    @property
    def before_test(self) -> tuple[tuple[datetime, ...], ...]:
        """The blocks with out-of-time margins before the test, oldest first."""
        return (*self.tune, self.calibrate)


def known_before(as_ofs: Sequence[datetime], moment: datetime, task: Task) -> list[datetime]:
    """The snapshots whose labels (as_of + gap + horizon, and their arrival) are complete at `moment`: the purge."""
    return [as_of for as_of in as_ofs if as_of + timedelta(days=task.windows.mature_after_days) <= moment]


def split(as_ofs: Sequence[datetime], task: Task, n_test: int = 2) -> Folds:
    """Cut mature snapshots (oldest first) into blocks of two from the end, and of one where the history is short.

    Raises: ContractError when not even one snapshot is left to train on, with what there is and what would fit.
    """
    folds = _cut(as_ofs, task, n_test)
    if folds:
        return folds
    windows = task.windows
    need = task.history_days + 4 * windows.mature_after_days + (n_test - 1) * windows.slide_days
    # Local midnights in UTC: a change of the clock leaves an hour too few.
    span = round((as_ofs[-1] - as_ofs[0]) / timedelta(days=1)) + task.history_days + windows.mature_after_days
    horizon = _horizon_that_fits(as_ofs, task, n_test)
    advice = f"a horizon of {horizon} days would fit, or bring" if horizon else f"no shorter horizon would fit at a slide of {windows.slide_days} days; bring"
    raise ContractError(
        f"TOO_LITTLE_HISTORY: {task.name} needs about {need} days (training, tuning, calibration and {n_test} tests, each {windows.mature_after_days} days apart), "
        f"found {span}; {advice} a longer history")


def _cut(as_ofs: Sequence[datetime], task: Task, n_test: int) -> Folds | None:
    test = tuple(as_ofs[-n_test:])
    if len(test) < n_test:
        return None
    for n in (2, 1):
        calibrate = tuple(known_before(as_ofs, test[0], task)[-n:])
        tune = tuple(known_before(as_ofs, calibrate[0], task)[-n:]) if calibrate else ()
        train = tuple(known_before(as_ofs, tune[0], task)) if tune else ()
        if train:
            blocks: tuple[tuple[datetime, ...], ...] = (tune,)
            # A second, earlier tuning block where enough history is left to train on before it.
            if len(earlier := known_before(as_ofs, train[-2:][0], task)) >= MIN_TRAIN_SNAPSHOTS:
                blocks, train = (train[-2:], tune), tuple(earlier)
            return Folds(train, blocks, calibrate, test, tuple(known_before(as_ofs, test[0], task)))
    return None


def _horizon_that_fits(as_ofs: Sequence[datetime], task: Task, n_test: int) -> int:
    """The longest shorter horizon for which the same history would do; 0 if none."""
    windows = task.windows
    for horizon in range(windows.horizon_days - 1, 0, -1):
        latest = as_ofs[-1] + timedelta(days=windows.horizon_days - horizon)
        grid = [latest - timedelta(days=windows.slide_days * i) for i in range((latest - as_ofs[0]).days // windows.slide_days + 1)][::-1]
        if _cut(grid, replace(task, windows=replace(windows, horizon_days=horizon)), n_test):
            return horizon
    return 0
