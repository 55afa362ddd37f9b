"""A click stream of a web shop (simulated): pages, carts and purchases in sessions; no amounts, no campaigns."""

from pathlib import Path

import ibis

from features.contracts import shaped
from features.dataset import Attribute, Dataset
from features.engine import connect, local_to_utc, read_table
from features.files import sha256
from features.tasks import Eligibility, Seeds, Task, WindowSpec

FILE = "ecom.csv.gz"
# The source names no zone.
ZONE = "UTC"
_LOOKBACKS = (7, 14, 28)
_RULES = (
    "days_since_last_product_view", "days_since_last_purchase", "product_view_count_ever", "purchases_count_ever", *(f"product_view_count_{d}d" for d in _LOOKBACKS),
    "add_to_cart_count_ever", *(f"add_to_cart_count_{d}d" for d in _LOOKBACKS))
_WINDOWS = WindowSpec(horizon_days=14, lookbacks_days=_LOOKBACKS, slide_days=7)
# Whoever looked at a product was here: purchases are too rare (470 of 600 users) to define activity.
_VISITS = Eligibility(active_days=28, active_kind="product_view")
TASKS = (
    Task("churn", "churn", _VISITS, _WINDOWS, target_kind="product_view", rules=_RULES),
    Task("conversion", "conversion", _VISITS, _WINDOWS, rules=_RULES),
    Task("lookalike", "lookalike", _VISITS, _WINDOWS, rules=_RULES, seeds=Seeds(event_kind="purchase")),
)


def read(folder: Path) -> Dataset:
    """Each click is an event of its kind in its session; platform and channel are those of the session's first click.

    Acquisition channel and cohort are undated: they are known from the beginning. The source's own lifecycle column looks at all of a
    user's time, also at what is to be predicted, and is left out.
    """
    engine = connect((folder,))
    raw = read_table(engine, folder / FILE, "user_id", "session_id", "event", "timestamp", "platform", "acquisition_channel", "user_cohort")
    place = ibis.row_number().over(ibis.window(group_by=["session_id"], order_by=["timestamp", "event"]))
    lines = raw.mutate(place=place, local_at=raw.timestamp.cast("timestamp"))
    events = engine.create_table("events", shaped("events", lines.select(
        event_id=lines.session_id + "-" + lines.place.cast("string"), customer_id=lines.user_id, event_at=local_to_utc(lines.local_at, ZONE), local_at=lines.local_at,
        kind=lines.event, initiator=ibis.literal("customer"), session_id=lines.session_id, channel=lines.platform)))
    people = raw.group_by("user_id").agg(acquisition_channel=raw.acquisition_channel.min(), user_cohort=raw.user_cohort.min())
    customers = shaped("customers", people.rename(customer_id="user_id"))
    first, last = (value.replace(tzinfo=None) for value in events.aggregate(a=events.event_at.min(), b=events.event_at.max()).to_pyarrow().to_pylist()[0].values())
    return Dataset(
        "retentioneering_ecom", ZONE, "XXX", first, last, engine, {"events": events, "customers": engine.create_table("customers", customers)}, TASKS, sha256(folder / FILE),
        (Attribute("acquisition_channel", "acquisition channel", "获客渠道"), Attribute("user_cohort", "cohort of joining", "注册月份")), licence="see the package retentioneering")
