"""Journeys: does the planted friction lead the priorities, do the rules and chains find the planted order of channels, and how long do ten million events take.

Each shop is simulated anew, ten seeds. The model's scores are those of LightGBM, taught at moments before the window and asked every week within it.
The planted order of channels is that of the purchases which the shop's own parameters expect in each: the hidden rates of everybody (truth/moments) in their home
channel, of which a fifth is made elsewhere (visits.AWAY). Pairs closer than a tenth are no order. Browsing sells nothing in this shop, so who looks around in one
channel before buying in another is a coincidence, and journeys are cut at a week.
"""

import json
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

HERE = Path("out/bench/data")
SEEDS = range(1, 11)
DAYS, HORIZON, LOOKBACK = 90, 28, 7
FRICTION = ("checkout", "app", "android")
# What is planted is where purchases are made. First touch asks who was met before.
ASKS_OTHERWISE = "first"


def scores_of(dataset: Any, since: datetime) -> pd.DataFrame:
    """customer_id, as_of, probability of a purchase within 28 days: taught at four moments that end before the window, told every week within it."""
    import lightgbm

    from features.labels import labels
    from features.snapshots import features_of, snapshots

    task = next(task for task in dataset.tasks if task.name == "churn")
    taught = [since - timedelta(days=28 * k) for k in (1, 2, 3, 4)]
    asked = [since + timedelta(days=7 * k) for k in range((dataset.observed_until - since).days // 7)]
    features = tuple(feature for feature in features_of(dataset)[0] if not feature.is_category and not feature.is_sensitive)
    frame = snapshots(dataset, [*taught, *asked], features).to_pyarrow().to_pandas()
    names = [feature.name for feature in features if frame[feature.name].dtype != object and not str(frame[feature.name].dtype).startswith("str")]
    known = frame.merge(labels(dataset, task, taught).to_pyarrow().to_pandas()[["customer_id", "as_of", "label"]], on=["customer_id", "as_of"])
    model = lightgbm.LGBMClassifier(n_estimators=150, num_leaves=15, learning_rate=.05, min_child_samples=50, num_threads=1, verbose=-1, seed=0)
    model.fit(known[names].to_numpy(float), known["label"].to_numpy(int))
    later = frame[frame["as_of"] >= since]
    return pd.DataFrame({"customer_id": later["customer_id"], "as_of": later["as_of"], "probability": 1 - model.predict_proba(later[names].to_numpy(float))[:, 1]})


def planted_order(folder: Path, since: datetime) -> dict[str, float]:
    """The share of all purchases that the shop's parameters expect in each channel from `since` on."""
    from features.shop.visits import AWAY

    moments = pd.read_parquet(folder / "truth" / "moments", columns=["person", "as_of", "purchases_per_week"])
    moments = moments[moments["as_of"].dt.tz_localize(None) >= since]
    home = pd.read_parquet(folder / "truth" / "people", columns=["person", "home_channel"]).set_index("person")["home_channel"].astype(str)
    at_home = moments["purchases_per_week"].groupby(moments["person"].map(home)).sum() / moments["purchases_per_week"].sum()
    elsewhere = {"store": .4, "web": .2, "app": .2, "mini_program": .2}
    return {channel: (1 - AWAY) * float(at_home.get(channel, 0)) + AWAY * share for channel, share in elsewhere.items()}


def out_of_order(planted: dict[str, float], found: dict[str, float]) -> int:
    """Pairs of channels, a tenth or more apart, that are the other way round."""
    return sum(planted[a] > 1.1 * planted[b] and found[a] <= found[b] for a in planted for b in planted)


def one_shop(seed: int, customers: int) -> dict[str, Any]:
    """A shop's first place, what stands there, and how each method orders the channels."""
    from features.contracts import hold
    from features.journeys.attribution import attribution, journeys, paths_from, touching
    from features.journeys.priority import priority
    from features.journeys.sessions import sessions_of, with_segment
    from features.journeys.stages import kinds_in, standard
    from features.shop.simulate import simulate
    from features.sources import open_dataset

    with tempfile.TemporaryDirectory() as made:
        folder = simulate(Path(made) / "shop", customers, 12, seed, workers=1)
        dataset, _ = hold(open_dataset(str(folder)))
        until = dataset.observed_until
        found = sessions_of(dataset, standard(kinds_in(dataset)[0])[0], until)
        since = until - timedelta(days=DAYS)
        scores = dataset.engine.create_table("given_scores", scores_of(dataset, since - timedelta(days=HORIZON)))
        rows, _ = priority(found, since - timedelta(days=HORIZON), HORIZON, scores)
        table, named = journeys(found, touching(with_segment(found.since(since), None), found.ladder)[0], LOOKBACK)
        credits, _ = attribution(paths_from(table, named), (1, 2, 3), draws=0)
        planted = planted_order(folder, since)
    first = rows.iloc[0]
    place = rows[(rows["stage"] == FRICTION[0]) & (rows["channel"] == FRICTION[1]) & (rows["device"] == FRICTION[2])].iloc[0]
    by_value = rows[rows["rank"].notna()].sort_values("excess_per_1000").iloc[-1]
    literal = rows[rows["channel"] != "all"].sort_values("expected_per_1000").iloc[-1]
    stage = rows[rows["channel"] == "all"].sort_values("expected_per_1000").iloc[-1]
    return {
        "first": [first["stage"], first["channel"], first["device"]], "excess": float(place["excess_per_1000"]), "low": float(place["excess_per_1000_low"]),
        "best_value": [by_value["stage"], by_value["channel"], by_value["device"]], "literal": [literal["stage"], literal["channel"], literal["device"]], "stage": stage["stage"],
        "second_low": float(rows["excess_per_1000_low"].nlargest(2).iloc[-1]), "score_gap": float(place["score_continue"] - place["score_drop"]),
        "wrong": {method: out_of_order(planted, dict(zip(some["channel"], some["share"], strict=True))) for method, some in credits.groupby("method")}}


def ten_million(folder: Path) -> dict[str, float]:
    """Seconds of all tables of a folder's journeys, from tables that are held against the contract, and the peak of memory."""
    import resource

    from features.contracts import hold
    from features.journeys.tables import Asked, journeys
    from features.sources import open_dataset

    dataset, _ = hold(open_dataset(str(folder)))
    start = time.perf_counter()
    journeys(dataset, Asked(dataset.observed_until))
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "events": float(dataset.tables["events"].count().to_pyarrow().as_py())}


def big_shop() -> Path:
    """Ten million events; made once."""
    from features.shop.simulate import simulate

    folder = HERE / "shop-42000"
    return folder if folder.exists() else simulate(folder, 42_000, 12, 1)


def rows(large: bool) -> list[dict[str, Any]]:
    """The table of this benchmark."""
    from tests.benchmarks.__main__ import row

    shops = [one_shop(seed, 10_000 if large else 3_000) for seed in SEEDS]
    n = sum(tuple(shop["first"]) == FRICTION for shop in shops)
    found = [
        row("shops in which the planted friction ranks first", f"{n} of {len(shops)}", "shops", "at least 9", n >= 9),
        row("  by the middle of its excess instead of the lower end", sum(tuple(shop["best_value"]) == FRICTION for shop in shops), "shops"),
        row("  by reached x drop-off x difference, as the formula stands", sum(tuple(shop["literal"]) == FRICTION for shop in shops), "shops"),
        row("  mean gap of the model's own scores there, those who go on less those who drop", round(float(np.mean([shop["score_gap"] for shop in shops])), 3), "probability")]
    for method in shops[0]["wrong"]:
        wrong = [shop["wrong"][method] for shop in shops]
        right, is_asked = wrong.count(0), method != ASKS_OTHERWISE
        found.append(row(f"shops in which {method} finds the planted order of channels (pairs the other way round in all)", f"{right} of {len(shops)} ({sum(wrong)})", "shops",
                         "at least 9" if is_asked else "", right >= 9 if is_asked else None))
    HERE.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.benchmarks.journeys", str(big_shop())]
    big = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    return [*found, row(f"all tables of {big['events'] / 1e6:.1f} million events", round(big["seconds"], 1), "s", "at most 60", big["seconds"] <= 60),
            row("peak of memory", round(big["gb"], 2), "GB")]


if __name__ == "__main__":
    print(json.dumps(ten_million(Path(sys.argv[1]))))
