"""OneID: which identifiers are one person, as far as was known at a moment.

Links between identifiers are a log of sightings: each holds from `linked_at` on, and no longer from `unlinked_at` on, so what is learned or taken back later
never changes an earlier moment. At a moment the links known by then are sorted into those that join and those that do not:

- an identifier with more links than a person has (a till, a test account) is a hub and joins nobody;
- identifiers of a person (accounts, cards, telephone numbers) join all that they are linked with; where that makes one person of accounts that differ in
  what never differs (two birth dates), or a person of too many identifiers, each card and number stays with the account that it was linked with first;
- an identifier that people share, such as a device, belongs to one person (sharing.py) and joins nobody else to it.

What is then connected is a person, called by its most trusted identifier, among equals the one linked first.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime

import ibis
import ibis.expr.types as ir
from ibis.common.exceptions import TableNotFound
from ibis.util import gen_name

from features.components import components
from features.dataset import Dataset
from features.moments import moments
from features.sharing import both_ends, owned_links

# What becomes of a link.
JOINS, UNSURE, HUB, SHARED, APART = "joins", "unsure", "hub", "shared", "taken apart"
# An identifier at one moment and at another are different nodes; their numbers lie this far apart.
_MOST_IDENTIFIERS = 2**34


def is_linked(dataset: Dataset) -> bool:
    """Whether the dataset tells of identifiers that belong together."""
    return "aliases" in dataset.tables


def persons(dataset: Dataset, as_ofs: Sequence[datetime]) -> ir.Table:
    """Grain: linked identifier x as_of, with the `person` it belongs to; an identifier that is not here is a person by itself."""
    def made() -> ir.Table:
        links, nodes = links_used(dataset, as_ofs), identifiers(dataset)
        named = _connected(dataset, links.filter(links.use == JOINS)).join(nodes.select("node", "identifier"), "node")
        named = named.join(nodes.select(root="node", person="identifier"), "root")
        return named.join(moments(as_ofs), "moment").select("identifier", "as_of", "person")

    return _kept(dataset, "persons", as_ofs, made)


def with_persons(dataset: Dataset, rows: ir.Table, as_ofs: Sequence[datetime]) -> ir.Table:
    """The same rows (of customer_id and as_of) with the person in place of the identifier."""
    if not is_linked(dataset):
        return rows
    told = rows.left_join(persons(dataset, as_ofs).rename(customer_id="identifier"), ["customer_id", "as_of"])
    return told.mutate(customer_id=ibis.coalesce(told.person, told.customer_id)).select(rows.columns)


def with_identifiers(dataset: Dataset, rows: ir.Table, as_ofs: Sequence[datetime]) -> ir.Table:
    """Grain: row (of a person and as_of) x `identifier` that was then known to be the person's."""
    if not is_linked(dataset):
        return rows.mutate(identifier=rows.customer_id)
    told = rows.left_join(persons(dataset, as_ofs).rename(customer_id="person"), ["customer_id", "as_of"])
    return told.mutate(identifier=ibis.coalesce(told.identifier, told.customer_id)).select(*rows.columns, "identifier")


def in_hindsight(dataset: Dataset, rows: ir.Table) -> ir.Table:
    """The same rows (of customer_id) with the `person` that by all that is known today each belongs to: for what happened later, never for features."""
    if not is_linked(dataset):
        return rows.mutate(person=rows.customer_id)
    known = persons(dataset, [dataset.observed_until.replace(microsecond=0)]).select("identifier", person_known="person")
    told = rows.left_join(known, rows.customer_id == known.identifier)
    return told.mutate(person=ibis.coalesce(told.person_known, told.customer_id)).select(*rows.columns, "person")


def identifiers(dataset: Dataset) -> ir.Table:
    """Grain: linked identifier, with its `rank` of trust (0 is an account) and `node`, its number in the order of trust and first link."""
    def made() -> ir.Table:
        links, rules = dataset.tables["aliases"], dataset.identity
        ends = links.select(identifier="alias", kind="alias_kind", since="linked_at").union(links.select(identifier="customer_id", kind="customer_kind", since="linked_at"))
        rank = ends.kind.cases(*((kind, i) for i, kind in enumerate(rules.all_kinds)), else_=len(rules.all_kinds))
        nodes = ends.mutate(rank=rank.cast("int64")).group_by("identifier").agg(rank=lambda t: t["rank"].min(), since=lambda t: t.since.min())
        number = ibis.row_number().over(order_by=[nodes["rank"], nodes.since, nodes.identifier])
        return nodes.mutate(node=number.cast("int64"))

    return _kept(dataset, "identifiers", (), made)


