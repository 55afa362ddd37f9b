"""The simulated shop beside the real grocer, within stated distances."""

from datetime import datetime, timedelta

import numpy as np
import pytest

from features.contracts import hold
from features.shop.reality import Shape, distances, shape_of
from features.sources import open_dataset

# Of its store and of all channels: hours differ more, since screens are busy at night. Lines are counted in means: the shop's baskets are half as long as the grocer's.
WITHIN = {"gaps": .09, "lines": .17, "values": .10, "weekdays": .03, "top_decile": .06}


@pytest.fixture(scope="module")
def shapes() -> dict[str, Shape]:
    shop, grocer = (hold(open_dataset(name))[0] for name in ("demo-shop", "complete-journey"))
    return {"grocer": shape_of(grocer), "shop": shape_of(shop), "store": shape_of(shop, "store")}


@pytest.mark.slow
def test_its_rhythm_and_baskets_are_near_the_grocers(shapes):
    found = distances(shapes["shop"], shapes["grocer"])
    assert all(found[name] <= most for name, most in WITHIN.items()), found
    assert found["hours"] <= .18
    assert distances(shapes["store"], shapes["grocer"])["hours"] <= .09


@pytest.mark.slow
def test_it_loses_more_customers_than_the_grocer_whose_panel_was_chosen_for_staying(shapes):
    assert shapes["grocer"].retained[5] > .8
    assert .4 < shapes["shop"].retained[5] < .8
    assert shapes["shop"].retained[0] == 1


def test_the_shape_of_rows_written_by_hand(given):
    start = datetime(2026, 3, 2, 10)  # a Monday
    rows = [{"customer_id": "a", "event_at": start + timedelta(days=2 * i), "amount": 10, "session_id": f"s{i}"} for i in range(12)]
    rows.append({"customer_id": "a", "event_at": start + timedelta(minutes=5), "amount": 20, "session_id": "s0"})
    rows.append({"customer_id": "b", "event_at": start.replace(hour=18), "amount": 70, "session_id": "t"})
    shape = shape_of(given(rows))
    np.testing.assert_allclose(shape.gaps, np.ones(11))
    assert sorted(np.unique(shape.lines)) == pytest.approx([13 / 14, 2 * 13 / 14])
    assert shape.hours[10] == pytest.approx(12 / 13) and shape.hours[18] == pytest.approx(1 / 13)
    assert shape.weekdays[0] == pytest.approx(3 / 13)  # both first days, and the eighth basket
    assert distances(shape, shape) == dict.fromkeys(("gaps", "lines", "values", "hours", "weekdays", "top_decile"), 0.0)
