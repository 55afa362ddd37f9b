"""How like a real shop: the shape of a dataset's purchases, and the distances between two of them. Works on any dataset."""

from dataclasses import dataclass

import ibis
import numpy as np

from features.dataset import Dataset
from features.shop.world import Array


@dataclass(frozen=True)
class Shape:
    """The rhythm and size of purchases, free of scale.

    `gaps` between baskets against the customer's own mean (customers with ten or more), `lines` and `values` of baskets against their mean and median, shares of
    baskets by `hours` (24) and `weekdays` (7, Monday first), `top_decile`: the first tenth of customers' share of what was paid, `retained`: the share of customers
    with a purchase in each period of 28 days after their first.
    """

    gaps: Array
    lines: Array
    values: Array
    hours: Array
    weekdays: Array
    top_decile: float
    retained: Array


def shape_of(dataset: Dataset, channel: str | None = None) -> Shape:
    """Read the shape off the events. `channel` keeps the baskets of one."""
    events = dataset.tables["events"]
    bought = events.filter((events.kind == "purchase") & (events.initiator == "customer"))
    if channel:
        bought = bought.filter(bought.channel == channel)
    bought = bought.mutate(basket=ibis.coalesce(bought.session_id, bought.event_id))
    frame = bought.group_by(["customer_id", "basket"]).agg(
        at=bought.local_at.min(), seconds=bought.event_at.min().epoch_seconds(), lines=bought.count(), value=bought.amount_minor.sum()
    ).order_by(["customer_id", "seconds", "basket"]).to_pyarrow().to_pandas()
    who, first, counts = np.unique(frame["customer_id"].to_numpy(str), return_index=True, return_counts=True)
    seconds = frame["seconds"].to_numpy(np.int64)
    number = np.repeat(np.arange(len(who)), counts)
    gaps = np.diff(seconds)[np.diff(number) == 0] / 86400
    owner = number[1:][np.diff(number) == 0]
    mean = np.bincount(owner, gaps, len(who)) / np.maximum(counts - 1, 1)
    is_frequent = (counts[owner] >= 11) & (mean[owner] > 0)
    paid = frame["value"].to_numpy(float)
    spent = np.sort(np.bincount(number, paid))[::-1]
    lines = frame["lines"].to_numpy(float)
    hours = np.bincount(frame["at"].dt.hour, minlength=24)
    weekdays = np.bincount(frame["at"].dt.day_of_week, minlength=7)
    return Shape(
        (gaps / mean[owner])[is_frequent], lines / lines.mean(), paid[paid > 0] / np.median(paid[paid > 0]), hours / hours.sum(), weekdays / weekdays.sum(),
        float(spent[:len(spent) // 10].sum() / spent.sum()), _retained(dataset, seconds, number, seconds[first]))


def _retained(dataset: Dataset, seconds: Array, number: Array, first: Array) -> Array:
    """Only customers first seen in the first third count, and only periods that all of them were watched for."""
    begin, end = (moment.replace(tzinfo=None) for moment in (dataset.observed_from, dataset.observed_until))
    length = (end - begin).days
    start = np.datetime64(begin, "s").astype(np.int64)
    is_early = (first - start) / 86400 < length / 3
    period = ((seconds - first[number]) // (28 * 86400)).astype(int)
    shares = [len(np.unique(number[is_early[number] & (period == p)])) / max(is_early.sum(), 1) for p in range(int(length * 2 / 3) // 28)]
    return np.array(shares)


def distances(one: Shape, other: Shape) -> dict[str, float]:
    """How far apart two shapes are: Kolmogorov-Smirnov for gaps and values, Wasserstein (in means) for lines, total variation for hours and weekdays."""
    from scipy.stats import ks_2samp, wasserstein_distance

    return {
        "gaps": float(ks_2samp(one.gaps, other.gaps).statistic), "lines": float(wasserstein_distance(one.lines, other.lines)),
        "values": float(ks_2samp(one.values, other.values).statistic), "hours": float(abs(one.hours - other.hours).sum() / 2),
        "weekdays": float(abs(one.weekdays - other.weekdays).sum() / 2), "top_decile": abs(one.top_decile - other.top_decile)}
