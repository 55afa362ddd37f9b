"""CDNOW: the purchases of the customers who bought there first in early 1997 (Fader and Hardie); no goods, no campaigns."""

from datetime import datetime
from pathlib import Path

import ibis

from features.contracts import shaped
from features.dataset import Dataset
from features.engine import connect, local_to_utc
from features.errors import ContractError
from features.files import sha256
from features.reading import unpacked
from features.tasks import Eligibility, Seeds, Task, WindowSpec

FILE = "CDNOW_master.txt.zst"
# A shop on the web for all of the United States, at home on the east coast; the source has days, no hours.
ZONE = "America/New_York"
_LOOKBACKS = (30, 90, 180)
_WINDOWS = WindowSpec(horizon_days=60, lookbacks_days=_LOOKBACKS, slide_days=14)
_RULES = (
    "days_since_last_purchase", "purchases_count_ever", "first_purchase_age_180d_days", *(f"purchases_count_{d}d" for d in _LOOKBACKS),
    *(f"spend_sum_{d}d_usd" for d in _LOOKBACKS))
TASKS = (
    Task("churn", "churn", Eligibility(active_days=180), _WINDOWS, min_history_days=90, rules=_RULES),
    Task("lookalike", "lookalike", Eligibility(active_days=180), _WINDOWS, rules=_RULES, seeds=Seeds(column="spend_sum_180d_usd", top_share=0.10)),
)


def read(folder: Path) -> Dataset:
    """Each line is a purchase of a day, with its number of discs as quantity and its value.

    Raises: ContractError for a line that is none.
    """
    import pyarrow as pa

    rows = []
    for number, line in enumerate(unpacked(folder / FILE).decode("ascii", errors="replace").splitlines()[1:], 2):
        cells = line.split()
        if not cells:
            continue
        try:
            customer, day, discs, value = cells
            rows.append({
                "event_id": str(number), "customer_id": customer, "local_at": datetime.strptime(day, "%Y%m%d"), "quantity": int(discs), "amount_minor": round(100 * float(value))})
        except ValueError:
            raise ContractError(f"{FILE} needs customer, day, number and value in line {number}, found {line!r}; write that file again") from None
    engine = connect((folder,))
    lines = engine.create_table("lines", pa.Table.from_pylist(rows))
    events = shaped("events", lines.mutate(
        event_at=local_to_utc(lines.local_at, ZONE), kind=ibis.literal("purchase"), initiator=ibis.literal("customer")))
    return Dataset(
        "cdnow", ZONE, "USD", datetime(1997, 1, 1, 5), datetime(1998, 7, 1, 4), engine, {"events": engine.create_table("events", events)}, TASKS, sha256(folder / FILE),
        not_applicable={"conversion": "every customer here bought at least once, and no campaign, coupon or category is told; whether they buy again is what churn answers"},
        licence="free for research")
