"""Errors and warnings of the package, and the one sentence in which bad input is refused."""

from __future__ import annotations


class SigmoeError(Exception):
    """Base class of every error that sigmoe raises on purpose."""


class InputError(SigmoeError, ValueError):
    """A value given by the user breaks a stated rule."""


class StoreError(SigmoeError, OSError):
    """A results folder cannot be used as asked."""


class SigmoeWarning(UserWarning):
    """Something that the user should know before relying on a result."""


def invalid(parameter: str, rule: str, value: object, remedy: str) -> InputError:
    """Return the error for a bad value: parameter, rule, value received and remedy in one line.

    Parameters
    ----------
    parameter : str
        Name of the argument as the user wrote it.
    rule : str
        What the value must be; completes "must be".
    value : object
        The value received; strings are quoted, long representations are shortened.
    remedy : str
        What to do about it, as a full sentence.

    Returns
    -------
    InputError
        To be raised by the caller.

    Examples
    --------
    >>> print(invalid("n", "an integer >= 1", 0, "Ask for at least one sample."))
    n must be an integer >= 1; got 0. Ask for at least one sample.
    """
    return InputError(f"{parameter} must be {rule}; got {_shorten(value)}. {remedy}")


def _shorten(value: object, limit: int = 80) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."
