"""The data profile as it is read: hostile texts do no harm, nobody is named, small groups are not told, both languages say the same, the page is whole."""

import re
import string
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from features.__main__ import main
from features.data_profile.activity import Rate, TaskRates
from features.data_profile.cells import SMALLEST_GROUP, hidden
from features.data_profile.grids import Bars, Share
from features.data_profile.page import write_page
from features.data_profile.profile import profile_of
from features.data_profile.screen import show
from features.data_profile.told import SEVERITY, _lack, told
from features.data_profile.words import LANGUAGES, Words, harmless, words_of
from features.errors import run_door
from features.families import behaviour, consumption, interest, lifecycle, touchpoints
from features.streams import needs_of

PAYLOADS = [
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "=HYPERLINK(\"http://evil.example\")", "{{ 7*7 }}{% for x in y %}", "</title></style><svg onload=alert(1)>",
    "\x1b[31mred\x1b[0m [bold]rich[/bold] [link=http://evil.example]x[/link]", "שלום \u202e evil", "😀 & 'quoted'", "北京", "a\r\nb", "x" * 300, "javascript:alert(1)"]
HARMLESS_TAGS = {
    "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "div", "b", "span", "ul", "li", "nav", "a", "bdi", "table", "tr", "th", "td", "i", "svg",
    "rect", "figure", "figcaption"}


class Page(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.attributes, self.text = set(), [], []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def hostile(held):
    """A shop whose every text is hostile, whose customers have telling ids, one kind of event that nine customers have and one month with three."""
    draw = np.random.default_rng(4)
    events, customers = [], []
    for i in range(240):
        who = f"canary-{i:04d}-zq"
        customers.append({
            "customer_id": who, "<b>bold</b>": PAYLOADS[i % len(PAYLOADS)], "=cmd|' /C calc'!A0": PAYLOADS[(7 * i) % len(PAYLOADS)], "contact": f"canary{i}@mail.example",
            "mobile_phone": f"+49 170 {1_000_000 + 7919 * i}", "secret": f"sensitive-{i % 2}", "remark": f"canary text number {i} of somebody who lives somewhere else"})
        events += [
            {"customer_id": who, "event_at": str(datetime(2026, 1, 1) + timedelta(days=float(draw.uniform(0, 89))))[:19], "kind": "purchase", "channel": one, "category": other,
             "amount": f"{draw.lognormal(3, 1):.2f}", "x<script>": PAYLOADS[i % 3]} for one, other in draw.choice(PAYLOADS, (5, 2))]
    events += [{"customer_id": customers[i]["customer_id"], "event_at": "2026-02-01 12:00:00", "kind": "call from canary-smith"} for i in range(9)]
    events += [{"customer_id": customers[i]["customer_id"], "event_at": "2026-04-02 12:00:00", "kind": "purchase", "amount": "777.77"} for i in range(3)]
    declared = 'name = "<u>shop</u> {{ 1 }}"\nsensitive = ["secret"]\n[tasks.churn]\nhorizon_days = 14\nactive_days = 28\nlookbacks_days = [14, 28]\n'
    return profile_of(held(events, customers=customers, declared=declared)[0])


@pytest.fixture(scope="module", params=LANGUAGES)
def written(hostile, request, tmp_path_factory):
    """(language, the profile told, the page's source)."""
    path = tmp_path_factory.mktemp("page") / "new" / "profile.html"
    profile = told(hostile, request.param)
    write_page(profile, path)
    assert [one.name for one in path.parent.iterdir()] == ["profile.html"], "nothing half-written stays"
    return request.param, profile, path.read_text(encoding="utf-8")


def shown(profile, capsys):
    show(profile)
    return capsys.readouterr().out


def test_hostile_texts_are_shown_and_do_nothing(written, capsys):
    language, profile, source = written
    page, screen = Page(source), shown(profile, capsys)
    assert page.tags == HARMLESS_TAGS
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "src"]
    assert {value for name, value in page.attributes if name == "href"} == {"#coverage", "#distributions", "#activity", "#suspects", "#supply"}
    assert "default-src 'none'" in source and "<script" not in source and f'<html lang="{language}">' in source
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in source and "<b>bold</b>" in "".join(page.text), "the corpus must be on the page for this test to mean something"
    assert "{{ 7*7 }}" in "".join(page.text) and "49{" not in source
    for text in (source, screen):
        assert not set(text) & {"\x1b", "\u202e", "\r"} and "x" * 41 not in text
    assert "[bold]rich[/bold]" in screen, "brackets are text, no markup"


def test_nobody_is_named(written, capsys):
    for text in (written[2], shown(written[1], capsys)):
        assert not re.search(r"canary|zq|mail\.example|\+49 170|sensitive-|777[.,]77", text)
        assert "contact" in text and "remark" in text and "secret" in text, "columns are named, values are not"


def cells_of(profile, key):
    return [row for chapter in profile.chapters if chapter.key == key for grid in chapter.grids for row in grid.rows]


def test_small_groups_are_not_told(written):
    words = Words(written[0], "UTC")
    months = {row[0]: row[1:] for row in cells_of(written[1], "activity") if isinstance(row[0], str) and row[0].startswith("2026-")}
    assert months["2026-04*"] == ("<10", "<10", "0", "<10", "<10")
    assert sum(cells[0] == words["hidden"] for cells in months.values()) == 1, "one more month is hidden, else subtraction would tell"
    kinds = {row[0]: row[1:3] for row in cells_of(written[1], "activity") if isinstance(row[-1], Bars) and len(row) == 4}
    assert kinds == {"purchase": (words["hidden"], words["hidden"]), words["hidden"]: ("<10", "<10")}


