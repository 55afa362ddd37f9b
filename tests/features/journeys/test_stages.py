"""Which kinds are which stage: as the data has them, as declared, and what is refused."""

import pytest

from features.dataset import Funnel
from features.errors import ContractError, UsageError
from features.journeys.stages import declared, standard
from features.sources import open_dataset
from tests.features.journeys.conftest import rows_of, session

OWN = ["visit", "landing_view", "product_view", "cart_add", "checkout", "payment_failed", "purchase", "registration"]


def test_the_standard_funnel_has_the_stages_that_occur():
    ladder, lacks = standard(OWN)
    assert (ladder.stages, lacks) == (("visit", "product_view", "cart", "checkout", "purchase"), "")
    assert ladder.number_of == {"visit": 1, "landing_view": 1, "product_view": 2, "cart_add": 3, "checkout": 4, "payment_failed": 4, "purchase": 5}
    assert standard(["visit", "purchase"])[0].stages == ("visit", "purchase")


@pytest.mark.parametrize(("conversion", "stages"), [
    ("cart_add", ("visit", "product_view", "cart_add")), ("checkout", ("visit", "product_view", "cart", "checkout")),
    ("registration", ("visit", "product_view", "cart", "checkout", "registration"))])
def test_another_conversion_ends_the_funnel(conversion, stages):
    ladder, _ = standard(OWN, conversion)
    assert ladder.stages == stages
    assert [kind for kind, number in ladder.number_of.items() if number == ladder.last] == [conversion]


def test_without_browsing_there_is_no_funnel_and_without_purchases_neither():
    ladder, lacks = standard(["purchase", "return"])
    assert (ladder.stages, ladder.number_of) == (("purchase",), {"purchase": 1})
    assert "needs browsing events" in lacks
    assert "needs purchases" in standard(["visit"])[1]


def test_a_conversion_that_never_occurs_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match=r"found 'purchse', which never occurs; did you mean purchase\?"):
        standard(OWN, "purchse")


def test_a_declared_stage_is_a_kind_or_a_standard_name_for_all_kinds_that_are_not_named_themselves():
    ladder = declared(Funnel("f", ("visit", "checkout", "payment_failed", "purchase")), OWN)
    assert ladder.number_of == {"visit": 1, "landing_view": 1, "checkout": 2, "payment_failed": 3, "purchase": 4}
    assert declared(Funnel("f", ("visit", "cart", "purchase")), OWN, conversion="cart").stages == ("visit", "cart")
    assert declared(Funnel("f", ("visit", "cart")), OWN, conversion="registration").stages == ("visit", "cart", "registration")


@pytest.mark.parametrize(("stages", "says"), [
    (("visit", "product_veiw", "purchase"), r"found 'product_veiw', which never does; did you mean product_view\?"),
    (("purchase", "visit"), r"found purchase \(a purchase\) before visit \(a visit\); turn them round"),
    (("visit", "registration", "checkout", "cart_add"), r"found checkout \(a checkout\) before cart_add \(a cart\)"),
    (("visit",), "needs two stages or more"), (("visit", "visit"), "each once"),
    (("campaign_received", "purchase"), 'write unit = "customers"')])
def test_a_funnel_that_makes_no_sense_is_refused(stages, says):
    with pytest.raises(ContractError, match=says):
        declared(Funnel("f", stages), OWN, ["campaign_received"])


def test_where_customers_are_counted_a_marketers_event_may_be_a_stage():
    assert declared(Funnel("f", ("campaign_received", "purchase"), "customers"), OWN, ["campaign_received"]).number_of == {"campaign_received": 1, "purchase": 2}


@pytest.mark.parametrize(("text", "says"), [
    ('[funnels.f]\nunit = "sessions"\n', "needs its stages"), ('[funnels.f]\nstages = ["visit", "purchase"]\nunit = "people"\n', "unit must be sessions or customers"),
    ('[funnels.f]\nstages = ["visit", "purchase"]\nunits = "sessions"\n', "did you mean unit")])
def test_a_declaration_that_cannot_be_read_is_refused(folder_of, text, says):
    with pytest.raises(ContractError, match=says):
        open_dataset(str(folder_of(rows_of(session("a", "vb")), declared=text)))


def test_a_funnel_of_a_toml_of_its_own_is_added_to_the_dataset_that_it_names(folder_of, tmp_path):
    folder = folder_of(rows_of(session("a", "vb")), declared='[funnels.one]\nstages = ["visit", "purchase"]\n')
    path = tmp_path / "more.toml"
    path.write_text(f'data = "{folder}"\n[funnels.two]\nstages = ["visit", "purchase"]\nunit = "customers"\n', encoding="utf-8")
    dataset = open_dataset(str(path))
    assert dataset.funnels == (Funnel("one", ("visit", "purchase")), Funnel("two", ("visit", "purchase"), "customers"))
    assert [task.name for task in dataset.tasks] == ["churn"]
