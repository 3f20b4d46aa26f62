"""Errors that are the user's to mend. Each says what is wrong, where, and what to do; the CLI prints it in one line."""

from __future__ import annotations


class VmatteError(Exception):
    """The root. `exit_code` is what the command line ends with."""

    exit_code = 2


EXIT_SOME_FAILED = 5
"""Some jobs, clips or pictures of several are done, others have failed."""
EXIT_ALL_FAILED = 6
"""None of several is done."""


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


class PicturesError(VmatteError):
    """Of several pictures some, or all, could not be made; each has told why."""

    def __init__(self, failed: int, pictures: int) -> None:
        super().__init__(f"{failed} of {pictures} pictures could not be made")
        self.failed, self.pictures = failed, pictures

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        return EXIT_SOME_FAILED if self.failed < self.pictures else EXIT_ALL_FAILED

    def __reduce__(self) -> tuple[type[PicturesError], tuple[int, int]]:
        return PicturesError, (self.failed, self.pictures)
