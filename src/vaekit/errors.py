"""Errors a user can mend: one line that says what, where and what to do; the command line turns each into an exit status."""


class VaekitError(Exception):
    """Base of every error vaekit raises on purpose; `exit_code` is the command line's exit status."""

    exit_code = 1


class UsageError(VaekitError, ValueError):
    """An argument, option or combination of parts that cannot be right."""

    exit_code = 2


class DataError(VaekitError, ValueError):
    """Data that are absent, unreadable, or do not fit the model."""

    exit_code = 3


class RunError(VaekitError):
    """A run folder or weights that are absent, damaged, or in the way."""

    exit_code = 4


class TrainingError(VaekitError, ArithmeticError):
    """Training that cannot go on: a term of the loss is not finite."""

    exit_code = 5


class StorageError(VaekitError):
    """A file that could not be written: disk full, no permission."""

    exit_code = 6
