"""What a batch would do: whether its jobs can be rendered, and what they cost, without rendering any."""

from __future__ import annotations

import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import ceil
from pathlib import Path
from typing import TypeVar

import torch

from vmatte.batch.run import groups
from vmatte.batch.status import Board
from vmatte.canvas import PlateShape, canvas_size, frame_rate, place_on
from vmatte.clip import ClipInfo
from vmatte.content_credentials import can_carry, check_signing
from vmatte.errors import JobError, VmatteError
from vmatte.job import RenderJob, Runtime
from vmatte.jobfile import Entry
from vmatte.masks import check_mask
from vmatte.models.catalogue import build_model
from vmatte.models.choice import Choice, choose
from vmatte.models.weights import in_cache
from vmatte.options import FileMask, FilePlate, NoSmoothing
from vmatte.outputs import LayerName
from vmatte.pipeline import smoothing_for
from vmatte.plates import check_plate
from vmatte.screens import check_clean_plate
from vmatte.segments import plan_segments
from vmatte.sidecar import check_sidecar
from vmatte.video.excerpt import excerpt
from vmatte.video.probe import probe
from vmatte.video.write import check_encoder
from vmatte.workdir import check_output

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a job cannot be rendered."""

    where: str
    output: str
    error: str


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What one job costs."""

    where: str
    output: str
    done: bool
    """By an earlier run: it costs nothing."""
    frames: int
    segments: int
    output_bytes: int
    seconds: float | None
    """On one worker; None where the network's weights are not here to be timed."""

    @property
    def disk_bytes(self) -> int:
        """What it needs while it is rendered: its segments, and the whole that they are joined to."""
        return 2 * self.output_bytes


@dataclass(frozen=True, slots=True)
class _Cost:
    """What an output takes, by its pixels. A foreground takes what a composite does."""

    cpu_ms_a_megapixel: float
    composite: float
    """Bytes a pixel."""
    alpha: float
    cutout: float | None = None

    def bytes_a_pixel(self, layer: LayerName) -> float:
        if layer == "cutout":
            assert self.cutout is not None
            return self.cutout
        return self.alpha if layer == "alpha" else self.composite


_COSTS = {
    "mp4": _Cost(50, composite=0.03, alpha=0.02),
    "h264-10bit": _Cost(55, composite=0.04, alpha=0.02),
    "hevc": _Cost(145, composite=0.03, alpha=0.02),
    "hevc-10bit": _Cost(175, composite=0.03, alpha=0.02),
    "av1": _Cost(85, composite=0.03, alpha=0.02),
    "av1-10bit": _Cost(115, composite=0.03, alpha=0.02),
    "h264-nvenc": _Cost(35, composite=0.06, alpha=0.04),
    "hevc-nvenc": _Cost(35, composite=0.05, alpha=0.03),
    "hevc-nvenc-10bit": _Cost(35, composite=0.05, alpha=0.03),
    "av1-nvenc": _Cost(35, composite=0.05, alpha=0.03),
    "prores4444": _Cost(60, composite=0.6, alpha=0.15, cutout=2.2),
    "prores4444xq": _Cost(65, composite=0.9, alpha=0.15, cutout=2.6),
    "prores422hq": _Cost(55, composite=0.5, alpha=0.15),
    "qtrle": _Cost(65, composite=2.1, alpha=0.4, cutout=1.2),
    "webm": _Cost(100, composite=0.02, alpha=0.2, cutout=0.3),
    "hevc-alpha": _Cost(35, composite=0.05, alpha=0.03, cutout=0.08),
    "stacked": _Cost(80, composite=0.03, alpha=0.02, cutout=0.03),
    "stacked-hevc": _Cost(180, composite=0.02, alpha=0.02, cutout=0.02),
    "ffv1": _Cost(60, composite=0.4, alpha=0.5, cutout=0.6),
    "png": _Cost(75, composite=1.2, alpha=0.2, cutout=1.6),
    "png16": _Cost(130, composite=2.8, alpha=0.7, cutout=3.2),
    "exr": _Cost(345, composite=3.0, alpha=0.8, cutout=3.0),
    "exr-float": _Cost(465, composite=8.0, alpha=3.5, cutout=8.0),
    "exr-display": _Cost(285, composite=2.6, alpha=0.8, cutout=3.0),
    "tiff": _Cost(125, composite=1.6, alpha=0.2, cutout=1.8),
    "tiff16": _Cost(170, composite=3.2, alpha=0.8, cutout=3.6),
    "webp": _Cost(200, composite=0.2, alpha=0.05, cutout=0.1),
    "apng": _Cost(400, composite=1.2, alpha=0.3, cutout=1.0),
    "gif": _Cost(150, composite=0.5, alpha=0.2, cutout=0.3),
}
"""Of outputs, by encoding: a whole render of the sample, verified and all, without network and smoothing, and the bytes
that it takes, doubled where they depend on the picture most (scripts/bench_encodings.py); of NVENC and VideoToolbox
estimated."""
_SMOOTHING_CPU_MS_A_MEGAPIXEL = 33.0
"""docs/performance.md."""
_STAGES_AT_ONCE = 2
"""Cores that a render's threads keep busy beside the network, if there are so many."""


