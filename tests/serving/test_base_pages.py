"""The pages of the whole base: counted once from a run's clean tables, in both languages, every number in the page's data, few people hidden, nothing invented."""

import ast
import re
import shutil
import tomllib
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from features.journeys.tables import Asked
from features.kept import clean_tables, open_kept
from features.segments.grids import STAGE_NAMES
from features.tags.told import UNUSED
from serving import base_pages, portrait_page, touchpoints_page, words
from serving.report import _write
from serving.standing import standing
from serving.words import LANGUAGES, Voice, base_words
from tests.test_pages import NUMBER, Page, facts, plain, written

END = datetime(2026, 6, 1)
PAGES = {"portrait": portrait_page, "touchpoints": touchpoints_page}


def shop(browses=True):
    rng, rows = np.random.default_rng(0), []
    for i in range(200):
        for k in range(14 + i % 6):
            at = END - timedelta(days=float(rng.uniform(1, 200)))
            channel = ["web", "app", "<b>kiosk"][int(rng.integers(3))]
            kinds = ["visit", "product_view", *(["purchase"] if k % 2 else [])] if browses else ["purchase"]
            rows += [{"event_id": f"{i}-{k}-{j}", "customer_id": f"c{i}", "session_id": f"{i}-{k}", "kind": kind, "channel": channel, "quantity": 1, "item_id": "i",
            "category": "c",
                      "event_at": (at + timedelta(minutes=j)).isoformat(timespec="seconds"), "amount": round(float(rng.gamma(9, [9, 1][i % 2])), 2) if kind == "purchase" else ""}
                     for j, kind in enumerate(kinds)]
    return rows


@pytest.fixture(scope="module")
def pages(folder_of, tmp_path_factory):
    """A function: whether people browse -> the run folder with its pages, and what was counted."""

    def write(browses):
        run = tmp_path_factory.mktemp("run")
        open_kept(str(folder_of(shop(browses), zone="UTC", declared='observed_until = "2026-06-01T00:00:00Z"\nlicence = "CC0"\n')), run)
        told = base_pages.count(run, SimpleNamespace(info=SimpleNamespace(as_of="2026-06-01T00:00:00Z"), tasks={}))
        for language in LANGUAGES:
            for name, module in PAGES.items():
                _write(run / f"{name}.{language}.html", f"{name}.html.j2", {**module.page(told, Voice(language, told.zone)), "lang": language, "others": []})
        return run, told

    return write


@pytest.fixture(scope="module")
def browsing(pages):
    return pages(True)


def test_both_pages_say_what_was_counted_in_both_languages(browsing):
    run, told = browsing
    portrait, touchpoints = ({language: (run / f"{name}.{language}.html").read_text(encoding="utf-8") for language in LANGUAGES} for name in PAGES)
    for said in ("Portrait of the base", "RFM grid", "Who comes back?", "VIP (spent more than 5,000 in a year)", "bring 80% of the revenue"):
        assert said in portrait["en"], said
    for said in ("整体客户画像", "RFM 矩阵", "谁会回来？", "重要价值客户", "与其他客户"):
        assert said in portrait["zh"], said
    for said in ("Funnel", "Attribution", "not who caused it", "The first steps"):
        assert said in touchpoints["en"], said
    for said in ("转化漏斗", "归因", "浏览商品"):
        assert said in touchpoints["zh"], said
    assert told.lacks == {}


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_number_that_a_reader_sees_is_in_the_pages_data(browsing, name, language):
    page = Page((browsing[0] / f"{name}.{language}.html").read_text(encoding="utf-8"))
    text = re.sub(re.escape(page.data["card"]["fingerprint"][:12]), "", " ".join(page.text)).replace("CC0", "")
    fixed = {number.lstrip("+-") for number in NUMBER.findall(str(base_words(language)))}
    # Tenths of the customers, fifths of the grid, months since and places in a session are counted, not measured.
    known = written(facts(page.data)) | fixed | {str(i) for i in range(13)}
    assert [number for number in NUMBER.findall(text) if not {plain(number), number.lstrip("+-")} & known] == []
    assert len(NUMBER.findall(text)) > 50


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_safe_and_stand_alone(browsing, name):
    source = (browsing[0] / f"{name}.en.html").read_text(encoding="utf-8")
    assert "<b>kiosk" not in source.replace("\\u003cb\\u003ekiosk", "")
    assert "default-src 'none'" in source
    assert not re.search(r"https?://|url\(|@import", re.sub(r"<script.*?</script>", "", source, flags=re.S))


def test_notes_are_said_in_both_languages(browsing):
    run, _ = browsing
    said = {language: (run / f"touchpoints.{language}.html").read_text(encoding="utf-8") for language in LANGUAGES}
    assert '<bdi lang="en">no scores were given: conversions are predicted from the portrait alone</bdi>' in said["en"]
    assert '<bdi lang="zh">未提供模型分数' in said["zh"]
    portrait = (run / "portrait.zh.html").read_text(encoding="utf-8")
    assert '<bdi lang="zh">“高流失风险（模型）”：暂无，需要流失模型的分档（--scores）</bdi>' in portrait


def test_every_note_of_the_features_room_has_its_chinese_with_the_same_places():
    """Read from the source: a note that is added needs its sentence."""
    texts = {}
    for path in (Path(__file__).parents[2] / "features").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "note" and isinstance(node.args[0], ast.Constant):
                texts[node.args[0].value] = node.args[1].value
    texts |= dict(UNUSED.values())
    chinese = tomllib.loads((words._FOLDER / "notes.zh.toml").read_text(encoding="utf-8"))
    del chinese["names"], chinese["between"]
    assert len(texts) > 20
    assert chinese.keys() == texts.keys()
    for key, text in texts.items():
        assert set(re.findall(r"\{(\w+)\}", chinese[key])) == set(re.findall(r"\{(\w+)\}", text)), key


