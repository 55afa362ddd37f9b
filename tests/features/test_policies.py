"""Policies: each choice does what it says with its rows, counts them with its code, and touches no others."""

from collections import Counter
from dataclasses import fields
from decimal import Decimal

import pytest

from features.contracts import hold
from features.errors import ContractError
from features.policies import CHOICES, Policies
from features.sources import open_dataset

COLUMNS = ("event_id", "kind", "amount_minor", "quantity", "discount_minor")


def event(number, **more):
    return {"event_id": number, "customer_id": "ann", "kind": "purchase", "event_at": "2026-03-02 10:00:00", "amount": 5, "quantity": 1, "discount": 0, "currency": None, **more}


@pytest.fixture
def settled(folder_of):
    """A function: what is declared and rows -> (clean rows by id, [(code, level, count)], {(reason, row_id)}); everybody bought for 1,000 the day before."""

    def under(policies, *rows, currency="CNY"):
        bought = [event(f"0{customer}", customer_id=customer, event_at="2026-03-01 10:00:00", amount=1000) for customer in {row["customer_id"] for row in rows} - {"nobody"}]
        folder = folder_of([*bought, *rows], zone="UTC", currency=currency, declared=f'observed_until = "2026-04-01"\n[policies]\n{policies}\n')
        dataset, findings = hold(open_dataset(str(folder)))
        clean = {row.pop("event_id"): tuple(row.values()) for row in dataset.tables["events"].select(COLUMNS).to_pyarrow().to_pylist()}
        assert all(clean.pop(row["event_id"]) == ("purchase", 100_000, 1, 0) for row in bought)
        told = [(finding.code, finding.level, finding.count) for finding in findings]
        return clean, told, {(row["reason"], row["row_id"]) for row in dataset.tables["quarantine"].to_pyarrow().to_pylist()}

    return under


