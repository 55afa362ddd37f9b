"""Given these links, these are one person at these moments: merges as known then, lent devices, hubs, contradictions, splits, cycles."""

import random
from datetime import datetime

import pytest
from pairs import precision_and_recall

from features.components import components
from features.engine import connect
from features.errors import ContractError
from features.identity import links_used, persons
from features.shop.simulate import simulate
from features.snapshots import features_of, snapshots
from features.sources import open_dataset

APRIL, MAY = datetime(2026, 4, 1), datetime(2026, 5, 1)
SEEN = [{"customer_id": "c1", "event_at": "2026-01-05T10:00:00Z"}, {"customer_id": "c9", "event_at": "2026-05-30T10:00:00Z"}]


def link(alias, to, at="2026-03-01", kind="", to_kind="customer", **more):
    guessed = {"d": "device", "k": "cookie", "p": "phone_hash", "e": "email_hash", "c": "customer", "v": "card"}[alias[0]]
    return {"alias": alias, "alias_kind": kind or guessed, "customer_id": to, "customer_kind": to_kind, "linked_at": f"{at}T00:00:00Z" if len(at) == 10 else at, **more}


def together(dataset, as_of):
    """The persons of several identifiers, as sets of words."""
    found = {}
    for row in persons(dataset, [as_of]).to_pyarrow().to_pylist():
        found.setdefault(row["person"], []).append(row["identifier"])
    return {person: " ".join(sorted(names)) for person, names in found.items() if len(names) > 1}


CASES = {
    "an e-mail joins two accounts, called by the one linked first": (
        [link("e1", "c2", "2026-03-02"), link("e1", "c1", "2026-03-03")], {"c2": "c1 c2 e1"}, {"joins": 2}),
    "a chain of numbers and accounts is one person": (
        [link("p1", "c1"), link("p1", "c2", "2026-03-02"), link("e1", "c2"), link("e1", "c3", "2026-03-03")], {"c1": "c1 c2 c3 e1 p1"}, {"joins": 4}),
    "a cycle is no harm": (
        [link("e1", "c1"), link("e1", "c2"), link("p1", "c1"), link("p1", "c2"), link("c1", "c2")], {"c1": "c1 c2 e1 p1"}, {"joins": 5}),
    "a device at two accounts joins neither to the other": (
        [link("d1", "c1"), link("d1", "c1", "2026-03-08"), link("d1", "c2", "2026-03-02")], {"c1": "c1 d1"}, {"joins": 2, "shared": 1}),
    "seen more often is the owner, though later": (
        [link("d1", "c2"), link("d1", "c1", "2026-03-02"), link("d1", "c1", "2026-03-09")], {"c1": "c1 d1"}, {"joins": 2, "shared": 1}),
    "who has a telephone does not get the neighbour's too": (  # d2 is c1's by number, but c1 uses d1 all the time, so it is c2's.
        [link("d1", "c1", f"2026-03-{day:02d}") for day in (1, 8, 15, 22, 29)] + [link("d2", "c1", f"2026-03-{day:02d}") for day in (8, 15)] + [link("d2", "c2", "2026-03-10")],
        {"c1": "c1 d1", "c2": "c2 d2"}, {"joins": 6, "shared": 2}),
    "a new telephone after the old one is the same person's": (
        [link("d1", "c1", "2026-03-01"), link("d2", "c1", "2026-03-20")], {"c1": "c1 d1 d2"}, {"joins": 2}),
    "a lent device links two accounts of one person": (
        [link("d1", "c1"), link("d1", "c2", "2026-03-02"), link("e1", "c1"), link("e1", "c2")], {"c1": "c1 c2 d1 e1"}, {"joins": 4}),
    "a cookie known by its device alone follows it": (
        [link("d1", "c1"), link("k1", "d1", to_kind="device")], {"c1": "c1 d1 k1"}, {"joins": 2}),
    "what was unlinked before the moment is no link": (
        [link("e1", "c1"), link("e1", "c2", unlinked_at="2026-03-20T00:00:00Z")], {"c1": "c1 e1"}, {"joins": 1}),
}


@pytest.mark.parametrize("case", CASES)
def test_who_is_one_person(given, case):
    links, expected, uses = CASES[case]
    dataset = given(SEEN, aliases=random.Random(case).sample(links, len(links)))
    assert together(dataset, APRIL) == expected
    found = links_used(dataset, [APRIL]).use.to_pyarrow().to_pylist()
    assert {use: found.count(use) for use in found} == uses


