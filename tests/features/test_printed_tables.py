"""Tables for the screen: an interval beside its number, columns that say nothing left out, and why a cell is empty."""

import pandas as pd
from rich.console import Console

from features.doors.tables import pictured


def printed(frame: pd.DataFrame, columns: tuple[str, ...], most: int = 5) -> str:
    console = Console(width=160)
    with console.capture() as said:
        console.print(pictured(frame, "T", columns, most))
    return " ".join(said.get().split())


def test_an_interval_stands_beside_its_number_and_not_where_there_is_none():
    frame = pd.DataFrame({"drop_off": [.5, None], "drop_off_low": [.4, None], "drop_off_high": [.625, None], "excess_per_1000": [1.5, 2], "low": [1, 2]})
    said = printed(frame, ("drop_off", "drop_off_low", "drop_off_high", "excess_per_1000", "low"))
    assert "50.0 % [40.0, 62.5]" in said
    assert said.count("[") == 1
    assert "drop off low" not in said
    assert " low " in said


def test_a_column_that_says_nothing_is_left_out():
    frame = pd.DataFrame({"channel": ["web", "app"], "device": ["not told", "all"], "segment": [None, None]})
    assert "device" not in printed(frame, ("channel", "device", "segment"))
    assert "device" in printed(frame.assign(device=["pc", "all"]), ("channel", "device"))


def test_a_name_is_never_cut():
    frame = pd.DataFrame({"tag": ["a_name_that_is_long_" * 3]} | {f"other_column_{i}": ["text"] for i in range(12)})
    said = printed(frame, tuple(frame))
    assert "…" not in said


def test_why_a_cell_is_empty_and_that_there_is_more_is_said_where_it_is_so():
    frame = pd.DataFrame({"n_people": [20.0, None, 30.0], "share": [.1, None, .2]})
    assert "empty: fewer than 10 people" in printed(frame, ("n_people", "share"))
    assert "1 more rows with --out; empty" in printed(frame, ("n_people", "share"), 2)
    assert "empty" not in printed(frame.dropna(), ("n_people", "share"))
