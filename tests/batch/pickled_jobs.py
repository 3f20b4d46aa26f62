"""`vmatte batch` with job files that hold the entries themselves: what these tests ask does not hang on YAML.

Run as a program it is the command line.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import vmatte.jobfile
from vmatte.job import RenderJob, Runtime, make_job
from vmatte.jobfile import Entry


def entry(clip: Path, output: Path, *, where: str = "", runtime: Runtime | None = None, **how: Any) -> Entry:
    """A luma-key job; over navy, unless `how` says otherwise."""
    job: RenderJob = make_job(clip, output=output, **{"model": "luma-key", "background": "navy", **how})
    return Entry(job=job, runtime=runtime or Runtime(), where=where or f"jobs.yaml: {output.name}")


def write_jobs(path: Path, entries: Sequence[Entry]) -> Path:
    path.write_bytes(pickle.dumps(list(entries)))
    return path


def read_jobs(path: Path, settings: Sequence[str] = ()) -> list[Entry]:
    assert not settings
    entries: list[Entry] = pickle.loads(path.read_bytes())
    return entries


def start(*arguments: object) -> subprocess.Popen[str]:
    """`vmatte batch ARGUMENTS` in a process and a process group of its own."""
    command = [sys.executable, __file__, "batch", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


if __name__ == "__main__":
    vmatte.jobfile.read_jobs = read_jobs
    from vmatte import cli

    cli.main()