def test_a_merge_never_changes_an_earlier_moment_and_a_split_never_the_time_between(given):
    links = [link("e1", "c1", "2026-02-01"), link("e1", "c2", "2026-03-15", unlinked_at="2026-04-15T00:00:00Z")]
    dataset = given(SEEN, aliases=links)
    assert [together(dataset, at) for at in (datetime(2026, 3, 15), APRIL, MAY)] == [{"c1": "c1 e1"}, {"c1": "c1 c2 e1"}, {"c1": "c1 e1"}]


def test_a_hub_joins_nobody_and_is_said(held):
    links = [link(f"d{i}", "c1") for i in range(150)] + [link("e1", "c2"), link("e1", "c3")]
    dataset, findings = held(SEEN, aliases=links)
    assert together(dataset, APRIL) == {"c2": "c2 c3 e1"}
    assert [(f.code, f.count) for f in findings] == [("HUB", 150)] and "at most 100 others (most_links)" in findings[0].sentence()


def test_what_is_unsure_waits_and_is_said(held):
    dataset, findings = held(SEEN, aliases=[link("p1", "c1", confidence=.5), link("e1", "c1", confidence=.99)])
    assert together(dataset, APRIL) == {"c1": "c1 e1"} and [(f.code, f.count) for f in findings] == [("UNSURE_LINK", 1)]


def test_a_hub_of_ten_thousand_devices_as_large_as_declared(held):
    links = [link(f"d{i}", "c1", f"2026-01-01T{i // 3600:02d}:{i // 60 % 60:02d}:{i % 60:02d}Z") for i in range(10_000)]
    dataset, _ = held(SEEN, aliases=links, declared="[identity]\nmost_links = 20000\n")
    assert len(together(dataset, APRIL)["c1"].split()) == 10_001


def test_one_card_and_two_birth_dates_stay_two_persons(held):
    people = [{"customer_id": "c1", "birth_date": "1980-01-01"}, {"customer_id": "c2", "birth_date": "1999-01-01"}]
    dataset, findings = held(SEEN, customers=people, aliases=[link("v1", "c1", "2026-03-01"), link("v1", "c2", "2026-03-02"), link("e1", "c2")])
    assert together(dataset, APRIL) == {"c1": "c1 v1", "c2": "c2 e1"}
    assert [(f.code, f.count, f.offenders) for f in findings] == [("NOT_ONE_PERSON", 1, ("v1",))]


def test_the_same_birth_date_is_one_person(given):
    people = [{"customer_id": "c1", "birth_date": "1980-01-01"}, {"customer_id": "c2", "birth_date": "1980-01-01"}, {"customer_id": "c3", "birth_date": ""}]
    dataset = given(SEEN, customers=people, aliases=[link("v1", "c1"), link("v1", "c2"), link("v1", "c3")])
    assert together(dataset, APRIL) == {"c1": "c1 c2 c3 v1"}


@pytest.mark.parametrize(("links", "code", "said"), [
    ([link("d1", "c1", kind="fax")], "UNKNOWN_ALIAS_KIND", "add the kind to kinds"),
    ([link("c1", "c1")], "LINK_TO_ITSELF", "between two identifiers"),
    ([{**link("d1", "c1"), "linked_at": ""}], "NO_LINK", "would tell the past"),
    ([link("d1", "c1", unlinked_at="2026-01-01T00:00:00Z")], "UNLINKED_BEFORE", "not before linked_at")])
def test_links_that_break_the_contract_are_counted_and_set_aside(held, links, code, said):
    dataset, findings = held(SEEN, aliases=[*links, link("e5", "c5")])
    assert [(f.code, f.level, f.count) for f in findings] == [(code, "quarantine", 1)] and said in findings[0].sentence()
    assert together(dataset, APRIL) == {"c5": "c5 e5"}


@pytest.mark.parametrize(("declared", "message"), [
    ('[identity]\nkinds = ["customer", "device"]\n', "need each kind once.*found device"), ("[identity]\nmost_links = 0\n", "most_links of 1 or more"),
    ("[identity]\nmost_linkz = 5\n", "did you mean most_links"), ("[identity]\nleast_confidence = 2.0\n", "least_confidence above 0 and up to 1")])
def test_rules_that_make_no_sense_are_refused(folder_of, declared, message):
    with pytest.raises(ContractError, match=message):
        open_dataset(str(folder_of(SEEN, aliases=[link("d1", "c1")], declared=declared)))


