"""Every error says a cause and a next step, and has an exit code of its own."""

from __future__ import annotations

import pickle

import pytest

from tinymlops import errors
from tinymlops.errors import TinyMLOpsError, UnknownNameError


def tree(root: type[TinyMLOpsError]) -> list[type[TinyMLOpsError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in tree(child))]


def test_a_message_is_the_cause_and_what_to_do() -> None:
    assert str(TinyMLOpsError("the disk is full", "free some space")) == "the disk is full: free some space."


def test_exit_codes_are_those_that_the_docstring_announces() -> None:
    for kind in tree(TinyMLOpsError):
        if kind.__module__ == errors.__name__ and kind is not TinyMLOpsError:
            line = next(line for line in (errors.__doc__ or "").splitlines() if f" {kind.__name__} " in line)
            assert f" {kind.exit_code} " in f"{line} ", kind


def test_no_near_name_means_all_names() -> None:
    assert "choose one of a, b" in str(UnknownNameError("letter", "zzzzzz", ["b", "a"]))


@pytest.mark.parametrize("error", [TinyMLOpsError("a", "b"), UnknownNameError("recipe", "in8", ["int8"])])
def test_errors_cross_process_boundaries_unchanged(error: TinyMLOpsError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
