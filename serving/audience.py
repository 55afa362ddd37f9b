"""Audience files: whom to contact, with a random holdout that is written down and never drawn again."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from features.errors import UsageError
from features.files import written_whole
from features.seeds import read_ids
from serving.alike import SpaceBase, require_known
from serving.audit import audit
from serving.batch import named, scores, write_table
from serving.reasons import top_sentences
from serving.scoring import Base, open_base

if TYPE_CHECKING:
    import pandas as pd

N_REASONS = 3
FEWEST, FEW = 10, 50
CONTACTED, HOLDOUT = "contacted", "holdout"
BANDS = ("high", "medium", "low")


@dataclass(frozen=True)
class Asked:
    """What a marketer asks for. One of band, top, share and similarity says how far to go."""

    task: str
    band: str | None = None
    top: int | None = None
    share: float | None = None
    similarity: float | None = None
    seeds: Path | None = None
    holdout: float = 0.1
    seed: int = 1
    name: str = ""
    language: str = "en"
    pseudonyms: bool = False

    def rule(self) -> str:
        """How the audience was chosen, in a few words."""
        said = {"band": self.band, "top": self.top, "share": self.share, "similarity": self.similarity}
        return next(f"{key} {value}" for key, value in said.items() if value is not None)


@dataclass(frozen=True)
class Handed:
    """What was handed out: counts, and what such a holdout can show."""

    audience_id: str
    n_chosen: int
    n_contacted: int
    n_holdout: int
    n_kept_back: int
    n_may_not: int
    expires_at: str
    # The smallest difference in the outcome's share, in points, that this holdout can tell from chance; None where no rate is expected.
    detectable: float | None

    def sentences(self) -> list[str]:
        """For the screen."""
        said = [f"audience {self.audience_id}: {self.n_contacted:,} to contact, {self.n_holdout:,} held out, valid until {self.expires_at[:10]}"]
        if self.n_may_not:
            said.append(f"{_few(self.n_may_not)} left out: they did not agree to marketing")
        if self.n_kept_back:
            said.append(f"{_few(self.n_kept_back)} of the held out are held out of an earlier audience of this task that is still valid")
        if self.n_chosen < FEW:
            said.append(f"an audience of {self.n_chosen} is small: hardly any difference will show")
        if self.n_holdout == 0:
            said.append("without a holdout nobody can tell afterwards what the contact changed")
        elif self.detectable is not None:
            said.append(f"this holdout can show a difference of about {100 * self.detectable:.1f} points or more (80 % power, 95 % confidence)")
        return said


def write_audience(run: Path, asked: Asked, out_file: Path) -> Handed:
    """Choose, hold out, write down in `treatments`, and write the file of those to contact.

    Grain of the file: customer to contact, first the most likely (or most alike). Grain of treatments: customer of the audience.
    Asked again, the same audience has the same id, the same holdout and the same file.
    Raises: UsageError, ContractError before anything is written.
    """
    _require(asked, out_file)
    base = open_base(run)
    chosen, n_may_not, horizon, model, rate = _chosen(base, asked)
    if len(chosen) < FEWEST:
        raise UsageError(f"an audience needs at least {FEWEST} customers, found {len(chosen)} with {asked.rule()}; go further down the list")
    as_of = datetime.fromisoformat(base.info.as_of).replace(tzinfo=None)
    expires = as_of + timedelta(days=horizon)
    audience_id = _id(base, asked, model, chosen["customer_id"].tolist())
    path = run / "treatments" / f"{audience_id}.parquet"
    is_held_out, n_kept_back = _arms(run, path, asked, chosen["customer_id"].tolist(), as_of)
    if not path.exists():
        _write_down(path, asked, base, model, chosen["customer_id"].tolist(), is_held_out, as_of, expires, audience_id)
    contacts = chosen[~is_held_out].reset_index(drop=True)
    write_table(named(contacts, run) if asked.pseudonyms else contacts, out_file, for_spreadsheets=True)
    audit(run, "audience", "python -m serving audience", task=asked.task, version=model[1], audience_id=audience_id, customers=len(contacts))
    n_held_out = int(is_held_out.sum())
    return Handed(
        audience_id, len(chosen), len(chosen) - n_held_out, n_held_out, n_kept_back, n_may_not, expires.isoformat() + "Z",
        detectable(rate, len(chosen) - n_held_out, n_held_out) if rate is not None and n_held_out else None)


def detectable(rate: float, n_one: int, n_other: int) -> float:
    """The smallest difference of two shares that shows with 80 % power at 95 % confidence (normal approximation, Fleiss 1981)."""
    return (1.959964 + 0.841621) * float(np.sqrt(rate * (1 - rate) * (1 / n_one + 1 / n_other)))


def _require(asked: Asked, out_file: Path) -> None:
    if out_file.suffix not in (".parquet", ".csv"):
        raise UsageError(f"--out must end in .parquet or .csv, found {out_file.name}; name it so")
    if sum(value is not None for value in (asked.band, asked.top, asked.share, asked.similarity)) != 1:
        raise UsageError("an audience needs one of --band, --top, --share and --similarity; give just one")
    if asked.band is not None and asked.band not in BANDS:
        raise UsageError(f"--band must be one of {', '.join(BANDS)}, found {asked.band!r}; choose one of them")
    for name, value, low, high in (("--holdout", asked.holdout, 0.0, 0.5), ("--share", asked.share, 0.0, 1.0), ("--similarity", asked.similarity, 0.0, 1.0)):
        if value is not None and not low <= value <= high:
            raise UsageError(f"{name} must be between {low:g} and {high:g}, found {value:g}; correct it")
    if asked.top is not None and asked.top < 1:
        raise UsageError(f"--top must be 1 or more, found {asked.top}; correct it")


def _chosen(base: Base, asked: Asked) -> "tuple[pd.DataFrame, int, int, tuple[str, str], float | None]":
    """The customers chosen, with reasons; how many may not be contacted; the horizon; model and version; the expected rate."""
    if asked.task in base.spaces:
        return _alike(base.spaces[asked.task], asked)
    if asked.task not in base.tasks:
        raise UsageError(f"TASK must be one of {', '.join((*base.tasks, *base.spaces))}, found {asked.task!r}; correct the name")
    if asked.similarity is not None or asked.seeds is not None:
        raise UsageError(f"--similarity and --seeds belong to lookalike tasks, and {asked.task} is none; use --band, --top or --share")
    task = base.tasks[asked.task]
    table = scores(task)
    reach = asked.top or round((asked.share or 0.0) * len(table))
    wanted = (table["band"] == asked.band).to_numpy(bool) if asked.band else np.arange(len(table)) < reach
    rows = np.array([task.row_of[customer] for customer in table["customer_id"]])
    may = task.may_contact[rows]
    chosen = table.loc[wanted & may, ["customer_id", "band", "percentile", "probability"]].reset_index(drop=True)
    rate = float(chosen["probability"].mean()) if len(chosen) else 0.0
    said = _named(chosen.drop(columns="probability"), top_sentences(task.model, task.x[rows[wanted & may]], N_REASONS, asked.language))
    return said, int((wanted & ~may).sum()), int(task.model.task["windows"]["horizon_days"]), (task.model.name, task.version), rate


def _alike(space: SpaceBase, asked: Asked) -> "tuple[pd.DataFrame, int, int, tuple[str, str], float | None]":
    import pandas as pd

    if asked.band is not None:
        raise UsageError(f"{asked.task} has no bands, since it gives likeness and no probability; use --top, --share or --similarity")
    seeds = read_ids(asked.seeds, print) if asked.seeds else None
    if seeds is not None:
        require_known(seeds, space)
    reach = asked.top or (max(1, round(asked.share * len(space.ids))) if asked.share is not None else None)
    found = space.audience(seeds, reach, asked.similarity)
    table = pd.DataFrame({"customer_id": [space.ids[row] for row in found.rows], "likeness": found.likeness, "percentile": found.percentiles})
    sentences = [[reason["sentence"] for reason in said] for said in space.reasons(found, found.rows, N_REASONS, asked.language)]
    horizon = int(space.space.task["windows"]["horizon_days"])
    return _named(table, sentences), int((~space.may_contact).sum()), horizon, (space.space.name, space.version), None


def _named(table: "pd.DataFrame", sentences: list[list[str]]) -> "pd.DataFrame":
    return table.assign(**{f"reason_{i + 1}": [said[i] if i < len(said) else "" for said in sentences] for i in range(N_REASONS)})


def _id(base: Base, asked: Asked, model: tuple[str, str], customers: list[str]) -> str:
    said = json.dumps([*model, base.info.as_of, asked.rule(), asked.holdout, asked.seed, asked.name, customers], ensure_ascii=False)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _arms(run: Path, path: Path, asked: Asked, customers: list[str], as_of: datetime) -> "tuple[np.ndarray[tuple[int], np.dtype[np.bool_]], int]":
    """Who is held out: as written down where it is; else whom a valid audience of this task holds out already, and as many more by lot as are wanted."""
    import pyarrow.parquet as pq

    if path.exists():
        written = pq.read_table(path, columns=["customer_id", "arm"]).to_pandas().set_index("customer_id")["arm"]
        return np.array([written[customer] == HOLDOUT for customer in customers]), 0
    kept_back = held_out_now(run, asked.task, as_of)
    is_held_out = np.array([customer in kept_back for customer in customers])
    wanted = round(asked.holdout * len(customers)) - int(is_held_out.sum())
    if asked.holdout > 0 and wanted > 0:
        # By lot over sorted ids: the order of the list does not matter.
        free = sorted(customer for customer in customers if customer not in kept_back)
        drawn = set(np.random.default_rng(asked.seed).choice(np.array(free, dtype=object), wanted, replace=False))
        is_held_out |= np.array([customer in drawn for customer in customers])
    return is_held_out, len(kept_back & set(customers))


def held_out_now(run: Path, task: str, as_of: datetime) -> set[str]:
    """Customers whom an audience of this task, still valid at as_of, holds out."""
    table = treatments(run)
    if table is None:
        return set()
    valid = (table["task"] == task) & (table["arm"] == HOLDOUT) & (table["as_of"] <= as_of) & (table["expires_at"] > as_of)
    return set(table.loc[valid, "customer_id"])


def treatments(run: Path) -> "pd.DataFrame | None":
    """Everything handed out. Grain: audience x customer. None where nothing was."""
    import pandas as pd

    files = sorted((run / "treatments").glob("*.parquet"))
    return pd.concat([pd.read_parquet(path) for path in files], ignore_index=True) if files else None


def _write_down(
    path: Path, asked: Asked, base: Base, model: tuple[str, str], customers: list[str], is_held_out: "np.ndarray[tuple[int], np.dtype[np.bool_]]",
    as_of: datetime, expires: datetime, audience_id: str,
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = len(customers)
    moments = pa.timestamp("us")
    table = pa.table({
        "audience_id": pa.array([audience_id] * n), "name": pa.array([asked.name] * n), "task": pa.array([asked.task] * n), "model": pa.array([model[0]] * n),
        "version": pa.array([model[1]] * n), "as_of": pa.array([as_of] * n, moments), "expires_at": pa.array([expires] * n, moments),
        "customer_id": pa.array(customers, pa.string()), "arm": pa.array([HOLDOUT if out else CONTACTED for out in is_held_out]),
        "rule": pa.array([asked.rule()] * n), "holdout_share": pa.array([asked.holdout] * n, pa.float64()), "seed": pa.array([asked.seed] * n, pa.int64())})
    with written_whole(path) as aside:
        pq.write_table(table, aside)


def _few(n: int) -> str:
    return f"{n:,}" if n >= FEWEST else f"fewer than {FEWEST}"

