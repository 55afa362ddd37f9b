"""Whom an identifier that people share belongs to: a device lent to a neighbour must not make one person of two.

A sign-in by somebody proves that the device was in their hands, not that it is theirs. What is theirs is what they were seen with most; and of each kind
a person uses one at a time, so who has a telephone of their own and is seen on another's at times does not get that too. Pairs of identifier and person
are taken from the clearest on (share of the identifier's sightings, number, first), each unless the identifier is taken or the person was using another
of the same kind then.
"""

import ibis
import ibis.expr.types as ir
from ibis.backends import BaseBackend
from ibis.util import gen_name


def both_ends(links: ir.Table) -> ir.Table:
    """Grain: link x end of it: `node` and its `rank`, and the same of the other end."""
    same = ("row", "moment", "linked_at")
    return links.select(*same, node="a", rank="rank_a", other="b", rank_other="rank_b").union(
        links.select(*same, node="b", rank="rank_b", other="a", rank_other="rank_a"))


def owned_links(engine: BaseBackend, links: ir.Table, persons: ir.Table, n_personal: int) -> ir.Table:
    """Of the links of shared identifiers, those that join: with the person that each belongs to; where none is linked, with one other shared identifier.

    `persons` tells the `root` of each node that is not alone; ranks below `n_personal` are identifiers of a person. Gives `row` of `links`.
    """
    ends = both_ends(links)
    ends = ends.filter(ends["rank"] >= n_personal).left_join(persons.select("moment", other="node", root="root"), ["moment", "other"])
    ends = engine.create_table(gen_name("ends"), ends.mutate(person=ibis.coalesce(ends.root, ends.other)).drop("moment_right", "other_right", "root"))
    with_person = ends.filter(ends.rank_other < n_personal)
    seen = with_person.group_by(["moment", "node", "rank", "person"]).agg(n=with_person.count(), first=with_person.linked_at.min(), last=with_person.linked_at.max())
    whose = _taken(engine, seen)
    mine = with_person.semi_join(whose, ["moment", "node", "person"]).select("row")
    alone = ends.anti_join(seen, ["moment", "node"])
    place = ibis.row_number().over(ibis.window(group_by=["moment", "node"], order_by=[alone.rank_other, alone.linked_at, alone.other]))
    return engine.create_table(gen_name("owned"), mine.union(alone.mutate(place=place).filter(lambda t: t.place == 0).select("row")))


def _taken(engine: BaseBackend, seen: ir.Table) -> ir.Table:
    """Grain: moment x shared identifier x the one person that it belongs to.

    Round by round, every pair that comes before all that it conflicts with is taken, and what conflicts with it is dropped: the same as one by one in order.
    """
    seen = engine.create_table(gen_name("seen"), seen.mutate(share=seen.n / seen.n.sum().over(ibis.window(group_by=["moment", "node"]))))
    order = ibis.row_number().over(order_by=[ibis.desc("share"), ibis.desc("n"), "first", "node", "person"])
    left = engine.create_table(gen_name("pairs"), seen.mutate(place=order))
    taken = engine.create_table(gen_name("taken"), left.select("moment", "node", "person").limit(0))
    while int(left.count().to_pyarrow().as_py()):
        earlier = left.view()
        same_node = left.join(earlier, ["moment", "node"], rname="{name}_of").filter(lambda t: t.place_of < t.place).select("place")
        same_time = _at_the_same_time(left, earlier).filter(lambda t: t.place_of < t.place).select("place")
        won = engine.create_table(gen_name("won"), left.filter(~left.place.isin(same_node.place) & ~left.place.isin(same_time.place)))
        lost = _at_the_same_time(left, won).select("place")
        taken = engine.create_table(gen_name("taken"), taken.union(won.select("moment", "node", "person")))
        left = engine.create_table(gen_name("pairs"), left.filter(~left.place.isin(lost.place)).anti_join(won, ["moment", "node"]))
    return taken


def _at_the_same_time(pairs: ir.Table, others: ir.Table) -> ir.Table:
    """Pairs with others of the same person and kind of identifier that were in use at the same time."""
    both = pairs.join(others, ["moment", "person", "rank"], rname="{name}_of")
    return both.filter((both.node != both.node_of) & (both.first <= both.last_of) & (both.first_of <= both.last))
