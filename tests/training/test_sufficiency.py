"""What cannot work is refused, what is doubtful is said, each by its code; given the made-up table, whose law is sound."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from made_up import AS_OFS, COLUMNS, TASK

from features.errors import ContractError
from features.tasks import WindowSpec
from training.folds import split
from training.sufficiency import doubts, history_days_before, require_labels, shift


def found(rows, folds, task=TASK, history_days=112):
    return {doubt.code: doubt for doubt in doubts(rows, folds, task, COLUMNS, history_days)}


def changed(rows, mask, **to):
    y, x = rows.y.copy(), rows.x.copy()
    if "y" in to:
        y[mask] = to["y"]
    if "x" in to:
        x[mask, to["x"][0]] = to["x"][1]
    return replace(rows, y=y, x=x)


def test_sound_rows_raise_no_doubt(rows, folds):
    require_labels(rows, folds, TASK)
    assert found(rows, folds) == {}


@pytest.mark.parametrize(("given", "code", "says"), [
    (lambda rows: replace(rows, y=np.zeros(len(rows.y))), "NO_POSITIVE", "fit block, found 0 positive of"),
    (lambda rows: replace(rows, y=np.ones(len(rows.y))), "ONE_CLASS", "fit block"),
    (lambda rows: changed(rows, rows.as_ofs >= np.datetime64("2025-08-20"), y=1.0), "ONE_CLASS", "test block"),
    (lambda rows: changed(rows, np.arange(len(rows.y)) >= 30, y=0.0), "TOO_FEW_LABELS", "at least 50 rows of each label in its fit block"),
    (lambda rows: changed(rows, np.arange(len(rows.y)) < 3, y=np.nan), "INVALID_LABEL", r"found 3 others \(nan\)"),
    (lambda rows: changed(rows, np.arange(len(rows.y)) < 2, y=2.0), "INVALID_LABEL", r"found 2 others \(2.0\)")])
def test_labels_that_cannot_teach_or_judge_are_refused(rows, folds, given, code, says):
    with pytest.raises(ContractError, match=f"{code}: .*{says}"):
        require_labels(given(rows), folds, TASK)


def few_of_one_customer(rows):
    """Many positive rows, all of a handful of customers."""
    few = np.isin(rows.customers, [f"c{i}" for i in range(20)])
    return changed(changed(rows, ~few, y=0.0), few, y=1.0)


def jump(rows):
    late = rows.as_ofs >= np.datetime64("2025-06-18")
    return changed(rows, late & (np.arange(len(rows.y)) % 10 < 8), y=1.0)


@pytest.mark.parametrize(("given", "code", "says", "needs"), [
    (few_of_one_customer, "FEW_CUSTOMERS", "positive rows of 20 customers", "50 customers"),
    (lambda rows: changed(rows, np.arange(len(rows.y)) % 7 > 0, y=0.0), "FEW_LABELS", "positive rows", "500 rows of each label"),
    (lambda rows: changed(rows, np.arange(len(rows.y)) % 50 > 0, y=0.0), "RARE_TARGET", "a label rate of 0.", "between 1 and 99 %"),
    (jump, "LABEL_RATE_JUMP", "on 2025-06-18", "stay within 1.8 times"),
    (lambda rows: changed(rows, rows.as_ofs >= np.datetime64("2025-09-01"), x=(2, np.nan)), "DRIFT", "1 of 6 beyond it: spend_sum_28d_usd", "stability index up to 0.25"),
    (lambda rows: replace(rows, x=np.column_stack([rows.x[:, :3], rows.y + np.linspace(0, 0.5, len(rows.y)), rows.x[:, 4:]])), "LEAK_SUSPECTED",
     "noise_ratio: it alone ranks the rows with an AUC of ", "AUC above 0.95")])
def test_what_is_doubtful_is_said_with_what_was_found_and_needed(rows, folds, given, code, says, needs):
    doubt = found(given(rows), folds).get(code)
    assert doubt and says in doubt.found and needs in doubt.needed and doubt.do
    assert doubt.sentence() == f"{code}: needs {doubt.needed}, found {doubt.found}; {doubt.do}" and set(doubt.to_json()) == {"code", "found", "needed", "do"}


def test_history_is_held_against_the_windows(rows, folds):
    task = replace(TASK, windows=WindowSpec(horizon_days=28, lookbacks_days=(28, 364)))
    assert "364 days, the longest lookback" in found(rows, folds, task, 363)["SHORT_HISTORY"].needed
    assert "SHORT_HISTORY" not in found(rows, folds, task, 364)
    assert history_days_before(AS_OFS, AS_OFS[0] - timedelta(days=90, hours=5)) == 90
    short = split(AS_OFS[-11:], TASK)
    assert len(short.fit) == 8 and "FEW_SNAPSHOTS" not in found(rows, short)
    assert found(rows, replace(folds, fit=folds.fit[-3:]))["FEW_SNAPSHOTS"].found == "3 to learn from"


def test_a_jump_that_chance_gives_is_none(rows, folds):
    """A few rows in each snapshot: rates leap, and mean nothing."""
    few = rows.where(np.arange(len(rows.y)) % 40 == 0)
    assert "LABEL_RATE_JUMP" not in found(few, folds)


def test_shift_by_hand():
    before, after = np.repeat([0.0, 1.0], [50, 50]), np.repeat([0.0, 1.0], [20, 80])
    # Classes: 0, 1, and unknown, which is half a row on both sides.
    assert shift(before, after) == pytest.approx(0.3 * np.log(0.8 / 0.5) - 0.3 * np.log(0.2 / 0.5), abs=1e-9)
    assert shift(before, before) == 0 and shift(before, np.full(100, np.nan)) > 5
