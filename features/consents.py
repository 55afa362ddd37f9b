"""Consents and erasure: who may be profiled at all, which holds for every table before anything is built, and who may be contacted, as known at a moment.

A refusal or an erasure counts for the whole person, by all links between identifiers that are known today.
"""

from dataclasses import replace
from datetime import datetime

import ibis
import ibis.expr.types as ir
from ibis.util import gen_name

from features.dataset import Dataset
from features.errors import ContractError
from features.identity import in_hindsight

PROFILING, MARKETING = "consent_profiling", "consent_marketing"


def without_refusals(dataset: Dataset) -> tuple[Dataset, dict[str, int]]:
    """The dataset without the events, attributes and links of whoever is erased or may not be profiled, and how many persons each of the two are.

    Whoever bears a date of erasure is erased, and the last thing said counts, no before yes, also where it came after the last event: both are known now.
    What is not said means what the dataset declares.
    Raises: ContractError where nobody is left.
    """
    means, nobody = dataset.consent == "granted", {"erased": 0, "no_profiling": 0}
    if "customers" not in dataset.tables and means:
        return dataset, nobody
    known = dataset.tables["events"].select("customer_id").distinct()
    if "customers" in dataset.tables:
        known = known.union(dataset.tables["customers"].select("customer_id"), distinct=True)
    persons = in_hindsight(dataset, known)
    if "customers" in dataset.tables:
        persons = persons.left_join(_said(dataset, None, PROFILING), "person").drop("person_right")
    else:
        persons = persons.mutate(is_erased=ibis.literal(False), says=ibis.null("boolean"))
    is_erased = persons.is_erased.fill_null(False)
    persons = dataset.engine.create_table(gen_name("consents"), persons.select(
        "customer_id", "person", is_erased=is_erased, is_refused=~is_erased & ~persons.says.fill_null(means)))
    whose = persons.select("person", "is_erased", "is_refused").distinct()
    counts = whose.aggregate(all=whose.count(), erased=whose.is_erased.sum(), no_profiling=whose.is_refused.sum()).to_pyarrow().to_pylist()[0]
    left_out = {name: int(counts[name] or 0) for name in nobody}
    if not any(left_out.values()):
        return dataset, nobody
    if sum(left_out.values()) == counts["all"]:
        word = "" if means else '; an absent consent counts as not given, since dataset.toml says consent = "required"'
        raise ContractError(f"NO_CONSENT: features need customers who may be profiled, found none of {counts['all']:,}{word}; bring {PROFILING} in customers")
    out = persons.filter(persons.is_erased | persons.is_refused)
    keys = {"events": ("customer_id",), "customers": ("customer_id",), "aliases": ("customer_id", "alias")}
    tables = dict(dataset.tables)
    for name, columns in keys.items():
        for column in columns if name in tables else ():
            kept = tables[name].anti_join(out.select(**{column: out.customer_id}), column)
            tables[name] = dataset.engine.create_table(gen_name(name), kept)
    return replace(dataset, tables=tables), left_out


def with_consents(dataset: Dataset, rows: ir.Table, as_of: datetime) -> ir.Table:
    """Say of each person whether it `may_contact`: by the last thing said before as_of, no before yes. Grain: as `rows`, one person each."""
    means = dataset.consent == "granted"
    if "customers" not in dataset.tables:
        return rows.mutate(may_contact=ibis.literal(means))
    said = _said(dataset, as_of, MARKETING)
    told = in_hindsight(dataset, rows).left_join(said, "person")
    return told.select(*rows.columns, may_contact=told.says.fill_null(means))


def _said(dataset: Dataset, as_of: datetime | None, consent: str) -> ir.Table:
    """Grain: person, with whether it `is_erased`, and what it `says` last (before as_of, where one is given) to a consent; null where nothing."""
    people = in_hindsight(dataset, dataset.tables["customers"])
    if as_of is not None:
        people = people.filter(people.valid_from.isnull() | (people.valid_from < as_of))
    newest = ibis.window(group_by="customer_id", order_by=people.valid_from.fill_null(datetime(1, 1, 1)).desc())
    people = people.mutate(place=ibis.row_number().over(newest), is_erased=people.erased_at.notnull())
    says = people.mutate(says=ibis.ifelse(people.place == 0, people[consent].cast("int8"), ibis.null("int8")))
    return says.group_by("person").agg(is_erased=says.is_erased.any(), says=says.says.min().cast("boolean"))
