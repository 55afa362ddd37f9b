"""Those who bought first in the same month: how many bought again in each month after, how many ever again, and what a basket was worth."""

from datetime import datetime
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from features.dataset import Dataset, minor_units
from features.history import history
from features.journeys.shares import FEWEST

Array = np.ndarray[Any, Any]

COLUMNS = ["cohort", "since", "n", "retained_share", "repurchased_share", "basket_value", "is_first"]


def baskets(dataset: Dataset, as_of: datetime) -> ir.Table:
    """Grain: basket (a session's purchases, else one purchase) seen at as_of: customer_id, month (whole months since year 0, local), amount_minor."""
    seen = history(dataset, [as_of])
    bought = seen.filter((seen.initiator == "customer") & (seen.kind == "purchase"))
    whole = bought.mutate(basket=ibis.coalesce(ibis.literal("s ") + bought.session_id, ibis.literal("e ") + bought.event_id))
    whole = whole.group_by(["customer_id", "basket"]).agg(local_at=whole.local_at.argmin(whole.event_at), amount_minor=whole.amount_minor.sum())
    return whole.select("customer_id", "amount_minor", month=(whole.local_at.year() * 12 + whole.local_at.month() - 1).cast("int64"))


def cohorts(dataset: Dataset, as_of: datetime, most: int = 12) -> pd.DataFrame:
    """Grain: month of the first purchase x months since (0 is the first month itself). Only months that are over; cohorts of fewer than 10 people are left out.

    `retained_share`: the share who bought in that month; `repurchased_share`: who had bought a second basket by its end; `basket_value` in major units. `is_first`: the month
    in which the data begin: of many of them it is not the first purchase.
    """
    table = baskets(dataset, as_of)
    first = table.group_by("customer_id").agg(cohort=table.month.min())
    told = table.join(first, "customer_id")
    told = told.mutate(since=told.month - told.cohort)
    by_person = told.group_by(["customer_id", "cohort", "since"]).agg(n=told.count(), amount=told.amount_minor.sum())
    so_far = by_person.mutate(n_so_far=by_person.n.sum().over(ibis.cumulative_window(group_by="customer_id", order_by="since")))
    so_far = so_far.mutate(is_second=((so_far.n_so_far >= 2) & (so_far.n_so_far - so_far.n < 2)).cast("int64"))
    counts = so_far.group_by(["cohort", "since"]).agg(n_buyers=so_far.count(), n_second=so_far.is_second.sum(), n_baskets=so_far.n.sum(), amount=so_far.amount.sum())
    found = counts.to_pyarrow().to_pandas()
    if found.empty:
        return pd.DataFrame(columns=COLUMNS)
    tells_amounts = bool(found["amount"].notna().any())
    # The last whole month before as_of, local.
    end, begin = _local(dataset, as_of), _local(dataset, dataset.observed_from)
    last = end.year * 12 + end.month - 2
    sizes = found[found["since"] == 0].set_index("cohort")["n_buyers"]
    parts = []
    for cohort, n in sizes.sort_index().items():
        months = range(min(int(last - cohort), most) + 1)
        if n < FEWEST or cohort > last:
            continue
        rows = found[found["cohort"] == cohort].set_index("since").reindex(months).fillna(0)
        value = rows["amount"].where(tells_amounts & (rows["n_buyers"] >= FEWEST)) / rows["n_baskets"].replace(0, np.nan) / minor_units(dataset.currency)
        parts.append(pd.DataFrame({
            "cohort": f"{cohort // 12}-{cohort % 12 + 1:02d}", "since": list(months), "n": int(n), "retained_share": _shown(rows["n_buyers"] / n, n),
            "repurchased_share": _shown(rows["n_second"].cumsum() / n, n), "basket_value": value.to_numpy(float), "is_first": cohort == begin.year * 12 + begin.month - 1}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def _shown(share: pd.Series, n: int) -> Array:
    people = (share * n).round()
    few = ((people > 0) & (people < FEWEST)) | ((n - people > 0) & (n - people < FEWEST))
    return share.where(~few).to_numpy(float)


def _local(dataset: Dataset, at: datetime) -> datetime:
    from zoneinfo import ZoneInfo

    return at.replace(tzinfo=ZoneInfo("UTC")).astimezone(ZoneInfo(dataset.zone))
