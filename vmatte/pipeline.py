"""The chain of stages; the only file that knows their order."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager

from vmatte.clip import ClipInfo
from vmatte.frames import LayerBatch, MatteBatch
from vmatte.job import NoPlate, RenderJob, Runtime
from vmatte.models.contract import MattingModel
from vmatte.models.placement import frames_at_once
from vmatte.plates import open_plate
from vmatte.prefetch import prefetch
from vmatte.segments import Segment
from vmatte.stages.compose import compose, cut_out
from vmatte.stages.matte import matte
from vmatte.stages.trim import trim
from vmatte.stages.upload import upload
from vmatte.stopwatch import Stopwatch
from vmatte.video.read import decode

DEPTH = 2  # batches that may wait between two threads


def mattes(
    clip: ClipInfo, segment: Segment, model: MattingModel, runtime: Runtime, stopwatch: Stopwatch
) -> Generator[MatteBatch, None, None]:
    """Decode, upload and matte the segment's frames; decoding runs on a thread of its own."""
    batch = frames_at_once(runtime.batch, model.device)
    decoded = prefetch(stopwatch.around("decode", decode(clip, segment.read, batch)), DEPTH)
    uploaded = stopwatch.around("upload", upload(stopwatch.around("waiting", decoded), clip.delivery))
    with closing(decoded):
        yield from trim(matte(uploaded, model, batch, stopwatch), segment.frames)


@contextmanager
def layers(
    job: RenderJob, clip: ClipInfo, segment: Segment, model: MattingModel, runtime: Runtime, stopwatch: Stopwatch
) -> Iterator[Iterable[LayerBatch]]:
    """What is encoded for the segment; made on a thread of its own, which the context ends."""
    matted = mattes(clip, segment, model, runtime, stopwatch)
    if isinstance(job.background, NoPlate):
        layer = prefetch(stopwatch.around("compose", cut_out(matted, job.row.alpha_bits)), DEPTH)
        with closing(matted), closing(layer):
            yield stopwatch.around("waiting", layer)
        return
    with open_plate(job.background, clip) as plate:
        layer = prefetch(stopwatch.around("compose", compose(matted, plate)), DEPTH)
        with closing(matted), closing(layer):
            yield stopwatch.around("waiting", layer)
