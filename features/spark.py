"""Spark: where the data outgrow a machine, the same expressions and the same windows run on its workers.

A dataset is read and held against its contract by DuckDB (which keeps what memory does not hold on the disk), and its clean tables move. From then on Ibis
speaks to Spark; the features of events are made by the NumPy code of windows.py, part of the persons by part, on the workers. The driver sees counts, the
vocabulary, and the rows of a finished table as they are written, some at a time.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis.expr.types as ir
from ibis.util import gen_name

from features.dataset import Dataset
from features.engine import write_table
from features.errors import UsageError
from features.history import Timelines

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

# Versions of Java that Spark 4.0 runs on.
JAVA = (17, 21)
# Without a cluster: so many workers, each a process of its own, share the processors and, for their Java part, a quarter of the memory.
WORKERS = 2
# The setting that names the session's own folder. Spark's own settings of folders it rewrites as addresses (file:/tmp/...), which are no paths.
FOLDER = "spark.likeness.folder"


def require_spark() -> None:
    """Raises: UsageError where pyspark or a Java that it runs on is not there."""
    if find_spec("pyspark") is None:
        raise UsageError("NO_PYSPARK: --engine spark needs the package pyspark, found none; install requirements-extra.lock (make check does), or use --engine duckdb")
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    step = "on Debian: apt-get install openjdk-17-jre-headless; then set JAVA_HOME, or use --engine duckdb"
    if java is None or not Path(java).exists():
        where = f"none in JAVA_HOME ({home})" if home else "no java on the PATH and no JAVA_HOME"
        raise UsageError(f"NO_JAVA: --engine spark needs Java {JAVA[0]} or {JAVA[1]}, found {where}; {step}")
    told = subprocess.run([java, "-version"], capture_output=True, text=True).stderr
    words = told.split('"')
    version = words[1] if len(words) > 2 else "an unknown version"
    if version.split(".")[0] not in {str(number) for number in JAVA}:
        raise UsageError(f"NO_JAVA: --engine spark needs Java {JAVA[0]} or {JAVA[1]}, found {version} in {java}; {step}")


@contextmanager
def on_spark(dataset: Dataset) -> Iterator[Dataset]:
    """The same dataset with its tables on Spark, until the block ends.

    The master is SPARK_MASTER's or that of spark-defaults.conf, as usual; without either, workers of this machine. On a cluster, TMPDIR must be a folder that
    every machine sees, and the workers need the same Python packages; the code of this room is sent along.
    Raises: UsageError where Spark cannot be started.
    """
    import ibis

    with tempfile.TemporaryDirectory(prefix="likeness-spark-", ignore_cleanup_errors=True) as folder:
        work = Path(folder)
        for name, table in dataset.tables.items():
            write_table(table, work / "clean" / f"{name}.parquet")
        # The tables are Spark's now; the memory that they took here is free again.
        dataset.engine.disconnect()
        session = _session(work)
        try:
            engine = ibis.pyspark.connect(session)
            tables = {name: engine.read_parquet(work / "clean" / f"{name}.parquet", table_name=f"clean_{name}") for name in dataset.tables}
            yield replace(dataset, engine=engine, tables=tables)
        finally:
            session.stop()


def _session(work: Path) -> "SparkSession":
    from pyspark.sql import SparkSession

    settings = {
        "spark.app.name": "likeness", "spark.ui.showConsoleProgress": "false", FOLDER: str(work), "spark.sql.warehouse.dir": str(work / "tables"),
        "spark.sql.session.timeZone": "UTC", "spark.sql.caseSensitive": "true", "spark.sql.execution.arrow.pyspark.enabled": "true",
        # Naive times are read as what they are, UTC, so that Ibis's one type of time is Spark's one.
        "spark.sql.parquet.inferTimestampNTZ.enabled": "false"}
    if master := _master():
        settings["spark.master"] = master
    else:
        settings |= _own_workers(work)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder
    for name, value in settings.items():
        builder = builder.config(name, value)
    log = work / "spark.log"
    try:
        with _said_to(log):
            session = builder.getOrCreate()
    except Exception as error:  # Py4J raises what it likes
        said = log.read_text(errors="replace").strip().splitlines()
        last = (said or [str(error)])[-1]
        raise UsageError(f"SPARK_FAILED: --engine spark must be able to start Spark, found: {last}; see SPARK_MASTER, JAVA_HOME and spark-defaults.conf") from None
    send_room(session, Path(__file__).parent)
    return session


def send_room(session: "SparkSession", room: Path) -> None:
    """Send a room's code to the workers. The archive stays until the session ends: a worker that begins later fetches it then."""
    archive = Path(str(session.conf.get(FOLDER))) / room.name
    session.sparkContext.addPyFile(shutil.make_archive(str(archive), "zip", room.parent, room.name))


def _master() -> str:
    """The master that SPARK_MASTER or spark-defaults.conf name; empty for none."""
    if master := os.environ.get("SPARK_MASTER"):
        return master
    conf = os.environ.get("SPARK_CONF_DIR") or (str(Path(os.environ["SPARK_HOME"]) / "conf") if "SPARK_HOME" in os.environ else "")
    with suppress(OSError):
        for line in (Path(conf) / "spark-defaults.conf").read_text(encoding="utf-8").splitlines() if conf else ():
            words = line.replace("=", " ").split()
            if len(words) > 1 and words[0] == "spark.master":
                return words[1]
    return ""


