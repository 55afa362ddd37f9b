"""Consents: the last one known before as_of counts, erasure always, and what an absent one means is declared."""

from dataclasses import replace
from datetime import datetime

import pytest

from features.base import write_base
from features.consents import with_consents
from features.errors import ContractError
from features.snapshots import features_of, snapshots

AS_OF = datetime(2026, 5, 31, 16)
EVENTS = [{"customer_id": c, "event_at": f"2026-0{m}-10 10:00:00"} for c in "abcdef" for m in (1, 2, 3, 4, 5)]
PEOPLE = [
    {"customer_id": "a", "valid_from": "2026-01-01", "consent_profiling": "true", "consent_marketing": "true", "erased_at": ""},
    {"customer_id": "a", "valid_from": "2026-04-01", "consent_profiling": "true", "consent_marketing": "false", "erased_at": ""},
    {"customer_id": "b", "valid_from": "2026-01-01", "consent_profiling": "false", "consent_marketing": "true", "erased_at": ""},
    {"customer_id": "c", "valid_from": "2026-01-01", "consent_profiling": "true", "consent_marketing": "true", "erased_at": "2026-05-01"},
    {"customer_id": "d", "valid_from": "2026-06-15", "consent_profiling": "false", "consent_marketing": "false", "erased_at": ""},
    {"customer_id": "e", "valid_from": "", "consent_profiling": "", "consent_marketing": "", "erased_at": "2026-07-01"}]


@pytest.fixture(scope="module")
def dataset(given):
    return given(EVENTS, customers=PEOPLE, declared='observed_until = "2026-06-30"\n')


def told(dataset):
    rows = snapshots(dataset, [AS_OF], features_of(dataset)[0]).drop("as_of")
    kept, left_out = with_consents(dataset, rows, AS_OF)
    return {row["customer_id"]: row["may_contact"] for row in kept.to_pyarrow().to_pylist()}, left_out


def test_the_last_consent_before_as_of_counts_and_erasure_always(dataset):
    # d's refusal and e's erasure come later; f has no row.
    assert told(dataset) == ({"a": False, "d": True, "e": True, "f": True}, {"erased": 1, "no_profiling": 1})


def test_where_consent_is_required_an_absent_one_is_none(dataset):
    assert told(replace(dataset, consent="required")) == ({"a": False}, {"erased": 1, "no_profiling": 4})


def test_nobody_left_is_refused(given):
    shop = given(EVENTS, declared='consent = "required"\n')
    with pytest.raises(ContractError, match="NO_CONSENT.*none of 6.*required"):
        told(shop)


def test_without_customers_everybody_may_be_asked(given):
    assert told(given(EVENTS)) == (dict.fromkeys("abcdef", True), {"erased": 0, "no_profiling": 0})


def test_the_base_holds_only_whom_scoring_may_see(dataset, tmp_path):
    import json

    import pandas as pd

    write_base(dataset, tmp_path)
    base = pd.read_parquet(tmp_path / "features" / "base.parquet")
    assert set(base["customer_id"]) == {"a", "e", "f"}  # by the scoring moment, 30 June, d has refused; e is erased a day later
    assert not {"consent_profiling", "consent_marketing", "erased_at"} & set(base.columns)
    assert json.loads((tmp_path / "features" / "base.json").read_text())["left_out"] == {"erased": 1, "no_profiling": 2}
