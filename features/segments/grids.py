"""Schemes by value and stage: the RFM grid and its eight names, value tiers, lifecycle; and who brings the revenue. Rules, so that anybody can check them."""

from typing import Any

import numpy as np
import pandas as pd

from features.families.lifecycle import STAGES
from features.journeys.shares import FEWEST, hidden

# Names by recency, frequency and money, each above the average score or not, as marketers in China know them (重要价值客户 and so on).
RFM_NAMES: dict[str, tuple[str, str]] = {
    "111": ("key: recent, frequent, high spend", "重要价值客户"), "011": ("key, to keep: high spend and frequent, not seen lately", "重要保持客户"),
    "101": ("key, to develop: recent, high spend, seldom", "重要发展客户"), "001": ("key, to win back: high spend once", "重要挽留客户"),
    "110": ("general: recent and frequent, low spend", "一般价值客户"), "010": ("general, to keep: frequent, low spend, not seen lately", "一般保持客户"),
    "100": ("general, to develop: recent, seldom, low spend", "一般发展客户"), "000": ("general, to win back: neither recent nor frequent", "一般挽留客户"),
    "none": ("no purchase in the year", "一年内无购买")}
# Tiers by who brings the first 80 % of the revenue, the next 15 %, and the rest.
TIERS = (("A", .80), ("B", .95), ("C", 1.0))
TIER_NAMES: dict[str, tuple[str, str]] = {
    "A": ("brings the first 80 % of revenue", "贡献前80%收入"), "B": ("brings the next 15 %", "贡献其后15%收入"), "C": ("brings the last 5 %",
    "贡献最后5%收入"), "none": ("no revenue in the year", "一年内无收入")}
STAGE_NAMES: dict[str, tuple[str, str]] = {name: (name, zh) for name, zh in STAGES}
RFM_COLUMNS = ("recency", "frequency", "money")


def rfm(portraits: pd.DataFrame) -> pd.DataFrame:
    """Add recency, frequency, money: fifths among those who bought within the year (5 is best; equals get the same), and rfm, a key of RFM_NAMES."""
    bought = portraits["frequency_raw"] > 0
    scores = {}
    for name, sign in (("recency", -1), ("frequency", 1), ("money", 1)):
        rank = (sign * portraits.loc[bought, f"{name}_raw"]).rank(pct=True)
        scores[name] = pd.Series(np.ceil(rank.to_numpy() * 5).clip(1, 5), rank.index).reindex(portraits.index)
    above = {name: score > score.mean() for name, score in scores.items()}
    key = above["recency"].astype(int).astype(str) + above["frequency"].astype(int).astype(str) + above["money"].astype(int).astype(str)
    return portraits.assign(**scores, rfm=key.where(bought, "none"))


def value_tier(spend: pd.Series) -> pd.Series:
    """A, B, C or none: the highest spenders first, until they bring 80, 95, 100 % of the revenue. Equal spenders are in the same tier."""
    spend = spend.fillna(0).clip(lower=0)
    total = spend.sum()
    by_spend = spend.groupby(spend).sum().sort_index(ascending=False)
    before = by_spend.cumsum() - by_spend  # what those who spend more bring
    tier = np.select([before < share * total for _, share in TIERS], [name for name, _ in TIERS], TIERS[-1][0])
    return spend.map(dict(zip(by_spend.index, tier, strict=True))).where(spend > 0, "none")


def grid(portraits: pd.DataFrame) -> pd.DataFrame:
    """Grain: recency x frequency, customers and their spend; cells below 10 people are hidden, and the next smallest of their row with a lone one."""
    bought = portraits[portraits["rfm"] != "none"]
    cells = bought.groupby(["recency", "frequency"]).agg(n=("money_raw", "size"), spend=("money_raw", "sum"), money=("money", "mean"))
    whole = cells.reindex(pd.MultiIndex.from_product([range(1, 6)] * 2, names=["recency", "frequency"])).reset_index()
    whole["n"] = whole["n"].fillna(0).astype("Int64")
    whole["share_of_customers"], whole["share_of_revenue"] = whole["n"].astype(float) / len(bought), whole["spend"].fillna(0) / max(bought["money_raw"].sum(), 1e-9)
    small = hidden(whole["n"], whole["recency"])
    whole.loc[small, ["n", "share_of_customers", "share_of_revenue", "money"]] = pd.NA
    return whole.drop(columns="spend").astype({"recency": int, "frequency": int})


def revenue(spend: pd.Series) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Who brings the revenue: by tenths of the customers with spend, the highest first; and how many bring 80 %."""
    found = spend[spend > 0].sort_values(ascending=False).to_numpy(float)
    if len(found) < 10 * FEWEST:
        return pd.DataFrame(columns=["tenth", "n", "share_of_revenue", "share_so_far"]), {}
    parts = np.array_split(found, 10)
    shares = np.array([part.sum() for part in parts]) / found.sum()
    n = int(np.searchsorted(np.cumsum(found), .8 * found.sum() * (1 - 1e-12)) + 1)
    table = pd.DataFrame({"tenth": range(1, 11), "n": [len(part) for part in parts], "share_of_revenue": shares, "share_so_far": np.cumsum(shares)})
    return table, {"n": n, "n_customers": len(found), "share": n / len(found)}
