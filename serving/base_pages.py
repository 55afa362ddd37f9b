"""What is told of the base as a whole, whoever is scored: its portrait (segments, tags, cohorts) and its touchpoints, counted once for all languages."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import ContractError, UsageError
from serving.standing import SEGMENTS, write_tags
from serving.words import Voice
from serving.words import told as told_in

if TYPE_CHECKING:
    from features.journeys.tables import Journeys
    from features.segments.tables import Segments
    from serving.scoring import Base

# Beside the run's other files: a file of tags of one's own. (In `segments/` stand the clusters whose names are kept.)
TAGS = "tags.toml"


@dataclass(frozen=True)
class BaseTold:
    """Tables of one moment; what could not be counted is named with its reason."""

    data: str
    zone: str
    currency: str
    fingerprint: str
    licence: str
    is_simulated: bool
    as_of: str
    segments: "Segments | None" = None
    tags: list[dict[str, Any]] = field(default_factory=list)
    tag_labels: dict[str, dict[str, str]] = field(default_factory=dict)
    tag_notes: list[str] = field(default_factory=list)
    journeys: "Journeys | None" = None
    lacks: dict[str, str] = field(default_factory=dict)


def count(run: Path, base: "Base") -> BaseTold | None:
    """Segments, tags and journeys of the run's clean tables at the moment of its base; nothing where the run has kept none.

    Who stands where is written beside, for profiles: `segments/`, `tags/`.
    """
    from features.journeys.tables import Asked, journeys
    from features.kept import clean_tables
    from features.segments.door import clusters_before, write
    from features.segments.tables import segments

    dataset = clean_tables(run)
    if dataset is None:
        return None
    as_of, lacks = datetime.fromisoformat(base.info.as_of).replace(tzinfo=None), dict[str, str]()

    def tried(name: str, make: Callable[[], Any]) -> Any:
        """What the data do not allow is said on the page."""
        try:
            return make()
        except (UsageError, ContractError) as error:
            lacks[name] = str(error)
            return None

    found = tried("segments", lambda: segments(dataset, [as_of], clusters_before(run / SEGMENTS)))
    if found is not None:
        write(found, run / SEGMENTS)
    tags, labels, notes = tried("tags", lambda: _tags(run, base, dataset, as_of)) or ([], {}, [])
    asked = Asked(as_of)
    walked = tried("journeys", lambda: journeys(dataset, asked, scores=_scores_before(run, dataset, asked.judged_since)))
    return BaseTold(
        dataset.name, dataset.zone, dataset.currency, dataset.fingerprint, dataset.licence, dataset.is_simulated, base.info.as_of, found, tags, labels, notes, walked, lacks)


def _scores_before(run: Path, dataset: Any, since: datetime) -> Any:
    """The scores that the run handed out (customer_id, as_of, probability), where some were told before the sessions that priorities look at; else nothing.

    Those of conversion, else of churn. A score of today knows how those sessions ended, and a model asked again about the past has learned from it.
    """
    import pandas as pd
    from ibis.util import gen_name

    files = sorted((run / "scores").glob("*.parquet"))
    logged = pd.concat([pd.read_parquet(path, columns=["customer_id", "model", "as_of", "probability"]) for path in files]) if files else None
    for task in ("conversion", "churn"):
        if logged is None:
            break
        mine = logged[logged["model"] == f"{dataset.name}.{task}"]
        if (mine["as_of"] <= since).any():
            return dataset.engine.create_table(gen_name("logged"), mine[["customer_id", "as_of", "probability"]])
    return None


def _tags(run: Path, base: "Base", dataset: Any, as_of: datetime) -> tuple[list[dict[str, Any]], dict[str, dict[str, str]], list[Any]]:
    from features.tags.declared import DEFAULT, read_tags
    from features.tags.evaluate import plan, tagged
    from features.tags.known import score_tables
    from features.tags.told import coverage, pairs, remarks
    from serving.batch import scores

    frames = [(name, scores(task)) for name, task in base.tasks.items()]
    declared = read_tags(run / TAGS if (run / TAGS).exists() else DEFAULT, dataset.currency)
    planned = plan(dataset, declared, score_tables(dataset, frames))
    table = tagged(dataset, planned, [as_of])
    write_tags(run, table, planned)
    covered = coverage(table, planned)
    labels = {tag.name: {"en": tag.label_en, "zh": tag.label_zh} for tag in declared}
    return records(covered.drop(columns=["as_of", "valid_until"])), labels, remarks(planned, covered, pairs(table, planned, as_of), declared)


def lacking(lacks: dict[str, str], words: dict[str, Any], voice: Voice) -> list[tuple[str, str]]:
    """What is not available and why, each reason once, with the language that it is said in."""
    parts = dict[tuple[str, str], list[str]]()
    for name, why in lacks.items():
        parts.setdefault(told_in(why, voice.language, words["names"]), []).append(words["parts"].get(name, name))
    return [(words["because"].format(part=words["between_parts"].join(names), why=why), language) for (why, language), names in parts.items()]


def records(frame: Any) -> list[dict[str, Any]]:
    """Rows as JSON can say them: what is not known is null."""
    import json

    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", double_precision=10))
    return rows
