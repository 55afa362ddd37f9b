"""The engine: DuckDB in the process, reached through Ibis, in UTC and shut off from everything but the data's own folder.

On Spark (spark.py) run the same expressions; where the two do not speak alike, the difference stands here.
"""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from features.errors import ContractError

if TYPE_CHECKING:
    import pyarrow as pa
    from ibis.backends import BaseBackend
    from ibis.backends.duckdb import Backend


def connect(readable: tuple[Path, ...]) -> "Backend":
    """Open an in-memory engine that may read only `readable`. It takes half of the machine's memory and puts what is more into a folder for temporary files.

    The order of the settings matters: after the last one no setting can be changed (faults: DuckDB's lockdown).
    """
    engine = ibis.duckdb.connect()
    folders = ", ".join("'" + str(path.resolve()).replace("'", "''") + "'" for path in readable)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    aside = str(Path(tempfile.gettempdir()) / f"likeness-{os.getpid()}").replace("'", "''")
    for setting in (
        "TimeZone='UTC'",
        f"memory_limit='{memory // 2**21}MiB'",
        f"temp_directory='{aside}'",
        "preserve_insertion_order=false",
        f"allowed_directories=[{folders}]",
        "autoinstall_known_extensions=false",
        "enable_external_access=false",
        "lock_configuration=true",
    ):
        engine.raw_sql(f"SET {setting}")
    return engine


# (Ibis declares an engine's function by an empty body and types as values: hence the exemptions.)
# DuckDB's one function goes both ways: a naive time read in a zone becomes an instant, an instant shown in a zone a naive time.
@ibis.udf.scalar.builtin(name="timezone")  # type: ignore[untyped-decorator]
def _read_in_zone(zone: str, at: dt.Timestamp()) -> dt.Timestamp("UTC"):  # type: ignore[valid-type]
    ...


@ibis.udf.scalar.builtin(name="timezone")  # type: ignore[untyped-decorator]
def _show_in_zone(zone: str, at: dt.Timestamp("UTC")) -> dt.Timestamp():  # type: ignore[valid-type]
    ...


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def xxhash64(text: str) -> dt.int64:
    ...


def hashed(engine: "BaseBackend", text: ir.Value) -> ir.Value:
    """A text's hash of 64 bits. (Spark's own `hash` has half of them, and texts would meet.)"""
    return xxhash64(text) if engine.name == "pyspark" else text.hash()


def read_table(engine: "Backend", path: Path, *required: str) -> ibis.Table:
    """Read one Parquet or CSV file (plain, gzip or zstd; CSV as text) into the engine.

    Raises: ContractError for a file that is missing or lacks a required column.
    """
    if not path.exists():
        raise ContractError(f"the file {path.name} is required in {path.parent}, found none; put it there")
    if path.suffix == ".parquet":
        table = engine.read_parquet(path)
    else:
        table = engine.read_csv(path, all_varchar=True, compression={".gz": "gzip", ".zst": "zstd"}.get(path.suffix, "none"))
    missing = [name for name in required if name not in table.columns]
    if missing:
        raise ContractError(f"MISSING_COLUMN: {path.name} needs the columns {', '.join(missing)}; found {', '.join(table.columns)}; add or rename them")
    return table


def read_given(path: Path, columns: tuple[str, ...]) -> "pa.Table":
    """A Parquet or CSV file that a person names at a door, the customer's number as text. Raises: ContractError for what is no such file or lacks one of `columns`."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path) if path.suffix == ".parquet" else pyarrow.csv.read_csv(
            path, convert_options=pyarrow.csv.ConvertOptions(column_types={"customer_id": pa.string()}))
    except (OSError, pa.ArrowInvalid) as error:
        raise ContractError(f"{path} must be a .parquet or .csv file that can be read, found: {str(error).splitlines()[0]}; correct the name or write it again") from None
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise ContractError(f"MISSING_COLUMN: {path.name} needs the columns {', '.join(columns)}; found {', '.join(table.column_names)}; add or rename them")
    place = table.column_names.index("customer_id")
    return table.set_column(place, "customer_id", table.column("customer_id").cast(pa.string()))


def batches(table: ibis.Table) -> "pa.RecordBatchReader":
    """A table's rows in its order, some at a time: what is wide is never in memory as a whole."""
    engine = table.get_backend()
    if engine.name == "pyspark":
        from features.spark import batches_of

        return batches_of(table)
    # Ibis 12 asks DuckDB 2 for batches by a name that it has given up; asked for no row, it makes the tables of memory known to the engine.
    table.limit(0).to_pyarrow()
    return engine.con.sql(engine.compile(table)).to_arrow_reader(100_000)


def write_table(table: ibis.Table, path: Path) -> None:
    """Write a table whole as Parquet or CSV, batch by batch; the engine itself may not write, so Arrow does."""
    import pyarrow.csv
    import pyarrow.parquet

    from features.files import written_whole

    rows = batches(table)
    write = pyarrow.csv.CSVWriter if path.suffix == ".csv" else pyarrow.parquet.ParquetWriter
    with written_whole(path) as aside, write(aside, rows.schema) as file:
        for batch in rows:
            file.write_batch(batch)


def write_tables(tables: "Iterable[pa.Table]", path: Path) -> None:
    """Write tables of the same columns below each other as one Parquet file, whole; each is computed only when its turn comes."""
    import pyarrow
    import pyarrow.parquet

    from features.files import written_whole

    with written_whole(path) as aside:
        writer = None
        for rows in tables:
            # Numbers of many kinds gain little from a dictionary, and it costs half of the time to write.
            texts = [field.name for field in rows.schema if pyarrow.types.is_string(field.type)]
            writer = writer or pyarrow.parquet.ParquetWriter(aside, rows.schema, use_dictionary=texts)
            writer.write_table(rows.cast(writer.schema))
        if writer:
            writer.close()


def local_to_utc(at: ibis.Value, zone: str) -> ibis.Value:
    """Naive local time -> naive UTC."""
    return _show_in_zone("UTC", _read_in_zone(zone, at))


def utc_to_local(at: ibis.Value, zone: str) -> ibis.Value:
    """Naive UTC -> naive local time."""
    return _show_in_zone(zone, _read_in_zone("UTC", at))
