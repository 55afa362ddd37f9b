"""Times of the command line."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from features.errors import UsageError

if TYPE_CHECKING:
    from features.dataset import Dataset


def moment_of(text: str, zone: str, option: str = "--as-of") -> datetime:
    """A time of the command line as naive UTC; without an offset it is local. Raises: UsageError for a text that is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} needs a time such as 2017-10-01 or 2017-10-01T05:00:00Z, found {text!r}; correct it") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC).replace(tzinfo=None)


def observed_moment(text: str, dataset: "Dataset") -> datetime:
    """A moment of the command line that the data reach. Raises: UsageError for a text that is none, or a later moment."""
    as_of = moment_of(text, dataset.zone)
    if as_of > dataset.observed_until:
        raise UsageError(f"--as-of must not be after the end of the data ({dataset.observed_until} UTC), found {text}; choose an earlier moment")
    return as_of
