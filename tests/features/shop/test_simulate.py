"""Folders: the same seed the same bytes, whole or not at all, and events that a person who knows shops would believe."""

import errno
import hashlib
import json
import shutil
from pathlib import Path

import duckdb
import pytest

from features.contracts import hold
from features.errors import ContractError, UsageError
from features.shop import simulate as room
from features.shop.simulate import FEWEST_MONTHS, PARTITION, Plan, partition_tables, simulate
from features.shop.world import World
from features.sources import open_dataset

CUSTOMERS, MONTHS = 1000, FEWEST_MONTHS


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    return simulate(tmp_path_factory.mktemp("shop") / "shop", CUSTOMERS, MONTHS, 5)


@pytest.fixture(scope="module")
def ask(shop):
    """A function: SQL over the shop's tables -> rows. {events} and so on stand for the files; local is the time on the shop's clock."""
    engine = duckdb.connect()
    engine.execute("SET TimeZone='UTC'")
    names = ("events", "customers", "aliases", "treatments", "items", "campaigns", *(f"truth_{name}" for name in ("people", "moments", "effects", "identifiers", "events")))
    for name in names:
        folder = shop / name.replace("_", "/", 1)
        source = folder / "*.parquet" if folder.is_dir() else folder.with_suffix(".parquet")
        local = ", timezone('Asia/Shanghai', event_at) AS local" if name == "events" else ""
        engine.execute(f"CREATE VIEW {name} AS SELECT *{local} FROM read_parquet('{source}')")
    return lambda sql: engine.execute(sql).fetchall()


