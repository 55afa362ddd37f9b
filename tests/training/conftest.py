"""Fixtures of the training tests; the made-up table stands in made_up.py."""

import pytest
from made_up import AS_OFS, TASK, made_up

from training.folds import split


@pytest.fixture(scope="session")
def rows():
    return made_up()


@pytest.fixture(scope="session")
def folds():
    return split(AS_OFS, TASK)
