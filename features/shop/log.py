"""The event log while it grows: blocks of equal columns, put together at the end."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from features.shop.world import Array

KINDS = (
    "registration", "ad_click", "search", "landing_view", "product_view", "cart_add", "checkout", "payment", "payment_failed", "purchase", "store_visit",
    "mini_program_open", "service_contact", "review", "nps", "return", "refund", "email_open", "push_open", "coupon_redemption", "coupon_failed", "invitation",
    "campaign_received")
KIND = {name: i for i, name in enumerate(KINDS)}
# Beside a channel of the shop, what a message came by.
WAYS = ("store", "web", "app", "mini_program", "email", "push", "sms", "phone")

# Column: type and what stands for no value.
COLUMNS: dict[str, tuple[Any, Any]] = {
    "person": (np.int32, -1), "second": (np.int64, -1), "kind": (np.int8, -1), "way": (np.int8, -1), "device": (np.int8, 0), "session": (np.int64, -1),
    "item": (np.int16, -1), "quantity": (np.int16, -1), "amount": (np.int64, -1), "discount": (np.int64, -1), "promoted": (np.int8, -1), "campaign": (np.int16, -1),
    "value": (np.float32, np.nan), "is_anonymous": (bool, False)}


@dataclass
class Log:
    """Events of people, in any order; seconds count from the beginning, local time."""

    blocks: list[dict[str, Array]] = field(default_factory=list)
    sessions: int = 0

    def new_sessions(self, n: int) -> Array:
        """n numbers that no session has yet."""
        self.sessions += n
        return np.arange(self.sessions - n, self.sessions)

    def add(self, kind: str | Array, person: Array, second: Array, **columns: Any) -> None:
        """Write a block down: arrays of one length, or one value for all."""
        n = len(person)
        given = {"kind": KIND[kind] if isinstance(kind, str) else kind, "person": person, "second": second, **columns}
        self.blocks.append({name: np.broadcast_to(np.asarray(given.get(name, none)), n).astype(form, copy=False) for name, (form, none) in COLUMNS.items()})

    def together(self, end: int) -> dict[str, Array]:
        """All columns, ordered by time, without what falls after the end."""
        columns = {name: np.concatenate([block[name] for block in self.blocks]) for name in COLUMNS}
        inside = np.flatnonzero(columns["second"] < end)
        order = inside[np.argsort(columns["second"][inside], kind="stable")]
        together = {name: column[order] for name, column in columns.items()}
        # Sessions are numbered as they began: a number tells nothing of what happened in it.
        numbers, first, place = np.unique(together["session"], return_index=True, return_inverse=True)
        rank = np.argsort(np.argsort(np.where(numbers < 0, -1, first)))
        together["session"] = np.where(together["session"] < 0, -1, rank[place])
        return together
