"""What a saved model remembers of its rows."""

from made_up import COLUMNS

from training.members import LinearMember
from training.recipes import Ground, fit_logistic, fit_rule
from training.reference import drivers
from training.saved_model import SavedModel


def saved(member: LinearMember) -> SavedModel:
    return SavedModel("d.t", {}, COLUMNS, (member,), (1.0,), 1.0, 0.0, (0.1, 0.3))


def test_drivers_name_only_what_moves_the_score(rows):
    said = drivers(saved(fit_rule(rows, COLUMNS, {"column": "visits_count_28d", "sign": -1})), rows)
    assert [row["feature"] for row in said["features"]] == ["visits_count_28d"]
    assert [row["family"] for row in said["families"]] == ["behaviour"]
    assert said["features"][0]["direction"] == "lowers"


def test_drivers_find_the_planted_law(rows):
    said = {row["feature"]: row for row in drivers(saved(fit_logistic(Ground(rows, COLUMNS), {"C": 1.0})), rows)["features"]}
    assert next(iter(said)) == "visits_count_28d"
    assert said["visits_count_28d"]["direction"] == "lowers"
    assert said["days_since_last_visit"]["direction"] == "raises"
    assert said["noise_ratio"]["strength"] < said["city"]["strength"] < said["visits_count_28d"]["strength"]
    shape = [point["contribution"] for point in said["visits_count_28d"]["shape"]]
    assert shape == sorted(shape, reverse=True)
