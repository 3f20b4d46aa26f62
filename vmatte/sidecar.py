"""The JSON file beside an output that says what it was made of, and how it was proven."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import av

from vmatte.canvas import Canvas
from vmatte.errors import JobError
from vmatte.job import RenderJob
from vmatte.outputs import Output
from vmatte.segment_folder import write_whole
from vmatte.version import __version__
from vmatte.video.verify import Verified

_MADE_BY = "vmatte"


@dataclass(frozen=True, slots=True)
class Making:
    """How a render made its outputs."""

    job: RenderJob
    """With its model settled."""
    inputs: Sequence[tuple[Path, str]]
    """What was read, the clip first, with the sha256 of its bytes."""
    canvas: Canvas
    licence: str
    weights_sha256: str | None
    frames: int
    lost: int


def sidecar_of(output: Path) -> Path:
    """Where the sidecar of an output lies; that of a folder beside it."""
    name = output.name
    if len(os.fsencode(name)) > _LONGEST:
        name = f"{name[:40]}~{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"
    return output.with_name(f"{name}.json")


_LONGEST = 200
"""Bytes of a name that more can be put behind: file systems take 255."""


def check_sidecar(output: Path, job: RenderJob, signer: Path | None, *, overwrite: bool) -> None:
    """JobError where something else has the sidecar's name: another output, a file that the job reads, a stranger's.

    An older sidecar goes with the output it was of.
    """
    path = sidecar_of(output)
    if any(_is_one_name(path, other.path) for other in job.outputs):
        raise JobError(
            f"{path} is an output, and {output.name}'s sidecar goes there; give another name, or --no-sidecar"
        )
    for name, read in {**job.files, "weights": job.weights, "signer": signer}.items():
        if read is not None and read.exists() and path.exists() and path.samefile(read):
            raise JobError(
                f"{path}, where {output.name}'s sidecar goes, is the {name} itself; give another name, or --no-sidecar"
            )
    if path.is_dir():
        raise JobError(f"{path}, where {output.name}'s sidecar goes, is a folder; give another name, or --no-sidecar")
    if path.exists() and not overwrite and not _is_sidecar(path, output):
        raise JobError(
            f"{path}, where {output.name}'s sidecar goes, is a file of another kind; give -y to overwrite it, "
            "another name, or --no-sidecar"
        )


def _is_one_name(path: Path, other: Path) -> bool:
    """Whether two files would be one; a link to either is not followed, for it is replaced."""
    return path.name == other.name and path.parent.resolve() == other.parent.resolve()


def remove_sidecar(output: Path) -> None:
    """Where one lies beside an output; a file of another kind stays. Raises OSError."""
    path = sidecar_of(output)
    if _is_sidecar(path, output):
        path.unlink()


def _is_sidecar(path: Path, output: Path) -> bool:
    try:
        found = json.loads(path.read_bytes())
        return bool(found["made_by"] == _MADE_BY and found["output"]["name"] == output.name)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def write_sidecar(output: Output, making: Making, sha256: str, verified: Verified) -> None:
    """Write it whole or not at all. Raises OSError.

    All but `created` follows from the job, the files it reads and the programs; no path has more than a file's name.
    """
    job, picture = making.job, making.canvas.clip_of(output)
    (clip, clip_sha256), *others = making.inputs
    color = picture.delivery.color
    record = {
        "made_by": _MADE_BY,
        "version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": {"name": clip.name, "sha256": clip_sha256},
        "other_inputs": [{"name": path.name, "sha256": digest} for path, digest in others],
        "model": {"name": job.model, "weights_sha256": making.weights_sha256, "licence": making.licence},
        "options": _options(job),
        "output": {
            "name": output.path.name,
            "sha256": sha256,
            "layer": output.layer,
            "encoding": output.encoding,
            "alpha": output.alpha_form,
            "frames": making.frames,
            "lost": making.lost,
            "duration_s": round(float(picture.duration), 6),
            "rate": str(picture.rate),
            "size": [picture.width, picture.height],
            "color": asdict(color),
        },
        "verified": asdict(verified),
        "software": {"av": av.__version__, **{name: _dotted(each) for name, each in av.library_versions.items()}},
    }
    write_whole(sidecar_of(output.path), json.dumps(record, indent=1) + "\n")


def _options(job: RenderJob) -> dict[str, object]:
    """The job in its own words, without what stands elsewhere."""
    named = job.relocated(lambda path: Path(path.name))
    return named.model_dump(mode="json", exclude={"clip", "outputs", "model"})


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
