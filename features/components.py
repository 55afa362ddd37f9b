"""Connected components in the engine, for any number of edges: a few rounds of grouping and joining, no walk from node to node."""

import ibis
import ibis.expr.types as ir
from ibis.backends import BaseBackend
from ibis.util import gen_name

# A key holds a node's shuffled place above its number. The prime is the largest below 2**20; its remainders spread neighbouring numbers evenly.
MOST_NODES = 2**42
_PRIME = 1_048_573


def components(engine: BaseBackend, edges: ir.Table) -> ir.Table:
    """Grain: node of an edge, with `root`, the smallest node that it is connected with.

    `edges` has two columns of whole numbers from 0 to 2**42, `a` and `b`; their order, direction and repetition do not matter.
    Each round every node joins the neighbour (or itself) that comes first in a new shuffle, and what has become one node is one from then on: the
    number of edges shrinks by a constant factor in expectation, whatever the graph (a chain of a million takes some twenty rounds).
    Empty: no edges, no rows.
    Source: Boegeholz, Brand and Todor (2020), In-database connected component analysis, ICDE.
    """
    def settled(table: ir.Table) -> ir.Table:
        return engine.create_table(gen_name("components"), table)

    left = settled(edges.select(a=edges.a.cast("int64"), b=edges.b.cast("int64")).distinct())
    both = left.select("a").union(left.select(a="b")).distinct()
    labels = settled(both.select(node="a", label="a"))
    turn = 0
    while int(left.count().to_pyarrow().as_py()):
        turn += 1
        around = left.union(left.select(a="b", b="a"))
        keyed = around.mutate(key=_shuffled(around.b, turn) * MOST_NODES + around.b)
        first = keyed.group_by("a").agg(key=keyed.key.min())
        first = settled(first.select("a", to=ibis.least(first.key, _shuffled(first.a, turn) * MOST_NODES + first.a) % MOST_NODES))
        moved = left.join(first, "a").select(a="to", b="b").join(first.select(b="a", to_b="to"), "b").select(a="a", b="to_b")
        old, left = left, settled(moved.filter(moved.a != moved.b).distinct())
        known, labels = labels, settled(labels.left_join(first, labels.label == first.a).select("node", label=ibis.coalesce(first.to, labels.label)))
        for done in (old, known, first):
            engine.drop_table(done.op().name)
    least = labels.group_by("label").agg(root=labels.node.min())
    return settled(labels.join(least, "label").select("node", "root"))


def _shuffled(node: ir.Value, turn: int) -> ir.Value:
    """A place from 0 to 2**20 that differs from one round to the next. Products stay below 2**63."""
    low = (node % _PRIME) * (2 * turn * 390_625 % _PRIME) + (node // _PRIME) * (turn * 7_919 + 1) + turn * turn * 104_729
    return low % _PRIME
