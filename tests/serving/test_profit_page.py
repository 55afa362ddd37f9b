"""What the page says of money: whose amounts, what was found, in both languages; nothing where there is no profit."""

import numpy as np
import pytest

from serving import profit_page
from serving.words import Voice
from training import metrics
from training.profit import profit


@pytest.fixture(scope="module")
def said():
    rng = np.random.default_rng(1)
    p = rng.beta(1, 6, 200)
    y = (rng.random(200) < p).astype(float)
    return profit(y, p, rng.random(200), metrics.resamples(np.arange(200).astype(object)), None)


@pytest.mark.parametrize(("language", "not_ours", "declared"), [("en", "Nobody has declared", "that were declared"), ("zh", "尚未声明", "已声明")])
def test_it_says_whose_amounts_they_are_and_what_was_found(said, language, not_ours, declared):
    page = profit_page.section({"profit": said}, "churn", "a rule", "CNY", Voice(language))
    assert not_ours in page["lead"] and "tasks.churn.campaign" in page["lead"] and "200.00" in page["lead"]
    assert not_ours not in (again := profit_page.section({"profit": said | {"is_declared": True}}, "churn", "a rule", "CNY", Voice(language)))["lead"]
    assert declared in again["lead"]
    assert f"{said['empc']['value']:.2f}" in page["found"] and f"{100 * said['empc_fraction']['value']:.0f}%" in page["found"] and "a rule" in page["found"]
    assert len(page["rows"]) == len(said["sensitivity"]) == 8 and "%" in page["rows"][-1]["value"]
    # Both curves are drawn over all shares, and what loses lies below the line at nothing.
    assert page["chart"].count("<polyline") == 2 and page["chart"].count(",") >= 42
    assert min(point["profit"] for point in said["curve"]) < 0


def test_a_task_without_profit_has_no_such_section():
    assert profit_page.section({}, "conversion", "a rule", "USD", Voice("en")) is None
