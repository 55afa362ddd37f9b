"""Feature tables day by day: one file for each moment in a folder, each made once."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from features import kept
from features.dataset import Dataset
from features.engine import write_table
from features.feature import Feature
from features.moments import KEY
from features.snapshots import snapshots


def day_file(folder: Path, as_of: datetime) -> Path:
    """Where a moment's table stands: in a partition by as_of, as other tools name it."""
    return folder / f"as_of={as_of:%Y-%m-%dT%H%M%SZ}" / "features.parquet"


def missing_days(folder: Path, as_ofs: Sequence[datetime], features: Sequence[Feature], tables_key: str) -> dict[datetime, str]:
    """The moments whose table is not there, or was made from other tables, features or code, and the key of each."""
    code = kept.code_digest(Path(__file__).parent, kept.FEATURE_CODE)
    declared = [(feature.name, [str(aggregate) for aggregate in feature.aggregates()]) for feature in features]
    keys = {as_of: kept.digest(tables_key, code, declared, as_of) for as_of in sorted(set(as_ofs))}
    return {as_of: key for as_of, key in keys.items() if not kept.is_kept(day_file(folder, as_of), key)}


def build_days(dataset: Dataset, folder: Path, missing: dict[datetime, str], features: Sequence[Feature]) -> None:
    """Write each missing moment's table whole; the histories are read once for all of them. Made again, a file has the same rows in the same order."""
    rows = dataset.engine.create_table("days", snapshots(dataset, list(missing), features), overwrite=True)
    for as_of, key in missing.items():
        path = day_file(folder, as_of)
        write_table(rows.filter(rows.as_of == as_of).order_by(KEY), path)
        kept.keep(path, key)
