"""Consents: who may be profiled and who may be contacted, as known at a moment."""

from datetime import datetime

import ibis
import ibis.expr.types as ir

from features.dataset import Dataset
from features.errors import ContractError

PROFILING, MARKETING = "consent_profiling", "consent_marketing"


def with_consents(dataset: Dataset, rows: ir.Table, as_of: datetime) -> tuple[ir.Table, dict[str, int]]:
    """Keep the customers who may be profiled, say of each whether it `may_contact`, and count who was left out and why.

    Grain: as `rows`, one customer each. A consent is the last one known before as_of; one that is not given means what the dataset says.
    Whoever is erased by as_of is out, whatever was consented.
    Raises: ContractError where nobody is left.
    """
    means = dataset.consent == "granted"
    if "customers" in dataset.tables:
        people = dataset.tables["customers"].filter(lambda t: t.valid_from.isnull() | (t.valid_from < as_of))
        newest = ibis.window(group_by="customer_id", order_by=people.valid_from.fill_null(datetime(1, 1, 1)).desc())
        last = people.mutate(place=ibis.row_number().over(newest)).filter(lambda t: t.place == 0).select("customer_id", PROFILING, MARKETING)
        gone = people.filter(people.erased_at <= as_of).select("customer_id").distinct().mutate(is_erased=True)
        rows = rows.left_join(last, "customer_id").drop("customer_id_right").left_join(gone, "customer_id").drop("customer_id_right")
    else:
        rows = rows.mutate(**{PROFILING: ibis.null("boolean"), MARKETING: ibis.null("boolean")}, is_erased=ibis.null("boolean"))
    is_erased, may_profile = rows.is_erased.fill_null(False), rows[PROFILING].fill_null(means)
    said = rows.aggregate(all=rows.count(), erased=is_erased.sum(), no_profiling=(~is_erased & ~may_profile).sum()).to_pyarrow().to_pylist()[0]
    left_out = {name: int(said[name] or 0) for name in ("erased", "no_profiling")}
    if said["all"] and sum(left_out.values()) == said["all"]:
        word = "" if means else '; an absent consent counts as not given, since dataset.toml says consent = "required"'
        raise ContractError(f"NO_CONSENT: scoring needs customers who may be profiled, found none of {said['all']:,}{word}; bring {PROFILING} in customers")
    kept = rows.filter(~is_erased & may_profile)
    return kept.mutate(may_contact=kept[MARKETING].fill_null(means)).drop(PROFILING, MARKETING, "is_erased"), left_out
