"""What was made before and is still up to date: keys of files and code, and the clean tables kept between runs."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from features.contracts import hold
from features.dataset import Attribute, Dataset, Finding, Funnel, IdentityRules
from features.files import sha256, write_json
from features.tasks import Task

# Modules that work on clean tables: a change in them leaves the clean tables as they are.
_AFTER = (
    "__main__", "base", "catalogue", "choice", "feature", "history", "kept", "labels", "lock", "notes", "one_customer", "portrait", "progress", "seeds", "snapshots",
    "spark", "stability", "streams", "windows")
_ROOM = Path(__file__).parent
FEATURE_CODE = (
    "catalogue", "choice", "components", "feature", "history", "identity", "moments", "sharing", "snapshots", "spark", "streams", "windows",
    *(f"families/{path.stem}" for path in sorted((_ROOM / "families").glob("*.py"))))
BASE_CODE = (*FEATURE_CODE, "base", "consents", "labels", "one_customer")
# Rows of a table that are held in memory.
MOST_IN_MEMORY = 5_000_000


def digest(*parts: Any) -> str:
    """A short hash of anything that JSON can say."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False, sort_keys=True, default=str).encode()).hexdigest()[:20]


def code_digest(room: Path, names: Sequence[str] | None = None) -> str:
    """A hash of the source of a room's modules; of all of them if no names are given."""
    paths = sorted(room.glob("*.py")) if names is None else [room / f"{name}.py" for name in sorted(names)]
    return digest([(path.relative_to(room).as_posix(), sha256(path)) for path in paths])


def open_kept(data: str, run: Path) -> tuple[Dataset, list[Finding], str, bool]:
    """Open a dataset held against its contract; from the run folder where its files and the code that reads them are unchanged.

    Gives the dataset, the findings, a key of all that the clean tables depend on, and whether they were there already.
    Raises: ContractError, UsageError as reading and holding do.
    """
    from features.sources import open_dataset, raw_files

    code = code_digest(_ROOM, [path.stem for path in _ROOM.glob("*.py") if path.stem not in _AFTER])
    key = digest([(path.name, sha256(path)) for path in raw_files(data)], Path(data).name, code, version("duckdb"), version("ibis-framework"))
    folder = run / "features" / "clean" / key
    if (folder / "dataset.json").exists():
        return *_read(folder), key, True
    dataset, findings = hold(open_dataset(data))
    _write(dataset, findings, folder)
    # What was read and held goes, and with it the memory that it took.
    dataset.engine.disconnect()
    return *_read(folder), key, False


def clean_tables(run: Path) -> Dataset | None:
    """The clean tables that a run folder keeps; None where it has none."""
    folders = sorted((run / "features" / "clean").glob("*/dataset.json"))
    return _read(folders[0].parent)[0] if folders else None


def _write(dataset: Dataset, findings: list[Finding], folder: Path) -> None:
    """Write aside and rename, so that the folder is whole or not there; older ones give way."""
    from features.engine import write_table

    aside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        for name, table in dataset.tables.items():
            write_table(table, aside / f"{name}.parquet")
        said = {
            "name": dataset.name, "zone": dataset.zone, "currency": dataset.currency, "observed_from": dataset.observed_from.isoformat(),
            "observed_until": dataset.observed_until.isoformat(), "tasks": [asdict(task) for task in dataset.tasks], "fingerprint": dataset.fingerprint,
            "attributes": [asdict(attribute) for attribute in dataset.attributes], "not_applicable": dataset.not_applicable, "licence": dataset.licence,
            "consent": dataset.consent, "identity": asdict(dataset.identity), "is_simulated": dataset.is_simulated, "include": dataset.include,
            "exclude": dataset.exclude, "funnels": [asdict(funnel) for funnel in dataset.funnels]}
        write_json(aside / "dataset.json", {"tables": list(dataset.tables), "dataset": said, "findings": [asdict(finding) for finding in findings]})
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def _read(folder: Path) -> tuple[Dataset, list[Finding]]:
    from features.engine import connect, read_table

    said = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    engine = connect((folder,))
    on_disk = {name: read_table(engine, folder / f"{name}.parquet") for name in said["tables"]}
    # Into memory at once, since every stream reads the events; very many stay on the disk.
    tables = {
        name: engine.create_table(f"clean_{name}", table) if int(table.count().to_pyarrow().as_py()) < MOST_IN_MEMORY else table for name, table in on_disk.items()}
    told = said["dataset"]
    findings = [Finding(**{**finding, "offenders": tuple(finding["offenders"])}) for finding in said["findings"]]
    dataset = Dataset(
        told["name"], told["zone"], told["currency"], datetime.fromisoformat(told["observed_from"]), datetime.fromisoformat(told["observed_until"]), engine, tables,
        tuple(Task.from_json(task) for task in told["tasks"]), told["fingerprint"], tuple(Attribute(**attribute) for attribute in told["attributes"]),
        told["not_applicable"], told["licence"], told["consent"], is_simulated=told["is_simulated"],
        identity=IdentityRules.from_json(told["identity"]), include=tuple(told["include"]), exclude=tuple(told["exclude"]),
        funnels=tuple(Funnel(**{**funnel, "stages": tuple(funnel["stages"])}) for funnel in told["funnels"]))
    return dataset, findings


def is_kept(path: Path, key: str) -> bool:
    """Whether a file was made for this key and is as it was written then."""
    note = path.with_suffix(".key.json")
    if not (path.exists() and note.exists()):
        return False
    said = json.loads(note.read_text(encoding="utf-8"))
    return bool(said["key"] == key and said["sha256"] == sha256(path))


def keep(path: Path, key: str) -> None:
    """Note what a file was made for."""
    write_json(path.with_suffix(".key.json"), {"key": key, "sha256": sha256(path)})