def links_used(dataset: Dataset, as_ofs: Sequence[datetime]) -> ir.Table:
    """The log of merges. Grain: link x as_of at which it is known to hold, with `use`: whether it joins, or why it does not.

    `a` and `b` are the numbers of its identifiers, `rank_a` and `rank_b` their ranks of trust.
    """
    def made() -> ir.Table:
        rules, held = dataset.identity, _settled(dataset, _held(dataset, as_ofs))
        is_sure = ibis.coalesce(held.confidence, 1.0) >= rules.least_confidence
        hubs = _settled(dataset, _hubs(held.filter(is_sure), rules.most_links))
        usable = held.filter(is_sure).anti_join(hubs.rename(a="node"), ["moment", "a"]).anti_join(hubs.rename(b="node"), ["moment", "b"])
        usable = _settled(dataset, usable)
        personal = usable.filter(ibis.greatest(usable.rank_a, usable.rank_b) < len(rules.kinds))
        found = _settled(dataset, _connected(dataset, personal))
        doubtful = _settled(dataset, personal.semi_join(_broken(dataset, found), ["moment", "a"]))
        apart = _settled(dataset, doubtful.anti_join(_first_of_each(doubtful), "row").select("row"))
        if int(apart.count().to_pyarrow().as_py()):
            found = _settled(dataset, _connected(dataset, personal.anti_join(apart, "row")))
        owned = owned_links(dataset.engine, usable.filter(ibis.greatest(usable.rank_a, usable.rank_b) >= len(rules.kinds)), found, len(rules.kinds))
        use = ibis.cases(
            (~is_sure, UNSURE), (~held.row.isin(usable.row), HUB), (held.row.isin(apart.row), APART),
            (held.row.isin(personal.row) | held.row.isin(owned.row), JOINS), else_=SHARED)
        return held.mutate(use=use)

    return _kept(dataset, "links", as_ofs, made)


def _held(dataset: Dataset, as_ofs: Sequence[datetime]) -> ir.Table:
    """Grain: link x moment by which it was known, and at which it was not yet taken back."""
    links, ends, at = dataset.tables["aliases"], identifiers(dataset), moments(as_ofs)
    links = links.join(ends.select(alias="identifier", a="node", rank_a="rank"), "alias").join(ends.select(customer_id="identifier", b="node", rank_b="rank"), "customer_id")
    held = links.join(at, links.linked_at < at.as_of)
    held = held.filter((held.a != held.b) & (held.unlinked_at.isnull() | (held.unlinked_at >= held.as_of)))
    return held.mutate(row=ibis.row_number())


def _hubs(links: ir.Table, most_links: int) -> ir.Table:
    """Grain: moment x node linked with more others than a person or a person's device is."""
    ends = links.select("moment", node="a", other="b").union(links.select("moment", node="b", other="a"), distinct=True)
    counts = ends.group_by(["moment", "node"]).agg(n=ends.count())
    return counts.filter(counts.n > most_links).select("moment", "node")


def _first_of_each(links: ir.Table) -> ir.Table:
    """The one link that each card and number keeps: to its most trusted neighbour, among equals the first. An account keeps none of its own."""
    ends = both_ends(links).filter(lambda t: t["rank"] > 0)
    place = ibis.row_number().over(ibis.window(group_by=["moment", "node"], order_by=[ends.rank_other, ends.linked_at, ends.other]))
    return ends.mutate(place=place).filter(lambda t: t.place == 0).select("row")


def _connected(dataset: Dataset, links: ir.Table) -> ir.Table:
    """Grain: moment x node, with the smallest `root` that links connect it with."""
    found = components(dataset.engine, links.select(a=links.moment * _MOST_IDENTIFIERS + links.a, b=links.moment * _MOST_IDENTIFIERS + links.b))
    return found.select(moment=found.node // _MOST_IDENTIFIERS, node=found.node % _MOST_IDENTIFIERS, root=found.root % _MOST_IDENTIFIERS)


def _broken(dataset: Dataset, nodes: ir.Table) -> ir.Table:
    """Grain: moment x `a`, identifiers of what cannot be one person: too many, or accounts that differ in what never differs."""
    counts = nodes.group_by(["moment", "root"]).agg(n=nodes.count())
    wrong = counts.filter(counts.n > dataset.identity.most_links).select("moment", "root")
    people = dataset.tables.get("customers")
    for attribute in dataset.identity.never_differ:
        if people is None or attribute not in people.columns:
            continue
        told = people.filter(people[attribute].notnull()).select(identifier="customer_id", told=people[attribute].cast("string"))
        values = nodes.join(identifiers(dataset).select("node", "identifier"), "node").join(told, "identifier").group_by(["moment", "root"]).agg(n=lambda t: t.told.nunique())
        wrong = wrong.union(values.filter(values.n > 1).select("moment", "root"))
    return nodes.semi_join(wrong, ["moment", "root"]).select("moment", a="node")


def _settled(dataset: Dataset, table: ir.Table) -> ir.Table:
    return dataset.engine.create_table(gen_name("identity"), table)


def _kept(dataset: Dataset, what: str, as_ofs: Sequence[datetime], make: Callable[[], ir.Table]) -> ir.Table:
    """Made once for the same links, rules and moments: features, labels and seeds all ask."""
    known = (dataset.tables["aliases"].op().name, dataset.identity, sorted(set(as_ofs)))
    name = f"{what}_{hashlib.sha256(repr(known).encode()).hexdigest()[:20]}"
    try:
        return dataset.engine.table(name)
    except TableNotFound:
        pass
    return dataset.engine.create_table(name, make())
