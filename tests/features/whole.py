"""Events in which every need of the catalogue is met: each kind once, each column told."""

KINDS = (
    "purchase", "return", "coupon_redemption", "product_view", "cart_add", "checkout", "search", "payment_failed", "service_contact", "complaint", "review", "nps", "email_open",
    "invitation")
TOLD = {
    "channel": "web", "item_id": "i1", "category": "milk", "brand": "a", "quantity": 1, "amount": 1, "discount": 1, "is_promoted": "true", "value": 5, "campaign_id": "whole"}
CAMPAIGNS = [{"campaign_id": "whole", "start_at": "2026-01-01", "end_at": "2026-04-01"}]


def one_of_each(customer="filler", at="2026-03-05 10:00:00"):
    """One event of each kind, and a marketer's."""
    own = [{"customer_id": customer, "event_at": at, "kind": kind, "initiator": "customer", **TOLD} for kind in KINDS]
    return [*own, {**own[0], "kind": "campaign_received", "initiator": "marketer"}]
