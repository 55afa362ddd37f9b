"""The base: everybody's features at the end of the observation, which serving scores and ranks within."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import ibis.expr.types as ir

from features.consents import with_consents
from features.dataset import Dataset
from features.engine import write_table
from features.feature import Feature
from features.files import write_json
from features.labels import eligible, local_midnight
from features.moments import KEY
from features.one_customer import write_portrait
from features.snapshots import features_of, snapshots
from features.tasks import Task


def scoring_moment(dataset: Dataset) -> datetime:
    """The last midnight of the customers' day up to which the data are complete, naive UTC."""
    return local_midnight(dataset.observed_until, dataset.zone)


def base_of(dataset: Dataset, as_of: datetime, features: Sequence[Feature], tasks: Sequence[Task]) -> ir.Table:
    """Grain: customer who may be profiled, with these features, `may_contact`, and `eligible_<task>` for each of these tasks; in the dataset's engine."""
    base = dataset.engine.create_table("base", snapshots(dataset, [as_of], features), overwrite=True)
    base = with_consents(dataset, base, as_of)
    for task in tasks:
        asked = eligible(dataset, task, [as_of]).select("customer_id", **{f"eligible_{task.name}": True})
        base = base.left_join(asked, "customer_id").drop("customer_id_right")
        base = base.mutate(**{f"eligible_{task.name}": base[f"eligible_{task.name}"].fill_null(False)})
    return base.drop("as_of")


def write_base(dataset: Dataset, run: Path) -> None:
    """Write `features/base.parquet`, `features/one_customer.json` and `features/base.json` of a run folder, each whole or not at all.

    Grain: customer who may be profiled, with every feature, `may_contact`, and `eligible_<task>` for each task of the dataset.
    """
    as_of = scoring_moment(dataset)
    features, _ = features_of(dataset)
    write_table(base_of(dataset, as_of, features, dataset.tasks).order_by(KEY[0]), run / "features" / "base.parquet")
    write_portrait(dataset, features, run / "features" / "one_customer.json")
    write_json(run / "features" / "base.json", {
        "data": dataset.name, "fingerprint": dataset.fingerprint, "as_of": as_of.isoformat() + "Z", "currency": dataset.currency,
        "tasks": [task.name for task in dataset.tasks]})