PURCHASE, RETURN = ("purchase", 500, 1, 0), ("return", 500, 1, 0)
# What is declared: (what a row has beside what an event has, what becomes of it (None: left out), its code and level).
TABLE = {
    "": [
        ({"amount": -5}, None, ("NEGATIVE_AMOUNT", "quarantine")),
        ({"quantity": -1}, None, ("NEGATIVE_QUANTITY", "quarantine")),
        ({"discount": -1}, ("purchase", 500, 1, -100), ("NEGATIVE_DISCOUNT", "warn")),
        ({"amount": 0}, ("purchase", 0, 1, 0), None),
        ({"kind": "return"}, RETURN, None),
        ({"kind": "return", "amount": "1000.01"}, ("return", 100_001, 1, 0), ("RETURN_TOO_LARGE", "warn")),
        ({"kind": "return", "customer_id": "nobody"}, RETURN, ("RETURN_WITHOUT_PURCHASE", "warn")),
        ({"kind": "walk"}, ("walk", 500, 1, 0), None),
        ({"event_at": "2026-04-01 00:05:00"}, PURCHASE, None),
        ({"event_at": "2026-04-01 00:05:01"}, None, ("IN_THE_FUTURE", "quarantine")),
        ({"ingested_at": "2026-03-02 09:55:00"}, PURCHASE, None),
        ({"ingested_at": "2026-03-02 09:54:59"}, None, ("INGESTED_BEFORE", "quarantine")),
    ],
    """negative_amount = "return"
negative_discount = "positive"
zero_amount = "quarantine"
unmatched_return = "quarantine"
other_currency = "quarantine"
future_minutes = 60
kinds = ["purchase", "return", "refund", "visit", "fee", "Purchases"]""": [
        ({}, PURCHASE, None),
        ({"amount": -5}, RETURN, ("READ_AS_RETURN", "warn")),
        ({"amount": -5, "quantity": -1, "discount": -1}, ("return", 500, 1, 100), ("READ_AS_RETURN", "warn")),
        ({"amount": -5, "kind": "refund"}, ("refund", 500, 1, 0), ("READ_AS_RETURN", "warn")),
        ({"amount": -5, "kind": "fee"}, None, ("NEGATIVE_AMOUNT", "quarantine")),
        ({"quantity": -1}, None, ("NEGATIVE_QUANTITY", "quarantine")),
        ({"amount": None, "kind": "visit"}, ("visit", None, 1, 0), None),
        ({"discount": -1}, ("purchase", 500, 1, 100), ("DISCOUNT_AS_POSITIVE", "warn")),
        ({"discount": None}, ("purchase", 500, 1, None), None),
        ({"amount": 0}, None, ("ZERO_AMOUNT", "quarantine")),
        ({"amount": 0, "kind": "refund"}, None, ("ZERO_AMOUNT", "quarantine")),
        ({"amount": 0, "kind": "visit"}, ("visit", 0, 1, 0), None),
        ({"amount": None}, ("purchase", None, 1, 0), None),
        ({"kind": "return", "amount": "1000.01"}, None, ("RETURN_TOO_LARGE", "quarantine")),
        ({"kind": "refund", "amount": 1000}, ("refund", 100_000, 1, 0), None),
        ({"kind": "return", "customer_id": "nobody"}, None, ("RETURN_WITHOUT_PURCHASE", "quarantine")),
        ({"kind": "refund", "event_at": "2026-03-01 09:59:59"}, None, ("RETURN_WITHOUT_PURCHASE", "quarantine")),
        ({"kind": "Purchases"}, ("Purchases", 500, 1, 0), None),
        ({"kind": "run"}, None, ("UNKNOWN_KIND", "quarantine")),
        ({"event_at": "2026-04-01 01:00:00"}, PURCHASE, None),
        ({"ingested_at": "2026-03-02 09:00:00"}, PURCHASE, None),
        ({"currency": "USD"}, None, ("MIXED_CURRENCY", "quarantine")),
        ({"currency": " cny"}, PURCHASE, None),
        ({"currency": "USD", "amount": None, "discount": None}, ("purchase", None, 1, None), None),
    ],
    """negative_quantity = "return"
negative_discount = "quarantine"
future_minutes = 0""": [
        ({"quantity": -1}, RETURN, ("READ_AS_RETURN", "warn")),
        ({"amount": -5}, None, ("NEGATIVE_AMOUNT", "quarantine")),
        ({"discount": -1}, None, ("NEGATIVE_DISCOUNT", "quarantine")),
        ({"event_at": "2026-04-01 00:00:01"}, None, ("IN_THE_FUTURE", "quarantine")),
        ({"ingested_at": "2026-03-02 09:59:59"}, None, ("INGESTED_BEFORE", "quarantine")),
    ],
    """negative_quantity = "return"
negative_amount = "return\"""": [({"amount": -5, "quantity": -1}, RETURN, ("READ_AS_RETURN", "warn"))],
}


@pytest.mark.parametrize("policy", TABLE, ids=["nothing said", "all mended", "strict", "both signs"])
def test_f30_each_policy_does_what_it_says_and_counts_it(settled, policy):
    cases = {f"e{i}": case for i, case in enumerate(TABLE[policy])}
    clean, told, moved = settled(policy, *(event(number, **{"customer_id": f"c{number}", **more}) for number, (more, _, _) in cases.items()))
    assert clean == {number: becomes for number, (_, becomes, _) in cases.items() if becomes}
    assert sorted(told) == sorted((*said, n) for said, n in Counter(said for _, _, said in cases.values() if said).items())
    assert moved == {(said[0], number) for number, (_, _, said) in cases.items() if said and said[1] == "quarantine"}


@pytest.mark.parametrize(("policy", "broken"), [("negative_amount", {"amount": -5}), ("negative_quantity", {"quantity": -1}), ("negative_discount", {"discount": -1})])
def test_f30_what_is_declared_to_be_refused_is(settled, policy, broken):
    with pytest.raises(ContractError, match=rf"{policy.upper()}: events needs .*; found 1 that break it \(b1\)"):
        settled(f'{policy} = "refuse"', event("b1", **broken))


