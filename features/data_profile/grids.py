"""What a reader meets, whatever the medium: chapters of tables with small pictures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bars:
    """A small picture of numbers in a row, None where one may not be told; the places in `marked` stand out. Ticks: under the first and the last."""

    values: tuple[float | None, ...]
    title: str
    ticks: tuple[str, str] = ("", "")
    marked: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Share:
    """A share and its text, with a bar where there is room."""

    share: float
    text: str


Cell = str | Bars | Share


@dataclass(frozen=True)
class Grid:
    """A table. `numbers` are the places of right-aligned columns; the cells of prose are sentences; a screen shows the last `most_on_screen` rows (all where that is 0)."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    lead: str = ""
    notes: tuple[str, ...] = ()
    numbers: frozenset[int] = frozenset()
    pictures: tuple[Bars, ...] = ()
    is_prose: bool = False
    on_screen: bool = True
    most_on_screen: int = 0


@dataclass(frozen=True)
class Chapter:
    """A chapter of the profile."""

    key: str
    title: str
    lead: str
    grids: tuple[Grid, ...]


@dataclass(frozen=True)
class Told:
    """The profile in one language: figures on top, what to look at first, and the chapters."""

    language: str
    title: str
    simulated: str
    leads: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    look_title: str
    looks: tuple[str, ...]
    chapters: tuple[Chapter, ...]
