"""What an output says beside its pictures: times, colour tags, sound."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from vmatte.clip import UNSPECIFIED, ClipInfo, Coding
from vmatte.encodings import MATROSKA_TICK, Encoding
from vmatte.errors import EncodeError
from vmatte.video.boxes import has_color_box
from vmatte.video.join import language_tag
from vmatte.video.probe import open_source

_COPIED_OFF_S = Fraction(2, 1000)
_TRANSCODED_OFF_S = Fraction(1, 5)
"""How far the ends of a track may lie from the source's: a tick when copied, and what encoders add, or a cut needs."""


def verify_container(path: Path, clip: ClipInfo, encoding: Encoding, coding: Coding, written: Sequence[int]) -> None:
    """All that can be seen without decoding: how many frames, when, in which colours, and the sound beside them."""
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise EncodeError(f"{path} holds no video")
        stream = container.streams.video[0]
        assert stream.time_base is not None
        times = sorted((packet.pts or 0) * stream.time_base for packet in container.demux(stream) if packet.size)
        if len(times) != len(written):
            raise EncodeError(f"{path} holds {len(times)} frames, {len(written)} were written")
        shift = _verify_times(path, times, clip, encoding, written)
        _verify_stream_tags(path, stream, encoding, coding)
        if encoding.audio or container.streams.audio:
            _verify_sound(path, container, clip, encoding, shift)


def _verify_times(
    path: Path, found: list[Fraction], clip: ClipInfo, encoding: Encoding, written: Sequence[int]
) -> Fraction:
    """Times as the source's, to the tick of the container; only Matroska may move all of them at once, by what is
    returned, in seconds."""
    wanted = [int(time) * clip.time_base - clip.clock_start for time in clip.pts[list(written)]]
    tick = MATROSKA_TICK if encoding.is_matroska else Fraction(0)
    shift = found[0] - wanted[0] if encoding.is_matroska else Fraction(0)
    off = [abs(seen - due - shift) for seen, due in zip(found, wanted, strict=True)]
    worst = max(off)
    if worst > tick:
        raise EncodeError(
            f"{path}: frame {written[off.index(worst)]} lies {float(worst) * 1000:.2f} ms from where the source has it"
        )
    return shift


def verify_frame_tags(where: str, frame: VideoFrame, coding: Coding) -> None:
    if frame.format.is_rgb or frame.format.has_palette or len(frame.format.components) < 3:
        return
    color = coding.color
    is_full = int(frame.color_range) == ColorRange.JPEG
    seen = (int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc), is_full)
    due = (color.matrix, color.primaries, color.transfer, color.full_range)
    # What VP9's frames have no words for, the stream says.
    _same_tags(where, tuple(tag if one == UNSPECIFIED else one for one, tag in zip(seen, due, strict=True)), due)


def _verify_stream_tags(path: Path, stream: VideoStream, encoding: Encoding, coding: Coding) -> None:
    """The stream's tags: the container's word goes before that of the pictures, which stands in where it is silent."""
    context, color = stream.codec_context, coding.color
    if context.format is None or len(context.format.components) < 3:
        return
    if context.format.is_rgb:  # whose matrix and range nobody need say
        _same_tags(
            f"{path}: its stream", (context.color_primaries, context.color_trc), (color.primaries, color.transfer)
        )
        return
    due = (color.matrix, color.primaries, color.transfer, color.full_range)
    is_full = int(context.color_range) == ColorRange.JPEG
    seen = (int(context.colorspace), int(context.color_primaries), int(context.color_trc), is_full)
    _same_tags(f"{path}: its stream", seen, due)
    if encoding.is_quicktime and not has_color_box(path):
        raise EncodeError(f"{path}: its container does not say its colour; some editors would guess it")


def _same_tags(where: str, seen: tuple[int | bool, ...], due: tuple[int | bool, ...]) -> None:
    if seen != due:
        names = "primaries, transfer" if len(due) == 2 else "matrix, primaries, transfer, full range"
        raise EncodeError(f"{where} is tagged {seen} ({names}), not {due}")


def _verify_sound(
    path: Path, container: av.container.InputContainer, clip: ClipInfo, encoding: Encoding, shift: Fraction
) -> None:
    tracks = clip.audio if encoding.audio else ()
    if len(container.streams.audio) != len(tracks):
        raise EncodeError(f"{path} has {len(container.streams.audio)} audio tracks, the clip has {len(tracks)}")
    if not tracks:
        return
    spans = _spans(path, [stream.index for stream in container.streams.audio])
    due = _heard(_spans(clip.path, [track.stream for track in tracks]), clip)
    for track, stream in zip(tracks, container.streams.audio, strict=True):
        where = f"{path}: audio track {stream.index}"
        if stream.index not in spans:
            raise EncodeError(f"{where} is empty")
        said = stream.metadata.get("language")
        if _lost_language(track.language, said, encoding):
            raise EncodeError(f"{where} says its language is {said}, not {track.language}")
        if track.stream not in due:
            continue
        copied = stream.codec_context.name == track.codec and clip.excerpt is None
        for what, seen, wanted in zip(("begins", "ends"), spans[stream.index], due[track.stream], strict=True):
            off = seen - shift - (wanted - clip.clock_start)
            exact = copied and not (what == "ends" and encoding.is_matroska)  # which knows only whole packets
            if abs(off) > (_COPIED_OFF_S if exact else _TRANSCODED_OFF_S):
                raise EncodeError(f"{where} {what} {float(abs(off)) * 1000:.1f} ms from where the source's does")


def _heard(spans: dict[int, tuple[Fraction, Fraction]], clip: ClipInfo) -> dict[int, tuple[Fraction, Fraction]]:
    """What of the file's tracks is heard in the clip, which may be an excerpt."""
    begin = None if clip.excerpt is None else clip.excerpt.begin
    end = None if clip.excerpt is None else clip.excerpt.end
    return {
        stream: (begun if begin is None else max(begun, begin), ended if end is None else min(ended, end))
        for stream, (begun, ended) in spans.items()
    }


def _lost_language(spoken: str | None, said: str | None, encoding: Encoding) -> bool:
    if spoken is None or len(spoken) != 3 or spoken == "und":
        return False
    if said is None and encoding.container == "mov":  # QuickTime's table has not every language
        return False
    return said != language_tag(spoken, encoding)


def _spans(path: Path, streams: Sequence[int]) -> dict[int, tuple[Fraction, Fraction]]:
    """For each of the streams that has any, the seconds at which its packets begin and end."""
    spans: dict[int, tuple[Fraction, Fraction]] = {}
    with open_source(path) as container:
        packets = container.demux(*(container.streams[index] for index in streams))
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.error.FFmpegError):  # the clip was cut off: what came before is kept
                return spans
            if not packet.size or packet.pts is None or packet.time_base is None:
                continue
            starts = packet.pts * packet.time_base
            ends = starts + (packet.duration or 0) * packet.time_base
            begun, ended = spans.get(packet.stream.index, (starts, ends))
            spans[packet.stream.index] = min(begun, starts), max(ended, ends)
