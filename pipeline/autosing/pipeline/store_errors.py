"""What a store may answer in place of what was asked."""

import errno

from autosing.signal.errors import DataError


class StoreError(DataError, OSError):
    """An error of a store: an `OSError`, for who can repeat the work or do without, and a `DataError`, for a person."""

    ERRNO = errno.EIO

    def __init__(self, message: str) -> None:
        super().__init__(self.ERRNO, message)

    def __str__(self) -> str:
        return str(self.args[1])

    def __reduce__(self) -> tuple[type["StoreError"], tuple[str]]:
        return type(self), (str(self),)


class Unreachable(StoreError):
    """The store did not answer, or answered that it can't just now, however often it was asked."""


class Changed(Unreachable):
    """The object is another one than that which is being read."""


class Refused(StoreError):
    """The store does not allow it."""

    ERRNO = errno.EACCES
