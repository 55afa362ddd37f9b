"""Pages of this room: self-contained HTML, no script, no address, every text escaped."""

from pathlib import Path
from typing import Any


def rendered(template: str, **told: Any) -> str:
    """A template of this room, filled in."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return pages.get_template(template).render(**told)
