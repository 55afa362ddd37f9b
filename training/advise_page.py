"""Advice on windows for people: on the screen, and as one page that needs nothing else."""

from typing import TYPE_CHECKING, Any

from features.horizons import EVERYBODY, SEGMENTS
from training.advise import TOLD_DAYS
from training.page import rendered

if TYPE_CHECKING:
    from rich.console import Console

_COLOURS = {EVERYBODY: "#1d2733", **dict(zip((name for _, name in SEGMENTS), ("#7a5c99", "#c4683a", "#c99a2e", "#0b6e75"), strict=True))}
# Days that are written under a curve, where it reaches so far and they do not touch.
_TICKS = (7, 14, 28, 56, 84, 112, 168, 252, 336, 504, 672)


def page_of(said: dict[str, Any]) -> str:
    """The advice as HTML."""
    told = said["suggested"], said["declared"]
    return rendered("advise.html.j2", said=said, days=TOLD_DAYS, colours=_COLOURS, charts=[
        _chart(said["delays"], *(one["horizon_days"] for one in told)), _chart(said["returns"], *(one["active_days"] for one in told))])


def _chart(curves: dict[str, Any], suggested: int | None, declared: int | None) -> dict[str, Any]:
    """Curves on axes from 0 to 1, and where the windows lie. A curve of no more than its beginning is left out."""
    drawn = {name: one["curve"] for name, one in curves.items() if len(one["curve"]) > 1}
    last = max((len(points) for points in drawn.values()), default=2) - 1
    ticks: list[int] = []
    for day in _TICKS:
        if day <= last and (not ticks or (day - ticks[-1]) / last > 0.08):
            ticks.append(day)
    marks = {name: day / last for name, day in (("declared", declared), ("suggested", suggested)) if day is not None and day <= last}
    return {
        "last": last, "ticks": [(day, day / last) for day in ticks], "marks": marks,
        "lines": {name: [(day / last, share) for day, share in enumerate(points)] for name, points in drawn.items()}}


def show(console: "Console", said: dict[str, Any]) -> None:
    """The advice on the screen."""
    from rich.markup import escape
    from rich.table import Table

    console.print(escape(f"{said['data']}, {said['task']}: {said['question']}"), soft_wrap=True)
    for title, curves, key in (
        (f"share with the event by day, from a moment (and its gap of {said['declared']['gap_days']} days) on", said["delays"], "by_day"),
        (f"share who return within the next {said['declared']['horizon_days']} days, after so many days of silence", said["returns"], "within_horizon"),
    ):
        table = Table("", "n", *(str(day) for day in TOLD_DAYS), title=title)
        for name, one in curves.items():
            table.add_row(name, f"{one['n']:,}", *("" if one[key][str(day)] is None else f"{100 * one[key][str(day)]:.0f} %" for day in TOLD_DAYS))
        console.print(table)
    headings = ("horizon", "moments", "rows", "label rate", "quick logistic, AUC", "best rule, AUC", "enough to train")
    table = Table(*headings, title="what a horizon makes of the task, judged at one moment")
    for row in said["horizons"]:
        areas = ["" if row[name] is None else "{auc:.3f} [{auc_interval[0]:.3f}, {auc_interval[1]:.3f}]".format(**row[name]) for name in ("logistic", "rule")]
        rate = "" if row["label_rate"] is None else f"{100 * row['label_rate']:.1f} %"
        table.add_row(f"{row['horizon_days']} days", str(row["moments"]), "" if row["rows"] is None else f"{row['rows']:,}", rate, *areas, "yes" if row["can_train"] else "no")
    console.print(table)
    for row in said["horizons"]:
        if row["why"]:
            console.print(escape(f"  {row['horizon_days']} days: {row['why']}"), soft_wrap=True)
    found = said["suggested"]
    console.print(escape(f"horizon: {found['horizon_days'] or 'none suggested'} (declared {said['declared']['horizon_days']}): {found['why']}"), soft_wrap=True)
    console.print(escape(f"active within: {found['active_days'] or 'none suggested'} (declared {said['declared']['active_days']}): {found['active_why']}"), soft_wrap=True)
    if found["lookbacks_days"]:
        console.print(f"lookbacks to match: {', '.join(map(str, found['lookbacks_days']))}; declare what you choose in dataset.toml under tasks.{said['task']}")
