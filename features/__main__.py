"""The door of the features room: python -m features COMMAND."""

import argparse

from features.alerts import door as alerts
from features.doors import build, check, describe, identity, link, simulate
from features.errors import run_door
from features.journeys import door as journeys
from features.segments import door as segments
from features.tags import door as tags


def main() -> None:
    """Parse the command line and do what it asks."""
    parser = argparse.ArgumentParser(
        prog="python -m features", description="Raw tables in; features at a moment in time out.",
        epilog="DATA is complete-journey (a real grocer, the default everywhere), demo-shop (simulated) or a folder of tables.")
    commands = parser.add_subparsers(dest="command", required=True)
    for command in (check, build, describe, identity, link, tags, segments, journeys, alerts, simulate):
        command.add(commands)
    given = parser.parse_args()
    given.do(given)


if __name__ == "__main__":
    run_door(main)
