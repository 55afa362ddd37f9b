"""A comparison for people: on the screen, and as one page that needs nothing else."""

from typing import TYPE_CHECKING, Any

from training.compare import SHOWN
from training.page import rendered

if TYPE_CHECKING:
    from rich.console import Console

_OLD, _NEW = "#c4683a", "#0b6e75"


def page_of(said: dict[str, Any]) -> str:
    """The comparison as HTML."""
    sides = ((_OLD, said["old"]), (_NEW, said["new"]))
    most = max(max(bin_["predicted"], bin_["observed"]) for _, side in sides for bin_ in side["calibration"]) or 1.0
    charts = [
        ("Gains", ("100 %", "100 %", "share reached, and share of all hits among them"), [(colour, [(p["reached"], p["hits"]) for p in side["gains"]]) for colour, side in sides]),
        ("Calibration", (f"{most:.0%}", f"{most:.0%}", "probability said, and share observed"),
         [(colour, [(bin_["predicted"] / most, bin_["observed"] / most) for bin_ in side["calibration"]]) for colour, side in sides])]
    return rendered("compare.html.j2", said=said, charts=charts, shown=SHOWN)


def show(console: "Console", said: dict[str, Any]) -> None:
    """The comparison on the screen: answer, figures, the groups that stand out, what differs."""
    from rich.markup import escape
    from rich.table import Table

    old, new, answer = said["old"], said["new"], said["answer"]
    title = f"the same {said['rows']:,} later rows of {said['customers']:,} customers"
    table = Table("", f"version {old['version']}", f"version {new['version']}", "difference", "interval", title=title)
    for name in SHOWN:
        pair = said["differences"].get(name)
        rest = (f"{pair['value']:+.4f}", "{:+.4f} to {:+.4f}".format(*pair["interval"])) if pair else ("", "")
        table.add_row(name.replace("_", " "), f"{old[name]:.4f}", f"{new[name]:.4f}", *rest)
    for name, label in (("features", "features"), ("trees", "trees"), ("fit_seconds", "seconds to fit")):
        table.add_row(label, str(old["cost"][name]), str(new["cost"][name]), "", "")
    console.print(table)
    for row in said["groups"]:
        if row["says"] != "not shown":
            console.print(escape(f"  {row['says']} for {row['group']} ({row['rows']:,} rows): log loss {row['difference']:+.4f} {row['interval']}"))
    changed = [f"{name} {pair[0]} -> {pair[1]}" for name, pair in said["differs"]["parameters"].items()]
    changed += [f"without {name}" for name in said["differs"]["features_only_old"]] + [f"with {name}" for name in said["differs"]["features_only_new"]]
    console.print(escape(f"what differs: {'; '.join(changed) or 'nothing in features or parameters'}"), soft_wrap=True)
    console.print(escape(f"better? {answer['is_it_better']}: {answer['told']}. For whom? {answer['for_whom']}. Noise? {answer['is_it_noise']}"), soft_wrap=True)