def problems(entries: Sequence[Entry]) -> Iterator[Problem]:
    """All that is wrong with the jobs and can be seen before a frame is rendered."""
    seen = _Seen()
    for entry in entries:
        for error in _errors_of(entry, seen):
            yield Problem(entry.where, str(entry.job.output), " ".join(str(error).split()))


def plan(entries: Sequence[Entry], board: Board) -> Iterator[JobPlan]:
    """What each job costs. A job whose matte another one makes before it pays for no network.

    Raises VmatteError for a job that cannot be rendered.
    """
    seen = _Seen()
    makes_matte = {group[0] for group in groups(entries, range(len(entries)))}
    for number, (entry, status) in enumerate(zip(entries, board.jobs, strict=True)):
        clip, choice = seen.clip(entry.job), seen.choice(entry.job, entry.runtime)
        output = seen.output(entry.job)
        done = status.state == "skipped"
        seconds = seen.seconds(entry.job, clip, output, choice, mattes=number in makes_matte)
        yield JobPlan(
            where=entry.where,
            output=str(entry.job.output),
            done=done,
            frames=clip.frames,
            segments=len(plan_segments(clip.frames, entry.job.segment_frames, lead=0, tail=0)),
            output_bytes=0 if done else _output_bytes(entry.job, output),
            seconds=0.0 if done else seconds,
        )


def too_full(plans: Sequence[JobPlan]) -> Iterator[str]:
    """For each disk on which the outputs have no room, a line that says so."""
    on_disk: dict[int, list[JobPlan]] = defaultdict(list)
    for each in plans:
        on_disk[_made_folder(Path(each.output)).stat().st_dev].append(each)
    for jobs in on_disk.values():
        folder = _made_folder(Path(jobs[0].output))
        needed, free = disk_needed(jobs), shutil.disk_usage(folder).free
        if needed > free:
            yield f"the disk of {folder} has {free / 1e9:.1f} GB free, and about {needed / 1e9:.1f} GB are needed"


def disk_needed(plans: Sequence[JobPlan]) -> int:
    """Bytes that the jobs take at most: all outputs, and the segments of the largest."""
    return sum(each.output_bytes for each in plans) + max((each.output_bytes for each in plans), default=0)


def seconds_needed(plans: Sequence[JobPlan]) -> float | None:
    """What one worker takes for all; None where it is not known of one."""
    seconds = [each.seconds for each in plans]
    known = [each for each in seconds if each is not None]
    return sum(known) if len(known) == len(seconds) else None


def costs_table(plans: Sequence[JobPlan]) -> Iterator[str]:
    """The plans as lines, and their sum."""
    yield f"{'frames':>8} {'segments':>8} {'disk':>12} {'time':>9}  output"
    for each in plans:
        what = f"{each.output} (already done)" if each.done else each.output
        yield _costs(each.frames, each.segments, each.disk_bytes, each.seconds, what)
    left = [each for each in plans if not each.done]
    frames, segments = sum(each.frames for each in left), sum(each.segments for each in left)
    yield _costs(frames, segments, disk_needed(left), seconds_needed(left), "in all, by one worker")


