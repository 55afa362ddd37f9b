"""An audience over a million customers, through the endpoint's application: 145 features of 378 prepared places, as a real grocer's."""

import json
import statistics
import time
import warnings
from typing import Any

import numpy as np

from serving.alike import SpaceBase
from serving.api import State, create_app
from serving.scoring import Base, Info
from training.saved_model import Column
from training.space import Params, make_space

AS_OF = "2026-01-01T00:00:00Z"
N_CUSTOMERS, N_SEEDS, REACH = 1_000_000, 1_000, 1_000
N_NUMBERS, N_CATEGORIES, N_LEVELS = 134, 11, 10
# Requests: the first asks all code in, the others are of seeds that nobody asked about before.
N_ASKED = 6


def base(n: int) -> SpaceBase:
    """`n` made-up customers in a space: counts and amounts with many zeros and some gaps, categories; one in five is of a kind that the seeds will be."""
    rng, levels = np.random.default_rng(1), tuple(f"level {i}" for i in range(N_LEVELS))
    columns = (*(Column(f"spend_sum_{i + 1}d_usd", "consumption", "USD", f"spend {i}", f"消费 {i}") for i in range(N_NUMBERS)),
               *(Column(f"kind_{i}", "profile", "category", f"kind {i}", f"类别 {i}", is_category=True, levels=levels) for i in range(N_CATEGORIES)))
    x = np.empty((n, len(columns)))
    is_alike = np.arange(n) % 5 == 0
    for j in range(N_NUMBERS):
        x[:, j] = rng.standard_exponential(n) * (20 + 20 * is_alike * (j < 20)) * (rng.random(n) > 0.4)
        if j % 3 == 0:
            x[rng.random(n) < 0.1, j] = np.nan
    for j in range(N_NUMBERS, len(columns)):
        x[:, j] = rng.integers(0, N_LEVELS, n)
    task = {"name": "lookalike", "kind": "lookalike", "windows": {"horizon_days": 28}}
    space = make_space("bench.lookalike", task, columns, x[:20_000], Params())
    made = SpaceBase("lookalike", space, "1", [str(i) for i in range(n)], x, AS_OF)
    # As a server does when it warms.
    made.layout  # noqa: B018
    return made


def rows(large: bool) -> list[dict[str, Any]]:
    """The table of this benchmark: medians over lists of seeds that are new, and the same list once more."""
    from tests.benchmarks.__main__ import row

    with warnings.catch_warnings():
        # It asks for the next major version of httpx.
        warnings.simplefilter("ignore")
        from fastapi.testclient import TestClient
        from starlette.applications import Starlette
        from starlette.routing import Mount

    begun = time.perf_counter()
    space = base(N_CUSTOMERS)
    made = time.perf_counter() - begun
    info = Info("bench", "f0", AS_OF, "USD", ("lookalike",))
    client = TestClient(Starlette(routes=[Mount("/v1", create_app(State(Base(info, {}, {"lookalike": space}))))]))

    def ask(i: int, **how: Any) -> tuple[float, dict[str, Any]]:
        seeds = [str(5 * (i * N_SEEDS + k)) for k in range(N_SEEDS)]
        begun = time.perf_counter()
        response = client.post("/v1/audience", content=json.dumps({"seeds": seeds, **how}), headers={"Content-Type": "application/json"})
        seconds = time.perf_counter() - begun
        if response.status_code != 200:
            raise RuntimeError(response.text)
        return seconds, response.json()

    first, told = ask(0, reach=REACH)
    share = sum(int(member["customer_id"]) % 5 == 0 for member in told["audience"]) / REACH
    anew = statistics.median(ask(i, reach=REACH)[0] for i in range(1, N_ASKED))
    again = statistics.median(ask(1, reach=REACH)[0] for _ in range(5))
    wide = statistics.median(ask(i, similarity=0.9)[0] for i in range(N_ASKED, 2 * N_ASKED - 3))
    return [
        row("audience over 1,000,000 customers, seeds asked for the first time", round(anew, 2), "s", "at most 1.5", anew <= 1.5),
        row("the same seeds again", round(again, 3), "s"), row("by likeness, seeds for the first time", round(wide, 2), "s"), row("the very first", round(first, 2), "s"),
        row("members of the seeds' kind, of which one in five is", round(share, 3), "share", "more than 0.9", share > 0.9),
        row("making and laying out the base", round(made), "s")]
