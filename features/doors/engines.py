"""Which engine counts: the option that commands share."""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from features.dataset import Dataset
    from features.progress import Steps


def add_engine(parser: argparse.ArgumentParser) -> None:
    """The words of the option."""
    parser.add_argument(
        "--engine", choices=("duckdb", "spark"), default="duckdb",
        help="what counts: DuckDB in this process, or Spark's workers, those of SPARK_MASTER or spark-defaults.conf, else of this machine (duckdb)")


def require_engine(engine: str) -> None:
    """Refuse before anything is read. Raises: UsageError where the engine that was asked for is not there."""
    if engine == "spark":
        from features.spark import require_spark

        require_spark()


@contextmanager
def moved(dataset: "Dataset", engine: str, steps: "Steps") -> "Iterator[Dataset]":
    """The dataset on the engine that was asked for. Raises: UsageError where that cannot be started."""
    with ExitStack() as until_done:
        if engine == "spark":
            from features.spark import on_spark

            with steps.step("spark", "starting Spark"):
                dataset = until_done.enter_context(on_spark(dataset))
        yield dataset