def _costs(frames: int, segments: int, disk_bytes: int, seconds: float | None, what: str) -> str:
    return f"{frames:8} {segments:8} {disk_bytes / 1e6:9.1f} MB {_duration(seconds):>9}  {what}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}" if whole >= 60 else f"{seconds:.1f} s"


@dataclass(frozen=True, slots=True)
class _Clip:
    """Of a clip, or an output, what planning needs: not the time of every frame, for there may be many clips."""

    frames: int
    height: int
    width: int
    duration: Fraction
    """Seconds."""

    @property
    def megapixels(self) -> float:
        return self.height * self.width / 1e6


class _Seen:
    """What was looked at before: the jobs of a batch share clips, plates and models. Errors are kept too."""

    def __init__(self) -> None:
        self._clips: dict[tuple[Path, str | None, str | None], _Clip | VmatteError] = {}
        self._plates: dict[FilePlate, PlateShape | VmatteError] = {}
        self._beside: dict[tuple[object, ...], VmatteError | None] = {}
        self._choices: dict[tuple[str, Path | None, Runtime], Choice | VmatteError] = {}
        self._network_s: dict[tuple[object, ...], float | None] = {}

    def clip(self, job: RenderJob) -> _Clip:
        """Of what is rendered of a job's clip."""
        key = job.clip, job.start, job.end
        if key not in self._clips:
            try:
                self._clips[key] = _size_of(excerpt(probe(job.clip), job.start, job.end))
            except VmatteError as error:
                self._clips[key] = error
        return _or_raise(self._clips[key])

    def plate(self, plate: FilePlate) -> PlateShape:
        if plate not in self._plates:
            try:
                self._plates[plate] = check_plate(plate)
            except VmatteError as error:
                self._plates[plate] = error
        return _or_raise(self._plates[plate])

    def check_mask(self, mask: FileMask, name: str, job: RenderJob) -> None:
        size = self._frame(job)
        self._check_once((mask, name, job.clip), lambda: check_mask(mask, name, job.clip, size))

    def check_clean_plate(self, job: RenderJob) -> None:
        if job.screen is not None:
            size = self._frame(job)
            key = (job.screen.clean_plate, "clean plate", job.clip)
            self._check_once(key, lambda: check_clean_plate(job.screen, job.clip, size))

    def check_signing(self, signer: Path, job: RenderJob) -> None:
        rows = tuple(output.row for output in job.outputs)
        self._check_once((signer, "signer", any(map(can_carry, rows))), lambda: check_signing(signer, rows))

    def _frame(self, job: RenderJob) -> tuple[int, int]:
        return self.clip(job).height, self.clip(job).width

    def _check_once(self, key: tuple[object, ...], check: Callable[[], None]) -> None:
        if key not in self._beside:
            self._beside[key] = next(_raised([check]), None)
        error = self._beside[key]
        if error is not None:
            raise error

    def output(self, job: RenderJob) -> _Clip:
        clip = self.clip(job)
        plate = self.plate(job.background) if isinstance(job.background, FilePlate) else None
        width, height = canvas_size(job, (clip.width, clip.height), plate)
        place_on(job.subject, (clip.width, clip.height), (width, height))
        rate = frame_rate(job, plate)
        frames = clip.frames if rate is None else ceil(clip.duration * rate)
        return _Clip(frames, height, width, clip.duration)

    def choice(self, job: RenderJob, runtime: Runtime) -> Choice:
        key = (job.model, job.weights, runtime.model_copy(update={"overwrite": False}))
        if key not in self._choices:
            try:
                self._choices[key] = choose(job.model, job.weights, runtime)
            except VmatteError as error:
                self._choices[key] = error
        return _or_raise(self._choices[key])

    def seconds(self, job: RenderJob, clip: _Clip, output: _Clip, choice: Choice, *, mattes: bool) -> float | None:
        """What a render takes, roughly: the network is timed on one frame, the rest goes by the picture's size."""
        a_megapixel = sum(_COSTS[each.encoding].cpu_ms_a_megapixel for each in job.outputs)
        encoding_ms = a_megapixel * output.megapixels * output.frames
        network_s: float | None = 0.0
        smoothing_ms = 0.0
        if mattes:
            key = (choice.spec.name, choice.own, choice.placement, clip.height, clip.width)
            if key not in self._network_s:
                self._network_s[key] = _network_seconds(choice, clip)
            network_s = self._network_s[key]
            if not isinstance(smoothing_for(job.smoothing, choice.spec), NoSmoothing):
                smoothing_ms = _SMOOTHING_CPU_MS_A_MEGAPIXEL * clip.megapixels * clip.frames
        if network_s is None:
            return None
        beside_s = (encoding_ms + smoothing_ms) / 1000 / min(_STAGES_AT_ONCE, os.cpu_count() or 1)
        return clip.frames * network_s + beside_s


