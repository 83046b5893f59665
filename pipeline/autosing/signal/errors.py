"""The errors a user can meet; every message says which thing, what is wrong and what to do.

AutosingError
|- UsageError        the command or a setting is wrong (exit code 2)
|- DataError         stored data is missing, foreign or outdated (exit code 1)
|  |- MissingColumn
|  |- SchemaMismatch
|  `- StaleColumn
|- CheckpointError   a model directory or a training state can't be used (exit code 1)
`- RowError          one song has no value; it is recorded in the song's row and the run goes on
"""


class AutosingError(Exception):
    """The root of all errors that are told to the user without a traceback."""

    exit_code = 1


class UsageError(AutosingError):
    """A command, an option or a setting is wrong; nothing was started."""

    exit_code = 2


class DataError(AutosingError):
    """Stored data cannot be used as asked."""


class MissingColumn(DataError):
    """A column that is needed does not exist."""


class SchemaMismatch(DataError):
    """A file's columns are not of the declared types, or belong to another index."""


class StaleColumn(DataError):
    """A column was computed from inputs or settings that have changed since."""


class CheckpointError(AutosingError):
    """A model directory or a training state is foreign, damaged or does not fit."""


class RowError(AutosingError):
    """This song has no value in this column; recorded in its row, never fatal."""
