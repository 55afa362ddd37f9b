"""Where a customer stands: the segments and tags that the run counted last (`segments/`, `tags/`), read by id."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import ContractError
from features.files import write_json, written_whole
from serving.words import Voice, base_words

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from features.tags.declared import Tag
    from features.tags.evaluate import Plan

SEGMENTS, TAGS = "segments", "tags"
SCHEMES = ("cluster", "rfm", "value", "lifecycle")
# Rows of a customer lie together; so few are read for one.
_ROWS_READ = 20_000


def write_tags(run: Path, table: "ir.Table", plan: "Plan") -> None:
    """Write `tags/tags.parquet` and `tags/tags.json` of a run: who holds which tag, and what each is called. Grain: customer x tag that holds."""
    import pyarrow.parquet as pq

    from features.tags.evaluate import statements

    said = statements(table, plan).order_by(["customer_id", "tag"]).to_pyarrow()
    with written_whole(run / TAGS / "tags.parquet") as aside:
        pq.write_table(said, aside, row_group_size=_ROWS_READ)
    write_json(run / TAGS / "tags.json", {"tags": {
        tag.name: {"label_en": tag.label_en, "label_zh": tag.label_zh, "layer": tag.layer, "owner": tag.owner, "is_sensitive": is_sensitive(tag, plan)}
        for tag in plan.tags}})


def is_sensitive(tag: "Tag", plan: "Plan") -> bool:
    """Whether a tag is made of something sensitive, or of a tag that is."""
    from features.tags.rules import tags_in

    if any(plan.columns[name].is_sensitive for name in tag.names()):
        return True
    by_name = {other.name: other for other in plan.tags}
    return any(is_sensitive(by_name[name], plan) for rule in tag.rules for name in tags_in(rule))


def standing(run: Path | None, customer: str, language: str) -> dict[str, Any]:
    """One customer's `segments` and `tags` with their moments, and how many tags are `not_shown` since they are made of something sensitive.

    Empty: where the run has counted none, or does not know the customer. Raises: ContractError where what it counted cannot be read.
    """
    try:
        tags, n_hidden = _tags(run, customer, language) if run else ([], 0)
        return {"segments": _segments(run, customer, language) if run else [], "tags": tags, "tags_not_shown": n_hidden}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ContractError(f"segments and tags of {run} must be readable as they were written, found {type(error).__name__}; write them again: make run OUT={run}") from None


def _segments(run: Path, customer: str, language: str) -> list[dict[str, Any]]:
    rows, words = _rows(run / SEGMENTS / "members.parquet", customer), base_words(language)
    if not rows:
        return []
    [row], names = rows, json.loads((run / SEGMENTS / "segments.json").read_text(encoding="utf-8"))["names"]
    return [
        {"scheme": scheme, "title": words[f"scheme_{scheme}"], "segment": row[scheme], "label": names[scheme][language].get(row[scheme], row[scheme]),
         "as_of": _moment(row["as_of"])}
        for scheme in SCHEMES if row.get(scheme) is not None and scheme in names]


def _tags(run: Path, customer: str, language: str) -> tuple[list[dict[str, Any]], int]:
    rows, voice = _rows(run / TAGS / "tags.parquet", customer), Voice(language)
    called = json.loads((run / TAGS / "tags.json").read_text(encoding="utf-8"))["tags"] if rows else {}
    shown = [row for row in rows if not called[row["tag"]]["is_sensitive"]]
    return [_tag(row, called[row["tag"]], voice) for row in shown], len(rows) - len(shown)


def _tag(row: Mapping[str, Any], called: Mapping[str, str], voice: Voice) -> dict[str, Any]:
    return {
        "tag": row["tag"], "label": voice.named({"en": called["label_en"], "zh": called["label_zh"]}), "layer": called["layer"], "value": row["value"],
        "as_of": _moment(row["as_of"]), "valid_until": _moment(row["valid_until"])}


def _rows(path: Path, customer: str) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    if not path.exists():
        return []
    found: list[dict[str, Any]] = pq.read_table(path, filters=[("customer_id", "=", customer)]).to_pylist()
    return found


def _moment(naive: datetime) -> str:
    return naive.isoformat(timespec="seconds") + "Z"