@pytest.mark.parametrize(("policy", "becomes", "said"), [
    ("first", {"b1": 500}, ("CHANGED_EVENT", "quarantine", 2)), ("last", {"b1": 700}, ("CHANGED_EVENT", "quarantine", 2)), ("quarantine", {}, ("CHANGED_EVENT", "quarantine", 3))])
def test_f30_of_the_versions_of_an_event_one_is_kept_as_declared(settled, policy, becomes, said):
    versions = [event("b1", amount=amount, ingested_at=f"2026-03-0{day} 10:00:00") for amount, day in ((6, 4), (5, 3), (7, 5))]
    clean, told, moved = settled(f'duplicate_event_id = "{policy}"', *versions)
    assert {number: row[1] for number, row in clean.items()} == becomes
    assert told == [said] and moved == {("CHANGED_EVENT", "b1")}


def test_copies_of_versions_are_copies_first(settled):
    """A copy counts from its first arrival on: here the version of 5 arrived first, though a copy of it came last."""
    rows = [event("b1", amount=amount, ingested_at=f"2026-03-0{day} 10:00:00") for amount, day in ((5, 3), (6, 4), (5, 6))]
    for policy, kept in (("first", 500), ("last", 600)):
        clean, told, moved = settled(f'duplicate_event_id = "{policy}"', *rows)
        assert clean["b1"][1] == kept
        assert told == [("REPEATED_EVENT", "quarantine", 1), ("CHANGED_EVENT", "quarantine", 1)]
        assert moved == {("REPEATED_EVENT", "b1"), ("CHANGED_EVENT", "b1")}


@pytest.mark.parametrize("policy", ["first", "last"])
def test_versions_that_arrived_together_are_refused_since_nothing_tells_which_came_first(settled, policy):
    says = rf'SAME_ARRIVAL: .* so that the {policy} can be kept; found 1 that break it \(b1\); .*declare duplicate_event_id = "quarantine"'
    with pytest.raises(ContractError, match=says) as raised:
        settled(f'duplicate_event_id = "{policy}"', event("b1", amount=6), event("b1"), event("b2", amount=7, ingested_at="2026-03-03"), event("b2"))
    assert "DUPLICATE_KEY" not in str(raised.value)


RATES = '[rates]\nUSD = 7.1\nJPY = 0.047\nKWD = 23.25\n'


# (currency, amount, fen): 0.05 USD are 35.5 fen, so 36; a yen has no hundredths, a dinar thousandths.
MONEY = [
    ("USD", "12.50", 8875), ("USD", "0.05", 36), ("USD", "0.15", 107), ("JPY", "5", 24), ("JPY", "1000", 4700), ("KWD", "1.001", 2327), ("KWD", "0.010", 23),
    ("usd", "1", 710), ("CNY", "0.01", 1), ("", "3", 300), ("USD", None, None)]


def test_f30_money_is_converted_by_declared_rates_exactly_and_then_rounded(settled):
    rows = [event(f"b{i:02}", amount=amount, currency=code, discount=amount) for i, (code, amount, _) in enumerate(MONEY)]
    clean, told, moved = settled(f'other_currency = "convert"\n{RATES}', *rows)
    assert [clean[row["event_id"]][1::2] for row in rows] == [(minor, minor) for _, _, minor in MONEY]
    assert told == [("CURRENCY_CONVERTED", "warn", 8)] and not moved


def test_a_conversion_names_its_rates(folder_of):
    declared = f'[policies]\nother_currency = "convert"\n{RATES}'
    _, findings = hold(open_dataset(str(folder_of([event("b1", currency="USD"), event("b2", currency="KWD"), event("b3")], declared=declared))))
    assert findings[0].sentence() == (
        "CURRENCY_CONVERTED: events needs all money in CNY; found 2 that break it (KWD at 23.25, USD at 7.1); "
        "converted as declared, rounded to whole minor units, halves away from zero")


def test_f30_a_refund_in_another_currency_with_a_minus_is_converted_first(settled):
    clean, _, _ = settled(f'other_currency = "convert"\nnegative_amount = "return"\n{RATES}', event("b1", amount="-0.05", currency="USD"))
    assert clean == {"b1": ("return", 36, 1, 0)}


