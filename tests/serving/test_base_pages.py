"""The pages of the whole base: counted once from a run's clean tables, in both languages, every number in the page's data, few people hidden, nothing invented."""

import re
from datetime import datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from features.kept import open_kept
from serving import base_pages, portrait_page, touchpoints_page
from serving.report import _write
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


def test_where_nobody_browses_the_page_says_so(pages):
    run, _ = pages(False)
    text = (run / "touchpoints.en.html").read_text(encoding="utf-8")
    assert "a funnel needs browsing events" in text
    assert "Touchpoints to look at first" not in text
    assert "<svg" not in text.split("Not available")[0]


def test_a_run_without_clean_tables_has_no_such_pages(tmp_path):
    assert base_pages.count(tmp_path, SimpleNamespace(info=SimpleNamespace(as_of="2026-06-01T00:00:00Z"), tasks={})) is None


def test_tags_of_ones_own_stand_in_the_run_folder(browsing, pages):
    run, told = browsing
    (run / "tags.toml").write_text(
        'default = false\n[tags.mine]\nlabel_en = "mine"\nlabel_zh = "我的"\nlayer = "basic"\n'
        'rule = "purchases_count_365d > 1 orders"\nvalid_days = 7\nowner = "us"\n', encoding="utf-8")
    again = base_pages.count(run, SimpleNamespace(info=SimpleNamespace(as_of="2026-06-01T00:00:00Z"), tasks={}))
    assert [row["tag"] for row in again.tags] == ["mine"]
    assert again.segments.clusters.names == told.segments.clusters.names
