"""The whole profile of a dataset that was held against the contract."""

from dataclasses import dataclass

from features.data_profile.activity import Activity, activity
from features.data_profile.counted import counted
from features.data_profile.coverage import Coverage, coverage
from features.data_profile.distributions import Distributions, distributions
from features.data_profile.leaks import leaks, undated
from features.data_profile.supply import Supplies, supplies
from features.data_profile.suspects import PERSONAL, Suspect, suspects
from features.dataset import Dataset


@dataclass(frozen=True)
class DataProfile:
    """Everything that is told of a dataset; figures are whole, what is too small to be told is left out where it is written."""

    name: str
    currency: str
    zone: str
    is_simulated: bool
    coverage: Coverage
    distributions: Distributions
    activity: Activity
    suspects: tuple[Suspect, ...]
    supplies: Supplies


def profile_of(dataset: Dataset) -> DataProfile:
    """Count everything, in the engine.

    Raises: ContractError where no event is left.
    """
    events = counted(dataset)
    covered = coverage(dataset, events)
    odd = suspects(dataset, events, covered)
    untold = {(one.table, one.column) for one in odd if one.code in PERSONAL} | {("customers", attribute.name) for attribute in dataset.attributes if attribute.is_sensitive}
    acts = activity(dataset, events)
    odd += [*leaks(dataset, acts.tasks), *undated(dataset)]
    return DataProfile(
        dataset.name, dataset.currency, dataset.zone, dataset.is_simulated, covered, distributions(dataset, events, untold), acts, tuple(odd), supplies(dataset))
