"""demo-shop by its name: a small simulated shop, made when it is asked for and read like any folder."""

import tempfile
from pathlib import Path

from features.dataset import Dataset

CUSTOMERS, MONTHS, SEED = 3_000, 12, 1


def read() -> Dataset:
    """Simulate the small shop and hold it in memory; nothing of it stays on the disk."""
    from features import folder
    from features.shop.simulate import simulate

    with tempfile.TemporaryDirectory(prefix="likeness-demo-shop-") as made:
        return folder.read(simulate(Path(made) / "demo-shop", CUSTOMERS, MONTHS, SEED))


def raw_files() -> list[Path]:
    """What the small shop depends on: the code that makes it."""
    return [Path(__file__), *sorted((Path(__file__).parent / "shop").glob("*.py"))]
