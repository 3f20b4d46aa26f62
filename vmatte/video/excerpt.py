"""A part of a clip, as a clip of its own."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil

import av
import numpy as np

from vmatte.clip import ClipInfo, Excerpt
from vmatte.errors import JobError
from vmatte.timecode import timecode_after
from vmatte.video.probe import open_source


def excerpt(clip: ClipInfo, start: str | None, end: str | None) -> ClipInfo:
    """The clip from `start` to before `end`, each as a RenderJob has them; the clip itself where both are None.

    Its frames are numbered from 0. With a `start` outputs begin with its first frame, and its timecode is that frame's.
    An `end` behind the clip's is the clip's. Raises JobError where no frame is left.
    """
    if start is None and end is None:
        return clip
    first = 0 if start is None else _number_at(clip, start)
    stop = clip.frames if end is None else _number_at(clip, end)
    if first >= clip.frames:
        last = f"its {clip.frames} frames end at {float(_shown(clip, clip.frames)):.3f} s"
        raise JobError(f"{clip.path}: start {start} is behind the clip's end; {last}")
    if stop <= first:
        before = "the clip's first frame" if start is None else f"start {start}"
        raise JobError(
            f"{clip.path}: no frame lies between {before} and end {end}; give a later end, which is left out"
        )
    begin = None if start is None else int(clip.pts[first]) * clip.time_base
    until = None if stop == clip.frames else int(clip.pts[stop]) * clip.time_base
    part = replace(
        clip,
        pts=clip.pts[first:stop],
        last_duration=clip.last_duration if stop == clip.frames else int(clip.pts[stop] - clip.pts[stop - 1]),
        promised_frames=_promised(clip, end, stop) - first,
        clock_start=clip.clock_start if begin is None else begin,
        timecode=None if clip.timecode is None else timecode_after(clip.timecode, clip.rate, _gone(clip, first)),
        excerpt=Excerpt(clip, first, begin, until),
    )
    return replace(part, audio=tuple(track for track in clip.audio if _sounds(part, track.stream)))


def _number_at(clip: ClipInfo, moment: str) -> int:
    """The number of the frame that is meant, or of the first one that is shown from that time on; that of frames where
    there is none."""
    if moment.endswith("f"):
        return min(int(moment[:-1]), clip.frames)
    seconds = Fraction(0)
    for part in moment.split(":"):
        seconds = 60 * seconds + Fraction(part)
    return int(np.searchsorted(clip.pts, ceil((seconds + clip.clock_start) / clip.time_base)))


def _shown(clip: ClipInfo, number: int) -> Fraction:
    """When a frame is shown, in seconds as a player counts them; of the one behind the last, when that ends."""
    time = int(clip.pts[-1]) + clip.last_duration if number == clip.frames else int(clip.pts[number])
    return time * clip.time_base - clip.clock_start


def _gone(clip: ClipInfo, first: int) -> int:
    """Frames at the clip's rate that have gone by before frame `first`."""
    return round(int(clip.pts[first] - clip.pts[0]) * clip.time_base * clip.rate)


def _promised(clip: ClipInfo, end: str | None, stop: int) -> int:
    """How many frames there should be up to the end, where the file was cut off before it."""
    if stop < clip.frames:
        return stop
    if end is not None and end.endswith("f"):
        return min(clip.promised_frames, max(stop, int(end[:-1])))
    return clip.promised_frames


def _sounds(clip: ClipInfo, stream: int) -> bool:
    """Whether an excerpt has anything of an audio stream."""
    assert clip.excerpt is not None
    begin, end = clip.excerpt.begin, clip.excerpt.end
    with open_source(clip.path) as container:
        try:
            for packet in container.demux(container.streams[stream]):
                if not packet.size or packet.pts is None or packet.time_base is None:
                    continue
                starts, stops = (time * packet.time_base for time in (packet.pts, packet.pts + (packet.duration or 0)))
                if (begin is None or stops > begin) and (end is None or starts < end):
                    return True
        except av.error.FFmpegError:
            pass  # cut off: what came before it counts
    return False
