"""Pages that open from disk: what goes in is escaped, nothing is fetched, and the one script they may run is named by its hash."""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.files import written_whole

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    script = (_TEMPLATES / "reach.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    made.globals.update(script=script, script_hash=f"sha256-{digest}")
    return made


def write_page(path: Path, template: str, said: dict[str, Any]) -> Path:
    """Fill a template and write the page whole; give its path."""
    html = _environment().get_template(template).render(**said)
    with written_whole(path) as aside:
        aside.write_text(html, encoding="utf-8")
    return path
