"""Tags and segments: how long do ten million events take beyond the feature build, are the shop's hidden types found, and do clusters keep their names.

The shops are simulated anew, five seeds that nothing was chosen on, 6,000 customers over 24 months. Hidden types are compared for those who have a
cluster; of the others the shop itself tells too little (docs/decisions/0018, 0028).
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SEEDS = range(11, 16)


def types_of(folder: Path) -> pd.Series:
    """Each identifier's hidden type."""
    person = pd.read_parquet(folder / "truth" / "identifiers", columns=["identifier", "person"]).drop_duplicates("identifier").set_index("identifier")["person"]
    return person.map(pd.read_parquet(folder / "truth" / "people", columns=["person", "type"]).set_index("person")["type"].astype(str))


def one_shop(seed: int) -> dict[str, Any]:
    """How well clusters are the hidden types, among those who have one, of many baskets, and everybody; and how many keep their name in refits on resamples."""
    from sklearn.metrics import adjusted_rand_score

    from features.base import scoring_moment
    from features.contracts import hold
    from features.segments.clusters import FEWEST_BASKETS, NONE, fit, with_names_of
    from features.segments.tables import FREQUENCY, grouped, portraits_of
    from features.shop.simulate import simulate
    from features.sources import open_dataset

    with tempfile.TemporaryDirectory() as made:
        folder = simulate(Path(made) / "shop", 6_000, 24, seed, workers=1)
        dataset, _ = hold(open_dataset(str(folder)))
        as_of = scoring_moment(dataset)
        features, portraits = portraits_of(dataset, [as_of])
        found = grouped(dataset, [as_of], features, portraits)
        types = found.members.index.map(types_of(folder)).to_numpy()
    assert found.clusters is not None
    given, baskets = found.members["cluster"].to_numpy(), portraits[FREQUENCY].reindex(found.members.index).to_numpy()
    known, has_one = portraits.loc[found.members.index[baskets >= FEWEST_BASKETS]], given != NONE
    own, kept = found.clusters.place(known), []
    names = np.array(found.clusters.names)
    for draw in range(6):
        again = with_names_of(fit(known.sample(len(known), replace=True, random_state=draw), found.clusters.columns, draw + 1), found.clusters)
        kept.append(float((np.array(again.names)[again.place(known)] == names[own]).mean()))
    return {
        "seed": seed, "n": len(names), "known": float(has_one.mean()), "kept": kept,
        "rand_of_those": float(adjusted_rand_score(types[has_one], given[has_one])), "rand_of_all": float(adjusted_rand_score(types, given))}


def ten_million(folder: Path) -> dict[str, float]:
    """Seconds of tags and of segments, with and without the features that they are made of."""
    from features.base import scoring_moment
    from features.contracts import hold
    from features.segments.tables import grouped, portraits_of
    from features.snapshots import snapshots
    from features.sources import open_dataset
    from features.tags.declared import DEFAULT, read_tags
    from features.tags.evaluate import evaluated, plan, statements
    from features.tags.told import coverage, pairs

    dataset, _ = hold(open_dataset(str(folder)))
    as_of, clock = scoring_moment(dataset), [time.perf_counter()]

    def lap() -> float:
        clock.append(time.perf_counter())
        return clock[-1] - clock[-2]

    planned = plan(dataset, read_tags(DEFAULT, dataset.currency), {})
    seconds = {"tags": lap()}
    table = snapshots(dataset, [as_of], planned.features)
    seconds["tags_build"] = lap()
    held = evaluated(planned, table)
    dataset.engine.create_table("said", statements(held, planned))
    coverage(held, planned)
    pairs(held, planned, as_of)
    seconds["tags"] += lap()
    features, portraits = portraits_of(dataset, [as_of])
    seconds["segments_build"] = lap()
    grouped(dataset, [as_of], features, portraits)
    return {**seconds, "segments": lap(), "events": float(dataset.tables["events"].count().to_pyarrow().as_py())}


def rows(large: bool) -> list[dict[str, Any]]:
    """The table of this benchmark."""
    from tests.benchmarks.__main__ import row
    from tests.benchmarks.journeys import big_shop

    shops = [one_shop(seed) for seed in SEEDS]
    rand = {of: [shop[f"rand_{of}"] for shop in shops] for of in ("of_those", "of_all")}
    n, kept = sum(value >= .8 for value in rand["of_those"]), [value for shop in shops for value in shop["kept"]]
    command = [sys.executable, "-m", "tests.benchmarks.tags", str(big_shop())]
    big = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    beyond = big["tags"] + big["segments"]
    return [
        row("shops whose hidden types are found (adjusted Rand 0.8 or more), of customers who have a cluster", f"{n} of {len(shops)}", "shops", "all", n == len(shops)),
        *(row(f"  adjusted Rand {of.replace('_', ' ')}: least, median", f"{min(values):.2f}, {np.median(values):.2f}", "") for of, values in rand.items()),
        row("  clusters", ", ".join(str(shop["n"]) for shop in shops), "clusters"),
        row("  customers who have a cluster, mean", round(float(np.mean([shop["known"] for shop in shops])), 2), "share"),
        row("customers who keep their name in refits on resamples: least, mean", f"{min(kept):.2f}, {np.mean(kept):.2f}", "share", "at least 0.9", float(np.mean(kept)) >= .9),
        row(f"tags and segments of {big['events'] / 1e6:.1f} million events, beyond the features", round(beyond, 1), "s", "at most 30", beyond <= 30),
        row("  the features of both", round(big["tags_build"] + big["segments_build"], 1), "s")]


if __name__ == "__main__":
    print(json.dumps(ten_million(Path(sys.argv[1]))))
