"""What is told of the tags themselves: who is covered, what overlaps or contradicts, what changed, and which tags nobody needs."""

from collections.abc import Sequence
from datetime import datetime
from functools import reduce
from itertools import combinations
from typing import Any

import ibis
import ibis.expr.types as ir
import pandas as pd

from features.contracts import COLUMNS
from features.journeys.shares import FEWEST, told_number
from features.notes import Note, note
from features.streams import ROLES
from features.tags.declared import Tag
from features.tags.evaluate import HOLDS, Plan

# Two tags whose holders overlap so much (both of either) are one.
SAME = .98
NOBODY, EVERYBODY = "nobody holds it", "everybody holds it"
UNUSED = {NOBODY: ("tag_nobody", "{tag}: nobody holds it; an unused tag can go"), EVERYBODY: ("tag_everybody", "{tag}: everybody holds it; an unused tag can go")}


def _few(n: float) -> bool:
    return 0 < n < FEWEST


def coverage(table: ir.Table, plan: Plan) -> pd.DataFrame:
    """Grain: as_of x tag. How many hold it, of how many it is not known, and until when it is valid; numbers of people below 10 (also of those without it) are hidden."""
    held = {f"n:{tag.name}": table[HOLDS + tag.name].sum() for tag in plan.tags}
    unknown = {f"u:{tag.name}": table[HOLDS + tag.name].isnull().sum() for tag in plan.tags}
    counted = table.group_by("as_of").agg(n_customers=table.count(), **held, **unknown)
    rows = []
    for found in sorted(counted.to_pyarrow().to_pylist(), key=lambda row: row["as_of"]):
        n_all = found["n_customers"]
        for tag in plan.tags:
            n = int(found[f"n:{tag.name}"] or 0)
            hide = _few(n) or _few(n_all - n)
            remark = NOBODY if n == 0 else EVERYBODY if n == n_all else ""
            rows.append({
                "as_of": found["as_of"], "tag": tag.name, "label_en": tag.label_en, "label_zh": tag.label_zh, "layer": tag.layer, "owner": tag.owner, "n_customers": n_all,
                "n_holders": None if hide else n, "share": None if hide else n / n_all, "n_unknown": _shown(int(found[f"u:{tag.name}"])),
                "valid_until": found["as_of"] + pd.Timedelta(days=tag.valid_days), "rule": tag.texts[0], "remark": remark})
    return pd.DataFrame(rows).astype({"n_holders": "Int64", "share": "float64", "n_unknown": "Int64"})


def _shown(n: int) -> int | None:
    return None if _few(n) else n


def pairs(table: ir.Table, plan: Plan, as_of: datetime) -> pd.DataFrame:
    """Grain: two tags that somebody holds together, at one moment, most alike first. `lift`: how much more often than by chance; cells below 10 people are hidden."""
    at = table.filter(table.as_of == as_of)
    names = [tag.name for tag in plan.tags]
    counts = {f"{a}|{b}": (at[HOLDS + a] & at[HOLDS + b]).sum() for a, b in combinations(names, 2)} | {f"{a}|": at[HOLDS + a].sum() for a in names}
    found = at.agg(n=at.count(), **counts).to_pyarrow().to_pylist()[0]
    rows, excluded = [], {frozenset((tag.name, other)) for tag in plan.tags for other in tag.excludes}
    for a, b in combinations(names, 2):
        both, n_a, n_b = (int(found[key] or 0) for key in (f"{a}|{b}", f"{a}|", f"{b}|"))
        if both:
            hide = any(map(_few, (both, n_a - both, n_b - both, n_a, n_b)))
            figures = (both, both / n_a, both / n_b, both * found["n"] / (n_a * n_b), both / (n_a + n_b - both))
            rows.append((a, b, *((None,) * len(figures) if hide else figures), frozenset((a, b)) in excluded))
    columns = ["tag", "other", "n_both", "share_of_tag", "share_of_other", "lift", "likeness", "is_conflict"]
    frame = pd.DataFrame(rows, columns=columns).astype({"n_both": "Int64", "share_of_tag": "float64", "share_of_other": "float64", "lift": "float64", "likeness": "float64"})
    return frame.sort_values(["likeness", "tag", "other"], ascending=[False, True, True], ignore_index=True)


