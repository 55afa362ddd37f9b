"""Moments of prediction."""

from collections.abc import Sequence
from datetime import datetime

import ibis
import ibis.expr.types as ir

from features.errors import UsageError

# What one row of features is about.
KEY = ["customer_id", "as_of"]


def moments(as_ofs: Sequence[datetime]) -> ir.Table:
    """The moments of prediction as a table (as_of, naive UTC, whole seconds; `moment` numbers them from the earliest on).

    Raises: UsageError for a moment with a fraction of a second, since ages are whole seconds.
    """
    if any(as_of.microsecond or as_of.tzinfo for as_of in as_ofs):
        raise UsageError(f"as_of must be naive UTC in whole seconds, found {list(as_ofs)}; round it")
    rows = [{"as_of": as_of, "moment": i} for i, as_of in enumerate(sorted(set(as_ofs)))]
    return ibis.memtable(rows, schema={"as_of": "timestamp(6)", "moment": "int64"})
