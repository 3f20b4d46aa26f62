"""Errors that are the user's to mend. Each says what is wrong, where, and what to do; the CLI prints it in one line."""

from __future__ import annotations


class VmatteError(Exception):
    """The root. `exit_code` is what the command line ends with."""

    exit_code = 2


class JobError(VmatteError):
    """The job asks for something that cannot be done."""


class JobFileError(JobError):
    """A job file, or what `--set` changes in it, is wrong: `problems` has every mistake, in the file's order.

    Each is a line: `FILE:LINE:COLUMN: what is wrong; what to do`.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    def __reduce__(self) -> tuple[type[JobFileError], tuple[tuple[str, ...]]]:
        return JobFileError, (self.problems,)


class SourceError(VmatteError):
    """A clip, a plate or an audio track cannot be read."""


class ModelError(VmatteError):
    """A network's weights cannot be found, fetched or run."""


class KeptMatteError(VmatteError):
    """A matte that was kept of an earlier render is damaged or gone; it can be made again."""


class EncodeError(VmatteError):
    """An output cannot be written, or is not what was promised when it is opened again."""


class BatchError(VmatteError):
    """A batch cannot be run, or cannot go on."""
