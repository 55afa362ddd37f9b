"""Write a shop to a folder, partition by partition: whole or not at all, the same seed the same bytes, going on where it was stopped."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import UsageError
from features.files import write_json, written_whole
from features.kept import code_digest, digest

if TYPE_CHECKING:
    import pyarrow as pa

    from features.shop.world import World

# People that are simulated together: memory does not grow with their number beyond it.
PARTITION = 5_000
FEWEST, MOST = 1_000, 10_000_000
# Eight weeks of history, a test, and enough before it to learn from.
FEWEST_MONTHS, MOST_MONTHS = 9, 120
_ROOM = Path(__file__).parent


@dataclass(frozen=True)
class Plan:
    """All that the bytes depend on, beside the code."""

    customers: int
    months: int
    seed: int
    dirt: dict[str, float]
    world: "World"

    @property
    def starts(self) -> list[int]:
        """The first person of each partition."""
        return list(range(0, self.customers, PARTITION))

    def said(self) -> dict[str, Any]:
        """The plan as JSON, with a hash of the code that carries it out."""
        return {"customers": self.customers, "months": self.months, "seed": self.seed, "dirt": self.dirt, "world": json.loads(json.dumps(asdict(self.world))),
                "code": digest(code_digest(_ROOM))}


def simulate(
    out: Path, customers: int, months: int, seed: int, dirt: Sequence[str] = (), world: "World | None" = None, workers: int | None = None,
    show: Callable[[int, int], None] = lambda done, of: None) -> Path:
    """Simulate a shop into the folder `out`, in the contract's form, with the truth under `truth/`.

    The work is done beside, in `.NAME.part`, and renamed at the end; what was finished there is used again when the same shop is asked for again.
    Raises: UsageError for numbers out of range, an unknown dirt, a folder that is not empty; OSError where the disk is full.
    """
    from features.shop.dirt import dirt_of
    from features.shop.world import World

    _require(customers, months, seed, out)
    plan = Plan(customers, months, seed, dirt_of(dirt), world or World())
    aside = out.with_name(f".{out.name}.part")
    note = aside / "plan.json"
    if not note.exists() or json.loads(note.read_text(encoding="utf-8")) != plan.said():
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        write_json(note, plan.said())
    left = [start for start in plan.starts if not _done(aside, start).exists()]
    show(len(plan.starts) - len(left), len(plan.starts))
    for done in _all(plan, left, aside, workers or min(2, os.cpu_count() or 1)):
        show(len(plan.starts) - len(left) + done, len(plan.starts))
    _write_rest(plan, aside)
    shutil.rmtree(aside / "done")
    note.unlink()
    if out.exists():
        out.rmdir()
    aside.rename(out)
    return out


def _all(plan: Plan, starts: list[int], aside: Path, workers: int) -> Any:
    """Write every partition, in processes of their own where there are several; yields how many are done."""
    if workers < 2 or len(starts) < 2:
        for i, start in enumerate(starts):
            _write_partition(plan, start, aside)
            yield i + 1
        return
    # A process starts afresh (spawn): what this one has loaded, and its threads, stay out of it.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        parts = [pool.submit(_write_partition, plan, start, aside) for start in starts]
        for i, part in enumerate(as_completed(parts)):
            part.result()
            yield i + 1
    finally:
        pool.shutdown(cancel_futures=True)


def _require(customers: int, months: int, seed: int, out: Path) -> None:
    if not FEWEST <= customers <= MOST:
        raise UsageError(f"--customers must lie between {FEWEST:,} and {MOST:,}, found {customers:,}; choose for example 10000")
    if not FEWEST_MONTHS <= months <= MOST_MONTHS:
        raise UsageError(f"--months must lie between {FEWEST_MONTHS} (eight weeks of history, and blocks of four weeks to learn from and to be judged by) and {MOST_MONTHS}, "
                         f"found {months}; choose for example 24")
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed must be a whole number from 0 to {2**32 - 1}, found {seed}; choose for example 1")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out must name a new or empty folder, found {'files in it' if out.is_dir() else 'a file'} at {out}; choose another name")


def _done(aside: Path, start: int) -> Path:
    return aside / "done" / f"{start // PARTITION:05d}"


def _write_partition(plan: Plan, start: int, aside: Path) -> None:
    """One partition's tables, each file whole; then a mark that they are there."""
    from threadpoolctl import threadpool_limits

    tables = partition_tables(plan, start)
    with threadpool_limits(1):
        for name, table in tables.items():
            _write(table, aside / name / f"part-{start // PARTITION:05d}.parquet")
    mark = _done(aside, start)
    mark.parent.mkdir(exist_ok=True)
    mark.touch()


