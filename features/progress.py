"""What a person sees while long work goes on: a line for each step, with its time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress


class Steps:
    """Show steps as they run and remember how long each took.

    `seconds` maps a step's key to seconds; steps of the same key add up.
    """

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, key: str, says: str, bars: Progress | None = None) -> Iterator[None]:
        """Run one step, with its bars or a spinner on a terminal and a plain line elsewhere."""
        begin = time.perf_counter()
        if self.console.is_terminal:
            with bars or self.console.status(says):
                yield
        else:
            self.console.print(f"… {says}")
            yield
        took = time.perf_counter() - begin
        self.seconds[key] = round(self.seconds.get(key, 0.0) + took, 2)
        self.console.print(f"[green]✓[/green] {says} [dim]{took:.1f} s[/dim]")

    def say(self, text: str) -> None:
        """A plain line."""
        self.console.print(text, soft_wrap=True)
