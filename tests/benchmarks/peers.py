"""The peers of the served endpoint: the same booster behind a plain BentoML method, and behind a bare ASGI application."""

import json
import os
from pathlib import Path
from typing import Any

import bentoml
import numpy as np


class Model:
    """The booster of LIKENESS_PEER (its text and the names of its features) with numbers only, as a plain service would call it."""

    def __init__(self) -> None:
        from training.members import lightgbm

        folder = Path(os.environ["LIKENESS_PEER"])
        self.booster = lightgbm().Booster(model_file=str(folder / "booster.txt"))
        self.names = json.loads((folder / "names.json").read_text(encoding="utf-8"))

    def score(self, customers: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One result for each customer."""
        x = np.array([[customer["features"].get(name, np.nan) for name in self.names] for customer in customers], dtype=np.float64)
        scores = self.booster.predict(x, num_threads=1)
        return [{"customer_id": customer["customer_id"], "probability": float(p)} for customer, p in zip(customers, scores, strict=True)]


@bentoml.service(name="plain", workers=1)
class Plain:
    """What one writes first."""

    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api
    def score(self, customers: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """POST /score"""
        return self.model.score(customers)


def bare() -> Any:
    """uvicorn --factory tests.benchmarks.peers:bare: no framework, no checks, no metrics."""
    model = Model()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        said = json.dumps(model.score(json.loads(body)["customers"]) if body else []).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(said))]})
        await send({"type": "http.response.body", "body": said})

    return app
