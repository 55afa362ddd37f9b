"""Small pictures as SVG: no scripts, no fonts, nothing fetched. Numbers come in as numbers, words are escaped."""

from markupsafe import Markup, escape

from features.data_profile.grids import Bars

OURS, MARKED, FAINT, SOFT = "#0b6e75", "#b3541e", "#c9d0d5", "#5c6773"


def small(bars: Bars) -> Markup:
    """Columns in the line of a table."""
    return _columns(bars, 160, 32, "small", "")


def wide(bars: Bars) -> Markup:
    """Columns over the width of the page, with the first and the last named and the highest as the measure."""
    width, tall = 640, 110
    first, last = (escape(text) for text in bars.ticks)
    below = f'<text x="0" y="{tall + 15}">{first}</text><text x="{width}" y="{tall + 15}" text-anchor="end">{last}</text>'
    return _columns(bars, width, tall, "wide", below)


def _columns(bars: Bars, width: int, tall: int, name: str, below: str) -> Markup:
    """The columns; where a number may not be told stands a faint line."""
    most = max((value for value in bars.values if value), default=1.0)
    step = width / max(len(bars.values), 1)
    parts = []
    for i, value in enumerate(bars.values):
        high = 1.5 if value is None else max(round(value / most * (tall - 4)), 1 if value else 0)
        colour = FAINT if value is None else MARKED if i in bars.marked else OURS
        parts.append(f'<rect x="{i * step + step * 0.08:.1f}" y="{tall - high:.1f}" width="{step * 0.84:.1f}" height="{high:.1f}" fill="{colour}"/>')
    # Everything is a number formatted here or escaped text.
    box = f"0 0 {width} {tall + (20 if below else 0)}"
    return Markup(f'<svg class="{name}" role="img" aria-label="{escape(bars.title)}" viewBox="{box}" font-size="12" fill="{SOFT}">{"".join(parts)}{below}</svg>')
