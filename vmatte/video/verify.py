"""Opening an output again: is it what was promised? Only then does it get its name."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vmatte.clip import RGB_MATRIX, ClipInfo, Coding
from vmatte.encodings import Encoding
from vmatte.errors import EncodeError
from vmatte.video.alpha import alpha_decoder
from vmatte.video.write import picture_name

_WEBM_TICK = Fraction(1, 1000)


def verify(path: Path, clip: ClipInfo, encoding: Encoding, written: Iterable[int], *, alpha: bool) -> None:
    """Check frames, times, length, alpha, colour tags and sound of a finished output; EncodeError for a fault."""
    numbers = list(written)
    if encoding.is_sequence:
        _verify_pictures(path, clip, encoding, numbers, alpha=alpha)
        return
    try:
        with av.open(str(path)) as container:
            _verify_file(container, path, clip, encoding, clip.pts[numbers], alpha=alpha)
    except av.error.FFmpegError as error:
        raise EncodeError(f"{path} was written but cannot be read again: {error}") from error


def _verify_pictures(path: Path, clip: ClipInfo, encoding: Encoding, numbers: list[int], *, alpha: bool) -> None:
    names = [picture_name(number, encoding) for number in numbers]
    if sorted(entry.name for entry in path.iterdir()) != names:
        raise EncodeError(f"{path} does not hold the {len(numbers)} pictures that were written")
    for name in (names[0], names[-1]):
        try:
            with av.open(str(path / name)) as picture:
                frame = next(picture.decode(video=0))
        except (av.error.FFmpegError, StopIteration) as error:
            raise EncodeError(f"{path / name} was written but cannot be read again: {error}") from error
        if (frame.width, frame.height) != (clip.width, clip.height):
            raise EncodeError(f"{path / name} is {frame.width}×{frame.height}, not {clip.width}×{clip.height}")
        _verify_alpha(path / name, frame, alpha=alpha)


def _verify_alpha(path: Path, frame: VideoFrame, *, alpha: bool) -> None:
    if any(component.is_alpha for component in frame.format.components) != alpha:
        raise EncodeError(f"{path} {'lost its alpha' if alpha else 'has an alpha that nobody asked for'}")


def _verify_file(
    container: av.container.InputContainer,
    path: Path,
    clip: ClipInfo,
    encoding: Encoding,
    pts: NDArray[np.int64],
    *,
    alpha: bool,
) -> None:
    stream = container.streams.video[0]
    times = [packet.pts or 0 for packet in container.demux(stream) if packet.size]
    if len(times) != len(pts):
        raise EncodeError(f"{path} holds {len(times)} frames, {len(pts)} were written")
    _verify_times(path, times, stream, clip, encoding, pts)
    container.seek(0)
    _verify_picture(path, stream, encoding, clip.delivery, alpha=alpha and not encoding.stacked)
    size = encoding.coded_size(clip.width, clip.height)
    if (stream.width, stream.height) != size:
        raise EncodeError(f"{path} is {stream.width}×{stream.height}, not {size[0]}×{size[1]}")
    sounding = len(clip.audio) if encoding.audio else 0
    if len(container.streams.audio) != sounding:
        raise EncodeError(f"{path} has {len(container.streams.audio)} audio tracks, the clip has {sounding}")
    for audio in container.streams.audio:
        container.seek(0)
        if not any(packet.size for packet in container.demux(audio)):
            raise EncodeError(f"{path}: audio track {audio.index} is empty")


def _verify_times(
    path: Path,
    times: list[int],
    stream: VideoStream,
    clip: ClipInfo,
    encoding: Encoding,
    pts: NDArray[np.int64],
) -> None:
    """Times as the source's, to the tick of the container; only Matroska may move all of them at once."""
    assert stream.time_base is not None
    found = sorted(time * stream.time_base for time in times)
    wanted = [int(time) * clip.time_base - clip.clock_start for time in pts]
    tick = _WEBM_TICK if encoding.is_matroska else Fraction(0)
    shift = found[0] - wanted[0] if encoding.is_matroska else Fraction(0)
    worst = max(abs(seen - due - shift) for seen, due in zip(found, wanted, strict=True))
    if worst > tick:
        raise EncodeError(f"{path}: a frame lies {float(worst) * 1000:.2f} ms from where the source has it")


def _verify_picture(path: Path, stream: VideoStream, encoding: Encoding, coding: Coding, *, alpha: bool) -> None:
    """Decode the first frame with a decoder that shows alpha, and look at what it is."""
    frame = _first_frame(stream, alpha_decoder(stream))
    if frame is None:
        raise EncodeError(f"{path}: its first frame cannot be decoded")
    _verify_alpha(path, frame, alpha=alpha)
    said = {key.lower(): value for key, value in stream.metadata.items()}.get("alpha_mode") == "1"
    if alpha and encoding.container == "webm" and not said:
        raise EncodeError(f"{path} does not say that it has alpha: browsers would show it opaque")
    tags = (int(frame.colorspace), stream.codec_context.color_primaries, stream.codec_context.color_trc)
    matrix = coding.color.matrix if encoding.colour == "ycbcr" else RGB_MATRIX
    wanted = (matrix, coding.color.primaries, coding.color.transfer)
    if tags != wanted:
        raise EncodeError(f"{path} is tagged {tags} (matrix, primaries, transfer), not {wanted}")


def _first_frame(stream: VideoStream, decoder: VideoCodecContext) -> VideoFrame | None:
    assert isinstance(stream.container, av.container.InputContainer)
    for packet in stream.container.demux(stream):
        for frame in decoder.decode(packet if packet.size else None):
            return frame
    return None
