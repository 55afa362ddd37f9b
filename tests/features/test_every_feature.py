"""Every entry of the catalogue is expected with a telling value by some given/expect case."""

import pytest
import test_other_features
import test_path_features
import test_portrait_features
import test_purchase_features

from features.catalogue import CATALOGUE, expand

EXPECTED = {
    name
    for module in (test_purchase_features, test_other_features, test_portrait_features, test_path_features)
    for _, expected in module.CASES.values()
    for name, value in expected.items()
    if value
}


@pytest.mark.parametrize("template", CATALOGUE, ids=lambda feature: feature.name)
def test_every_feature_is_expected_at_least_once(template):
    assert {feature.name for feature in expand((template,), (28, 56), "CNY")} & EXPECTED, "no case expects a value that tells something"