def prints(folder: Path) -> dict[str, str]:
    """Each file's hash by its place."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_and_another_other_ones(shop, tmp_path):
    mine = prints(shop)
    assert prints(simulate(tmp_path / "again", CUSTOMERS, MONTHS, 5)) == mine
    other = prints(simulate(tmp_path / "other", CUSTOMERS, MONTHS, 6))
    assert all(other[name] != mine[name] for name in mine if name.startswith(("events", "customers", "truth/moments")))


def test_processes_do_not_matter_and_a_larger_shop_begins_with_the_smaller(shop, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "PARTITION", 1000)  # (processes of their own would not see it: each partition here is written by this one)
    monkeypatch.setattr(room, "ProcessPoolExecutor", _Here)
    larger = prints(simulate(tmp_path / "larger", 2500, MONTHS, 5, workers=2))
    assert {name.split("/")[-1] for name in larger if name.startswith("events")} == {f"part-0000{i}.parquet" for i in range(3)}
    assert all(larger[name] == value for name, value in prints(shop).items() if name.endswith("part-00000.parquet"))
    assert prints(simulate(tmp_path / "one", 2500, MONTHS, 5, workers=1)) == larger


class _Here:
    """A pool that works at once."""

    def __init__(self, *_, **__):
        pass

    def submit(self, do, *given):
        from concurrent.futures import Future

        done: Future = Future()
        done.set_result(do(*given))
        return done

    def shutdown(self, **_):
        pass


@pytest.mark.slow
def test_two_processes_write_what_one_writes(tmp_path):
    size = PARTITION + 1000
    two, one = (prints(simulate(tmp_path / str(workers), size, MONTHS, 8, workers=workers)) for workers in (2, 1))
    assert two == one


def test_what_was_stopped_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "PARTITION", 500)
    whole = prints(simulate(tmp_path / "whole", CUSTOMERS, MONTHS, 5, workers=1))
    written = []
    write = room._write_partition

    def stops_at_the_second(plan, start, aside):
        if start and not written:
            written.append(start)
            raise KeyboardInterrupt
        write(plan, start, aside)

    monkeypatch.setattr(room, "_write_partition", stops_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "cut", CUSTOMERS, MONTHS, 5, workers=1)
    assert not (tmp_path / "cut").exists()
    seen = []
    simulate(tmp_path / "cut", CUSTOMERS, MONTHS, 5, workers=1, show=lambda done, of: seen.append((done, of)))
    assert seen[0] == (1, 2), "the first partition is not simulated again"
    assert prints(tmp_path / "cut") == whole
    assert not list(tmp_path.glob(".*.part"))


def test_another_shop_does_not_go_on_with_what_a_first_left(tmp_path):
    aside = tmp_path / ".shop.part"
    aside.mkdir()
    (aside / "plan.json").write_text(json.dumps({"customers": 7}))
    (aside / "stray.parquet").write_text("left")
    simulate(tmp_path / "shop", CUSTOMERS, MONTHS, 5)
    assert not (tmp_path / "shop" / "stray.parquet").exists()


def test_a_full_disk_leaves_nothing_that_looks_like_a_dataset(tmp_path, monkeypatch):
    import pyarrow.parquet as parquet

    def full(table, path, **_):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(parquet, "write_table", full)
    with pytest.raises(OSError, match="No space left"):
        simulate(tmp_path / "shop", CUSTOMERS, MONTHS, 5)
    assert not (tmp_path / "shop").exists()
    assert not list(tmp_path.rglob("*.parquet")) and not list(tmp_path.rglob("dataset.toml"))


@pytest.mark.parametrize(("given", "says"), [
    ({"customers": 0}, "--customers must lie between 1,000 and 10,000,000, found 0"),
    ({"customers": -5}, "--customers must lie between 1,000 and 10,000,000, found -5"),
    ({"months": 3}, "--months must lie between 9 .*found 3"),
    ({"seed": -1}, "--seed must be a whole number"),
    ({"dirt": ["duplicate"]}, "found 'duplicate'; did you mean duplicates?"),
    ({"dirt": ["late=2"]}, "--dirt late needs a rate above 0 and at most 1"),
    ({"dirt": ["late=often"]}, "found 'often'"),
])
def test_bad_numbers_and_names_are_refused_before_anything_is_written(tmp_path, given, says):
    with pytest.raises(UsageError, match=says):
        simulate(tmp_path / "shop", **{"customers": CUSTOMERS, "months": MONTHS, "seed": 1, **given})
    assert not list(tmp_path.iterdir())


def test_a_folder_with_files_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="new or empty folder, found files in it"):
        simulate(tmp_path, CUSTOMERS, MONTHS, 1)
    with pytest.raises(UsageError, match="found a file"):
        simulate(tmp_path / "mine.txt", CUSTOMERS, MONTHS, 1)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_the_shop_keeps_the_contract_and_says_that_it_is_simulated(shop):
    dataset, findings = hold(open_dataset(str(shop)))
    assert [finding.code for finding in findings] == ["NO_PROFILING"], "some refuse, as people do"
    assert dataset.is_simulated and dataset.name == "demo-shop"
    assert {task.name for task in dataset.tasks} == {"churn", "conversion", "lookalike"}


def test_a_table_may_be_a_folder_and_its_parts_make_the_fingerprint(shop, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(shop, copy)
    before = open_dataset(str(copy)).fingerprint
    assert before == open_dataset(str(shop)).fingerprint
    part = next((copy / "events").glob("*.parquet"))
    part.write_bytes((copy / "items.parquet").read_bytes())
    with pytest.raises(ContractError):
        open_dataset(str(copy))


# What is true of every shop: a query, and what it must give.
TRUE_OF_SHOPS = {
    "an event has one number": ("SELECT count(*) - count(DISTINCT event_id) FROM events", 0),
    "all kinds of touchpoints are there": ("SELECT count(DISTINCT kind) FROM events", 23),
    "nothing arrives before it happens": ("SELECT count(*) FROM events WHERE ingested_at < event_at", 0),
    "the store is closed at night": ("SELECT count(*) FROM events WHERE kind = 'store_visit' AND hour(local) NOT BETWEEN 6 AND 21", 0),
    "a session stays within a day but for what is returned": (
        "SELECT count(*) FROM (SELECT session_id FROM events WHERE session_id IS NOT NULL AND kind NOT IN ('return', 'refund') GROUP BY 1 "
        "HAVING max(local) - min(local) > INTERVAL 1 HOUR OR max(local)::date <> min(local)::date)", 0),
    "an online basket is paid before it is bought": (
        "SELECT count(*) FROM (SELECT session_id, min(event_at) AS bought FROM events WHERE kind = 'purchase' AND channel <> 'store' GROUP BY 1) b "
        "LEFT JOIN events e ON e.session_id = b.session_id AND e.kind = 'payment' AND e.event_at < b.bought WHERE e.event_id IS NULL", 0),
    "the funnel goes down in order": (
        "SELECT count(*) FROM (SELECT session_id, min(event_at) FILTER (kind = 'cart_add') AS cart, min(event_at) FILTER (kind = 'checkout') AS checkout, "
        "min(event_at) FILTER (kind = 'payment') AS payment FROM events GROUP BY 1) WHERE checkout < cart OR payment < checkout OR (checkout IS NOT NULL AND cart IS NULL)", 0),
    "a session has one channel and one device": (
        "SELECT count(*) FROM (SELECT session_id FROM events WHERE session_id IS NOT NULL GROUP BY 1 HAVING count(DISTINCT channel) > 1 OR count(DISTINCT device) > 1)", 0),
    "items have the category that the assortment says": ("SELECT count(*) FROM events e JOIN items i USING (item_id) WHERE e.category <> i.category OR e.brand <> i.brand", 0),
    "prices are those of the list": (
        "SELECT count(*) FROM events e JOIN items i USING (item_id) WHERE kind = 'purchase' AND abs(amount + discount - quantity * list_price) > .001", 0),
    "a return is of something bought and is paid back later": (
        "SELECT count(*) FROM events r LEFT JOIN events p ON p.kind = 'purchase' AND p.session_id = r.session_id AND p.item_id = r.item_id AND p.event_at < r.event_at "
        "WHERE r.kind IN ('return', 'refund') AND p.event_id IS NULL", 0),
    "who buys under a customer's number has registered": (
        "SELECT count(*) FROM events e JOIN customers c ON c.customer_id = e.customer_id WHERE e.kind <> 'campaign_received' AND e.event_at < "
        "(SELECT min(valid_from) FROM customers d WHERE d.customer_id = c.customer_id) AND NOT starts_with(e.customer_id, 'C5')", 0),
    "messages go only to those who allow them": (
        "SELECT count(*) FROM events e JOIN customers c USING (customer_id) WHERE e.kind = 'campaign_received' AND NOT c.consent_marketing", 0),
    "a coupon is redeemed by those who got it": (
        "SELECT count(*) FROM events e LEFT JOIN treatments t ON t.customer_id = e.customer_id AND t.campaign_id = e.campaign_id AND t.arm = 'treated' "
        "WHERE e.kind = 'coupon_redemption' AND starts_with(e.customer_id, 'C') AND t.customer_id IS NULL AND NOT starts_with(e.customer_id, 'C5')", 0),
    "a broken coupon is never redeemed": (
        "SELECT count(*) FROM events e JOIN truth_identifiers i ON i.identifier = e.customer_id JOIN truth_people p USING (person) "
        "WHERE e.kind = 'coupon_redemption' AND p.meets_broken_coupon", 0),
    "every campaign of a message is known": ("SELECT count(*) FROM events WHERE campaign_id IS NOT NULL AND campaign_id NOT IN (SELECT campaign_id FROM campaigns)", 0),
    "who bears an identifier is known to the truth": ("SELECT count(*) FROM events WHERE customer_id NOT IN (SELECT identifier FROM truth_identifiers)", 0),
    "an alias is linked once it was seen": (
        "SELECT count(*) FROM aliases a WHERE alias NOT IN (SELECT identifier FROM truth_identifiers) OR customer_id NOT IN (SELECT identifier FROM truth_identifiers)", 0),
    "every event without a customer's number has its true person": (
        "SELECT count(*) FROM events e LEFT JOIN truth_events t USING (event_id) WHERE (t.person IS NULL) <> starts_with(e.customer_id, 'C')", 0),
    "members rise and never fall": (
        "SELECT count(*) FROM (SELECT member_level, lag(member_level) OVER (PARTITION BY customer_id ORDER BY valid_from) AS before FROM customers) "
        "WHERE (before = 'gold' AND member_level <> 'gold') OR (before = 'silver' AND member_level = 'basic')", 0),
    "who is gone buys nothing more": (
        "SELECT count(*) FROM truth_moments m JOIN events e ON e.customer_id = m.customer_id AND e.kind = 'purchase' AND e.event_at >= m.as_of WHERE m.state = 'gone'", 0),
    "probabilities are some": ("SELECT count(*) FROM truth_moments WHERE NOT (p_churn BETWEEN 0 AND 1 AND p_conversion BETWEEN 0 AND 1 AND p_gone BETWEEN 0 AND 1)", 0),
}


@pytest.mark.parametrize("name", list(TRUE_OF_SHOPS))
def test_what_is_true_of_shops(ask, name):
    sql, wanted = TRUE_OF_SHOPS[name]
    assert ask(sql) == [(wanted,)]


def test_anonymous_visits_are_joined_later(ask):
    """Of visits without a name most belong to a device that somebody signs in on; some are of newcomers before they registered."""
    [(n, linked, later)] = ask(
        "SELECT count(*), count(a.alias), count(*) FILTER (a.linked_at > e.event_at) FROM (SELECT * FROM events WHERE kind IN ('landing_view', 'mini_program_open') "
        "AND NOT starts_with(customer_id, 'C')) e LEFT JOIN (SELECT alias, min(linked_at) AS linked_at FROM aliases GROUP BY 1) a ON a.alias = e.customer_id")
    assert n > 200 and linked / n > .5 and later > 50


def test_devices_are_shared_and_telephones_changed(ask):
    assert ask("SELECT count(*) FROM (SELECT alias FROM aliases GROUP BY 1 HAVING count(DISTINCT customer_id) > 1)")[0][0] > 5
    assert ask("SELECT count(*) FROM (SELECT customer_id FROM aliases WHERE alias_kind = 'phone_hash' GROUP BY 1 HAVING count(*) > 1)")[0][0] > 20
    assert ask("SELECT count(*) FROM (SELECT person FROM truth_identifiers WHERE kind = 'customer' GROUP BY 1 HAVING count(*) > 1)")[0][0] > 3


def test_the_slow_payment_page_is_where_it_was_planted(ask):
    rows = dict(ask(
        "SELECT channel = 'app' AND device = 'android', count(*) FILTER (kind = 'payment_failed') / count(*) FILTER (kind IN ('payment', 'payment_failed')) FROM events "
        "WHERE kind IN ('payment', 'payment_failed') GROUP BY 1"))
    assert rows[True] > .2 > .06 > rows[False]


def test_the_truth_of_a_coupon_is_that_of_the_events(ask):
    """Within each arm, the share who bought in the coupon's week is what the potential outcomes promise."""
    for arm, column in (("treated", "p_if_treated"), ("control", "p_if_control")):
        [(n, found, wanted)] = ask(f"""
            WITH bought AS (SELECT DISTINCT e.customer_id, c.campaign_id FROM events e JOIN campaigns c ON e.kind = 'purchase' AND e.event_at >= start_at AND e.event_at < end_at)
            SELECT count(*), avg((b.customer_id IS NOT NULL)::int), avg({column}) FROM treatments t JOIN truth_identifiers i ON i.identifier = t.customer_id
            JOIN truth_effects e ON e.person = i.person AND e.campaign_id = t.campaign_id LEFT JOIN bought b ON b.customer_id = t.customer_id AND b.campaign_id = t.campaign_id
            WHERE starts_with(t.campaign_id, 'coupon') AND t.arm = '{arm}'""")
        # Cards that were not linked yet take a few purchases away.
        assert n > 800 and abs(found - wanted) < .015 + 4 * (wanted * (1 - wanted) / n) ** .5


def test_without_a_driver_the_folder_is_another_one(shop, tmp_path):
    without = simulate(tmp_path / "shop", CUSTOMERS, MONTHS, 5, world=World().without("slow_payment"))
    assert json.loads((without / "truth" / "world.json").read_text())["world"]["slow_payment"] == 0
    assert prints(without) != prints(shop)


def test_one_partition_is_a_pure_function_of_its_plan():
    plan = Plan(PARTITION + 10, MONTHS, 3, {}, World())
    assert plan.starts == [0, PARTITION]
    tables = partition_tables(plan, PARTITION)
    assert tables["truth/people"]["person"].to_pylist() == list(range(PARTITION, PARTITION + 10))
    assert tables["events"].equals(partition_tables(plan, PARTITION)["events"])
