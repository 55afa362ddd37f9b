"""Tables as the doors print and write them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

_SHARES = ("share", "drop_off", "converted", "p_", "difference")
_ENDS = ("difference", "share")
_FINE = ("per_1000", "lift", "effect")
_MOMENTS = ("since", "as_of")
_NAMES = ("tag", "other")
# A column of nothing else is left out.
_MAY_SAY_NOTHING, _SAY_NOTHING = ("segment", "device", "remark"), ("not told", "all", "")


def pictured(frame: "pd.DataFrame", title: str, columns: tuple[str, ...], most: int) -> "Table":
    """A table for the screen: its first rows, how many more there are, and why cells are empty. An interval stands beside its number, a moment of all rows in the title."""
    from rich.table import Table

    same = tuple(column for column in _MOMENTS if column in columns and column in frame and frame[column].nunique() == 1)
    table = Table(title=title + (f", {' to '.join(_said(column, frame[column].iloc[0]) for column in same)} UTC" if same else ""))
    columns = tuple(column for column in columns if column not in same)
    columns = tuple(column for column in columns if column in frame and not (column in _MAY_SAY_NOTHING and frame[column].dropna().isin(_SAY_NOTHING).all()))
    ends = {column: (f"{column}_low", f"{column}_high") for column in columns if {f"{column}_low", f"{column}_high"} <= set(columns)}
    shown = tuple(column for column in columns if not any(column in pair for pair in ends.values()))
    for column in shown:
        is_text = frame[column].dtype == object or str(frame[column].dtype).startswith("str")
        said = column.replace("_", " ") + (" (UTC)" if frame[column].dtype.kind == "M" else "")
        # Names are typed again: none is cut.
        table.add_column(said, justify="left" if is_text else "right", overflow="fold", no_wrap=column in _NAMES)
    rows = frame[list(columns)].head(most)
    for row in rows.to_dict("records"):
        table.add_row(*(_said(column, row[column]) + _between(row, ends.get(column)) for column in shown))
    notes = [f"{len(frame) - most:,} more rows with --out"] if len(frame) > most else []
    if any(rows[column].isna().any() for column in columns if column == "n" or column.startswith("n_")):
        notes.append("empty: fewer than 10 people, or a number that would tell such a one")
    table.caption = "; ".join(notes) or None
    return table


def _between(row: dict[Any, Any], ends: tuple[str, str] | None) -> str:
    low, high = (_said(end, row[end]) for end in ends) if ends else ("", "")
    return f" [{low.removesuffix(' %')}, {high.removesuffix(' %')}]" if low and high else ""


def _said(column: str, value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, str):
        return value
    if column in ("p", "q", "p_holm"):
        return f"{value:.3f}"
    if column.startswith(_SHARES) or column.endswith(_ENDS):
        return f"{100 * value:.1f} %"
    if hasattr(value, "strftime"):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:,.2f}" if any(word in column for word in _FINE) else f"{value:,.3g}" if abs(value) < 1 and value else f"{value:,.0f}"


def write_frames(tables: "Mapping[str, pd.DataFrame]", folder: Path) -> None:
    """Each table as NAME.parquet, whole."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    from features.files import written_whole

    for name, frame in tables.items():
        with written_whole(folder / f"{name}.parquet") as aside:
            parquet.write_table(pa.Table.from_pandas(frame, preserve_index=False), aside)
