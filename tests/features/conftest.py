"""The door of the features room, called in the process."""

import sys

import pytest

from features.__main__ import main
from features.errors import run_door


@pytest.fixture
def features_door(monkeypatch, capsys):
    """A function: words after `python -m features` -> (exit code, standard output, standard error)."""

    def called(*words):
        monkeypatch.setattr(sys, "argv", ["features", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "250")
        code = 0
        try:
            run_door(main)
        except SystemExit as error:
            code = error.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return called
