"""Tags of literal customers: who holds them at which moment, what is unknown, what is refused, and what is told of the tags."""

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

import ibis
import pandas as pd
import pytest

from features.errors import ContractError
from features.snapshots import snapshots
from features.tags.declared import DEFAULT, read_tags
from features.tags.evaluate import HOLDS, TELLS, evaluated, plan, statements, tagged
from features.tags.known import Column, read_scores
from features.tags.rules import Both, Compare, Known, Not, parse
from features.tags.told import changes, coverage, pairs, remarks

AS_OF = datetime(2026, 3, 1)
HEAD = 'label_en = "{0}"\nlabel_zh = "{0}"\nlayer = "behaviour"\nvalid_days = 7\nowner = "us"\n'
UNTIL = 'observed_until = "2026-03-02T00:00:00Z"\n[tasks.churn]\nhorizon_days = 7\nlookbacks_days = [14, 28]\n'


def bought(customer, *days, **more):
    return [{"customer_id": customer, "event_at": (AS_OF - timedelta(days=day, hours=1)).isoformat(), "amount": 10, "channel": "web", **more} for day in days]


@pytest.fixture(scope="module")
def shop(given):
    rows = [*bought("a", 1, 2, 3), *bought("b", 40, 50), *bought("c", 5, channel="app", amount=500), *bought("d", 70)]
    return given([{**row, "event_id": f"e{i}"} for i, row in enumerate(rows)], declared='sensitive = ["gender"]\n' + UNTIL, zone="UTC",
                 customers=[{"customer_id": name, "gender": "xy"[i % 2], "is_member": ["true", "false"][i % 2]} for i, name in enumerate("abcde")])


@pytest.fixture
def file_of(tmp_path):
    """A function: {tag: rule or whole lines} -> a file of tags without the default ones."""

    def write(tags, name="tags.toml"):
        body = [f"[tags.{tag}]\n{HEAD.format(tag)}{rule if rule.startswith('rule') else f'rule = {rule!r}'}\n" for tag, rule in tags.items()]
        path = tmp_path / name
        path.write_text("default = false\n" + "\n".join(body), encoding="utf-8")
        return path

    return write


def held(dataset, path, as_of=AS_OF, scores=None):
    made = plan(dataset, read_tags(path, dataset.currency), scores or {})
    return {row["customer_id"]: {tag.name: row[HOLDS + tag.name] for tag in made.tags} for row in tagged(dataset, made, [as_of]).to_pyarrow().to_pylist()}


@pytest.mark.parametrize(("rule", "holders"), [
    ("purchases_count_28d > 2 orders", "a"), ("purchases_count_60d >= 2 orders", "ab"), ("purchases_count_3d = 2 orders", "a"), ("spend_sum_365d_cny > 30 CNY", "c"),
    ("spend_sum_365d_cny >= 30 CNY", "ac"), ("days_since_last_purchase > 30 days", "bd"), ("days_since_last_purchase > 8 weeks", "d"),
    ("not days_since_last_purchase > 30 days", "ac"),
    ("days_since_last_purchase is unknown", "e"), ("days_since_last_purchase > 30 days or days_since_last_purchase is unknown", "bde"), ("channel_favourite_28d = 'app'", "c"),
    ("channel_favourite_28d in ('app', 'web')", "ac"), ("is_member = true", "ace"), ("purchases_count_28d > 0 orders and not is_member = false", "ac")])
def test_who_holds_a_tag(shop, file_of, rule, holders):
    found = held(shop, file_of({"it": rule}))
    assert "".join(sorted(name for name, tags in found.items() if tags["it"])) == holders


def test_windows_that_no_task_has_are_built_for_the_rule(shop, file_of):
    made = plan(shop, read_tags(file_of({"it": "purchases_count_3d = 2 orders"}), "CNY"), {})
    assert [feature.name for feature in made.features] == ["purchases_count_3d"]
    assert shop.lookbacks_days() == (14, 28)


def test_unknown_is_neither_yes_nor_no(shop, file_of):
    found = held(shop, file_of({"late": "days_since_last_purchase > 30 days", "not_late": "not late", "late_or_any": "late or purchases_count_28d >= 0 orders"}))
    assert found["e"] == {"late": None, "not_late": None, "late_or_any": True}


