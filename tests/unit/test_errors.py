"""The errors: one root, and each says what to do next."""

import inspect
import pickle

import pytest

import hansard
from hansard import errors

EVERY_ERROR = [getattr(errors, name) for name in errors.__all__]
IMPERATIVES = {"Catch", "Correct", "Install", "Keep", "Read", "Settle", "Start"}


def test_the_list_of_errors_is_complete() -> None:
    defined = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    assert defined == set(errors.__all__)


@pytest.mark.parametrize("error", EVERY_ERROR)
def test_every_error_has_the_one_root(error: type[Exception]) -> None:
    assert issubclass(error, errors.AuditLogError)


@pytest.mark.parametrize("error", EVERY_ERROR)
def test_every_error_is_had_from_the_package(error: type[Exception]) -> None:
    assert getattr(hansard, error.__name__) is error
    assert error.__name__ in hansard.__all__


@pytest.mark.parametrize("error", EVERY_ERROR)
def test_every_docstring_ends_with_what_to_do_next(error: type[Exception]) -> None:
    what, _, advice = " ".join((error.__doc__ or "").split()).rpartition(". ")
    assert what, "one sentence is not enough: what happened, then what to do"
    assert advice.split()[0] in IMPERATIVES
    assert advice.endswith(".")


def test_an_invalid_event_is_a_value_error_too() -> None:
    assert issubclass(errors.InvalidEvent, ValueError)


@pytest.mark.parametrize("error", EVERY_ERROR)
def test_every_error_travels_between_processes(error: type[Exception]) -> None:
    copy = pickle.loads(pickle.dumps(error("why")))
    assert type(copy) is error
    assert str(copy) == "why"
