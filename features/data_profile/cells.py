"""Small groups: what is said of fewer than ten customers could point at one of them."""

from collections.abc import Sequence

SMALLEST_GROUP = 10


def is_small(n: int) -> bool:
    """Whether a group is too small to be told; nobody is no group."""
    return 0 < n < SMALLEST_GROUP


def hidden(groups: Sequence[int]) -> list[bool]:
    """Which of the groups that make up a total are not told: the small ones, and where that is one alone the smallest of the others, since the total would give it away."""
    out = [is_small(n) for n in groups]
    others = [i for i, n in enumerate(groups) if n and not out[i]]
    if sum(out) == 1 and others:
        out[min(others, key=lambda i: groups[i])] = True
    return out
