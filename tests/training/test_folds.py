"""Splits: nothing that is learned reaches into what is judged."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import ContractError
from features.tasks import Eligibility, Task, WindowSpec
from training.folds import known_before, split


def task(horizon: int, gap: int, lag: int, slide: int) -> Task:
    return Task("t", "churn", Eligibility(28), WindowSpec(horizon_days=horizon, gap_days=gap, ingestion_lag_days=lag, slide_days=slide))


@settings(max_examples=60, deadline=None)
@given(horizon=st.integers(7, 60), gap=st.integers(0, 14), lag=st.integers(0, 7), slide=st.integers(7, 30), n=st.integers(8, 60))
def test_each_block_begins_after_the_labels_of_the_block_before(horizon, gap, lag, slide, n):
    chosen = task(horizon, gap, lag, slide)
    as_ofs = [datetime(2024, 1, 1) + timedelta(days=slide * i) for i in range(n)]
    try:
        folds = split(as_ofs, chosen)
    except ContractError as refusal:
        assert "TOO_LITTLE_HISTORY" in str(refusal)
        return
    wait = timedelta(days=gap + horizon + lag)
    blocks = [folds.train, *folds.tune, folds.calibrate, folds.test]
    for earlier, later in zip(blocks, blocks[1:], strict=False):
        assert earlier
        assert max(earlier) + wait <= min(later)
    assert max(folds.fit) + wait <= min(folds.test)
    assert len(folds.test) == 2
    assert folds.test == tuple(as_ofs[-2:])


def test_a_label_that_ends_as_the_next_block_begins_is_known():
    chosen = task(28, 0, 0, 14)
    as_ofs = [datetime(2024, 1, 1), datetime(2024, 1, 2)]
    assert known_before(as_ofs, datetime(2024, 1, 29), chosen) == as_ofs[:1]


def test_too_little_history_says_how_much_there_is_and_what_would_fit():
    as_ofs = [datetime(2024, 1, 1) + timedelta(days=14 * i) for i in range(6)]
    with pytest.raises(ContractError, match=r"needs about 249 days.*found 158; a horizon of \d+ days would fit"):
        split(as_ofs, Task("t", "churn", Eligibility(28), WindowSpec(horizon_days=49), min_history_days=39))


def test_the_advised_horizon_does_fit():
    first, days, eligible = datetime(2024, 1, 1), 200, 28
    for horizon in range(60, 6, -1):
        chosen = Task("t", "churn", Eligibility(eligible), WindowSpec(horizon_days=horizon, slide_days=7))
        as_ofs = [first + timedelta(days=eligible + 7 * i) for i in range((days - eligible - horizon) // 7 + 1)]
        try:
            split(as_ofs, chosen)
        except ContractError as refusal:
            advised = int(str(refusal).split("a horizon of ")[1].split(" ")[0])
            assert 0 < advised < horizon
            chosen = Task("t", "churn", Eligibility(eligible), WindowSpec(horizon_days=advised, slide_days=7))
            split([first + timedelta(days=eligible + 7 * i) for i in range((days - eligible - advised) // 7 + 1)], chosen)
