"""The weeks of everything that is watched: conversion and drop-off at each touchpoint, volume of data, sizes of tags, mean scores. Weeks are seven days that end at as_of."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import ibis
import ibis.expr.types as ir
import pandas as pd

from features.alerts.judged import COUNT, SHARE, STOCK, WEEKS
from features.dataset import Dataset
from features.journeys.sessions import sessions_of
from features.journeys.tables import ladder_of
from features.tags.declared import Tag
from features.tags.evaluate import HOLDS, plan, tagged

COLUMNS = ["metric", "series", "form", "week", "value", "n"]
ALL = "all"


def moments_back(dataset: Dataset, as_of: datetime) -> list[datetime]:
    """The ends of the weeks, the latest first: as_of and as many before it as the data have whole, at most WEEKS and one more for changes."""
    n = min((as_of - dataset.observed_from) // timedelta(days=7), WEEKS + 1)
    return [as_of - timedelta(days=7 * k) for k in range(n)]


def touchpoints(dataset: Dataset, as_of: datetime) -> tuple[pd.DataFrame, str]:
    """Conversion, and drop-off at each stage, over all and by channel; or why there is none."""
    ladder, lacks = ladder_of(dataset)
    if lacks or ladder.unit != "sessions":
        return pd.DataFrame(columns=COLUMNS), lacks or "drop-off is of sessions, and this funnel counts customers"
    ends = moments_back(dataset, as_of)
    sessions = sessions_of(dataset, ladder, as_of).since(as_of - timedelta(days=7 * len(ends)))
    week = _week(sessions.start_at, as_of)
    reached = {f"reached_{k}": (sessions.furthest >= k).sum() for k in range(1, ladder.last + 1)}
    told = sessions.group_by([week.name("week"), sessions.channel.fill_null("not told").name("channel")]).agg(n=sessions.count(), **reached).to_pyarrow().to_pandas()
    told = pd.concat([told, told.groupby("week", as_index=False).sum(numeric_only=True).assign(channel=ALL)], ignore_index=True)
    parts = [told.assign(metric="conversion", series=told["channel"], value=told[f"reached_{ladder.last}"] / told["n"])]
    for k in range(1, ladder.last):
        here = told[told[f"reached_{k}"] > 0]
        n = here[f"reached_{k}"]
        parts.append(here.assign(metric="drop_off", series=ladder.stages[k - 1] + " · " + here["channel"], value=1 - here[f"reached_{k + 1}"] / n, n=n))
    return pd.concat(parts, ignore_index=True).assign(form=SHARE)[COLUMNS], ""


def volume(dataset: Dataset, as_of: datetime) -> pd.DataFrame:
    """Events of each kind in each week, of those that had arrived by its end: what is on its way is so in every week."""
    ends = moments_back(dataset, as_of)
    events = dataset.tables["events"]
    week = _week(events.event_at, as_of)
    end = ibis.literal(as_of) - week * ibis.interval(days=7)
    seen = events.mutate(week=week, end=end).filter((events.event_at < as_of) & (week < len(ends)) & (events.ingested_at < end))
    told = seen.group_by(["week", seen.kind.fill_null("not told").name("series")]).agg(value=seen.count()).to_pyarrow().to_pandas()
    told = pd.concat([told, told.groupby("week", as_index=False)["value"].sum().assign(series=ALL)], ignore_index=True)
    # A week without any is a count of nothing, not a week that is not known.
    whole = told.pivot_table(index="series", columns="week", values="value", fill_value=0).reindex(columns=range(len(ends)), fill_value=0)
    told = whole.stack().rename("value").reset_index()
    return pd.DataFrame(told.assign(metric="data_volume", form=COUNT, n=told["value"])[COLUMNS])


def tag_sizes(dataset: Dataset, as_of: datetime, tags: Sequence[Tag]) -> pd.DataFrame:
    """The share of all customers who held each tag at the end of each week."""
    ends = moments_back(dataset, as_of)
    planned = plan(dataset, [tag for tag in tags if tag.layer != "model"], {})
    table = tagged(dataset, planned, ends)
    names = [tag.name for tag in planned.tags]
    told = table.group_by("as_of").agg(n=table.count(), **{name: table[HOLDS + name].sum() for name in names}).to_pyarrow().to_pandas()
    told["week"] = [ends.index(at.to_pydatetime()) for at in told["as_of"]]
    parts = [pd.DataFrame({"series": name, "week": told["week"], "value": told[name] / told["n"], "n": told[name]}) for name in names]
    return pd.concat(parts, ignore_index=True).assign(metric="tag_size", form=STOCK)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)


def mean_scores(scores: dict[str, ir.Table], as_of: datetime) -> pd.DataFrame:
    """The mean probability of each task's scores, by the week in which they were told (the last of each week)."""
    parts = []
    for task, told in scores.items():
        if "probability" not in told.columns:
            continue
        told = told.filter(told.as_of <= as_of)
        rows = told.group_by("as_of").agg(value=told.probability.mean(), n=told.count()).to_pyarrow().to_pandas()
        rows["week"] = (pd.Timestamp(as_of) - rows["as_of"]) // pd.Timedelta(days=7)
        parts.append(rows.sort_values("as_of").drop_duplicates("week", keep="last").assign(metric="mean_score", series=task, form=STOCK)[COLUMNS])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def _week(at: ir.Value, as_of: datetime) -> ir.Value:
    """How many whole weeks before as_of: 0 for the last seven days."""
    return ((ibis.literal(as_of).epoch_seconds() - at.epoch_seconds().floor() - 1) / (7 * 86400)).floor().cast("int64")
