"""Small pictures as SVG: no scripts, no fonts, nothing fetched. Numbers come in as numbers, words are escaped."""

from markupsafe import Markup, escape

from features.data_profile.grids import Bars

OURS, MARKED, FAINT = "#0b6e75", "#b3541e", "#c9d0d5"


def small(bars: Bars) -> Markup:
    """Columns in the line of a table."""
    return _columns(bars, 130, 26, "small")


def wide(bars: Bars) -> Markup:
    """Columns over the width of the page."""
    return _columns(bars, 640, 96, "wide")


def _columns(bars: Bars, width: int, tall: int, name: str) -> Markup:
    """The columns; where a number may not be told stands a faint line."""
    most = max((value for value in bars.values if value), default=1.0)
    step = min(width / max(len(bars.values), 1), width / 6)
    parts = []
    for i, value in enumerate(bars.values):
        high = 1.5 if value is None else max(round(value / most * (tall - 4)), 1 if value else 0)
        colour = FAINT if value is None else MARKED if i in bars.marked else OURS
        parts.append(f'<rect x="{i * step + step * 0.08:.1f}" y="{tall - high:.1f}" width="{step * 0.84:.1f}" height="{high:.1f}" fill="{colour}"/>')
    # Everything is a number formatted here or escaped text.
    return Markup(f'<svg class="{name}" role="img" aria-label="{escape(bars.title)}" viewBox="0 0 {width} {tall}">{"".join(parts)}</svg>')
