"""How well identifiers became persons, against the truth: pairs of identifiers that are, or are held to be, one person."""

from datetime import datetime
from pathlib import Path

import pyarrow.dataset

from features.dataset import Dataset
from features.identity import persons


def precision_and_recall(shop: Dataset, truth: Path, as_of: datetime | None = None) -> tuple[float, float]:
    """Over all identifiers that the truth knows, also those that were never linked."""
    found = persons(shop, [as_of or shop.observed_until.replace(microsecond=0)]).select("identifier", "person").to_pyarrow().to_pandas()
    told = pyarrow.dataset.dataset(truth / "identifiers").to_table().to_pandas()
    both = told.merge(found.rename(columns={"person": "found"}), on="identifier", how="left")
    both["found"] = both["found"].fillna(both["identifier"])

    def n_pairs(*by: str) -> int:
        sizes = both.groupby(list(by)).size()
        return int((sizes * (sizes - 1) // 2).sum())

    hits = n_pairs("person", "found")
    return hits / n_pairs("found"), hits / n_pairs("person")
