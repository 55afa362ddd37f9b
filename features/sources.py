"""Where data come from: datasets by name, raw folders known by their files, and folders in the contract's own form."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from features.dataset import Dataset
from features.declaration import declared_in, funnels_of, tasks_of
from features.errors import ContractError, UsageError


def open_dataset(data: str) -> Dataset:
    """Open a dataset by name or folder; its tables are in the contract's form but not yet held against it.

    Raises: UsageError for a name or folder that is none; ContractError for files that cannot be read.
    """
    import duckdb

    from features import complete_journey, demo_shop, folder

    by_name: dict[str, Callable[[], Dataset]] = {"complete-journey": complete_journey.read, "demo-shop": demo_shop.read}
    path = Path(data)
    if path.suffix == ".toml" and path.is_file():
        return _with_more_tasks(path)
    if data not in by_name and not path.is_dir():
        raise UsageError(
            f"DATA must be one of {', '.join(by_name)}, a folder of tables, or a .toml with more tasks for one of them; found {data!r}, which is neither; correct the name")
    try:
        if data in by_name:
            return by_name[data]()
        return (_raw(path) or folder.read)(path)
    except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException):
        raise  # our own mistake, not the data's
    except duckdb.Error as error:
        raise ContractError(f"the files of {data} must be readable as tables, found: {str(error).splitlines()[0]}; write that file again") from None


def _with_more_tasks(path: Path) -> Dataset:
    """A dataset that is named in a .toml, with the tasks and funnels that the .toml declares beside or instead of its own.

    Raises: ContractError for a declaration that names no data or declares neither tasks nor funnels.
    """
    said = declared_in(path)
    odd = [key for key in said if key not in ("data", "tasks", "funnels")]
    if odd or "data" not in said or not ("tasks" in said or "funnels" in said):
        found = f"{odd[0]!r} as well" if odd else f"no {'data' if 'data' not in said else 'tasks'}"
        raise ContractError(
            f'{path.name} needs data = "complete-journey" (or a folder) and tasks such as [tasks.conversion-tea], found {found}; '
            "what is said of tables stands in their folder")
    dataset = open_dataset(_named(path, said["data"]))
    more = tasks_of(said, dataset.currency.lower(), default=False)
    kept = tuple(task for task in dataset.tasks if task.name not in {one.name for one in more})
    return replace(dataset, tasks=(*kept, *more), funnels=(*dataset.funnels, *funnels_of(said)))


def _named(path: Path, data: str) -> str:
    """A folder is named as seen from the .toml."""
    return str(path.parent / data) if (path.parent / data).is_dir() else data


def _raw(folder: Path) -> Callable[[Path], Dataset] | None:
    """How a raw folder that is known by its files is read."""
    from features import cdnow, online_retail, retentioneering_ecom, starbucks

    known: dict[tuple[str, ...], Callable[[Path], Dataset]] = {
        (online_retail.FILE,): online_retail.read, starbucks.FILES: starbucks.read, (cdnow.FILE,): cdnow.read, (retentioneering_ecom.FILE,): retentioneering_ecom.read}
    return next((read for names, read in known.items() if all((folder / name).exists() for name in names)), None)


def raw_files(data: str) -> list[Path]:
    """The files that a dataset is read from. Raises: UsageError for a name or folder that is none."""
    from features import complete_journey, demo_shop
    from features.folder import files_of

    if data == "complete-journey":
        return sorted(complete_journey.folder().glob("*.parquet"))
    if data == "demo-shop":
        return demo_shop.raw_files()
    if Path(data).suffix == ".toml" and Path(data).is_file():
        return [Path(data), *raw_files(_named(Path(data), str(declared_in(Path(data)).get("data", ""))))]
    if not Path(data).is_dir():
        open_dataset(data)
    return files_of(Path(data))


def is_undeclared(data: str) -> bool:
    """Whether this is a folder of somebody's own files that says nothing of itself yet."""
    from features.reading import ending_of

    folder = Path(data)
    if not folder.is_dir() or (folder / "dataset.toml").exists() or _raw(folder):
        return False
    return any(ending_of(path) for path in folder.iterdir() if path.is_file())
