"""python -m features simulate: a shop whose truth is known."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The words of the command."""
    simulate = commands.add_parser(
        "simulate", help="write a simulated shop whose truth is known",
        description="Writes a folder in the contract's form, with the truth under truth/ (people, moments, effects, identifiers, dirt). The same seed gives the same bytes.",
        epilog="example: python -m features simulate --customers 10000 --months 24 --seed 1 --out shop, then make run DATA=shop")
    simulate.add_argument("--customers", type=int, required=True, metavar="N", help="1,000 to 10 million")
    simulate.add_argument("--months", type=int, required=True, metavar="M", help="9 to 120, from January 2024 on")
    simulate.add_argument("--seed", type=int, required=True, metavar="S")
    simulate.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    simulate.add_argument("--dirt", nargs="+", default=[], metavar="NAME", help="what goes wrong in the source: all, or names such as duplicates or late=0.05")
    simulate.add_argument("--without", default="", metavar="DRIVER", help="leave out a planted driver: slow_payment, unanswered or pressure")
    simulate.set_defaults(do=_simulate)


def _simulate(given: argparse.Namespace) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from features.progress import Steps
    from features.shop.simulate import simulate
    from features.shop.world import World

    world = World().without(given.without) if given.without else World()
    steps = Steps()
    bars = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=steps.console)
    bar = bars.add_task("partitions", total=None)
    with steps.step("simulate", f"simulating {given.customers:,} customers over {given.months} months", bars):
        simulate(given.out, given.customers, given.months, given.seed, given.dirt, world, show=lambda done, of: bars.update(bar, completed=done, total=of))
    print(f"{given.out}: written, with its truth under {given.out / 'truth'}; next: make run DATA={given.out}")
