"""The language of rules: what is read, what is refused, and thresholds in their units."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import ContractError
from features.tags.rules import Both, Compare, Known, Not, Tag, Value, columns_in, parse, tags_in
from features.tags.units import converted

A, B = Compare("a", ">", (Value(1.0, "days"),)), Tag("b")


@pytest.mark.parametrize(("text", "rule"), [
    ("a > 1 days", A), ("b", B), ("not b", Not(B)), ("a > 1 days and b", Both("and", (A, B))), ("b or a>1 days and b", Both("or", (B, Both("and", (A, B))))),
    ("(b or b) and b", Both("and", (Both("or", (B, B)), B))), ("not (b)", Not(B)), ("NOT b AND b", Both("and", (Not(B), B))),
    ("a is known", Known("a", True)), ("a is unknown", Known("a", False)), ("a in ('x', \"y\")", Compare("a", "in", (Value("x"), Value("y")))),
    ("a not in (1, 2)", Not(Compare("a", "in", (Value(1.0), Value(2.0))))), ("a = true", Compare("a", "=", (Value(True),))),
    ("a == 'it and that'", Compare("a", "=", (Value("it and that"),))),
    ("churn.band = 'high'", Compare("churn.band", "=", (Value("high"),))), ("a >= 12.5 %", Compare("a", ">=", (Value(12.5, "%"),))), ("a < -3", Compare("a", "<", (Value(-3.0),))),
    ("城市 = '上海'", Compare("城市", "=", (Value("上海"),))), ("`age group` = 'x'", Compare("age group", "=", (Value("x"),)))])
def test_a_rule_is_read_as_it_is_meant(text, rule):
    assert parse(text, "here") == rule


@pytest.mark.parametrize(("text", "says"), [
    ("", "needs a feature, a score or a tag, found its end"), ("a >", "needs a number, a text in quotes, true or false, found its end"),
    ("a > 1 days b", "needs and, or, or the end of the rule, found 'b'"),
    ("(a > 1 days", "needs a closing bracket, found its end"), ("a in 'x'", "needs values in brackets after in"), ("a in ('x'", "needs a comma or a closing bracket"),
    ("a is 3", "needs known or unknown after is"), ("a; drop table x", "found '; drop table x'"), ("__import__('os')", "needs and, or, or the end of the rule, found '('"),
    ("a > 1 days and", "needs a feature, a score or a tag"), ("a = 'x", "found \"'x\""), ("(" * 60 + "b" + ")" * 60, "at most 50 brackets"),
    ("not " * 60 + "b", "at most 50 brackets")])
def test_what_is_no_rule_is_refused(text, says):
    with pytest.raises(ContractError, match="^TAG_RULE: here needs") as found:
        parse(text, "here")
    assert says in str(found.value)


@given(st.text(max_size=60))
def test_any_text_is_a_rule_or_refused(text):
    with suppress(ContractError):
        parse(text, "here")


def test_names_are_found_wherever_they_stand():
    rule = parse("not (a > 1 days or b) and c is known and (b or d in (1)) and e", "here")
    assert (tags_in(rule), columns_in(rule)) == (["b", "e"], ["a", "c", "d"])


@pytest.mark.parametrize(("threshold", "unit", "number"), [
    ("60 days", "days", 60), ("1 day", "days", 1), ("2 weeks", "days", 14), ("12 hours", "days", .5), ("2 minutes", "seconds", 120), ("10 sessions", "sessions", 10),
    ("10 visits", "sessions", 10),
    ("10 times", "sessions", 10), ("3 orders", "purchases", 3), ("5000 CNY", "CNY", 5000), ("20 %", "share", .2), ("90 %", "percent", 90), ("2", "ratio", 2), ("18", "hour", 18),
    ("8 weeks", "weeks", 8)])
def test_a_threshold_is_taken_in_the_unit_of_its_feature(threshold, unit, number):
    found = parse(f"x > {threshold}", "here")
    assert converted(found, unit, (), "here") == (pytest.approx(number),)


@pytest.mark.parametrize(("rule", "unit", "texts", "says"), [
    ("x > 60", "days", (), "here needs a unit for the threshold of x, found 60 without; write 60 days"), ("x > 5000", "CNY", (), "found 5000 without; write 5000 CNY"),
    ("x > 5000 USD", "CNY", (), "needs CNY for the threshold of x, found 'USD'"), ("x > 0.2", "share", (), "found 0.2 without; write 0.2 %"),
    ("x > 3 days", "ratio", (), "needs a plain number"),
    ("x > 3 days", "sessions", (), "needs sessions"), ("x > 3 times", "CNY", (), "needs CNY"), ("x > 'a'", "days", (), "needs a number for x"),
    ("x = true", "days", (), "needs a number for x"),
    ("x = 3", "category", (), "needs a text in quotes for x"), ("x = 3", "category", ("dormant",), "write for example x = 'dormant'"),
    ("x > 'a'", "category", (), "needs =, != or in with x"),
    ("x in ('a', 'dormnat')", "category", ("a", "dormant"), "found 'dormnat'; did you mean dormant?"), ("x = 1", "yes or no", (), "needs true or false"),
    ("x in (1 days, 2)", "days", (), "found 2 without")])
def test_a_threshold_that_nobody_can_be_sure_of_is_refused(rule, unit, texts, says):
    with pytest.raises(ContractError) as found:
        converted(parse(rule, "here"), unit, texts, "here")
    assert says in str(found.value)
