"""Consents: whoever is erased or refuses is in no table, for the whole person; what an absent consent means is declared; contacts go by what was known then."""

import json
from datetime import datetime

import pandas as pd
import pytest

from features.base import write_base
from features.consents import with_consents
from features.errors import ContractError
from features.labels import labels
from features.snapshots import features_of, snapshots

AS_OF = datetime(2026, 5, 31, 16)
EVENTS = [{"customer_id": c, "event_at": f"2026-0{m}-10 10:00:00"} for c in "abcdef" for m in (1, 2, 3, 4, 5)]
PEOPLE = [
    {"customer_id": "a", "valid_from": "2026-01-01", "consent_profiling": "true", "consent_marketing": "true", "erased_at": ""},
    {"customer_id": "a", "valid_from": "2026-04-01", "consent_profiling": "true", "consent_marketing": "false", "erased_at": ""},
    {"customer_id": "b", "valid_from": "2026-01-01", "consent_profiling": "false", "consent_marketing": "true", "erased_at": ""},
    {"customer_id": "c", "valid_from": "2026-01-01", "consent_profiling": "true", "consent_marketing": "true", "erased_at": "2026-05-01"},
    {"customer_id": "d", "valid_from": "2026-06-15", "consent_profiling": "true", "consent_marketing": "false", "erased_at": ""},
    {"customer_id": "e", "valid_from": "", "consent_profiling": "", "consent_marketing": "", "erased_at": "2026-07-01"}]
UNTIL = 'observed_until = "2026-06-30"\n'


def counts(findings):
    return {finding.code: (finding.level, finding.count, finding.offenders) for finding in findings}


def contacts(dataset):
    rows = snapshots(dataset, [AS_OF], features_of(dataset)[0]).drop("as_of")
    return {row["customer_id"]: row["may_contact"] for row in with_consents(dataset, rows, AS_OF).to_pyarrow().to_pylist()}


def test_f42_whoever_is_erased_or_refuses_is_in_no_table_feature_or_label(held, tmp_path):
    dataset, findings = held(EVENTS, customers=PEOPLE, declared=UNTIL + "[tasks.churn]\n")
    assert counts(findings) == {"ERASED": ("quarantine", 2, ()), "NO_PROFILING": ("quarantine", 1, ())}, "how many, and nobody by name"
    left = {"a", "d", "f"}  # e was erased after the last event, which is known all the same; f has no row
    for table in ("events", "customers"):
        assert not {"b", "c", "e"} & set(dataset.tables[table].customer_id.to_pyarrow().to_pylist())
    assert set(contacts(dataset)) == left
    assert {row["customer_id"] for row in labels(dataset, dataset.tasks[0], [datetime(2026, 3, 31, 16)]).to_pyarrow().to_pylist()} == left, "also in what is learned from"
    write_base(dataset, tmp_path)
    base = pd.read_parquet(tmp_path / "features" / "base.parquet")
    assert set(base["customer_id"]) == left and not {"consent_profiling", "consent_marketing", "erased_at"} & set(base.columns)
    assert "c" not in json.loads((tmp_path / "features" / "base.json").read_text())["tasks"]


def test_contacts_go_by_the_last_word_before_as_of(held):
    # a has taken it back in April; d refuses only in June.
    assert contacts(held(EVENTS, customers=PEOPLE, declared=UNTIL)[0]) == {"a": False, "d": True, "f": True}


def test_a_refusal_that_is_taken_back_is_none(given):
    people = [{"customer_id": "a", "valid_from": "2026-01-01", "consent_profiling": "false"}, {"customer_id": "a", "valid_from": "2026-02-01", "consent_profiling": "true"}]
    assert set(contacts(given(EVENTS, customers=people, declared=UNTIL))) == set("abcdef")


def test_where_consent_is_required_an_absent_one_is_no(held):
    dataset, findings = held(EVENTS, customers=PEOPLE, declared=UNTIL + 'consent = "required"\n')
    assert contacts(dataset) == {"a": False, "d": False}, "d's word on contacts comes later, and what is not said is no"
    assert counts(findings) == {"ERASED": ("quarantine", 2, ()), "NO_PROFILING": ("quarantine", 2, ())}


@pytest.mark.parametrize("people", [[], [{"customer_id": "a", "consent_profiling": "false"}]])
def test_nobody_left_is_refused(held, people):
    tables = {"customers": people} if people else {}
    with pytest.raises(ContractError, match="NO_CONSENT.*none of 6.*required"):
        held(EVENTS, declared='consent = "required"\n', **tables)


def test_without_customers_everybody_may_be_asked(given):
    assert contacts(given(EVENTS)) == dict.fromkeys("abcdef", True)


@pytest.mark.parametrize(("row", "code"), [({"erased_at": "2026-05-01"}, "ERASED"), ({"consent_profiling": "false"}, "NO_PROFILING")])
def test_f42_the_whole_person_goes_with_every_identifier(held, row, code):
    links = [{"alias": alias, "alias_kind": kind, "customer_id": "a", "linked_at": "2026-02-01"} for alias, kind in (("ph", "phone_hash"), ("b", "customer"))]
    dataset, findings = held(EVENTS, customers=[{"customer_id": "b", "valid_from": "", **row}], aliases=links, declared=UNTIL)
    assert set(contacts(dataset)) == set("cdef") and counts(findings)[code][1] == 1
    assert dataset.tables["aliases"].count().to_pyarrow().as_py() == 0