def test_a_tag_at_a_past_moment_knows_nothing_later(shop, file_of, given):
    path = file_of({"buyer": "purchases_count_28d > 0 orders", "late": "days_since_last_purchase > 30 days"})
    then = AS_OF - timedelta(days=30)
    assert held(shop, path, then) == {"a": {"buyer": False, "late": None}, "b": {"buyer": True, "late": False}, "c": {"buyer": False, "late": None},
                                      "d": {"buyer": False, "late": True}, "e": {"buyer": False, "late": None}}


def test_statements_are_named_dated_and_expire(shop, file_of):
    made = plan(shop, read_tags(file_of({"way": 'rule = "channel_surely_28d > 0 %"\nvalue = "channel_favourite_28d"', "buyer": "purchases_count_28d > 0 orders"}), "CNY"), {})
    table = tagged(shop, made, [AS_OF])
    assert {row["customer_id"]: row[TELLS + "way"] for row in table.to_pyarrow().to_pylist()}["c"] == "app"
    said = statements(table, made).order_by(["customer_id", "tag"]).to_pyarrow().to_pylist()
    assert [(row["customer_id"], row["tag"], row["value"]) for row in said] == [("a", "buyer", None), ("a", "way", "web"), ("c", "buyer", None), ("c", "way", "app")]
    assert {row["valid_until"] for row in said} == {AS_OF + timedelta(days=7)}


def test_the_first_rule_that_the_data_allow_counts(shop, file_of):
    made = plan(shop, read_tags(file_of({"often": 'rule = ["sessions_count_30d > 2 visits", "purchases_count_30d > 2 orders"]', "none": "sessions_count_30d > 2 visits",
    "no": "not none"}), "CNY"), {})
    assert [(tag.name, tag.texts) for tag in made.tags] == [("often", ("purchases_count_30d > 2 orders",))]
    assert set(made.lacks) == {"none", "no"}
    assert made.lacks["no"] == "the tag none"


@pytest.mark.parametrize(("tags", "says"), [
    ({"it": "purchase_count_28d > 2 orders"},
     "tags.toml line 8, tag it, needs names that exist, found 'purchase_count_28d', which is no feature and no score; did you mean purchases_count_28d?"),
    ({"one": "purchases_count_28d > 2 orders", "it": "not onee"}, "tags.toml line 16, tag it, needs names that exist, found 'onee', which is no tag; did you mean one?"),
    ({"a": "b", "b": "c or a", "c": "a"}, "found the cycle a -> b -> c -> a; cut it"), ({"a": "not a"}, "found the cycle a -> a"),
    ({"it": "days_since_last_purchase > 60"}, "tags.toml line 8, tag it, needs a unit for the threshold of days_since_last_purchase, found 60 without; write 60 days"),
    ({"it": "spend_sum_365d_cny > 5000 USD"}, "needs CNY for the threshold"), ({"it": "chrn.band = 'high'"}, "did you mean churn.band?"),
    ({"it": "churn.band = 'hgh'"}, "found 'hgh'; did you mean high?"), ({"it": "gender = 'x'"}, "must not use a sensitive feature unawares, found gender"),
    ({"it": "is_member"}, "needs is_member = true, found it alone"), ({"one": "is_member = true", "it": "one = true"}, "needs the tag one alone, found it compared"),
    ({"it": 'rule = "is_member = true"\nexcludes = ["that"]'}, "needs names of tags in excludes, found that"),
    ({"it": 'rule = "is_member = true"\nvalue = "chanel_favourite_28d"'}, "did you mean channel_favourite_28d?"),
    ({"it": 'rule = "is_member = true"\nvalue = ["a", "b"]'}, "needs one value for each of its 1 rules"),
    ({"it": 'rule = "is_member = true"\nvaild_days = 3'}, "did you mean valid_days?"),
    ({"it": "rule = 3"}, "needs a text or a list of texts in rule"), ({"it": "rule = []"}, "needs a rule, found none"),
    ({"not": "is_member = true"}, "that is no word of a rule, found 'not'"),
    ({"it": 'rule = "purchases_count_28d >"'}, "tags.toml line 8, tag it, needs a number")])
def test_what_cannot_be_evaluated_is_refused_by_line(shop, file_of, tags, says):
    with pytest.raises(ContractError) as found:
        plan(shop, read_tags(file_of(tags), shop.currency), {})
    assert says in str(found.value)


@pytest.mark.parametrize(("text", "says"), [
    ("[tags.it", "must be valid TOML"), ("[tag.it]\nrule='b'", "did you mean tags?"), ("[tags.it]\nrule='b'\n", "found no label_en, label_zh, layer, valid_days, owner"),
    ("[tags.it]\nrule='b'\n" + HEAD.replace("behaviour", "other"), "needs a layer of basic, behaviour, model")])
