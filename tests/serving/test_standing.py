"""Segments and tags in a customer's profile: by id, in words, with their moments; what is sensitive is counted and not told."""

import json
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace

import pandas as pd
import pytest

from features.tags.declared import read_tags
from features.tags.known import Column
from serving.api import State
from serving.shapes import ProfileResponse
from serving.standing import is_sensitive
from serving.withheld import Withheld, withhold

AS_OF, UNTIL = datetime(2018, 1, 1, 5), datetime(2018, 1, 8, 5)


@pytest.fixture
def own(base, tmp_path):
    """A base whose run has counted segments and tags."""
    first, second = base.tasks["churn"].ids[:2]
    (tmp_path / "segments").mkdir()
    (tmp_path / "tags").mkdir()
    pd.DataFrame({"customer_id": [first, second], "rfm": ["111", "none"], "value": ["A", "none"], "cluster": ["A", "unknown"], "as_of": [AS_OF] * 2}).to_parquet(
        tmp_path / "segments" / "members.parquet")
    names = {"rfm": {"en": {"111": "key", "none": "nothing bought"}, "zh": {"111": "重要价值客户"}}, "value": {"en": {"A": "first 80 %"}, "zh": {"A": "前80%收入"}}}
    (tmp_path / "segments" / "segments.json").write_text(json.dumps({"names": names}))
    pd.DataFrame({"customer_id": [first, first, first], "as_of": [AS_OF] * 3, "tag": ["elderly", "favourite", "new"], "layer": ["basic"] * 3, "value": [None, "=drinks", None],
                  "valid_until": [UNTIL] * 3}).to_parquet(tmp_path / "tags" / "tags.parquet")
    told = {name: {"label_en": name, "label_zh": f"标签{name}", "layer": "basic", "owner": "us", "is_sensitive": name == "elderly"} for name in ("elderly", "favourite", "new")}
    (tmp_path / "tags" / "tags.json").write_text(json.dumps({"tags": told}))
    return replace(base, run=tmp_path), first, second


def profile(client, customer, language="en"):
    said = client.post("/v1/profile", json={"customer_id": customer, "language": language})
    assert said.status_code == 200, said.text
    ProfileResponse.model_validate(said.json())
    return said.json()


def test_a_profile_tells_segments_and_tags_with_their_moments(own, client_of):
    base, first, second = own
    client = client_of(State(base))
    said = profile(client, first)
    assert said["segments"] == [
        {"scheme": "rfm", "title": "Recency, frequency, money (RFM)", "segment": "111", "label": "key", "as_of": "2018-01-01T05:00:00Z"},
        {"scheme": "value", "title": "Value tiers", "segment": "A", "label": "first 80 %", "as_of": "2018-01-01T05:00:00Z"}]
    assert [(tag["tag"], tag["value"], tag["valid_until"]) for tag in said["tags"]] == [("favourite", "=drinks", "2018-01-08T05:00:00Z"), ("new", None, "2018-01-08T05:00:00Z")]
    chinese = profile(client, first, "zh")
    assert chinese["segments"][0]["label"] == "重要价值客户" and chinese["tags"][0]["label"] == "标签 favourite"
    other = profile(client, second)
    assert other["tags"] == [] and other["segments"][0]["label"] == "nothing bought"


def test_what_is_sensitive_is_counted_and_not_told(own, client_of):
    base, first, _ = own
    said = client_of(State(base)).post("/v1/profile", json={"customer_id": first})
    assert said.json()["tags_not_shown"] == 1 and said.json()["features_not_shown"] == 1 and "elderly" not in said.text and "age" not in said.text.replace("average", "")


def test_f42_nothing_is_told_of_the_withheld(own, client_of):
    base, first, _ = own
    withhold(base.run, [first])
    said = profile(client_of(State(replace(base, withheld=Withheld(base.run)))), first)
    assert said["segments"] == said["tags"] == said["families"] == [] and said["tags_not_shown"] == 0


def test_a_run_that_counted_none_tells_none_and_a_damaged_one_says_so(own, base, client_of, tmp_path):
    there, first, _ = own
    assert profile(client_of(State(base)), first)["tags"] == []
    (tmp_path / "tags" / "tags.json").write_text("{")
    said = client_of(State(there)).post("/v1/profile", json={"customer_id": first})
    assert said.status_code == 503 and first not in said.text


def test_a_tag_is_sensitive_that_is_made_of_something_sensitive_or_of_such_a_tag(tmp_path):
    form = '[tags.{name}]\nlabel_en = "x"\nlabel_zh = "x"\nlayer = "basic"\nrule = "{rule}"\nvalid_days = 7\nowner = "us"\n'
    rules = {"elderly": "age_band = '65+'", "elderly_buyer": "elderly and buyer", "buyer": "purchases_count_28d > 1 orders"}
    (tmp_path / "tags.toml").write_text("default = false\n" + "".join(form.format(name=name, rule=rule) for name, rule in rules.items()), encoding="utf-8")
    tags = read_tags(tmp_path / "tags.toml", "USD")
    plan = SimpleNamespace(tags=tags, columns={"age_band": Column("text", is_sensitive=True), "purchases_count_28d": Column("orders")})
    assert {tag.name: is_sensitive(tag, plan) for tag in tags} == {"elderly": True, "elderly_buyer": True, "buyer": False}
