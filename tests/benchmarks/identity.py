"""Identifiers to persons: five million links, and a simulated shop whose truth is known."""

import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

N_LINKS = 5_000_000
HERE = Path("out/bench/data")


def links(engine: Any, n: int) -> Any:
    """Sightings of telephones, e-mails, devices and cookies with accounts; one device in fifty is lent, one person in fifty has two accounts."""
    engine.raw_sql(f"""
        CREATE TABLE aliases AS WITH drawn AS (SELECT i, hash(i * 7 + 1) AS h, (hash(i * 31 + 5) % {n // 5})::bigint AS person FROM range({n}) t(i))
        SELECT CASE i % 4 WHEN 0 THEN 'ph' WHEN 1 THEN 'em' WHEN 2 THEN 'dv' ELSE 'ck' || (h % 3) END || person AS alias,
               CASE i % 4 WHEN 0 THEN 'phone_hash' WHEN 1 THEN 'email_hash' WHEN 2 THEN 'device' ELSE 'cookie' END AS alias_kind,
               'C' || CASE WHEN i % 4 = 2 AND h % 50 = 0 THEN person + 1 ELSE person END || CASE WHEN h % 101 = 0 THEN 'b' ELSE '' END AS customer_id, 'customer' AS customer_kind,
               timestamp '2024-01-01' + to_seconds((hash(i * 13) % 63072000)::bigint) AS linked_at, NULL::timestamp AS unlinked_at, NULL::double AS confidence
        FROM drawn""")
    return engine.table("aliases")


def rows(large: bool) -> list[dict[str, Any]]:
    """The table of this benchmark."""
    from features.dataset import Dataset
    from features.engine import connect
    from features.identity import persons
    from features.shop.simulate import simulate
    from features.sources import open_dataset
    from tests.benchmarks.__main__ import row
    from tests.features.pairs import precision_and_recall

    HERE.mkdir(parents=True, exist_ok=True)
    engine = connect((HERE,))
    aliases = links(engine, N_LINKS)
    dataset = Dataset("bench", "UTC", "USD", datetime(2024, 1, 1), datetime(2026, 1, 1), engine, {"aliases": aliases}, (), "")
    start = time.perf_counter()
    n_persons = int(persons(dataset, [datetime(2026, 1, 1)]).person.nunique().to_pyarrow().as_py())
    seconds = time.perf_counter() - start
    found = [row(f"{N_LINKS:,} links to {n_persons:,} persons", round(seconds, 1), "s", "at most 60", seconds <= 60)]
    for seed in (1, 2, 3):
        with tempfile.TemporaryDirectory() as folder:
            shop = open_dataset(str(simulate(Path(folder) / "shop", 4000, 12, seed)))
            precision, recall = precision_and_recall(shop, Path(folder) / "shop" / "truth")
        found += [row(f"simulated shop, seed {seed}: precision of pairs", round(precision, 4), "share", "at least .99", precision >= .99),
                  row(f"simulated shop, seed {seed}: recall of pairs", round(recall, 4), "share", "at least .95", recall >= .95)]
    return found
