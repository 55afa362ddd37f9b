"""Which features: named by name (glob), by family, or by what they are. Used by dataset.toml, by the doors, and by training."""

import difflib
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from features.errors import ContractError
from features.feature import Feature

FAMILY = "family:"
# What a feature is, for those who leave out or take in all that are so.
WORDS: dict[str, Callable[[Feature], bool]] = {
    "sensitive": lambda f: f.is_sensitive, "actionable": lambda f: f.is_actionable, "treatment": lambda f: f.is_treatment, "undated": lambda f: f.is_undated,
    "category": lambda f: f.is_category}


def chosen(features: Sequence[Feature], include: Sequence[str], exclude: Sequence[str]) -> tuple[Feature, ...]:
    """The features that some word of `include` means (all where there is none), but those that a word of `exclude` means.

    A word is a name or a pattern of names such as spend_*, family:NAME, or sensitive, actionable, treatment, undated, category.
    Raises: ContractError for a word that means none, with the nearest name, and where nothing is left.
    """
    taken, left = (meant(features, words) for words in (include, exclude))
    found = tuple(feature for feature in features if (not include or feature.name in taken) and feature.name not in left)
    if not found:
        raise ContractError(f"include and exclude must leave some feature, found none of {len(features)} left by include {list(include)}, exclude {list(exclude)}; name fewer")
    return found


def meant(features: Sequence[Feature], words: Sequence[str]) -> set[str]:
    """The names of the features that these words mean. Raises: ContractError for a word that means none."""
    found = set()
    for word in words:
        these = {feature.name for feature in features if _is_meant(feature, word)}
        if not these:
            known = [*WORDS, *(FAMILY + family for family in dict.fromkeys(feature.family for feature in features)), *(feature.name for feature in features)]
            near = difflib.get_close_matches(word, known, 1, 0)
            raise ContractError(f"include and exclude must mean some feature, found {word!r}, which means none; the nearest is {near[0] if near else 'none'}; correct it")
        found |= these
    return found


def _is_meant(feature: Feature, word: str) -> bool:
    if word.startswith(FAMILY):
        return feature.family == word.removeprefix(FAMILY)
    return fnmatchcase(feature.name, word) or (word in WORDS and WORDS[word](feature))
