"""What sets a segment apart: effect sizes against everybody else, and a sentence of the largest; who moved from one to another."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from features.feature import Feature
from features.journeys.shares import FEWEST, hidden

# Effects (Cliff's delta: how much more likely a member has the higher value than somebody else) that a sentence tells: medium ones and more.
# Source: Romano et al. (2006).
TOLD, MOST_TOLD = .33, 4


def effects(portraits: pd.DataFrame, labels: pd.Series, columns: Sequence[str]) -> pd.DataFrame:
    """Grain: segment x column. `effect` in [-1, 1], from ranks (unknown values left out); `median` of the segment and `median_all`. Segments below 10 people are left out."""
    codes, names = pd.factorize(labels, sort=True)
    rows = []
    for column in columns:
        values = portraits[column].astype(float).to_numpy()
        known = ~np.isnan(values)
        n = int(known.sum())
        if n < 2 * FEWEST:
            continue
        rank = pd.Series(values[known]).rank().to_numpy()
        own = codes[known]
        counts, sums = np.bincount(own, minlength=len(names)), np.bincount(own, weights=rank, minlength=len(names))
        middle = pd.Series(values[known]).groupby(own).median()
        for i, name in enumerate(names):
            n_in, n_out = int(counts[i]), n - int(counts[i])
            if n_in < FEWEST or n_out < FEWEST:
                continue
            effect = 2 * (sums[i] - n_in * (n_in + 1) / 2) / (n_in * n_out) - 1
            rows.append({"segment": name, "feature": column, "effect": float(effect), "median": float(middle[i]), "median_all": float(np.median(values[known])), "n_known": n_in})
    return pd.DataFrame(rows, columns=["segment", "feature", "effect", "median", "median_all", "n_known"])


def sentences(found: pd.DataFrame, features: Mapping[str, Feature], lang: str) -> dict[str, str]:
    """For each segment what differs most from everybody else, in words."""
    out = {}
    for segment, rows in found.groupby("segment"):
        top = rows[rows["effect"].abs() >= TOLD].sort_values("effect", key=lambda e: -e.abs()).head(MOST_TOLD)
        said = [_said(row["effect"], row["median"], row["median_all"], features[row["feature"]], lang) for _, row in top.iterrows()]
        if lang == "zh":
            out[str(segment)] = "与其他客户相比：" + "；".join(said) + "。" if said else "与其他客户无明显差异。"
        else:
            out[str(segment)] = "Compared with everybody else: " + "; ".join(said) + "." if said else "Nothing sets them apart from everybody else."
    return out


def _said(effect: float, median: float, median_all: float, feature: Feature, lang: str) -> str:
    own, everybody = (_number(value, feature.unit) for value in (median, median_all))
    if lang == "zh":
        more = "更高" if effect > 0 else "更低"
        return f"{feature.label_zh}{more}（中位数{own}，全部{everybody}）"
    return f"{'higher' if effect > 0 else 'lower'} {feature.label_en} (median {own}, all {everybody})"


def _number(value: float, unit: str) -> str:
    if unit == "share":
        return f"{100 * value:.0f}%"
    return f"{value:,.0f}" if abs(value) >= 20 else f"{value:,.1f}".removesuffix(".0")


def summary(portraits: pd.DataFrame, labels: pd.Series, spend: str, names: Sequence[str] = ()) -> pd.DataFrame:
    """Grain: segment, also of those of `names` that nobody is in. How many, of which share of the revenue.

    Numbers of people below 10 are hidden, and the next smallest with a lone one.
    """
    whole = pd.DataFrame({"segment": labels.to_numpy(object), "spend": portraits[spend].fillna(0).to_numpy(float) if spend in portraits else 0.0})
    found = whole.groupby("segment")["spend"].agg(["size", "sum"]).rename(columns={"size": "n", "sum": "spend"}).reset_index()
    empty = [name for name in names if name not in set(found["segment"])]
    found = pd.concat([found, pd.DataFrame({"segment": empty, "n": 0, "spend": 0.0})], ignore_index=True) if empty else found
    total = found["spend"].sum()
    small = hidden(found["n"], pd.Series("", index=found.index))
    found = found.assign(
        n=found["n"].astype("Int64"), share=found["n"] / len(whole), share_of_revenue=found["spend"] / total if total > 0 else np.nan,
        spend_mean=found["spend"] / found["n"].replace(0, np.nan) if spend in portraits else np.nan)
    found.loc[small, ["n", "share", "share_of_revenue", "spend_mean"]] = np.nan
    return found.drop(columns="spend").sort_values("n", ascending=False, na_position="last", ignore_index=True)


def migration(before: pd.Series, now: pd.Series) -> pd.DataFrame:
    """Grain: segment before x segment now ("newcomer" and "absent" where there was nobody then or is nobody now).

    Cells below 10 people are hidden, and the next smallest of the row with a lone one.
    """
    pairs = pd.DataFrame({"before": before, "now": now}).astype(object)
    pairs["before"], pairs["now"] = pairs["before"].fillna("newcomer"), pairs["now"].fillna("absent")
    found = pairs.groupby(["before", "now"]).size().rename("n").reset_index()
    whole = found.groupby("before")["n"].transform("sum")
    small = hidden(found["n"], found["before"])
    found = found.assign(share=(found["n"] / whole).where(~small), n=found["n"].astype("Int64").mask(small))
    return found.sort_values(["before", "n"], ascending=[True, False], na_position="last", ignore_index=True)
