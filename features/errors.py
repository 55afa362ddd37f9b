"""What can go wrong that is not a bug, and the one place where a door turns it into a message and an exit code."""

import errno
import os
import sys
from collections.abc import Callable, Sequence


class LikenessError(Exception):
    """Carries a message for people: what was required, what was found, the first offenders, the next step."""

    exit_code = 2


class UsageError(LikenessError, ValueError):
    """The caller asked for something that cannot be done."""


class ContractError(LikenessError):
    """The data break a promise."""


class GateFailed(LikenessError):
    """A model is not fit to be served."""

    exit_code = 3


def first_few(values: Sequence[object], most: int = 3) -> str:
    """Name the first offenders and say how many more there are."""
    shown = ", ".join(str(value) for value in values[:most])
    return shown + (f" and {len(values) - most} more" if len(values) > most else "")


def run_door(main: Callable[[], None]) -> None:
    """Run a room's door; exit 0 done, 2 the caller or the data are wrong, 3 a gate refused. A bug keeps its trace (exit 1)."""
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output (head, less) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except LikenessError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        # A full disk, a folder that may not be written: nothing is half-written, and no trace would help.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        print(f"error: a file must be written, found {error.strerror} at {error.filename or 'the run folder'}; make room or choose another folder", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        sys.exit(130)
