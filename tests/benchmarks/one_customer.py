"""One customer's raw events to all event features, in process."""

import random
import statistics
import time
from datetime import datetime, timedelta
from typing import Any

KINDS = ("purchase", "product_view", "cart_add", "checkout", "search", "email_open", "campaign_received", "review", "service_contact", "return", "coupon_redemption")


def rows(large: bool) -> list[dict[str, Any]]:
    """The table of this benchmark: 200 events, 1,000 calls."""
    from features.catalogue import CATALOGUE, expand
    from features.one_customer import Portrait
    from tests.benchmarks.__main__ import row

    draw, as_of = random.Random(1), datetime(2026, 4, 1)
    portrait = Portrait(expand(CATALOGUE, (28, 56, 112), "CNY"), "Asia/Shanghai", "CNY")
    events = [{
        "event_id": f"e{i}", "event_at": (as_of - timedelta(seconds=draw.randrange(300 * 86400))).isoformat() + "Z", "kind": draw.choice(KINDS),
        "channel": draw.choice(("web", "app")), "session_id": f"s{draw.randrange(60)}", "category": draw.choice("abcdef"), "brand": draw.choice("xyz"),
        "item_id": f"i{draw.randrange(30)}", "quantity": 1, "amount": draw.randrange(1000) / 10, "discount": 0} for i in range(200)]
    seconds = []
    for _ in range(1000):
        start = time.perf_counter()
        portrait.of(events, as_of)
        seconds.append(time.perf_counter() - start)
    median, worst = 1000 * statistics.median(seconds), 1000 * statistics.quantiles(seconds, n=100)[98]
    return [
        row(f"{len(portrait.features)} features of 200 events, median", round(median, 2), "ms", "at most 20", median <= 20),
        row("99th percentile", round(worst, 2), "ms", "at most 50", worst <= 50)]
