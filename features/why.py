"""Why identifiers are one person, or not: the links in words, and what there is of links in a dataset."""

from collections import deque
from datetime import datetime
from typing import Any

from features.dataset import Dataset
from features.errors import UsageError
from features.identity import APART, HUB, JOINS, SHARED, UNSURE, identifiers, is_linked, links_used, persons

WORDS = {
    JOINS: "joins", SHARED: "does not join: {alias} is lent at times, and is somebody else's", HUB: "does not join: one of the two has more links than a person has",
    APART: "does not join: it would make one person of two that differ, or of too many identifiers", UNSURE: "does not join: its confidence is too low"}


def summary(dataset: Dataset, as_of: datetime) -> dict[str, Any]:
    """How many identifiers of each kind, links by what becomes of them, and persons of how many identifiers and accounts."""
    if not is_linked(dataset):
        raise UsageError(f"identity needs a table of aliases, found none in {dataset.name}; see docs/your-own-data.md")
    links, found = links_used(dataset, [as_of]), persons(dataset, [as_of])
    sized = found.join(identifiers(dataset).select("identifier", "rank"), "identifier").group_by("person").agg(
        n=lambda t: t.count(), n_accounts=lambda t: (t["rank"] == 0).sum())
    told = sized.aggregate(
        persons=sized.count(), identifiers=sized.n.sum(), largest=sized.n.max(), of_several_accounts=(sized.n_accounts > 1).sum(), strangers=(sized.n_accounts == 0).sum())
    kinds = links.group_by(["alias_kind", "use"]).agg(n=links.count()).order_by(["alias_kind", "use"])
    return {**told.to_pyarrow().to_pylist()[0], "links": kinds.to_pyarrow().to_pylist()}


def why(dataset: Dataset, one: str, other: str, as_of: datetime) -> list[str]:
    """The shortest chain of links that makes the two one person, a line each; where they are not, what is between them and why it does not join.

    Raises: UsageError for an identifier that was in no link by then.
    """
    found = {row["identifier"]: row["person"] for row in persons(dataset, [as_of]).filter(lambda t: t.identifier.isin([one, other])).to_pyarrow().to_pylist()}
    links = links_used(dataset, [as_of])
    near = links.filter(links["alias"].isin([one, other]) | links.customer_id.isin([one, other])).order_by("linked_at").to_pyarrow().to_pylist()
    for identifier in (one, other):
        if not any(identifier in (link["alias"], link["customer_id"]) for link in near):
            raise UsageError(f"--why needs identifiers with a link before {as_of} UTC, found none of {identifier}; correct it, or choose a later --as-of")
    if found.get(one, one) != found.get(other, other):
        between = [_sentence(link) for link in near if link["use"] != JOINS] or ["no link known by then connects them"]
        return [f"{one} and {other} are two persons ({found.get(one, one)} and {found.get(other, other)})", *between]
    members = persons(dataset, [as_of]).filter(lambda t: t.person == found[one]).select("identifier")
    inside = links.filter(links.use == JOINS).semi_join(members, links["alias"] == members.identifier).order_by("linked_at").to_pyarrow().to_pylist()
    return [f"{one} and {other} are one person ({found[one]})", *(_sentence(link) for link in _chain(inside, one, other))]


def _chain(links: list[dict[str, Any]], one: str, other: str) -> list[dict[str, Any]]:
    around: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for link in links:
        around.setdefault(link["alias"], []).append((link["customer_id"], link))
        around.setdefault(link["customer_id"], []).append((link["alias"], link))
    came: dict[str, tuple[str, dict[str, Any]] | None] = {one: None}
    ahead = deque([one])
    while other not in came:
        here = ahead.popleft()
        for there, link in around[here]:
            if there not in came:
                came[there] = (here, link)
                ahead.append(there)
    chain = []
    while step := came[other]:
        other, link = step
        chain.append(link)
    return chain[::-1]


def _sentence(link: dict[str, Any]) -> str:
    return (f"{link['linked_at']:%Y-%m-%d %H:%M} UTC: {link['alias_kind']} {link['alias']} with {link['customer_kind']} {link['customer_id']} "
            + WORDS[link["use"]].format(alias=link["alias"]))
