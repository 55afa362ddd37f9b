"""Audiences: who in the base is like some seeds, how much, and why. Pure numpy beside one small fit for each list of seeds."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.errors import UsageError, first_few
from serving.withheld import Withheld
from serving.words import Voice
from training.space import likeness_of

if TYPE_CHECKING:
    from training.space import Layout, Likeness, Space

Array = NDArray[np.float64]
MIN_SEEDS = 50
# Lists of seeds whose fit is kept: a marketer moves the reach and asks again.
_KEPT = 16


@dataclass(frozen=True)
class Audience:
    """Customers like some seeds, most alike first; the seeds themselves are left out, and who may not be contacted.

    Shape: `rows` (m,) places in the base; `likeness`, `percentiles` (m,). `curve` says for some reaches the least likeness and the expected lift.
    """

    audience_id: str
    expires_at: str
    n_seeds: int
    n_unknown: int
    rows: NDArray[np.int64]
    likeness: Array
    percentiles: Array
    curve: list[dict[str, float]]
    fitted: "Likeness"


@dataclass(frozen=True)
class _Ranked:
    """A list of seeds learned, and the base scored by it. Shape: (n,)."""

    fitted: "Likeness"
    scores: Array

    @cached_property
    def ordered(self) -> Array:
        return np.sort(self.scores)

    def likeness(self, rows: NDArray[np.int64]) -> Array:
        return likeness_of(self.fitted, self.scores[rows])


class SpaceBase:
    """A lookalike task's part of the base: the customers who may be ranked, laid out in the space once."""

    def __init__(
        self, task: str, space: "Space", version: str, ids: Sequence[str], x: Array, as_of: str, seed_ids: frozenset[str] = frozenset(),
        may_contact: NDArray[np.bool_] | None = None, withheld: Withheld | None = None,
    ) -> None:
        self.withheld = withheld
        self.task, self.space, self.version, self.as_of = task, space, version, as_of
        self.ids, self.x = list(ids), x
        self.may_contact = np.ones(len(self.ids), dtype=bool) if may_contact is None else may_contact
        self.row_of = {customer: row for row, customer in enumerate(self.ids)}
        # Who was a seed when the space was trained, as far as they are in the base.
        self.seed_ids = frozenset(seed_ids & self.row_of.keys())
        # Customers of equal scores stand in the order of their ids, which is found once.
        self._by_id = np.empty(len(self.ids), dtype=np.int64)
        self._by_id[np.argsort(np.array(self.ids, dtype=str), kind="stable")] = np.arange(len(self.ids))
        self._fits: OrderedDict[str, _Ranked] = OrderedDict()
        self._lock = Lock()

    @cached_property
    def layout(self) -> "Layout":
        """The base along the space's components: what a new list of seeds is learned from."""
        return self.space.lay_out(self.x)

    def audience(self, seeds: Sequence[str] | None = None, reach: int | None = None, similarity: float | None = None) -> Audience:
        """Who is like the seeds (those of training if None): the first `reach` customers, or all with at least that likeness.

        Raises: UsageError unless one of reach and similarity is given; for seeds that are unknown, too few, or everybody.
        """
        if (reach is None) == (similarity is None):
            raise UsageError("an audience needs either reach or similarity; found " + ("none" if reach is None else "both"))
        given = self.seed_ids if seeds is None else frozenset(seeds)
        known = given & self.row_of.keys()
        example = self.space.example if seeds is None else None
        # The seeds of training taught already, also those who are no longer asked about.
        self._require(len(given), len(known), least=0 if example else MIN_SEEDS)
        ranked = self._ranked(known, example)
        # Seeds are known already, and who did not agree to marketing is in nobody's audience.
        others = self.may_contact.copy()
        others[[self.row_of[customer] for customer in known]] = False
        if self.withheld and (gone := self.withheld.mask(self.task, self.ids)) is not None:
            others &= ~gone
        order = self._first(np.flatnonzero(others), ranked, reach, similarity)
        likeness = ranked.likeness(order)
        rows = order if reach is not None else order[likeness >= float(similarity or 0.0)]
        likeness = likeness[:len(rows)]
        percentiles = np.round(100.0 * np.searchsorted(ranked.ordered, ranked.scores[rows], side="right") / len(ranked.ordered), 1)
        days = int(self.space.task["windows"]["horizon_days"])
        expires = (datetime.fromisoformat(self.as_of) + timedelta(days=days)).isoformat().replace("+00:00", "Z")
        n_others = int(others.sum())
        curve = [
            {"reach": max(1, round(point["share"] * n_others)), "similarity": point["similarity"], "expected_lift": point["expected_lift"]} for point in ranked.fitted.curve]
        return Audience(
            self._id(known), expires, len(known), len(given) - len(known), rows, np.round(likeness, 4), percentiles, curve, ranked.fitted)

    def _first(self, others: NDArray[np.int64], ranked: "_Ranked", reach: int | None, similarity: float | None) -> NDArray[np.int64]:
        """Those of `others` who may be in the audience, most alike first. Nobody is put in order who cannot be in it."""
        scores = ranked.scores[others]
        if reach is not None and reach < len(others):
            least = np.partition(scores, len(others) - reach)[len(others) - reach] if reach else np.inf
            others = others[scores >= least]
        elif similarity is not None:
            others = others[ranked.likeness(others) >= similarity]
        order = others[np.lexsort((self._by_id[others], -ranked.scores[others]))]
        return order if reach is None else order[:reach]

    def members(self, audience: Audience, top: int = 0, language: str = "en") -> list[dict[str, Any]]:
        """What is handed out of each member, most alike first; with up to `top` reasons."""
        members: list[dict[str, Any]] = [
            {"customer_id": self.ids[row], "likeness": float(likeness), "percentile": float(percentile)}
            for row, likeness, percentile in zip(audience.rows, audience.likeness, audience.percentiles, strict=True)]
        if top:
            for member, said in zip(members, self.reasons(audience, audience.rows, top, language), strict=True):
                member["reasons"] = said
        return members

    def reasons(self, audience: Audience, rows: NDArray[np.int64], top: int, language: str = "en") -> list[list[dict[str, Any]]]:
        """What makes each customer like the seeds: the columns that add most, beside everybody's and the seeds' averages.

        Contributions are in the ranker's own units; sensitive columns are not named.
        """
        x = self.x[rows]
        contributions = self.space.contributions(audience.fitted, x)
        said = []
        for values, phi in zip(x, contributions, strict=True):
            strongest = [j for j in np.argsort(-phi, kind="stable") if phi[j] > 0 and not self.space.columns[j].is_sensitive][:top]
            said.append([self._reason(int(j), float(values[j]), float(phi[j]), language) for j in strongest])
        return said

    def _reason(self, j: int, code: float, contribution: float, language: str) -> dict[str, Any]:
        column = self.space.columns[j]
        value: float | str | None = None if np.isnan(code) else column.levels[int(code)] if column.is_category else code
        averages = self.space.reference["averages"][column.name]
        voice = Voice(language)
        told = {"label": voice.label(column), "value": voice.shown(value, column.unit), "average": voice.shown(averages["all"], column.unit, is_average=True),
                "seeds": voice.shown(averages["seeds"], column.unit, is_average=True)}
        return {
            "family": column.family, "feature": column.name, "label": told["label"], "value": value, "average": averages["all"], "seeds": averages["seeds"],
            "contribution": contribution, "sentence": voice.words["reasons"]["alike"].format(**told)}

    def _require(self, n_given: int, n_known: int, least: int) -> None:
        if n_known < least:
            unknown = f", {n_given - n_known:,} of the {n_given:,} given are not in the base of {self.as_of}" if n_known < n_given else ""
            raise UsageError(f"an audience needs at least {MIN_SEEDS} seeds that {self.task} asks about, found {n_known}{unknown}; give more, as the data name them")
        if len(self.ids) - n_known < MIN_SEEDS:
            raise UsageError(f"an audience needs at least {MIN_SEEDS} customers beside its seeds, found {len(self.ids) - n_known} of {len(self.ids):,}; there is nobody to rank")

    def _ranked(self, known: frozenset[str], example: "Likeness | None") -> "_Ranked":
        key = "" if example else self._id(known)
        with self._lock:
            if key not in self._fits:
                self._fits[key] = _Ranked(example, self.space.scores(example, self.x)) if example else _Ranked(*self.space.expand(self.layout, self._is_seed(known)))
                if len(self._fits) > _KEPT:
                    self._fits.popitem(last=False)
            self._fits.move_to_end(key)
            return self._fits[key]

    def _is_seed(self, known: frozenset[str]) -> NDArray[np.bool_]:
        is_seed = np.zeros(len(self.ids), dtype=bool)
        is_seed[[self.row_of[customer] for customer in known]] = True
        return is_seed

    def _id(self, known: frozenset[str]) -> str:
        said = "\n".join([self.space.name, self.version, self.as_of, *sorted(known)])
        return hashlib.sha256(said.encode()).hexdigest()[:16]


def trained_seeds(run: Path, data: str, task: str) -> frozenset[str]:
    """The seeds that a task of a run was trained with; none where its table is gone."""
    import pandas as pd

    path = run / "features" / f"{data}.{task}.parquet"
    if not path.exists():
        return frozenset()
    table = pd.read_parquet(path, columns=["customer_id", "is_seed"])
    return frozenset(table.loc[table["is_seed"] == 1, "customer_id"].astype(str))


def require_known(seeds: Sequence[str], base: SpaceBase) -> None:
    """For a door: name the first seeds that nobody knows, where most are unknown. Raises: UsageError."""
    strangers = [seed for seed in seeds if seed not in base.row_of]
    if len(strangers) > len(seeds) / 2:
        raise UsageError(
            f"--seeds must name customers whom {base.task} asks about at {base.as_of}, found {len(strangers):,} of {len(seeds):,} that are not "
            f"({first_few(strangers)}); give the ids as the data have them")