def visit(who, at, kind="visit", **more):
    return {"customer_id": who, "event_at": f"2026-{at}T10:00:00Z", "kind": kind, **more}


WALKS = [
    visit("k1", "02-01"), visit("k1", "02-20"), visit("c1", "03-02", "purchase", amount=10), visit("k1", "03-20"), visit("c2", "03-25", "purchase", amount=5),
    visit("c9", "05-30")]
KNOWN = [link("k1", "c1", "2026-03-02"), link("e1", "c1", "2026-03-02"), link("e1", "c2", "2026-04-10")]
MOMENTS = [datetime(2026, 2, 25), datetime(2026, 3, 10), datetime(2026, 4, 1), datetime(2026, 4, 20)]


def counted(dataset, as_ofs):
    features = [feature for feature in features_of(dataset)[0] if feature.name in ("visit_count_ever", "purchases_count_ever", "spend_sum_ever_cny")]
    return {(row["as_of"], row["customer_id"]): (row["visit_count_ever"], row["purchases_count_ever"], row["spend_sum_ever_cny"])
            for row in snapshots(dataset, as_ofs, features).to_pyarrow().to_pylist()}


EXPECTED = {
    (MOMENTS[0], "k1"): (2, 0, 0.0),  # a stranger until signing in
    (MOMENTS[1], "c1"): (2, 1, 10.0),
    (MOMENTS[2], "c1"): (3, 1, 10.0), (MOMENTS[2], "c2"): (0, 1, 5.0),  # two accounts, not yet known to be one person's
    (MOMENTS[3], "c1"): (3, 2, 15.0)}


def test_events_follow_the_person_from_the_moment_that_the_link_is_known(given):
    dataset = given(WALKS, aliases=KNOWN)
    assert counted(dataset, MOMENTS) == EXPECTED, "all moments at once"
    assert {key: value for at in MOMENTS for key, value in counted(dataset, [at]).items()} == EXPECTED, "one by one"


def test_links_learned_later_leave_every_earlier_row_as_it_was(given):
    before = counted(given(WALKS, aliases=[row for row in KNOWN if row["linked_at"] < "2026-04-01"]), MOMENTS[:3])
    assert before == counted(given(WALKS, aliases=KNOWN), MOMENTS[:3])


def test_attributes_survive_merges_and_the_newest_word_counts(given):
    people = [{"customer_id": "c1", "valid_from": "2026-02-01", "city": "Wuhan", "job": "nurse"}, {"customer_id": "c2", "valid_from": "2026-03-01", "city": "Dalian", "job": ""}]
    dataset = given(WALKS, aliases=KNOWN, customers=people)
    features = [feature for feature in features_of(dataset)[0] if feature.name in ("city", "job")]
    found = {(row["as_of"], row["customer_id"]): (row["city"], row["job"]) for row in snapshots(dataset, MOMENTS[2:], features).to_pyarrow().to_pylist()}
    assert found == {(MOMENTS[2], "c1"): ("Wuhan", "nurse"), (MOMENTS[2], "c2"): ("Dalian", None), (MOMENTS[3], "c1"): ("Dalian", "nurse")}


@pytest.mark.parametrize("edges", [
    [], [(1, 1)], [(3, 2), (2, 3)], [(i, i + 1) for i in range(300)], [(i, i + 7) for i in range(100)], [(0, i) for i in range(1, 200)],
    [(random.Random(i).randrange(400), random.Random(-i).randrange(400)) for i in range(350)]], ids=["none", "loop", "pair", "chain", "seven chains", "star", "random"])
def test_components_equal_those_found_one_by_one(tmp_path, edges):
    import pyarrow as pa

    engine = connect((tmp_path,))
    table = engine.create_table("edges", pa.table({"a": pa.array([a for a, _ in edges], pa.int64()), "b": pa.array([b for _, b in edges], pa.int64())}))
    found = {row["node"]: row["root"] for row in components(engine, table).to_pyarrow().to_pylist()}
    root = {node: node for edge in edges for node in edge}
    for _ in root:
        for a, b in edges:
            root[a] = root[b] = min(root[a], root[b])
    assert found == root


@pytest.mark.slow
def test_persons_of_the_simulated_shop(tmp_path):
    simulate(tmp_path / "shop", 1500, 12, seed=7)
    precision, recall = precision_and_recall(open_dataset(str(tmp_path / "shop")), tmp_path / "shop" / "truth")
    assert precision >= .985 and recall >= .95, "of 1,500 customers; the benchmark asks for .99 of 4,000"
