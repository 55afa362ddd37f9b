"""Data as doors begin with them: read, held against the contract, and what was set aside said."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from features.dataset import Dataset
    from features.progress import Steps


def read_held(data: str, steps: "Steps") -> "Dataset":
    """A dataset by its name or folder; what went to quarantine is said, by reason. Raises: ContractError, UsageError where it cannot be read or breaks a promise."""
    from rich.markup import escape

    from features.contracts import hold
    from features.sources import open_dataset

    with steps.step("read", f"reading {data}"):
        dataset, findings = hold(open_dataset(data))
    for finding in findings:
        if finding.level == "quarantine":
            steps.say(escape(f"quarantine: {finding.sentence()}"))
    return dataset
