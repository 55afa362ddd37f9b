"""What the page *Portrait of the base* says: segments and what sets them apart, who brings the revenue, who comes back, tags."""

from typing import TYPE_CHECKING, Any

from serving import charts
from serving.base_pages import lacking, records
from serving.words import Voice, base_words, percent
from serving.words import told as told_in

if TYPE_CHECKING:
    from serving.base_pages import BaseTold

SCHEMES = ("cluster", "rfm", "value", "lifecycle")


def page(told: "BaseTold", voice: Voice) -> dict[str, Any]:
    """Everything that the page says, as text and charts; `data` is what its numbers come from."""
    words, found = base_words(voice.language), told.segments
    tables = {name: records(frame) for name, frame in found.tables.items() if name not in ("effects", "tree")} if found else {}
    as_of, lacks = voice.day(told.as_of), {**told.lacks, **(found.unavailable if found else {})}
    notes = [*(found.notes if found else []), *told.tag_notes]
    labels = {tag: f"“{label[voice.language]}”" for tag, label in told.tag_labels.items()}
    n_customers = f"{found.told['n_customers'] if found else max((row['n_customers'] for row in told.tags), default=0):,}"
    data = {
        "data": told.data, "as_of": as_of, "currency": told.currency,
        "told": {key: value for key, value in found.told.items() if key != "names"} if found else {}, "tables": tables,
        "tags": told.tags, "notes": notes, "unavailable": lacks,
        "card": {"fingerprint": told.fingerprint, "licence": told.licence}}
    return {
        "data": data, "zone": told.zone, "is_simulated": told.is_simulated, "title": words["portrait_title"], "base": words,
        "lead": words["portrait_lead"].format(n=n_customers, data=told.data, as_of=as_of), "cards": _cards(told, tables, words, n_customers),
        "revenue": charts.bars([(f"{words['tenth'].format(i=row['tenth'])}  {percent(row['share_of_revenue'], 0)}", row["share_of_revenue"]) for row in tables.get("revenue", [])],
                               words["revenue_title"]) if "revenue" in tables else "",
        "schemes": [_scheme(scheme, tables, words, voice) for scheme in SCHEMES if any(row["scheme"] == scheme for row in tables.get("segments", []))],
        "stable": _stable(told, words, voice), "grid": _grid(tables["rfm_grid"], words) if "rfm_grid" in tables else "", **_cohorts(tables.get("cohorts", []), told, words),
        "tags": [_tag(row, words, voice) for row in told.tags], "lacks": lacking({name: why for name, why in lacks.items() if name != "journeys"}, words, voice),
        "notes": [told_in(line, voice.language, labels) for line in notes],
        "mean_spend": words["mean_spend"].format(currency=voice.currency(told.currency)), "currency": voice.currency(told.currency),
        "made": words["base_made"].format(data=told.data, fingerprint=told.fingerprint[:12], as_of=as_of), "licence": told.licence}


def _cards(told: "BaseTold", tables: dict[str, Any], words: dict[str, Any], n_customers: str) -> list[tuple[str, str]]:
    cards = [(n_customers, words["card_customers"])]
    found = told.segments
    if found and "revenue" in found.told:
        who = found.told["revenue"]
        cards.append((percent(who["share"], 0), words["card_revenue"].format(n=f"{who['n']:,}")))
    if found and found.clusters:
        rows = [row for row in tables["segments"] if row["scheme"] == "cluster"]
        known = 1 - next((row["share"] or 0 for row in rows if row["segment"] == "unknown"), 0)
        cards.append((str(sum(row["segment"] != "unknown" for row in rows)), words["card_clusters"].format(share=percent(known, 0))))
    return cards