def _own_workers(work: Path) -> dict[str, str]:
    """Settings for workers of this machine that leave nothing behind."""
    import pyspark

    # Workers write their logs below SPARK_HOME: a home of links keeps that out of the installed package.
    home = work / "home"
    home.mkdir()
    for path in Path(pyspark.__file__).parent.iterdir():
        (home / path.name).symlink_to(path)
    os.environ["SPARK_HOME"] = str(home)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    cores = max((os.cpu_count() or 1) // WORKERS, 1)
    memory = max(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 // 4 // WORKERS, 1024)
    return {
        "spark.master": f"local-cluster[{WORKERS},{cores},{memory}]", "spark.executor.memory": f"{memory}m", "spark.ui.enabled": "false",
        "spark.local.dir": str(work / "shuffled"), "spark.sql.shuffle.partitions": str(2 * cores * WORKERS)}


@contextmanager
def _said_to(log: Path) -> Iterator[None]:
    """What a process started here says on its way goes to a file."""
    kept = os.dup(2)
    try:
        with open(log, "wb") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def spread(past: Timelines, portray: "Callable[[pa.Table, pa.Table], pa.Table]", most_rows: int) -> ir.Table:
    """What `portray` makes of cells and their events in the order of time, in parts of about so many events, each on one worker; written by the workers."""
    from pyspark.sql import functions
    from pyspark.sql.pandas.types import from_arrow_schema

    engine = past.events.get_backend()
    # Written first: what two frames have in common Spark cannot tell apart.
    cells, events = (frame_of(engine.create_table(gen_name("past"), table)) for table in (past.cells, past.events))
    session = events.sparkSession
    n_parts = max(4 * session.sparkContext.defaultParallelism, events.count() // most_rows + 1)
    asked, told = (frame.withColumn("part", functions.col("person") % n_parts).repartition(n_parts, "part").groupBy("part") for frame in (cells, events))
    schema = _portrayed(portray, *(frame.limit(0).toArrow() for frame in (cells, events))).schema
    # Spark's times are instants.
    instants = from_arrow_schema(_zoned(schema))

    def of_part(asked: "pa.Table", told: "pa.Table") -> "pa.Table":
        return _portrayed(portray, asked, told).cast(_zoned(schema))

    name = gen_name("snapshots")
    asked.cogroup(told).applyInArrow(of_part, instants).write.saveAsTable(name)
    return engine.table(name)


def _portrayed(portray: "Callable[[pa.Table, pa.Table], pa.Table]", asked: "pa.Table", told: "pa.Table") -> "pa.Table":
    ordered = told.sort_by([(name, "ascending") for name in ("line", "event_at", "event_id")])
    return portray(_without_zone(asked), ordered.drop_columns([name for name in ("event_at", "event_id", "part") if name in ordered.column_names]))


def batches_of(table: ir.Table) -> "pa.RecordBatchReader":
    """A table's rows in its order as Arrow batches; a partition is fetched when its turn comes."""
    return frame_batches(frame_of(table))


def frame_batches(frame: "DataFrame") -> "pa.RecordBatchReader":
    """The same of a frame of Spark's."""
    import pyarrow as pa

    schema = _without_zone(frame.limit(0).toArrow()).schema

    def fetched() -> "Iterator[pa.RecordBatch]":
        for row in frame.mapInArrow(_sealed, "sealed binary").toLocalIterator(prefetchPartitions=True):
            yield from _without_zone(pa.ipc.open_stream(row.sealed).read_all()).to_batches()

    return pa.RecordBatchReader.from_batches(schema, fetched())


def _sealed(batches: "Iterable[pa.RecordBatch]") -> "Iterable[pa.RecordBatch]":
    """Each batch as the bytes of one value: Spark hands out values a partition at a time, but Arrow only all at once."""
    import pyarrow as pa

    for batch in batches:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        yield pa.record_batch({"sealed": pa.array([sink.getvalue().to_pybytes()], pa.binary())})


def frame_of(table: ir.Table) -> "DataFrame":
    """An expression as a frame of Spark's own."""
    engine: Any = table.get_backend()
    # Asked for no row, Ibis makes the tables of memory known to the engine.
    table.limit(0).to_pyarrow()
    frame: DataFrame = engine._session.sql(engine.compile(table))
    return frame


def _without_zone(table: "pa.Table") -> "pa.Table":
    """Instants as naive UTC, as everywhere."""
    import pyarrow as pa

    return table.cast(pa.schema([field.with_type(pa.timestamp("us")) if pa.types.is_timestamp(field.type) else field for field in table.schema]))


def _zoned(schema: "pa.Schema") -> "pa.Schema":
    import pyarrow as pa

    return pa.schema([field.with_type(pa.timestamp("us", "UTC")) if pa.types.is_timestamp(field.type) else field for field in schema])
