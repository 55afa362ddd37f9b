"""The profile as one HTML page that opens from disk: escaped, without scripts, nothing fetched, written whole."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from features.data_profile.charts import small, wide
from features.data_profile.grids import Bars, Cell, Share, Told
from features.files import written_whole


def write_page(told: Told, path: Path) -> None:
    """Fill the template and write the page."""
    made = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters.update(cell=_cell, wide=wide)
    html = made.get_template("profile.html.j2").render(told=told)
    with written_whole(path) as aside:
        aside.write_text(html, encoding="utf-8")


def _cell(cell: Cell) -> Markup:
    """A cell; texts keep to themselves whichever way they are written."""
    if isinstance(cell, Bars):
        return small(cell)
    if isinstance(cell, Share):
        return Markup('<span class="share"><i style="width:{:.0f}%"></i></span>{}').format(100 * min(max(cell.share, 0), 1), cell.text)
    return Markup("<bdi>{}</bdi>").format(cell) if cell else escape("")
