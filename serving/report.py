"""The marketers' reports: for each task a page in each language and a model card, and an index; all open offline. Every number comes from the run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import UsageError
from features.files import write_json
from serving import alike_page, base_pages, model_card, portrait_page, task_page, touchpoints_page
from serving.pages import write_page
from serving.words import LANGUAGES, Voice

if TYPE_CHECKING:
    import pandas as pd

    from serving.base_pages import BaseTold
    from serving.scoring import Base


def write_reports(run: Path, out: Path, languages: Sequence[str] = ("en",)) -> list[Path]:
    """Write `index.<lang>.html`, `<task>.<lang>.html` and `<task>.card.html` for every champion, each whole, and name them in the run's `run.json`.

    Where the run keeps its clean tables, `portrait.<lang>.html` and `touchpoints.<lang>.html` join them.

    Raises: UsageError for a language without words; ContractError where the run has no base or champion.
    """
    from serving.scoring import open_base, read_base

    for language in languages:
        if language not in LANGUAGES:
            raise UsageError(f"--lang must be one of {', '.join(LANGUAGES)}, found {language!r}; choose one of them")
    base, frame = open_base(run), read_base(run)
    told = base_pages.count(run, base)
    written = [path for language in languages for path in _write_language(base, frame, told, out, language, languages)]
    for name, model, version in model_card.served(base):
        written.append(_write(out / f"{name}.card.html", "card.html.j2", {**model_card.card(model, version), "lang": "en"}))
    _name_in_run(run, written)
    return written


def _write_language(base: "Base", frame: "pd.DataFrame", told: "BaseTold | None", out: Path, language: str, languages: Sequence[str]) -> list[Path]:
    pages: dict[str, dict[str, Any]] = {}
    for name, task in base.tasks.items():
        pages[name] = task_page.page(task, base.info, frame, Voice(language, task.model.card["zone"]))
    for name, space in base.spaces.items():
        pages[name] = alike_page.page(space, base.info, Voice(language, space.space.card["zone"]))
    written = []
    for name, page in pages.items():
        template = "lookalike.html.j2" if name in base.spaces else "report.html.j2"
        written.append(_write(out / f"{name}.{language}.html", template, {**page, "lang": language, "others": _others(out, name, language, languages)}))
    of_base = {"portrait": portrait_page.page(told, Voice(language, told.zone)), "touchpoints": touchpoints_page.page(told, Voice(language, told.zone))} if told else {}
    for name, page in of_base.items():
        written.append(_write(out / f"{name}.{language}.html", f"{name}.html.j2", {**page, "lang": language, "others": _others(out, name, language, languages)}))
    zones = {page["zone"] for page in pages.values()}
    index = {
        "data": base.info.data, "is_simulated": any(page["is_simulated"] for page in pages.values()), "as_of": Voice(language, min(zones)).day(base.info.as_of),
        "lang": language, "others": _others(out, "index", language, languages),
        "base_pages": [{"title": page["title"], "lead": page["base"][f"{name}_index"], "file": f"{name}.{language}.html"} for name, page in of_base.items()],
        "pages": [{**page, "file": f"{name}.{language}.html", "card": f"{name}.card.html"} for name, page in pages.items()]}
    return [*written, _write(out / f"index.{language}.html", "index.html.j2", index)]


def _others(out: Path, stem: str, language: str, languages: Sequence[str]) -> list[tuple[str, str, str]]:
    """The same page in the other languages that are written with it or stand there already: language, its own name, file."""
    there = [other for other in LANGUAGES if other != language and (other in languages or (out / f"{stem}.{other}.html").exists())]
    return [(other, Voice(other).words["language"], f"{stem}.{other}.html") for other in there]


def _write(path: Path, template: str, said: dict[str, Any]) -> Path:
    voice = Voice(said["lang"])
    return write_page(path, template, {**said, "words": voice.words, "say": voice.say})


def _name_in_run(run: Path, written: list[Path]) -> None:
    summary = run / "run.json"
    if summary.exists():
        said = json.loads(summary.read_text(encoding="utf-8"))
        inside = [str(path.resolve().relative_to(run.resolve())) for path in written if path.resolve().is_relative_to(run.resolve())]
        said["reports"] = sorted({*said.get("reports", []), *inside})
        write_json(summary, said)