def _or_raise(kept: T | VmatteError) -> T:
    if isinstance(kept, VmatteError):
        raise kept
    return kept


def _size_of(clip: ClipInfo) -> _Clip:
    return _Clip(clip.frames, clip.height, clip.width, clip.duration)


def _errors_of(entry: Entry, seen: _Seen) -> Iterator[VmatteError]:
    job, plate = entry.job, entry.job.background
    inputs = list(job.files.values())
    bad_clip = list(_raised([lambda: seen.clip(job)]))
    bad_plate = list(_raised([lambda: seen.plate(plate)])) if isinstance(plate, FilePlate) else []
    yield from (*bad_clip, *bad_plate)
    others: list[Callable[[], object]] = []
    if not bad_clip:
        others += _checks_beside(job, seen)
        others += [] if bad_plate else [lambda: seen.output(job)]
    others.append(lambda: seen.choice(job, entry.runtime))
    others += [partial(check_encoder, output.row) for output in job.outputs]
    if (signer := entry.runtime.c2pa) is not None:
        others.append(partial(seen.check_signing, signer, job))
    others.append(lambda: _check_output(job, inputs, entry.runtime))
    yield from _raised(others)


def _checks_beside(job: RenderJob, seen: _Seen) -> Iterator[Callable[[], object]]:
    """Of the files that must have the clip's shape."""
    for mask, name in ((job.garbage, "garbage matte"), (job.hold_out, "hold-out matte")):
        if isinstance(mask, FileMask):
            yield partial(seen.check_mask, mask, name, job)
    yield partial(seen.check_clean_plate, job)


def _raised(checks: Sequence[Callable[[], object]]) -> Iterator[VmatteError]:
    for check in checks:
        try:
            check()
        except VmatteError as error:
            yield error


def _check_output(job: RenderJob, inputs: list[Path], runtime: Runtime) -> None:
    """As a render does, but for folders that it will find made."""
    for output in job.outputs:
        folder = output.path.absolute().parent
        if folder.is_dir():
            check_output(output.path, inputs, overwrite=runtime.overwrite, folder=output.row.is_sequence)
        else:
            folder = _made_folder(output.path)
            if not folder.is_dir():
                raise JobError(f"{output.path}: {folder} is a file, not a folder; give another name")
        if runtime.sidecar:
            check_sidecar(output.path, job, runtime.c2pa, overwrite=runtime.overwrite)
        if not os.access(folder, os.W_OK):
            raise JobError(f"folder {folder} for {output.path.name} cannot be written: permission denied")


def _made_folder(output: Path) -> Path:
    """The innermost of the folders around `output` that is there."""
    return next(each for each in output.absolute().parents if each.exists())


def _output_bytes(job: RenderJob, output: _Clip) -> int:
    a_pixel = sum(_COSTS[each.encoding].bytes_a_pixel(each.layer) for each in job.outputs)
    return round(a_pixel * output.megapixels * 1e6 * output.frames)


def _network_seconds(choice: Choice, clip: _Clip) -> float | None:
    """Seconds a frame, of the second run: the first one also sets up what it needs."""
    weights = choice.spec.weights
    if choice.spec.keys_a_screen:
        return 0.0
    if choice.own is None and weights is not None and not in_cache(weights):
        return None
    model = build_model(choice.spec, choice.own, choice.placement)
    frame = torch.zeros(1, 3, *choice.spec.input_size.of(clip.height, clip.width), device=model.device)
    model.predict(frame)
    _wait_for(model.device)
    started = time.perf_counter()
    model.predict(frame)
    _wait_for(model.device)
    return time.perf_counter() - started


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