@pytest.mark.parametrize("language", LANGUAGES)
def test_few_labels_are_not_told_and_are_flagged(hostile, language):
    task, words = hostile.activity.tasks[0].task, Words(language, "Asia/Shanghai")
    rates = [Rate(datetime(2026, 1, day, 16), n, positives) for day, n, positives in [(1, 200, 40), (2, 200, 9), (3, 200, 0), (4, 200, 195), (5, 9, 4), (6, 200, 10)]]
    tasks = (TaskRates(task, tuple(rates)), TaskRates(replace(task, name="poor"), tuple(rates[1:3])))
    profile = told(replace(hostile, activity=replace(hostile.activity, tasks=tasks)), language)
    rows = [row for row in cells_of(profile, "activity") if len(row) == 5 and str(row[0]).startswith("2026-01-0")][:6]
    few, hides = words["too_few"], words["hidden"]
    assert rows == [
        ("2026-01-02", "200", "40", "20.0%", ""), ("2026-01-03", "200", "<10", "", few), ("2026-01-04", "200", "<10", "", few), ("2026-01-05", "200", hides, "", few),
        ("2026-01-06", "<10", "<10", "", few), ("2026-01-07", "200", "10", "5.0%", "")]
    assert words.say("odd_few", tasks="poor") in profile.looks


@examples(st.lists(st.integers(0, 40), max_size=12))
def test_no_hidden_group_can_be_found_by_subtraction(groups):
    out = hidden(groups)
    assert all(is_hidden for n, is_hidden in zip(groups, out, strict=True) if 0 < n < SMALLEST_GROUP)
    assert sum(out) != 1 or sum(n > 0 for n in groups) == 1, "one hidden group alone is the total less the others"
    assert not any(is_hidden for n, is_hidden in zip(groups, out, strict=True) if n == 0)
    assert any(0 < n < SMALLEST_GROUP for n in groups) or not any(out), "where all are large, all are told"


def fields(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def flat(words, path=()):
    for key, value in words.items():
        yield from flat(value, (*path, key)) if isinstance(value, dict) else [((*path, key), fields(value))]


def test_both_languages_have_the_same_words():
    assert dict(flat(words_of("en"))) == dict(flat(words_of("zh")))
    for code in SEVERITY:
        assert words_of("en")["whys"][code] and words_of("en")["whats"][code]


def test_whatever_features_lack_can_be_said():
    needs = {need for family in (behaviour, consumption, interest, lifecycle, touchpoints) for feature in family.FEATURES for one in feature.aggregates() for need in needs_of(one)}
    for language in LANGUAGES:
        assert all(not re.search(r"role|kind:|table:", _lack(Words(language, "UTC"), need)) for need in needs)


@pytest.mark.parametrize(("say", "expected"), [
    (lambda w: w.count(9), "<10"), (lambda w: w.count(10), "10"), (lambda w: w.count(0), "0"), (lambda w: w.count(95, 100), "all but <10"), (lambda w: w.count(100, 100), "100"),
    (lambda w: w.share(1, 1000), "<1%"), (lambda w: w.share(999, 1000), ">99%"), (lambda w: w.share(0, 5), "0%"), (lambda w: w.share(1, 3), "33%"),
    (lambda w: w.number(123_456, "minor", "EUR"), "1,234.56"), (lambda w: w.number(123_456, "minor", "JPY"), "123,456"), (lambda w: w.number(123_456, "minor", "KWD"), "123.456"),
    (lambda w: w.number(90, "seconds"), "1.5 min"), (lambda w: w.number(1.5, "days"), "1.5 d"), (lambda w: w.number(0.004, "days"), "5.76 min"),
    (lambda w: w.number(12.34, ""), "12.3"), (lambda w: w.moment(datetime(2026, 1, 31, 16)), "2026-02-01")])
def test_numbers_are_written_for_people(say, expected):
    assert say(Words("en", "Asia/Shanghai")) == expected


def test_texts_become_one_short_line():
    assert harmless("a\r\n\tb\x00\u202ec") == "a b c" and len(harmless("é" * 100)) == 40


def test_both_media_show_the_same_figures(written, capsys):
    source, screen = "".join(Page(written[2]).text), shown(written[1], capsys)
    for name, value in written[1].facts:
        assert f"{value} {name}" in screen and value in source
    for chapter in written[1].chapters:
        for grid in chapter.grids:
            for row in grid.rows if grid.on_screen else ():
                assert (row[0] if isinstance(row[0], str) else "") in source
    assert {type(cell) for chapter in written[1].chapters for grid in chapter.grids for row in grid.rows for cell in row} == {str, Bars, Share}


@pytest.fixture
def door(monkeypatch, capsys):
    """A function: arguments of check -> (exit code, standard output, standard error)."""

    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["features", "check", *map(str, arguments)])
        code = 0
        try:
            run_door(main)
        except SystemExit as error:
            code = error.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return called


def test_the_door_prints_the_profile_after_its_findings_and_writes_the_page(door, folder_of, tmp_path):
    shop = folder_of([{"customer_id": f"c{i}", "event_at": f"2026-03-{1 + i % 28:02d} 10:00:00", "amount": 5} for i in range(30)] + [{"customer_id": "", "event_at": "2026-03-01"}])
    path = tmp_path / "profile.html"
    code, out, _ = door(shop, "--out", path, "--lang", "zh")
    assert code == 0 and out.index("NO_CUSTOMER") < out.index("the data keep the contract") < out.index("数据概览") < out.index(str(path))
    assert "数据概览" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("words", [("--out", "profile.pdf"), ("--init", "--out", "profile.html")])
def test_a_wrong_name_is_refused_before_anything_is_read(door, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = door("complete-journey", *words)
    assert (code, out) == (2, "") and re.search(r"--out needs a name that ends in .html, and no --init, found profile\.", err) and not list(tmp_path.iterdir())