def test_a_file_that_is_none_is_refused(tmp_path, text, says):
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ContractError) as found:
        read_tags(path, "CNY")
    assert says in str(found.value)


def test_an_own_file_adds_to_the_default_set_and_replaces_the_same_name(tmp_path):
    path = tmp_path / "tags.toml"
    path.write_text(f"[tags.vip]\n{HEAD.format('big')}rule = 'spend_sum_365d_cny > 9 CNY'", encoding="utf-8")
    default, found = read_tags(DEFAULT, "CNY"), read_tags(path, "CNY")
    assert {tag.name for tag in found} == {tag.name for tag in default}
    assert [tag.label_en for tag in found if tag.name == "vip"] == ["big"]
    assert {"active", "vip", "leaving", "new", "price_sensitive", "browsed_not_bought", "overdue", "preferred_channel", "preferred_hour"} <= {tag.name for tag in default}
    assert {tag.texts[0] for tag in default if tag.name == "vip"} == {"spend_sum_365d_cny > 5000 CNY"}


def test_scores_count_as_they_were_known_and_only_while_valid(shop, file_of, tmp_path):
    path = tmp_path / "scores.csv"
    told = [("a", AS_OF, "high", .8), ("b", AS_OF - timedelta(days=3), "high", .7), ("b", AS_OF - timedelta(days=4), "low", .1), ("c", AS_OF - timedelta(days=9), "high", .7),
            ("d", AS_OF + timedelta(days=1), "high", .9)]
    pd.DataFrame([{"customer_id": c, "as_of": f"{at.isoformat()}Z", "band": band, "probability": p, "model": "shop.v1.churn"} for c, at, band, p in told]).to_csv(path, index=False)
    scores = read_scores(shop, [path])
    found = held(shop, file_of({"it": "churn.band = 'high'", "sure": "churn.probability >= 75 %"}), scores=scores)
    assert found == {"a": {"it": True, "sure": True}, "b": {"it": True, "sure": False}, **{name: {"it": None, "sure": None} for name in "cde"}}


@pytest.mark.parametrize(("rows", "says"), [
    ([{"customer_id": "a", "as_of": "2026-01-01"}], "needs the column model (such as shop.churn) or task"),
    ([{"customer_id": "a", "as_of": "soon", "task": "churn"}], "an as_of such as"),
    ([{"customer_id": "a", "as_of": "2026-01-01", "task": "churn", "band": band} for band in ("low", "high")], "each customer once at a moment, found 1 repeated (a)")])
def test_scores_that_are_none_are_refused(shop, tmp_path, rows, says):
    path = tmp_path / "scores.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    with pytest.raises(ContractError) as found:
        read_scores(shop, [path])
    assert says in str(found.value)


def oracle(rule, row):
    """The same by hand: True, False or None for unknown."""
    if isinstance(rule, Not):
        inner = oracle(rule.of, row)
        return None if inner is None else not inner
    if isinstance(rule, Both):
        parts, ends = [oracle(part, row) for part in rule.parts], rule.word == "or"
        return ends if ends in parts else None if None in parts else not ends
    if isinstance(rule, Known):
        return (row[rule.name] is not None) == rule.is_known
    if row[rule.name] is None:
        return None
    a, b = row[rule.name], rule.values[0].value
    return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b, "=": a == b, "!=": a != b}[rule.operator]


def test_random_rules_are_what_they_are_by_hand(shop):
    draw = Random(1)

    def rule(depth):
        kind = draw.randrange(6 if depth < 4 else 2)
        if kind == 0:
            return Known(draw.choice("xy"), draw.random() < .5)
        if kind == 1:
            return parse(f"{draw.choice('xy')} {draw.choice(['<', '<=', '>', '>=', '=', '!='])} {draw.randrange(4)}", "here")
        return Not(rule(depth + 1)) if kind == 2 else Both(draw.choice(["and", "or"]), (rule(depth + 1), rule(depth + 1)))

    rules = [rule(0) for _ in range(60)]
    rows = [{"customer_id": f"c{i}", "as_of": AS_OF, "x": draw.choice([None, 0., 1., 2., 3.]), "y": draw.choice([None, 0., 1., 2., 3.])} for i in range(25)]
    table = shop.engine.create_table("by_hand", ibis.memtable(pd.DataFrame(rows)), overwrite=True)
    made = plan(shop, read_tags(DEFAULT, "CNY"), {})
    one = made.tags[0]
    tags = tuple(replace(one, name=f"t{i}", rules=(rule,), values=()) for i, rule in enumerate(rules))
    found = evaluated(replace(made, tags=tags, columns={"x": Column("number"), "y": Column("number")}), table).to_pyarrow().to_pylist()
    by_name = {row["customer_id"]: row for row in found}
    for row in rows:
        assert [by_name[row["customer_id"]][f"{HOLDS}t{i}"] for i in range(60)] == [oracle(rule, row) for rule in rules]
    assert any(isinstance(part, Compare) for part in rules)


