"""The chain of stages; the only file that knows their order."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager

from vmatte.clip import ClipInfo
from vmatte.frames import LayerBatch, MatteBatch
from vmatte.job import GaussianSmoothing, MotionSmoothing, NoPlate, NoSmoothing, RenderJob
from vmatte.models.contract import MattingModel, ModelSpec
from vmatte.plates import open_plate
from vmatte.prefetch import prefetch
from vmatte.segments import Segment
from vmatte.stages.compose import compose, cut_out
from vmatte.stages.download import download
from vmatte.stages.matte import matte
from vmatte.stages.smooth import smooth
from vmatte.stages.trim import trim
from vmatte.stages.upload import upload
from vmatte.stopwatch import Stopwatch
from vmatte.video.read import decode

DEPTH = 2  # batches that may wait between two threads

Smoothing = NoSmoothing | GaussianSmoothing | MotionSmoothing


def smoothing_for(wanted: Smoothing | None, spec: ModelSpec) -> Smoothing:
    """What a job's smoothing means for a model: `motion` for a network unless it says otherwise; a key is steady."""
    if wanted is not None:
        return wanted
    return NoSmoothing() if spec.architecture == "luma-key" else MotionSmoothing()


def mattes(
    clip: ClipInfo, segment: Segment, model: MattingModel, smoothing: Smoothing, batch: int, stopwatch: Stopwatch
) -> Generator[MatteBatch, None, None]:
    """Decode, upload, matte and smooth the segment's frames; decoding runs on a thread of its own.

    `batch` of them go through the network at once.
    """
    decoded = prefetch(stopwatch.around("decode", decode(clip, segment.read, batch)), DEPTH)
    waited = stopwatch.around("waiting", decoded)
    uploaded = stopwatch.around("upload", upload(waited, clip.delivery, model.device))
    matted = matte(uploaded, model, batch, stopwatch)
    if not isinstance(smoothing, NoSmoothing):
        matted = stopwatch.around("smooth", smooth(matted, smoothing))
    with closing(decoded):
        yield from trim(matted, segment.frames)


@contextmanager
def layers(
    job: RenderJob, clip: ClipInfo, segment: Segment, model: MattingModel, batch: int, stopwatch: Stopwatch
) -> Iterator[Iterable[LayerBatch]]:
    """What is encoded for the segment; made on a thread of its own, which the context ends."""
    smoothing = smoothing_for(job.smoothing, model.spec)
    matted = mattes(clip, segment, model, smoothing, batch, stopwatch)
    if isinstance(job.background, NoPlate):
        layer = prefetch(download(stopwatch.around("compose", cut_out(matted, job.row.alpha_bits))), DEPTH)
        with closing(matted), closing(layer):
            yield stopwatch.around("waiting", layer)
        return
    with open_plate(job.background, clip, model.device) as plate:
        layer = prefetch(download(stopwatch.around("compose", compose(matted, plate))), DEPTH)
        with closing(matted), closing(layer):
            yield stopwatch.around("waiting", layer)
