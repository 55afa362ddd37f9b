"""All that is told of a dataset's segments at one moment, or between two; what the data do not allow is named with its reason."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pandas as pd

from features.dataset import Dataset
from features.errors import UsageError
from features.feature import Feature
from features.journeys.shares import FEWEST, told_number
from features.notes import note
from features.segments import clusters as mixtures
from features.segments import grids
from features.segments.apart import effects, migration, sentences, summary
from features.segments.clusters import FEWEST_BASKETS, Clusters
from features.segments.cohorts import cohorts
from features.snapshots import snapshots
from features.tags.known import features_named

RECENCY, FREQUENCY, MONEY, STAGE = "days_since_last_purchase", "purchases_count_365d", "spend_sum_365d_{currency}", "lifecycle_stage"
# What is compared beside the habits that clusters are made of.
COMPARED = (
    RECENCY, FREQUENCY, MONEY, "basket_value_mean_365d_{currency}", "days_since_first_purchase", "sessions_count_28d", "session_conversion_365d", "cart_abandon_share_365d",
    "categories_nunique_365d", "returned_share_ever", "complaints_count_365d", "open_rate_ever", "overdue_median_ratio_365d")
SCHEMES = ("rfm", "value", "lifecycle", "cluster")


@dataclass
class Segments:
    """Who belongs where, tables by name, and what is not available and why."""

    as_of: datetime
    members: pd.DataFrame
    features: dict[str, Feature]
    clusters: Clusters | None = None
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)


def segments(dataset: Dataset, as_ofs: Sequence[datetime], before: Clusters | None = None, seed: int = 0) -> Segments:
    """Everything of the last moment; of two, who moved between them, by the rules and clusters of the last. `before`: clusters whose names are kept.

    Raises: UsageError where nobody is known.
    """
    return grouped(dataset, as_ofs, *portraits_of(dataset, as_ofs), before, seed)


def portraits_of(dataset: Dataset, as_ofs: Sequence[datetime]) -> tuple[dict[str, Feature], pd.DataFrame]:
    """The features that segments are made of and compared by, as far as the data allow, and their values. Grain: customer x as_of."""
    currency = dataset.currency.lower()
    wanted = [name.format(currency=currency) for name in dict.fromkeys((*COMPARED, STAGE, *mixtures.HABITS))]
    known, lacks = features_named(dataset, wanted)
    features = {name: known[name] for name in wanted if name in known and name not in lacks}
    portraits = snapshots(dataset, as_ofs, tuple(features.values())).to_pyarrow().to_pandas().set_index("customer_id")
    return features, portraits.assign(as_of=portraits["as_of"].dt.tz_localize(None))  # Spark's times are instants


def grouped(
    dataset: Dataset, as_ofs: Sequence[datetime], features: dict[str, Feature], portraits: pd.DataFrame, before: Clusters | None = None, seed: int = 0,
) -> Segments:
    """The same from portraits that are there already."""
    currency = dataset.currency.lower()
    now = portraits[portraits["as_of"] == pd.Timestamp(as_ofs[-1])].drop(columns="as_of")
    if now.empty:
        raise UsageError(f"NOBODY_KNOWN: segments need customers known before {as_ofs[-1]} UTC, found none; choose a later --as-of")
    out = Segments(as_ofs[-1], now, features)
    money = MONEY.format(currency=currency)
    habits = [name for name in (habit.format(currency=currency) for habit in mixtures.HABITS) if name in features and now[name].notna().any()][:mixtures.MOST]
    _cluster(out, now, habits, before, seed)
    out.members = members(now, money, out.clusters)
    # A cluster that hardly anybody surely belongs to is none; told, it would hide the next smallest too.
    counts = out.members["cluster"].value_counts() if out.clusters else pd.Series(dtype=int)
    few = list(counts[counts < FEWEST].index)
    out.members = _without(out.members, few)
    _describe(out, now, money, habits)
    if len(as_ofs) > 1:
        earlier = _without(members(portraits[portraits["as_of"] == pd.Timestamp(as_ofs[0])].drop(columns="as_of"), money, out.clusters), few)
        everybody = out.members.index.union(earlier.index)
        parts = [migration(earlier[scheme].reindex(everybody), out.members[scheme].reindex(everybody)).assign(scheme=scheme) for scheme in SCHEMES if scheme in out.members]
        out.tables["migration"] = pd.concat(parts, ignore_index=True)
        out.told["since"] = as_ofs[0].isoformat()
    if FREQUENCY in features:
        found = cohorts(dataset, as_ofs[-1])
        if found.empty:
            out.unavailable["cohorts"] = note(
                "cohorts_need", "cohorts need {n} people with a first purchase in one month that is over, and this data has none", n=FEWEST)
        else:
            out.tables["cohorts"] = found
    return out


def members(portraits: pd.DataFrame, money: str, clusters: Clusters | None) -> pd.DataFrame:
    """Grain: customer, with a column for each scheme that the data allow."""
    out = pd.DataFrame(index=portraits.index)
    if {RECENCY, FREQUENCY, money} <= set(portraits):
        raw = portraits.assign(recency_raw=portraits[RECENCY], frequency_raw=portraits[FREQUENCY], money_raw=portraits[money])
        scored = grids.rfm(raw)
        out = scored[[*grids.RFM_COLUMNS, "rfm"]].assign(value=grids.value_tier(portraits[money]))
    if STAGE in portraits:
        out = out.assign(lifecycle=portraits[STAGE])
    if clusters is not None:
        out = out.assign(cluster=clusters.assign(portraits, portraits[FREQUENCY].to_numpy(float)))
    return out


def _without(belonging: pd.DataFrame, clusters: Sequence[str]) -> pd.DataFrame:
    """The same people, those of these clusters in none."""
    return belonging.assign(cluster=belonging["cluster"].mask(belonging["cluster"].isin(clusters), mixtures.NONE)) if clusters else belonging


def _known(portraits: pd.DataFrame) -> Any:
    return (portraits[FREQUENCY] >= FEWEST_BASKETS).to_numpy()


def _cluster(out: Segments, now: pd.DataFrame, habits: list[str], before: Clusters | None, seed: int) -> None:
    known = now[_known(now)] if FREQUENCY in now else now[:0]
    if len(habits) < mixtures.FEWEST_HABITS:
        out.unavailable["cluster"] = note("clusters_need_habits", "clusters need {n} habits that the data tell, found {found}", n=mixtures.FEWEST_HABITS, found=len(habits))
    elif len(known) < 30 * min(mixtures.NUMBERS):
        out.unavailable["cluster"] = note(
            "clusters_need_customers", "clusters need {n} customers with {baskets} baskets in the year, found {found}", n=30 * min(mixtures.NUMBERS),
            baskets=FEWEST_BASKETS, found=told_number(len(known)))
    else:
        found = mixtures.fit(known, habits, seed, former=len(before.names) if before else 0)
        found = mixtures.with_noise(mixtures.with_names_of(found, before) if before else found, now, now[FREQUENCY].to_numpy(float))
        out.clusters = found
        out.tables["stability"] = pd.DataFrame({"clusters": list(found.stability), "agreement_share": list(found.stability.values())})
        out.tables["tree"] = mixtures.tree(found)
        if not any(value >= mixtures.STABLE for value in found.stability.values()):
            out.notes.append(note(
                "clusters_unstable", "no number of clusters is stable (adjusted Rand {stable} between resamples): take them as a sketch, not as types", stable=mixtures.STABLE))


def _describe(out: Segments, now: pd.DataFrame, money: str, habits: list[str]) -> None:
    named = {"rfm": grids.RFM_NAMES, "value": grids.TIER_NAMES, "lifecycle": grids.STAGE_NAMES}
    compared = [name for name in out.features if name != STAGE]
    parts, apart, said = [], [], {}
    for scheme in SCHEMES:
        if scheme not in out.members:
            lacks = note("scheme_needs_amounts", "it needs purchases with amounts, and this data has none") if scheme in ("rfm", "value") else note(
                "scheme_needs_purchases", "it needs purchases, and this data has none")
            out.unavailable.setdefault(scheme, lacks)
            continue
        labels = out.members[scheme]
        found = effects(now, labels, habits if scheme == "cluster" and habits else compared)
        found = pd.concat([found, effects(now, labels, [name for name in compared if name not in habits])], ignore_index=True) if scheme == "cluster" else found
        words = {lang: sentences(found, out.features, lang) for lang in ("en", "zh")}
        names = named.get(scheme, {})
        table = summary(now, labels, money, tuple(names)).assign(scheme=scheme)
        for place, lang in enumerate(("en", "zh")):
            unknown = ("too little is known", "信息不足")[place]
            table[f"label_{lang}"] = [names.get(key, (unknown if key == mixtures.NONE else f"{('cluster', '聚类')[place]} {key}",) * 2)[place] for key in table["segment"]]
            table[f"sentence_{lang}"] = [words[lang].get(key, "") for key in table["segment"]]
        parts.append(table)
        apart.append(found.assign(scheme=scheme))
        said[scheme] = {lang: dict(zip(table["segment"], table[f"label_{lang}"], strict=True)) for lang in ("en", "zh")}
    if parts:
        out.tables["segments"] = pd.concat(parts, ignore_index=True)
        out.tables["effects"] = pd.concat(apart, ignore_index=True)
    out.told["names"] = said
    if "rfm" in out.members:
        out.tables["rfm_grid"] = grids.grid(out.members.assign(money_raw=now[money]))
        table, who = grids.revenue(now[money])
        if who:
            out.tables["revenue"], out.told["revenue"] = table, who
        else:
            out.unavailable["revenue"] = note("revenue_needs", "it needs {n} customers with spend in the year", n=10 * FEWEST)
    n_none = int((out.members["cluster"] == mixtures.NONE).sum()) if "cluster" in out.members else 0
    if n_none:
        out.notes.append(note("no_cluster", "{n} customers belong to no cluster: they bought too seldom, or differ too little, for a chance of {sure} to be in one",
                              n=told_number(n_none), sure=f"{mixtures.SURE:.0%}"))
    out.told["n_customers"] = len(now)