@pytest.fixture(scope="module")
def crowd(given):
    rows = [row for i in range(60) for row in bought(f"c{i:02}", *range(1, 2 + i % 3), *([90] if i < 30 else []))]
    return given([{**row, "event_id": f"e{i}"} for i, row in enumerate(rows)], declared=UNTIL, zone="UTC")


def test_coverage_overlap_conflicts_twins_and_the_unused_are_told(crowd, file_of):
    tags = {"two": "purchases_count_28d >= 2 orders", "three": 'rule = "purchases_count_28d >= 3 orders"\nexcludes = ["two"]', "twin": "purchases_count_28d >= 3 orders",
    "known_long": "days_since_first_event > 30 days",
            "same": "purchases_count_60d > 2 orders", "any": "purchases_count_28d >= 1 orders", "none": "purchases_count_28d > 9 orders", "lost": "sessions_count_28d > 1 visits"}
    declared = read_tags(file_of(tags), "CNY")
    made = plan(crowd, declared, {})
    table = tagged(crowd, made, [AS_OF])
    covered, paired = coverage(table, made), pairs(table, made, AS_OF)
    assert dict(zip(covered["tag"], covered["n_holders"], strict=True)) == {"two": 40, "three": 20, "twin": 20, "known_long": 30, "same": 20, "any": 60, "none": 0}
    row = paired.set_index(["tag", "other"]).loc[("two", "three")]
    assert (row["n_both"], row["share_of_tag"], row["share_of_other"], row["lift"], row["is_conflict"]) == (20, .5, 1, 1.5, True)
    notes = "\n".join(remarks(made, covered, paired, declared))
    for said in ("any: everybody holds it", "none: nobody holds it", "three and twin: the same rule", "three and same: held by the same customers (100 %)",
                 "two and three exclude each other, and 20 customers hold both", "lost: not available, it needs"):
        assert said in notes, said
    assert "two and known_long" not in notes


def test_few_people_are_hidden_and_so_are_those_without(crowd, file_of):
    made = plan(crowd, read_tags(file_of({"few": "purchases_count_28d >= 3 orders and days_since_first_event < 2 days", "some": "purchases_count_28d >= 3 orders"}), "CNY"), {})
    ids = [f"c{i:02}" for i in range(24)]
    of = crowd.engine.create_table("some_people", ibis.memtable(pd.DataFrame({"customer_id": ids, "as_of": [AS_OF] * len(ids)})), overwrite=True)
    covered = coverage(tagged(crowd, made, [AS_OF], of), made).set_index("tag")
    assert covered.loc["some", ["n_holders", "share"]].isna().all()
    assert covered["n_holders"].dropna().ge(10).all() or covered.loc["few", "n_holders"] == 0


def test_gains_and_losses_between_two_moments(crowd, file_of):
    made = plan(crowd, read_tags(file_of({"buyer": "purchases_count_3d >= 1 orders"}), "CNY"), {})
    then = AS_OF - timedelta(days=2)
    table = tagged(crowd, made, [then, AS_OF])
    said = crowd.engine.create_table("said", statements(table, made), overwrite=True)
    found = changes(said.filter(said.as_of == then), said.filter(said.as_of == AS_OF), then, AS_OF, 50, 60).to_dict("records")
    assert [(row["tag"], row["n_before"], row["n_now"], row["n_gained"], row["n_lost"]) for row in found] == [("buyer", 40, 60, 20, 0)]


def test_tags_are_those_of_the_features_at_each_moment(crowd):
    made = plan(crowd, read_tags(DEFAULT, "CNY"), {})
    both = [AS_OF - timedelta(days=5), AS_OF]
    together = {(row["customer_id"], row["as_of"]): row for row in tagged(crowd, made, both).to_pyarrow().to_pylist()}
    alone = {(row["customer_id"], row["as_of"]): row for at in both for row in evaluated(made, snapshots(crowd, [at], made.features)).to_pyarrow().to_pylist()}
    assert together == alone