def test_conversion_into_a_currency_without_hundredths(folder_of):
    declared = '[policies]\nother_currency = "convert"\n[rates]\nUSD = 149.5\n'
    dataset, _ = hold(open_dataset(str(folder_of([event("b1", amount="0.99", currency="USD")], currency="JPY", declared=declared))))
    assert dataset.tables["events"].amount_minor.to_pyarrow().to_pylist() == [round(Decimal("0.99") * Decimal("149.5"))]


@pytest.mark.parametrize(("rows", "message"), [
    ([event("b1", currency="USD"), event("b2", currency="GBP"), event("b3", currency="EUR")], r"NO_RATE: events needs a rate for .*; found 2 that break it \(EUR, GBP\)"),
    ([event("b1", currency="USD", amount="9999999999999")], r"AMOUNT_TOO_LARGE: .*; found 1 that break it \(USD\)")])
def test_money_that_cannot_be_converted_is_refused(settled, rows, message):
    with pytest.raises(ContractError, match=message):
        settled('other_currency = "convert"\n[rates]\nUSD = 7.1\n', *rows)


RETURNS = [  # (rows, the ids of returns without purchase, the ids of returns that are too large)
    # Two halves and one more: each alone is less than was bought, together they are not.
    ([("p", "purchase", 1, 10, "s", "i"), ("r1", "return", 2, 5, "s", "i"), ("r2", "return", 3, 5, "s", "i"), ("r3", "return", 4, 1, "s", "i")], [], ["r3"]),
    # What was too large took nothing from those after it.
    ([("p", "purchase", 1, 10, "s", "i"), ("r1", "return", 2, 50, "s", "i"), ("r2", "return", 3, 10, "s", "i")], [], ["r1"]),
    # The goods and the money of one purchase.
    ([("p", "purchase", 1, 10, "s", "i"), ("r1", "return", 2, 10, "s", "i"), ("r2", "refund", 3, 10, "s", "i")], [], []),
    # A session's own purchases, not those of others; at the same second the purchase came first.
    ([("p", "purchase", 1, 90, "t", "i"), ("q", "purchase", 2, 10, "s", "i"), ("r", "return", 2, 20, "s", "i")], [], ["r"]),
    ([("p", "purchase", 1, 10, "s", "i"), ("r", "return", 1, 10, "s", "i")], [], []),
    # Without a session, or in one of its own: by item where purchases name theirs.
    ([("p", "purchase", 1, 10, None, "i"), ("r", "return", 2, 10, "x", "i")], [], []),
    ([("p", "purchase", 1, 10, None, "i"), ("q", "purchase", 1, 10, None, "j"), ("r", "return", 2, 11, None, "i")], [], ["r"]),
    ([("p", "purchase", 1, 10, None, "i"), ("r", "return", 2, 10, None, "j")], ["r"], []),
    ([("p", "purchase", 1, 10, None, None), ("r", "return", 2, 10, None, "j")], [], []),
    ([("p", "purchase", 1, 10, None, "i"), ("r", "return", 2, 10, None, None)], [], []),
    # Bought later.
    ([("p", "purchase", 3, 10, None, "i"), ("r", "return", 2, 10, None, "i")], ["r"], []),
    # A purchase that does not tell its amount may have been as large as any; a return that does not brings back no more.
    ([("p", "purchase", 1, None, "s", "i"), ("r", "return", 2, 99, "s", "i")], [], []),
    ([("p", "purchase", 1, 10, "s", "i"), ("r", "return", 2, None, "s", "i"), ("r2", "return", 3, 10, "s", "i")], [], []),
]


