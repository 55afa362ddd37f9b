"""The profile on a terminal: the same tables, pictures as rows of block characters."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from features.data_profile.grids import Bars, Cell, Grid, Share, Told

BLOCKS, UNTOLD = "▁▂▃▄▅▆▇█", "·"
# Where nobody watches, lines are this long at least, so that tables are not cut.
PLAIN_WIDTH = 140


def show(told: Told) -> None:
    """Print the profile."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, PLAIN_WIDTH)
    console.print()
    console.print(Text(told.title, "bold"))
    for line in (told.simulated, *told.leads):
        if line:
            console.print(Text(line, "dim"))
    console.print(Text("  ".join(f"{value} {name}" for name, value in told.facts), "bold cyan"))
    console.print(Text(told.look_title, "bold"))
    for line in told.looks:
        console.print(Text(f"  • {line}"))
    for chapter in told.chapters:
        console.print()
        console.rule(Text(chapter.title, "bold"), align="left")
        console.print(Text(chapter.lead, "dim"))
        for grid in chapter.grids:
            if grid.on_screen:
                _show(grid, console)


def _show(grid: Grid, console: Console) -> None:
    if grid.title:
        console.print(Text(grid.title, "bold"))
    if grid.lead:
        console.print(Text(grid.lead, "dim"))
    if grid.rows:
        console.print(_table(grid))
    for note in grid.notes:
        console.print(Text(note, "dim"))


def _table(grid: Grid) -> Table:
    table = Table(box=SIMPLE_HEAD, show_header=bool(grid.header), pad_edge=False, padding=(0, 1))
    for i in range(len(grid.rows[0])):
        table.add_column(grid.header[i] if grid.header else "", justify="right" if i in grid.numbers else "left", overflow="fold", no_wrap=i in grid.numbers)
    for row in grid.rows[-grid.most_on_screen:]:
        table.add_row(*map(_cell, row))
    return table


def _cell(cell: Cell) -> Text:
    if isinstance(cell, Share):
        return Text(cell.text)
    if isinstance(cell, str):
        return Text(cell)
    return _blocks(cell)


def _blocks(bars: Bars) -> Text:
    most = max((value for value in bars.values if value), default=1.0)
    text = Text()
    for i, value in enumerate(bars.values):
        block = UNTOLD if value is None else BLOCKS[min(int(value / most * len(BLOCKS)), len(BLOCKS) - 1)] if value else " "
        text.append(block, "red" if i in bars.marked else "")
    return text
