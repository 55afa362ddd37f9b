"""What the shop sells: twelve categories in three price tiers, brands, list prices."""

from dataclasses import dataclass

import numpy as np

from features.shop.world import CATEGORIES, TIERS, Array

PER_TIER = 16
_MEDIAN_PRICE = (160, 120, 18, 12, 25, 30, 95, 180, 260, 420, 45, 150)  # major units, the middle tier
_TIER_PRICE = (.5, 1.0, 2.4)
# Within a category and tier a few items sell most (Zipf).
POPULARITY = np.cumsum((1 / np.arange(1, PER_TIER + 1)) / (1 / np.arange(1, PER_TIER + 1)).sum())


@dataclass(frozen=True)
class Goods:
    """Shape of every array: (item,); an item's number says its category and tier."""

    category: Array
    tier: Array
    brand: Array
    price: Array  # minor units

    def number(self, category: Array, tier: Array, u: Array) -> Array:
        """An item of this category and tier, the popular ones more often."""
        return np.asarray((category * len(TIERS) + tier) * PER_TIER + np.searchsorted(POPULARITY[:-1], u))


def goods(rng: np.random.Generator) -> Goods:
    """Draw the assortment."""
    n = len(CATEGORIES) * len(TIERS) * PER_TIER
    number = np.arange(n)
    category, tier = number // (len(TIERS) * PER_TIER), number // PER_TIER % len(TIERS)
    price = np.array(_MEDIAN_PRICE)[category] * np.array(_TIER_PRICE)[tier] * np.exp(rng.normal(0, .35, n))
    # Prices end in .9, as they do.
    return Goods(category, tier, category * 5 + np.where(tier == 2, 3 + rng.integers(0, 2, n), rng.integers(0, 3, n)), (np.round(price) * 100 + 90).astype(np.int64))