def changes(before: ir.Table, now: ir.Table, since: datetime, as_of: datetime, n_before: int, n_now: int) -> pd.DataFrame:
    """Grain: tag. Who gained and who lost it between two moments, from statements (customer_id, tag) of each; below 10 people hidden."""
    before, now = (rows.select("customer_id", "tag").distinct() for rows in (before, now))
    gained = now.anti_join(before, ["customer_id", "tag"]).group_by("tag").agg(n_gained=ibis._.count())
    lost = before.anti_join(now, ["customer_id", "tag"]).group_by("tag").agg(n_lost=ibis._.count())
    frames = [rows.to_pyarrow().to_pandas().set_index("tag") for rows in (
        gained, lost, before.group_by("tag").agg(n_before=ibis._.count()), now.group_by("tag").agg(n_now=ibis._.count()))]
    whole = pd.concat(frames, axis=1).fillna(0).astype("int64").rename_axis("tag").reset_index().sort_values("tag", ignore_index=True)
    few = (whole[["n_gained", "n_lost", "n_before", "n_now"]].gt(0) & whole[["n_gained", "n_lost", "n_before", "n_now"]].lt(FEWEST)).any(axis=1)
    shown = whole.astype(dict.fromkeys(("n_gained", "n_lost", "n_before", "n_now"), "Int64"))
    shown.loc[few, ["n_gained", "n_lost", "n_before", "n_now"]] = pd.NA
    shown["share_before"], shown["share_now"] = shown["n_before"].astype("float64") / n_before, shown["n_now"].astype("float64") / n_now
    return pd.DataFrame(shown.assign(since=since, as_of=as_of))


def remarks(plan: Plan, covered: pd.DataFrame, paired: pd.DataFrame, declared: Sequence[Tag]) -> list[Note]:
    """What the keepers of the tags should look at: tags that nobody holds or everybody, twice the same, contradictions, and what the data lack."""
    last = covered[covered["as_of"] == covered["as_of"].max()]
    notes = [note(*UNUSED[row["remark"]], tag=row["tag"]) for row in last.to_dict("records") if row["remark"]]
    by_rule: dict[Any, list[str]] = {}
    for tag in plan.tags:
        by_rule.setdefault((tag.rules[0], tag.values), []).append(tag.name)
    twins = {frozenset(pair) for names in by_rule.values() for pair in combinations(names, 2)}
    notes += [note("tag_twins", "{tags}: the same rule; keep one", tags=" and ".join(names)) for names in by_rule.values() if len(names) > 1]
    for row in paired.to_dict("records"):
        if row["likeness"] >= SAME and frozenset((row["tag"], row["other"])) not in twins:
            notes.append(note("tags_alike", "{tag} and {other}: held by the same customers ({share} %); keep one", tag=row["tag"], other=row["other"],
                              share=f"{100 * row['likeness']:.0f}"))
        if row["is_conflict"]:
            notes.append(note("tags_conflict", "{tag} and {other} exclude each other, and {n} customers hold both; correct a rule", tag=row["tag"], other=row["other"],
                              n=told_number(1 if pd.isna(row["n_both"]) else row["n_both"])))
    return [*notes, *(note("tag_needs", "{tag}: not available, it needs {needs}", tag=tag.name, needs=_needs(plan.lacks[tag.name]))
                     for tag in declared if tag.name in plan.lacks)]


def _needs(lacks: str) -> str:
    """What a tag lacks, in words: "role:cart and brand" -> events of kind cart_add ... and the column brand."""
    return reduce(lambda one, other: note("need_and", "{one} and {other}", one=one, other=other), (_need(lack) for part in lacks.split(", ") for lack in part.split(" and ")))


def _need(lack: str) -> str:
    what, _, name = lack.partition(":")
    if what in ("kind", "role"):
        return note("need_events", "events of kind {kinds}", kinds=" / ".join(ROLES.get(name, (name,)) if what == "role" else (name,)))
    if what == "table":
        return note("need_table", "the table {table}", table=name)
    # A name of an attribute, a score (with how to give it) or a tag says itself what it is.
    return note("need_column", "the column {column}", column=lack.replace("_minor", "")) if lack.split(" ")[0] in COLUMNS["events"] else lack
