"""Charts as SVG text: no scripts, no fonts, nothing fetched. Numbers only come in as numbers, words are escaped."""

from collections.abc import Sequence

from markupsafe import Markup, escape

INK, SOFT, OURS, THEIRS = "#1d2733", "#8a94a0", "#0b6e75", "#c4683a"
Point = tuple[float, float]


def _axes(width: int, height: int, left: int, x_label: str, y_label: str, most: float) -> list[str]:
    """A frame with four grid lines, percent on both axes from 0 to `most`."""
    parts = ['<g class="axis">']
    for i in range(5):
        share = i / 4
        x, y = left + share * (width - left - 22), 10 + (1 - share) * (height - 56)
        text = f"{share * most * 100:.0f}%"
        parts.append(f'<line x1="{left}" x2="{width - 22}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e7ea"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
        parts.append(f'<text x="{x:.1f}" y="{height - 28}" text-anchor="middle">{text}</text>')
    parts.append("</g>")
    parts.append(f'<text x="{(left + width) / 2:.0f}" y="{height - 8}" text-anchor="middle" fill="{INK}">{escape(x_label)}</text>')
    parts.append(f'<text transform="translate(11 {(height - 46) / 2 + 10:.0f}) rotate(-90)" text-anchor="middle" fill="{INK}">{escape(y_label)}</text>')
    return parts


def _svg(width: int, height: int, title: str, parts: Sequence[str], style: str = "") -> Markup:
    # Everything in `parts` is a number formatted here or escaped text.
    own = f' style="{style}"' if style else ""
    return Markup(
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {width} {height}" font-size="12" fill="{SOFT}"{own}>{"".join(parts)}</svg>')


def curves(lines: Sequence[tuple[str, str, Sequence[Point]]], x_label: str, y_label: str) -> Markup:
    """Lines of (name, colour, points in 0..1), with a legend."""
    width, height, left = 560, 340, 62
    parts = _axes(width, height, left, x_label, y_label, 1.0)
    for i, (name, colour, points) in enumerate(lines):
        path = " ".join(f"{left + x * (width - left - 22):.1f},{10 + (1 - y) * (height - 56):.1f}" for x, y in points)
        dash = ' stroke-dasharray="4 4"' if i == len(lines) - 1 else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"{dash}/>')
        y = height - 76 - 20 * (len(lines) - 1 - i)
        parts.append(f'<line x1="{width - 300}" x2="{width - 276}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2.5"{dash}/>')
        parts.append(f'<text x="{width - 268}" y="{y + 4}" fill="{INK}">{escape(name)}</text>')
    return _svg(width, height, y_label, parts)


def amounts(lines: Sequence[tuple[str, str, Sequence[Point]]], x_label: str, y_label: str) -> Markup:
    """Lines of (name, colour, points of a share and an amount, which may be below nothing), with a line at nothing and a legend above."""
    width, left, top, bottom = 560, 62, 14 + 20 * len(lines), 46
    height = top + 230 + bottom
    values = [y for _, _, points in lines for _, y in points]
    least, most = min(0.0, *values), max(1e-9, *values)

    def at(y: float) -> float:
        return top + (most - y) / (most - least) * (height - top - bottom)

    parts = ['<g class="axis">']
    # Two labels at one height would lie on each other.
    for y in (most, 0.0, least) if at(least) - at(0.0) > 14 else (most, 0.0):
        parts.append(f'<line x1="{left}" x2="{width - 22}" y1="{at(y):.1f}" y2="{at(y):.1f}" stroke="{"#8a94a0" if y == 0 else "#e3e7ea"}"/>')
        parts.append(f'<text x="{left - 6}" y="{at(y) + 4:.1f}" text-anchor="end">{y:.{0 if abs(y) >= 10 else 2}f}</text>')
    for i in range(5):
        parts.append(f'<text x="{left + i / 4 * (width - left - 22):.1f}" y="{height - 28}" text-anchor="middle">{25 * i}%</text>')
    parts.append("</g>")
    parts.append(f'<text x="{(left + width) / 2:.0f}" y="{height - 8}" text-anchor="middle" fill="{INK}">{escape(x_label)}</text>')
    parts.append(f'<text transform="translate(11 {(top + height - bottom) / 2:.0f}) rotate(-90)" text-anchor="middle" fill="{INK}">{escape(y_label)}</text>')
    for i, (name, colour, points) in enumerate(lines):
        path = " ".join(f"{left + x * (width - left - 22):.1f},{at(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(f'<line x1="{left}" x2="{left + 24}" y1="{10 + 20 * i}" y2="{10 + 20 * i}" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(f'<text x="{left + 32}" y="{14 + 20 * i}" fill="{INK}">{escape(name)}</text>')
    return _svg(width, height, y_label, parts)


def against(points: Sequence[tuple[float, float, int]], x_label: str, y_label: str) -> Markup:
    """Observed against predicted, with the line where both are equal and an approximate 95 % interval for each group's size."""
    width, height, left = 560, 340, 62
    most = max([0.05, *(max(x, y) for x, y, _ in points)]) * 1.15
    parts = _axes(width, height, left, x_label, y_label, most)

    def place(x: float, y: float) -> Point:
        return left + min(x, most) / most * (width - left - 22), 10 + (1 - min(max(y, 0), most) / most) * (height - 56)

    (x0, y0), (x1, y1) = place(0, 0), place(most, most)
    parts.append(f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{SOFT}" stroke-dasharray="4 4"/>')
    for x, y, n in points:
        half = 1.96 * (max(y * (1 - y), 1e-9) / n) ** 0.5
        cx, cy = place(x, y)
        parts.append(f'<line x1="{cx:.1f}" x2="{cx:.1f}" y1="{place(x, y - half)[1]:.1f}" y2="{place(x, y + half)[1]:.1f}" stroke="{OURS}" stroke-width="1.5"/>')
        parts.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="4" fill="{OURS}"/>')
    return _svg(width, height, y_label, parts)


def bars(rows: Sequence[tuple[str, float]], title: str) -> Markup:
    """Horizontal bars, longest as wide as the chart; lengths are relative, so no scale is drawn. All of it shows on a telephone: a longest bar that is cut tells no length."""
    width, step, left = 460, 26, 136
    most = max((value for _, value in rows), default=1.0) or 1.0
    parts = []
    for i, (name, value) in enumerate(rows):
        y = 6 + i * step
        parts.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end" fill="{INK}">{escape(name)}</text>')
        parts.append(f'<rect x="{left}" y="{y}" width="{max(value / most * (width - left - 4), 1):.1f}" height="18" rx="2" fill="{OURS}"/>')
    return _svg(width, 12 + step * len(rows), title, parts, "max-width:560px;font-size:13px")


def pairs(rows: Sequence[tuple[str, float, float]], first: str, second: str) -> Markup:
    """For each name two horizontal bars beside each other, with their numbers: what was expected, what came."""
    if not rows:
        return Markup("")
    width, step, left = 560, 52, 90
    most = max([1.0, *(max(a, b) for _, a, b in rows)])
    parts = []
    for i, (name, *values) in enumerate(rows):
        parts.append(f'<text x="{left - 8}" y="{46 + i * step}" text-anchor="end" fill="{INK}">{escape(name)}</text>')
        for j, (value, colour) in enumerate(zip(values, (SOFT, OURS), strict=True)):
            y, long = 24 + i * step + j * 20, value / most * (width - left - 60)
            parts.append(f'<rect x="{left}" y="{y}" width="{max(long, 1):.1f}" height="16" rx="2" fill="{colour}"/>')
            parts.append(f'<text x="{left + long + 6:.1f}" y="{y + 13}" fill="{INK}">{value:,.0f}</text>')
    for name, colour, x in ((first, SOFT, left), (second, OURS, left + 150)):
        parts.append(f'<rect x="{x}" y="2" width="12" height="12" rx="2" fill="{colour}"/><text x="{x + 18}" y="12" fill="{INK}">{escape(name)}</text>')
    return _svg(width, 24 + step * len(rows), f"{first}, {second}", parts)


def shape(points: Sequence[Point], ticks: Sequence[str], title: str) -> Markup:
    """A small picture of contribution against value, with a line at no contribution and the first, middle and last value under it.

    Places are ranks, so tails do not squeeze it.
    """
    if len(points) < 2:
        return Markup("")
    width, height = 150, 40
    most = max(abs(y) for _, y in points) or 1.0
    xs = [6 + i * (width - 12) / (len(points) - 1) for i in range(len(points))]
    path = " ".join(f"{x:.1f},{height / 2 - y / most * (height / 2 - 4):.1f}" for x, (_, y) in zip(xs, points, strict=True))
    parts = [f'<line x1="0" x2="{width}" y1="{height / 2}" y2="{height / 2}" stroke="#d5dade"/>',
             f'<polyline points="{path}" fill="none" stroke="{OURS}" stroke-width="2"/>']
    last = len(points) - 1
    marks = {0: "start", last: "end"} | ({last // 2: "middle"} if len(points) > 3 else {})
    for i, anchor in marks.items():
        x = {"start": 0, "end": width}.get(anchor, xs[i])
        parts.append(f'<text x="{x:.1f}" y="{height + 13}" text-anchor="{anchor}" font-size="11">{escape(ticks[i])}</text>')
    return Markup(f'<svg class="shape" role="img" aria-label="{escape(title)}" viewBox="0 0 {width} {height + 16}" fill="{SOFT}">{"".join(parts)}</svg>')


def columns(rows: Sequence[tuple[str, float]], title: str) -> Markup:
    """Vertical bars over time, each with its percentage; the first, middle and last are dated."""
    width, height = 560, 150
    most = max((value for _, value in rows), default=1.0) or 1.0
    step = width / max(len(rows), 1)
    parts = []
    for i, (name, value) in enumerate(rows):
        tall = value / most * 92
        x = i * step
        parts.append(f'<rect x="{x + 2:.1f}" y="{112 - tall:.1f}" width="{step - 4:.1f}" height="{tall:.1f}" fill="{OURS}"/>')
        parts.append(f'<text x="{x + step / 2:.1f}" y="{106 - tall:.1f}" text-anchor="middle" font-size="10">{value * 100:.0f}</text>')
        if i in (0, len(rows) // 2, len(rows) - 1):
            anchor = "start" if i == 0 else "end" if i == len(rows) - 1 else "middle"
            edge = {"start": x, "end": x + step, "middle": x + step / 2}[anchor]
            parts.append(f'<text x="{edge:.1f}" y="130" text-anchor="{anchor}" fill="{INK}">{escape(name)}</text>')
    return _svg(width, height, title, parts)


def heat(columns: Sequence[str], rows: Sequence[tuple[str, Sequence[tuple[float | None, str]]]], title: str) -> Markup:
    """A table of cells, each (0 to 1, its text), darker the more; None is left white with its text."""
    left, step, tall = max(118, *(16 + 7 * len(name) for name, _ in rows)) if rows else 118, max(46, *(10 + 7 * len(name) for name in columns)) if columns else 46, 26
    width = left + step * max(len(columns), 1) + 4
    parts = [f'<text x="{left + i * step + step / 2:.1f}" y="14" text-anchor="middle" font-size="11">{escape(name)}</text>' for i, name in enumerate(columns)]
    for j, (name, cells) in enumerate(rows):
        y = 22 + j * tall
        parts.append(f'<text x="{left - 8}" y="{y + 17}" text-anchor="end" fill="{INK}">{escape(name)}</text>')
        for i, (value, text) in enumerate(cells):
            x, dark = left + i * step, 0.0 if value is None else min(max(value, 0.0), 1.0)
            parts.append(f'<rect x="{x}" y="{y}" width="{step - 2}" height="{tall - 2}" fill="{OURS}" fill-opacity="{dark:.3f}" stroke="#e3e7ea"/>')
            parts.append(f'<text x="{x + step / 2 - 1:.1f}" y="{y + 17}" text-anchor="middle" font-size="11" fill="{"#fff" if dark > .55 else INK}">{escape(text)}</text>')
    # Cells keep their size, so that numbers stay readable: what is wider than the page scrolls in its frame.
    return _svg(width, 26 + tall * len(rows), title, parts, f"width:{width}px;max-width:none")


def ranged(rows: Sequence[tuple[str, float, float, float, str]], title: str) -> Markup:
    """Horizontal bars of (name, middle, low, high, text) from nothing, to either side, each under its name and with a line for its interval."""
    if not rows:
        return Markup("")
    width, step, left, right = 460, 42, 4, 46
    least, most = min(0.0, *(low for _, _, low, _, _ in rows)), max(1e-9, *(high for _, _, _, high, _ in rows))

    def at(value: float) -> float:
        return left + (value - least) / (most - least) * (width - left - right)

    parts = [f'<line x1="{at(0):.1f}" x2="{at(0):.1f}" y1="0" y2="{step * len(rows) + 4}" stroke="#d5dade"/>']
    for i, (name, middle, low, high, text) in enumerate(rows):
        y = 4 + i * step
        begin, end = sorted((at(0), at(middle)))
        parts.append(f'<text x="{left}" y="{y + 12}" fill="{INK}" stroke="#fff" stroke-width="3" paint-order="stroke">{escape(name)}</text>')
        parts.append(f'<rect x="{begin:.1f}" y="{y + 18}" width="{max(end - begin, 1):.1f}" height="16" rx="2" fill="{OURS}" fill-opacity="0.75"/>')
        parts.append(f'<line x1="{at(low):.1f}" x2="{at(high):.1f}" y1="{y + 26}" y2="{y + 26}" stroke="{INK}" stroke-width="1.5"/>')
        parts.append(f'<text x="{at(max(high, middle)) + 6:.1f}" y="{y + 31}" fill="{INK}">{escape(text)}</text>')
    return _svg(width, step * len(rows) + 8, title, parts, "max-width:560px;font-size:13px")
