"""The Starbucks rewards data: offers sent, viewed and completed, and what was paid, over thirty simulated days."""

import io
import json
import zipfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import ibis

from features.contracts import shaped
from features.dataset import Attribute, Dataset
from features.engine import connect, local_to_utc
from features.errors import ContractError
from features.files import sha256
from features.reading import unpacked
from features.tasks import Eligibility, Seeds, Task, WindowSpec

FILES = ("data.csv.zip", "profile.json.zst", "portfolio.json.zst")
# The source counts hours from an unnamed beginning and names no place. The last membership began on 2018-07-26, so the test began no earlier.
ZONE, BEGIN, HOURS = "America/Los_Angeles", datetime(2018, 7, 27), 714
_LOOKBACKS = (3, 5, 10)
_WINDOWS = WindowSpec(horizon_days=4, lookbacks_days=_LOOKBACKS, slide_days=2, row_cap=8)
_VALUE = tuple(f"{name}_{d}d{unit}" for d in _LOOKBACKS for name, unit in (("purchases_count", ""), ("spend_sum", "_usd")))
_RULES = ("days_since_last_purchase", "purchases_count_ever", *_VALUE)
TASKS = (
    # Thirty days hold four blocks of four days; a month of silence cannot be asked about.
    Task("churn", "churn", Eligibility(active_days=6), _WINDOWS, min_history_days=5, rules=_RULES),
    Task(
        "conversion", "conversion", Eligibility(active_days=10, received_kind="campaign_received"), _WINDOWS, target_kind="offer_completed", min_history_days=5,
        rules=(*_RULES, "offer_completed_count_ever", "offer_viewed_count_ever", "days_since_last_offer_viewed")),
    Task(
        "lookalike", "lookalike", Eligibility(active_days=10), _WINDOWS, rules=_RULES, min_history_days=5, seeds=Seeds(column="spend_sum_10d_usd", top_share=0.10)),
)


def read(folder: Path) -> Dataset:
    """Events of people and offers; an offer is the marketer's, viewing and completing it the customer's.

    An age of 118 and what goes with it mean that nothing is known. Ages and incomes are bands, dated by the day of joining.
    Raises: ContractError for files that are not those of the data set.
    """
    import pyarrow as pa
    import pyarrow.csv as text

    names = ["event", "customer_id", "time", "offer_id", "amount", "duration"]
    with zipfile.ZipFile(folder / "data.csv.zip") as packed:
        member = next(name for name in packed.namelist() if name.endswith("data.csv") and not name.startswith("__"))
        log = text.read_csv(io.BytesIO(packed.read(member)), convert_options=text.ConvertOptions(
            include_columns=names, column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]))
    # The source's event_id says the kind of an event, not which it is; its line does.
    log = log.append_column("event_id", pa.array([str(line) for line in range(2, len(log) + 2)]))
    people = _lines(folder / "profile.json.zst")
    engine = connect((folder,))
    raw = engine.create_table("log", log)
    at = ibis.literal(BEGIN) + raw.time.cast("int64").as_interval("h")
    kind = raw.event.cases(("offer-received", "campaign_received"), ("offer-viewed", "offer_viewed"), ("offer-completed", "offer_completed"), else_="purchase")
    # An offer comes in waves; the campaign is the offer of one wave.
    is_sent = raw.event == "offer-received"
    offer = raw.offer_id.cast("float64").cast("int64").cast("string")
    wave = offer + "-" + raw.time
    lines = raw.mutate(local_at=at, kind=kind, initiator=ibis.ifelse(is_sent, "marketer", "customer"), campaign_id=ibis.ifelse(is_sent, wave, ibis.null("string")), offer=offer)
    lines = lines.mutate(event_at=local_to_utc(lines.local_at, ZONE))
    is_bought = lines.kind == "purchase"
    events = shaped("events", lines.select(
        "event_id", "customer_id", "event_at", "local_at", "kind", "initiator", "campaign_id", item_id=lines.offer,
        amount_minor=ibis.ifelse(is_bought, (lines.amount.cast("float64") * 100).round().cast("int64"), ibis.null("int64"))))
    events = engine.create_table("events", events)
    sent = lines.filter(lines.campaign_id.notnull())
    sent = sent.group_by("campaign_id").agg(start_at=sent.event_at.min(), hours=(24 * sent.duration.cast("float64").max()).cast("int64"))
    campaigns = shaped("campaigns", sent.select("campaign_id", "start_at", end_at=sent.start_at + sent.hours.as_interval("h")))
    customers = engine.create_table("people", pa.Table.from_pylist([_person(one) for one in people]))
    customers = customers.mutate(valid_from=local_to_utc(customers.valid_from, ZONE))
    tables = {"events": events, "campaigns": engine.create_table("campaigns", campaigns), "customers": engine.create_table("customers", shaped("customers", customers))}
    first, last = (utc.replace(tzinfo=None) for utc in engine.execute(
        ibis.memtable([{"at": BEGIN}, {"at": BEGIN + timedelta(hours=HOURS + 6)}]).mutate(at=lambda t: local_to_utc(t["at"], ZONE))).iloc[:, 0].tolist())
    return Dataset(
        "starbucks", ZONE, "USD", first, last, engine, tables, TASKS, sha256(folder / "data.csv.zip"),
        (Attribute("gender", "gender", "性别", True), Attribute("age_band", "age band", "年龄段", True), Attribute("income_band", "income band", "收入段")),
        licence="none stated: for tests only")


def _lines(path: Path) -> list[dict[str, Any]]:
    """One JSON object a line."""
    try:
        return [json.loads(line) for line in unpacked(path).splitlines() if line.strip()]
    except ValueError as error:
        raise ContractError(f"the file {path.name} must hold one JSON object a line, found: {error}; write that file again") from None


def _person(said: dict[str, Any]) -> dict[str, Any]:
    is_known = said["age"] != 118
    income = said["income"]
    return {
        "customer_id": said["id"], "valid_from": datetime.strptime(str(said["became_member_on"]), "%Y%m%d"), "gender": said["gender"],
        "age_band": f"{min(int(said['age']) // 10, 8)}0+" if is_known else None, "income_band": f"{int(income) // 25000 * 25}K+" if income else None}