def test_f30_returns_against_what_was_bought(folder_of):
    """All cases at once: each has a customer and sessions of its own, and others buy the same items."""
    events = [
        {"event_id": f"{case}-{number}", "customer_id": f"c{case}", "kind": kind, "event_at": f"2026-03-0{day}", "amount": amount,
         "session_id": session and f"{case}{session}", "item_id": item}
        for case, (rows, _, _) in enumerate(RETURNS) for number, kind, day, amount, session, item in rows]
    dataset, findings = hold(open_dataset(str(folder_of(events, declared='[policies]\nunmatched_return = "quarantine"\n'))))
    found = {(row["reason"], row["row_id"]) for row in dataset.tables["quarantine"].to_pyarrow().to_pylist()}
    assert found == {
        *(("RETURN_WITHOUT_PURCHASE", f"{case}-{number}") for case, (_, without, _) in enumerate(RETURNS) for number in without),
        *(("RETURN_TOO_LARGE", f"{case}-{number}") for case, (_, _, large) in enumerate(RETURNS) for number in large)}
    assert sum(finding.count for finding in findings) == len(found)


def test_a_card_may_buy_and_its_owner_return_in_the_same_session(folder_of):
    rows = [event("b1", customer_id="card-7", session_id="s"), event("b2", kind="refund", session_id="s", event_at="2026-03-04")]
    _, findings = hold(open_dataset(str(folder_of(rows))))
    assert not findings


@pytest.mark.parametrize(("kinds", "found", "said"), [
    ('["purchase", "visit"]', ["purchse", "vist"], "purchse may mean purchase, vist may mean visit; correct them"),
    ('["purchase", "visit"]', ["PURCHASE"], "PURCHASE may mean purchase;"),
    ('["purchase", "visit"]', ["zzz"], "none of them is near purchase, visit;"),
])
def test_an_unknown_kind_is_told_with_the_nearest(folder_of, kinds, found, said):
    rows = [event("b0"), *(event(f"b{i}", kind=kind) for i, kind in enumerate(found, 1))]
    _, findings = hold(open_dataset(str(folder_of(rows, declared=f"[policies]\nkinds = {kinds}\n"))))
    assert [(finding.code, finding.count, finding.offenders) for finding in findings] == [("UNKNOWN_KIND", len(found), tuple(sorted(found)))]
    assert said in findings[0].sentence()


@pytest.mark.parametrize(("declared", "message"), [
    ('[policies]\nnegative_amount = "keep"\n', "policies.negative_amount must be quarantine, refuse or return, found 'keep'; correct dataset.toml"),
    ('[policies]\nnegative_amunt = "refuse"\n', "line 4 needs a known key in policies, found 'negative_amunt'; did you mean negative_amount"),
    ("[policies]\nfuture_minutes = -1\n", "policies.future_minutes must be 0 or more, found -1"),
    ('[policies]\nkinds = "purchase"\n', "needs a list of texts in policies.kinds"),
    ("[rates]\nUSD = 7.1\n", 'rates need other_currency = "convert" in .policies., found none'),
    ('[policies]\nother_currency = "convert"\n[rates]\nUSD = 0\n', "rates.USD must be how many CNY one USD is: above 0, .*; found 0;"),
    ('[policies]\nother_currency = "convert"\n[rates]\nUSD = inf\n', "rates.USD must be how many CNY one USD is"),
    ('[policies]\nother_currency = "convert"\n[rates]\nUSD = 0.0123456789\n', "at most 9 decimals; found 0.0123456789"),
    ('[policies]\nother_currency = "convert"\n[rates]\nUSD = "7.1"\n', "needs a number in rates.USD"),
    ('[policies]\nother_currency = "convert"\n[rates]\nCNY = 1\n', "rates must name other currencies such as USD .*, found 'CNY'"),
    ('[policies]\nother_currency = "convert"\n[rates]\ndollar = 1\n', "rates must name other currencies such as USD .*, found 'dollar'"),
])
def test_a_wrong_policy_is_refused(folder_of, declared, message):
    with pytest.raises(ContractError, match=message):
        open_dataset(str(folder_of([event("b1")], declared=declared)))


def test_what_is_done_where_nothing_is_said_stands_first_among_the_choices():
    assert {one.name: one.default for one in fields(Policies) if one.name in CHOICES} == {name: choices[0] for name, choices in CHOICES.items()}
    assert len(CHOICES) == 7