def partition_tables(plan: Plan, start: int) -> "dict[str, pa.Table]":
    """The tables of the partition that begins with person `start`, dirty if the plan says so."""
    import numpy as np

    from features.shop.dirt import soil
    from features.shop.goods import goods
    from features.shop.tables import partition
    from features.shop.world import calendar, weeks_of

    weeks = weeks_of(plan.months)
    size = min(PARTITION, plan.customers - start)
    tables = partition(plan.world, calendar(weeks), goods(np.random.default_rng(plan.seed)), size, start, plan.seed, moments_of(weeks))
    return soil(tables, plan.dirt, start // PARTITION, plan.seed) if plan.dirt else tables


def moments_of(weeks: int) -> list[int]:
    """The weeks at whose beginning the truth is told: every second, counted from the end, once there are eight weeks of history."""
    return sorted(range(weeks, 7, -2))


def _write(table: "pa.Table", path: Path) -> None:
    import pyarrow.parquet as parquet

    with written_whole(path) as aside:
        parquet.write_table(table, aside, compression="zstd", row_group_size=250_000)


def _write_rest(plan: Plan, aside: Path) -> None:
    """What is one for all partitions; dataset.toml comes last, so that a folder with it is whole."""
    import numpy as np

    from features.shop.goods import goods
    from features.shop.tables import campaigns, items
    from features.shop.world import weeks_of

    weeks = weeks_of(plan.months)
    _write(items(goods(np.random.default_rng(plan.seed))), aside / "items.parquet")
    _write(campaigns(weeks, plan.world), aside / "campaigns.parquet")
    write_json(aside / "truth" / "world.json", {**plan.said(), "frictions": frictions(plan.world)})
    with written_whole(aside / "dataset.toml") as path:
        path.write_text(declaration(weeks), encoding="utf-8")


def frictions(world: "World") -> list[dict[str, Any]]:
    """The planted frictions, as a reader of the funnels should find them."""
    return [
        {"what": "slow payment page", "where": {"channel": "app", "device": "android"}, "failed_payments_per_purchase": world.fail_slow, "elsewhere": world.fail_else,
         "shock_after_a_week_with_one_and_no_purchase": world.slow_payment},
        {"what": "coupons fail", "where": {"channel": world.broken_channel}, "effect_of_a_coupon_there": 0},
        {"what": "complaints nobody answers", "per_purchase": world.complaints, "shock": world.unanswered},
        {"what": "too many newsletters", "where": {"letters": "every week"}, "weekly_shock": world.pressure}]


def declaration(weeks: int) -> str:
    """The dataset.toml of a simulated shop."""
    from features.shop.tables import moment_of
    from features.shop.world import BEGIN, CATEGORIES, CURRENCY, FOCAL, ZONE

    begin, end = BEGIN + timedelta(weeks=weeks // 4), BEGIN + timedelta(weeks=weeks - 4)
    windows = "horizon_days = 28\nactive_days = 56\nlookbacks_days = [14, 28, 56, 112]\n"
    return f"""# demo-shop: a simulated shop. No person or purchase in it is real; what is true of it stands under truth/.
name = "demo-shop"
simulated = true
licence = "simulated, free to use"
zone = "{ZONE}"
currency = "{CURRENCY}"
observed_until = "{moment_of(weeks):%Y-%m-%dT%H:%M:%SZ}"
sensitive = ["gender", "age_band"]

[tasks.churn]
{windows}
[tasks.conversion]
{windows}target_category = "{CATEGORIES[FOCAL]}"

[tasks.lookalike]
{windows}
[tasks.lookalike.seeds]
event_kind = "invitation"
from_date = "{begin:%Y-%m-%d}"
until_date = "{end:%Y-%m-%d}"

[attributes]
gender = {{label_en = "gender", label_zh = "性别"}}
age_band = {{label_en = "age band", label_zh = "年龄段"}}
city_tier = {{label_en = "tier of city", label_zh = "城市等级"}}
city = {{label_en = "city", label_zh = "城市"}}
acquisition_source = {{label_en = "how they came", label_zh = "获客来源"}}
signup_channel = {{label_en = "channel of registration", label_zh = "注册渠道"}}
member_level = {{label_en = "member level", label_zh = "会员等级"}}
"""
