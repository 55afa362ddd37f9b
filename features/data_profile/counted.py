"""The events read once: how many of each kind every customer had in each month, and which columns those told; and the baskets."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import ibis
import ibis.expr.types as ir
from ibis.util import gen_name

from features.dataset import Dataset

# What every event has, so that counting how often tells nothing.
ALWAYS = ("event_id", "customer_id", "event_at", "ingested_at", "local_at", "kind", "initiator")


@dataclass(frozen=True)
class Counted:
    """`people`: customer x month x kind x is_own, with n and filled_0, filled_1 ... (events that tell each of `columns`). `months`: month x kind, the same.

    `baskets`: a session's purchases, or one without session, with at, local_at and amount_minor. Months are of the customers' calendar.
    """

    columns: tuple[str, ...]
    people: ir.Table
    months: tuple["MonthOfKind", ...]
    baskets: ir.Table


@dataclass(frozen=True)
class MonthOfKind:
    """`n` events of a kind in a month, of so many customers, and how many of them tell each column."""

    month: datetime
    kind: str
    n: int
    customers: int
    filled: tuple[int, ...]


def counted(dataset: Dataset) -> Counted:
    """Count the events. Empty: no rows."""
    events = dataset.tables["events"]
    columns = tuple(column for column in events.columns if column not in ALWAYS)
    # Names of our own for columns of theirs: a source may call a column anything.
    filled = {f"filled_{i}": events[column].notnull().cast("int64") for i, column in enumerate(columns)}
    told = events.select(customer_id=events.customer_id, kind=events.kind, month=events.local_at.truncate("M"), is_own=events.initiator == "customer", **filled)
    groups = told.group_by(["customer_id", "month", "kind", "is_own"])
    people = dataset.engine.create_table(gen_name("counted"), groups.agg(n=told.count(), **{name: told[name].sum() for name in filled}))
    of_month = people.group_by(["month", "kind"]).agg(n=people.n.sum(), customers=people.customer_id.nunique(), **{name: people[name].sum() for name in filled})
    months = tuple(
        MonthOfKind(row["month"], row["kind"], row["n"], row["customers"], tuple(row[name] for name in filled))
        for row in rows_of(of_month.order_by(["month", "kind"])))
    bought = events.filter((events.kind == "purchase") & (events.initiator == "customer"))
    bought = bought.select("customer_id", "event_at", "local_at", "amount_minor", basket=ibis.coalesce(bought.session_id, bought.event_id))
    baskets = bought.group_by(["customer_id", "basket"]).agg(at=bought.event_at.min(), local_at=bought.local_at.min(), amount_minor=bought.amount_minor.sum())
    return Counted(columns, people, months, dataset.engine.create_table(gen_name("baskets"), baskets))


def rows_of(table: ir.Table) -> list[dict[str, Any]]:
    """A small table as Python rows."""
    return cast(list[dict[str, Any]], table.to_pyarrow().to_pylist())
