"""A made-up training table with a known law, small enough to fit in a second."""

from datetime import datetime, timedelta

import numpy as np

from features.tasks import Eligibility, Task, WindowSpec
from training.saved_model import Column
from training.tables import Rows

COLUMNS = (
    Column("visits_count_28d", "behaviour", "visits", "visits", "访问"),
    Column("days_since_last_visit", "behaviour", "days", "recency", "最近"),
    Column("spend_sum_28d_usd", "consumption", "USD", "spend", "消费"),
    Column("noise_ratio", "interest", "ratio", "noise", "噪声"),
    Column("city", "profile", "category", "city", "城市", is_category=True, is_undated=True, levels=("A", "B", "C")),
    Column("messages_count_28d", "touchpoints", "messages", "messages", "消息", is_treatment=True),
)
TASK = Task("churn", "churn", Eligibility(active_days=56), WindowSpec(horizon_days=28), rules=("visits_count_28d", "days_since_last_visit"))
AS_OFS = [datetime(2025, 1, 1) + timedelta(days=14 * i) for i in range(21)]


def made_up(n_customers: int = 160, seed: int = 5) -> Rows:
    """Customers with a lasting habit; the log-odds of churn are -1 - visits + days / 10, plus 1 in city C."""
    rng = np.random.default_rng(seed)
    habit = rng.gamma(2.0, 1.0, n_customers)
    city = rng.integers(0, 3, n_customers).astype(float)
    x, y, customers, as_ofs = [], [], [], []
    for as_of in AS_OFS:
        visits = rng.poisson(habit).astype(float)
        days = rng.exponential(10, n_customers)
        spend = visits * rng.gamma(2, 10, n_customers)
        known = np.where(rng.random(n_customers) < 0.2, np.nan, rng.random(n_customers))
        where = np.where(rng.random(n_customers) < 0.1, np.nan, city)
        log_odds = -1 - visits + days / 10 + (city == 2)
        x.append(np.column_stack([visits, days, spend, known, where, rng.poisson(1, n_customers)]))
        y.append((rng.random(n_customers) < 1 / (1 + np.exp(-log_odds))).astype(float))
        customers.append(np.array([f"c{i}" for i in range(n_customers)], dtype=object))
        as_ofs.append(np.full(n_customers, as_of, dtype="datetime64[us]"))
    return Rows(np.vstack(x), np.concatenate(y), np.concatenate(customers), np.concatenate(as_ofs))
