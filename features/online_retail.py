"""UCI Online Retail (CC BY 4.0): a British gift wholesaler's invoice lines, known by its file `Online_Retail.csv.zst`."""

from datetime import datetime
from pathlib import Path

import ibis

from features.contracts import shaped
from features.dataset import Attribute, Dataset
from features.engine import connect, local_to_utc, read_table
from features.files import sha256
from features.tasks import Eligibility, Seeds, Task, WindowSpec

ZONE = "Europe/London"
FILE = "Online_Retail.csv.zst"
_LOOKBACKS = (30, 60, 120)
_RULES = (
    "days_since_last_purchase", "purchases_count_30d", "purchases_count_60d", "purchases_count_120d", "purchases_count_ever",
    "spend_sum_30d_gbp", "spend_sum_60d_gbp", "spend_sum_120d_gbp",
)
TASKS = (
    Task(
        # A year holds four blocks of 60 days only if the first snapshot may have seen 60 days, not 120.
        "churn", "churn", Eligibility(active_days=120), WindowSpec(horizon_days=60, lookbacks_days=_LOOKBACKS), min_history_days=60, rules=_RULES),
    Task(
        "lookalike", "lookalike", Eligibility(active_days=120), WindowSpec(horizon_days=60, lookbacks_days=_LOOKBACKS), rules=_RULES,
        seeds=Seeds(column="spend_sum_120d_gbp", top_share=0.10)),
)


def read(folder: Path) -> Dataset:
    """Turn the invoice lines into events and the country on them into a dated attribute.

    Lines of one invoice are one session. A cancellation (InvoiceNo C...) is a `return` with positive amounts. A line has no number of
    its own, so its place in the file is its key: two equal lines of an invoice are two lines.
    """
    engine = connect((folder,))
    path = folder / FILE
    raw = read_table(engine, path, "InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
    lines = raw.select(
        invoice=raw.InvoiceNo, item_id=raw.StockCode, customer_id=raw.CustomerID.split(".")[0], country=raw.Country,
        local_at=raw.InvoiceDate.cast("timestamp"), signed=raw.Quantity.cast("int64"), price=raw.UnitPrice.cast("float64"),
        line=ibis.row_number().over(ibis.window(group_by="InvoiceNo", order_by=["StockCode", "Quantity", "UnitPrice", "Description"])))
    lines = lines.mutate(event_at=local_to_utc(lines.local_at, ZONE), is_cancelled=lines.invoice.startswith("C"))
    quantity = ibis.ifelse(lines.is_cancelled, lines.signed.abs(), lines.signed)
    # Postage, fees and manual corrections (codes that do not begin with a number) are no purchase of goods.
    sold = ibis.ifelse(lines.item_id.re_search("^[0-9]"), "purchase", "fee")
    events = shaped("events", lines.select(
        event_id=lines.invoice + "-" + lines.line.cast("string"), customer_id=lines.customer_id, event_at=lines.event_at, local_at=lines.local_at,
        kind=ibis.ifelse(lines.is_cancelled, "return", sold), initiator=ibis.literal("customer"),
        session_id=lines.invoice, item_id=lines.item_id, quantity=quantity, amount_minor=(quantity * lines.price * 100).round().cast("int64")))
    known = lines.filter(lines.customer_id.notnull()).group_by(["customer_id", "country"]).agg(valid_from=lines.event_at.min())
    # A customer whose first invoices of one minute name two countries has one of them.
    customers = shaped("customers", known.group_by(["customer_id", "valid_from"]).agg(country=known.country.min()))
    return Dataset(
        "online_retail", ZONE, "GBP", datetime(2010, 12, 1), datetime(2011, 12, 10), engine,
        {"events": engine.create_table("events", events), "customers": engine.create_table("customers", customers)},
        TASKS, sha256(path), (Attribute("country", "country", "国家"),),
        {"conversion": "buying from a category not bought from before needs categories of items; this dataset has none"},
        licence="CC BY 4.0")