def test_priorities_take_the_scores_that_were_handed_out_before_and_no_later_ones(browsing, tmp_path):
    run, told = browsing
    run = shutil.copytree(run, tmp_path / "run")
    (run / "scores").mkdir()
    rows = pd.DataFrame({"customer_id": [f"c{i}" for i in range(200)], "model": f"{told.data}.churn", "probability": np.linspace(.1, .9, 200)})
    rows.assign(as_of=END - timedelta(days=100)).to_parquet(run / "scores" / "later.parquet")
    assert base_pages._scores_before(run, clean_tables(run), Asked(END).judged_since) is None
    rows.assign(as_of=END - timedelta(days=130)).to_parquet(run / "scores" / "before.parquet")
    counted = base_pages.count(run, SimpleNamespace(info=SimpleNamespace(as_of="2026-06-01T00:00:00Z"), tasks={})).journeys
    assert counted.tables["priority"]["score_drop"].between(.1, .9).any()
    assert not any("no scores were given" in note for note in counted.notes)


def test_where_nobody_browses_the_page_says_so(pages):
    run, _ = pages(False)
    text = (run / "touchpoints.en.html").read_text(encoding="utf-8")
    assert "a funnel needs browsing events" in text
    assert "Touchpoints to look at first" not in text
    assert "<svg" not in text.split("Not available")[0]


def test_a_reason_that_several_parts_share_is_said_once_and_steps_end_where_everybody_has_ended(pages):
    run, told = pages(False)
    said = {language: (run / f"touchpoints.{language}.html").read_text(encoding="utf-8").split('<script type="application/json"')[0] for language in LANGUAGES}
    assert "funnel, times, touchpoints to look at first: a funnel needs browsing events (visit, product view, cart, checkout or the like)" in said["en"]
    assert said["en"].count("a funnel needs browsing events") == said["zh"].count("漏斗需要转化之前的浏览事件") == 1
    # One purchase is one step: of the eight places of the matrix the first and the end are told.
    assert said["en"].count(">Step ") == 2 and max(told.journeys.tables["step_matrix"]["place"]) > 2


def test_first_steps_that_are_as_frequent_stand_by_name_and_the_end_last():
    names = ["(end)", *(f"step {letter}" for letter in "hcagbfed")]
    drawn = str(touchpoints_page._steps([{"step": name, "place": 1, "share": 0.1} for name in names], base_words("en")))
    assert re.findall(r">(step \w|\(end\))<", drawn) == [*(f"step {letter}" for letter in "abcdefgh"), "(end)"]


def test_a_first_place_is_named_only_where_chance_does_not_explain_it(browsing):
    _, told = browsing
    priority = told.journeys.tables["priority"]
    for low, named in ((.2, True), (-.1, False)):
        tables = {**told.journeys.tables, "priority": priority.assign(excess_per_1000_low=low)}
        cards = touchpoints_page.page(replace(told, journeys=replace(told.journeys, tables=tables)), Voice("en", told.zone))["cards"]
        assert (cards[-1][1] == base_words("en")["card_first"]) is named and (cards[-1][0] == "–") is not named


def test_tiers_and_stages_stand_in_their_own_order(browsing):
    _, told = browsing
    schemes = {one["name"]: [row["label"] for row in one["rows"]] for one in portrait_page.page(told, Voice("en", told.zone))["schemes"]}
    assert [label[:18] for label in schemes["value"]] == ["brings the first 8", "brings the next 15", "brings the last 5 ", "no revenue in the "]
    assert schemes["lifecycle"] == [name for name in STAGE_NAMES if name in schemes["lifecycle"]]


def test_a_run_without_clean_tables_has_no_such_pages(tmp_path):
    assert base_pages.count(tmp_path, SimpleNamespace(info=SimpleNamespace(as_of="2026-06-01T00:00:00Z"), tasks={})) is None


def test_profiles_read_where_each_customer_stands_as_the_pages_counted_it(browsing):
    run, told = browsing
    for customer in ("c0", "c7"):
        said = standing(run, customer, "en")
        row = told.segments.members.loc[customer]
        assert {one["scheme"]: one["segment"] for one in said["segments"]} == {scheme: row[scheme] for scheme in ("cluster", "rfm", "value", "lifecycle")}
        assert all(one["label"] and one["as_of"] == "2026-06-01T00:00:00Z" for one in said["segments"])
    holders = {row["tag"]: row["n_holders"] for row in told.tags if row["n_holders"]}
    held = [tag["tag"] for i in range(200) for tag in standing(run, f"c{i}", "zh")["tags"]]
    assert holders and {name: held.count(name) for name in holders} == holders
    assert standing(run, "nobody", "en") == {"segments": [], "tags": [], "tags_not_shown": 0}


def test_tags_of_ones_own_stand_in_the_run_folder(browsing, pages):
    run, told = browsing
    (run / "tags.toml").write_text(
        'default = false\n[tags.mine]\nlabel_en = "mine"\nlabel_zh = "我的"\nlayer = "basic"\n'
        'rule = "purchases_count_365d > 1 orders"\nvalid_days = 7\nowner = "us"\n', encoding="utf-8")
    again = base_pages.count(run, SimpleNamespace(info=SimpleNamespace(as_of="2026-06-01T00:00:00Z"), tasks={}))
    assert [row["tag"] for row in again.tags] == ["mine"]
    assert again.segments.clusters.names == told.segments.clusters.names