def _scheme(scheme: str, tables: dict[str, Any], words: dict[str, Any], voice: Voice) -> dict[str, Any]:
    rows = sorted((row for row in tables["segments"] if row["scheme"] == scheme), key=lambda row: _place(scheme, row["segment"]))
    few = words["base_few"]
    return {"title": words[f"scheme_{scheme}"], "name": scheme, "rows": [{
        "label": voice.spaced(row[f"label_{voice.language}"]), "sentence": voice.spaced(row[f"sentence_{voice.language}"]), "n": few if row["n"] is None else f"{row['n']:,.0f}",
        "who": few if row["n"] is None else words["n_customers"].format(n=f"{row['n']:,.0f}"),
        "share": "" if row["share"] is None else percent(row["share"]), "revenue": "" if row["share_of_revenue"] is None else percent(row["share_of_revenue"]),
        "spend": "" if row["spend_mean"] is None else f"{row['spend_mean']:,.0f}"} for row in rows]}


def _place(scheme: str, segment: str) -> int:
    """Tiers and stages have an order of their own, the others that of their size; who belongs to none comes last."""
    from features.segments.grids import STAGE_NAMES, TIER_NAMES

    own = list({"value": TIER_NAMES, "lifecycle": STAGE_NAMES}.get(scheme, {}))
    return own.index(segment) if segment in own else len(own) + (segment == "unknown")


def _stable(told: "BaseTold", words: dict[str, Any], voice: Voice) -> str:
    from features.segments.clusters import STABLE

    found = told.segments.clusters if told.segments else None
    agree = found.stability.get(len(found.names)) if found else None
    if not found or agree is None:
        return ""
    sketch = words["stable_sketch"] if max(found.stability.values()) < STABLE else ""
    return str(voice.words["between_sentences"]).join(filter(None, [words["stable_lead"].format(agree=f"{agree:.2f}"), sketch]))


def _grid(rows: list[dict[str, Any]], words: dict[str, Any]) -> Any:
    most = max([row["share_of_customers"] or 0 for row in rows], default=0) or 1
    cells = {(row["recency"], row["frequency"]): row["share_of_customers"] for row in rows}

    def cell(r: int, f: int) -> tuple[float | None, str]:
        share = cells.get((r, f))
        return (None, "·") if share is None else (share / most, percent(share))

    rows_of = [(words["grid_rows"].format(i=r), [cell(r, f) for f in range(1, 6)]) for r in range(5, 0, -1)]
    return charts.heat([words["grid_columns"].format(i=f) for f in range(1, 6)], rows_of, words["grid_title"])


def _cohorts(rows: list[dict[str, Any]], told: "BaseTold", words: dict[str, Any]) -> dict[str, Any]:
    months = list(dict.fromkeys(row["cohort"] for row in rows))
    most = max([row["since"] for row in rows], default=-1)
    by_cell = {(row["cohort"], row["since"]): row for row in rows}
    dearest = max([row["basket_value"] or 0 for row in rows], default=0) or 1

    def heat(column: str, title: str, first: int) -> Any:
        def cell(month: str, since: int) -> tuple[float | None, str]:
            value = by_cell.get((month, since), {}).get(column)
            if value is None:
                return None, "·" if (month, since) in by_cell else ""
            return (value / dearest * .8, f"{value:,.0f}") if column == "basket_value" else (value, percent(value, 0))

        names = [words["month_after"].format(i=since) for since in range(first, most + 1)]
        return charts.heat(names, [(month, [cell(month, since) for since in range(first, most + 1)]) for month in months], title) if months and most >= first else ""

    return {"retention": heat("retained_share", words["cohort_title"], 1), "repurchase": heat("repurchased_share", words["cohort_title"], 0),
            "basket_values": heat("basket_value", words["cohort_title"], 0) if any(row["basket_value"] for row in rows) else ""}


def _tag(row: dict[str, Any], words: dict[str, Any], voice: Voice) -> dict[str, str]:
    n = words["base_few"] if row["n_holders"] is None else f"{row['n_holders']:,.0f}"
    return {"label": voice.spaced(row[f"label_{voice.language}"]), "layer": words[f"layer_{row['layer']}"], "n": n,
            "share": "" if row["share"] is None else percent(row["share"]), "rule": row["rule"], "owner": row["owner"]}
