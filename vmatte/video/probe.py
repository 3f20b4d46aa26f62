"""What is in a clip: streams, colour, orientation, and the time of every frame."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vmatte.clip import (
    BT601,
    BT709,
    BT2020_MATRICES,
    BT2020_PRIMARIES,
    HDR_TRANSFERS,
    MATRICES,
    RGB_MATRIX,
    UNSPECIFIED,
    AudioTrack,
    ClipInfo,
    Coding,
    ColorTags,
    HdrLight,
    Orientation,
)
from vmatte.errors import SourceError
from vmatte.video.planes import has_alpha

HD_WIDTH, HD_HEIGHT = 1280, 720


def probe(path: str | Path) -> ClipInfo:
    """Read a clip's facts. Every packet is looked at, one frame is decoded.

    Raises SourceError when the file is missing, is not a video, or holds no frame that can be decoded.
    """
    path = Path(path)
    with open_source(path) as container:
        if not container.streams.video:
            kind = "holds only audio" if container.streams.audio else "holds no video"
            raise SourceError(f"{path} {kind}; give a video")
        stream = _picture_stream(container)
        first = _first_frame(path, container, stream)
        index = _index_of(path, stream)
        if len(index.pts) == 0:
            raise SourceError(f"{path} was cut off within its first frame; nothing of it can be rendered")
        _check_clock(path, container, index)
        orientation = _orientation(first)
        sample_aspect = stream.sample_aspect_ratio or Fraction(1)
        width, height = _upright_size(first, sample_aspect, orientation)
        rate = _rate(stream, index)
        time_base = index.time_base or 1 / rate
        return ClipInfo(
            path=path,
            stream=stream.index,
            codec=stream.codec_context.name,
            width=width,
            height=height,
            time_base=time_base,
            pts=index.pts,
            key_pts=index.key_pts,
            last_duration=_last_duration(index, time_base, rate),
            promised_frames=max(len(index.pts), _promised(container, stream, index, time_base, rate)),
            counted=index.counted,
            clock_start=_clock_start(container, time_base, counted=index.counted),
            rate=rate,
            pixel_format=first.format.name,
            coding=_coding(path, first, stream),
            orientation=orientation,
            sample_aspect=sample_aspect,
            interlaced=bool(first.interlaced_frame),
            audio=tuple(
                AudioTrack(
                    stream=audio.index,
                    codec=audio.codec_context.name,
                    sample_rate=audio.codec_context.sample_rate,
                    channels=audio.codec_context.channels,
                    language=audio.metadata.get("language"),
                )
                for audio in container.streams.audio
                if audio.codec_context is not None and audio.codec_context.sample_rate and _sounds(path, audio.index)
            ),
            timecode=_timecode(container),
            metadata=dict(container.metadata),
            language=stream.metadata.get("language"),
            hdr_light=_hdr_light(first),
            alpha=_has_alpha(first, stream),
        )


def open_source(path: Path) -> av.container.InputContainer:
    """Open a file for reading; SourceError when it cannot be."""
    try:
        there = path.exists()
    except OSError as error:
        raise SourceError(f"{path} cannot be opened: {error.strerror}") from error
    if not there:
        raise SourceError(f"{path} does not exist")
    if path.is_dir():
        raise SourceError(f"{path} is a folder; give a video file")
    if path.stat().st_size == 0:
        raise SourceError(f"{path} is empty")
    try:
        return av.open(str(path.absolute()), metadata_errors="ignore")  # "take1:2.mp4" alone names a protocol
    except PermissionError as error:
        raise SourceError(f"{path} may not be read: permission denied") from error
    except (av.error.FFmpegError, ValueError) as error:
        reason = "it is no video, or it was cut off before its index was written"
        raise SourceError(f"{path} cannot be opened: {reason}") from error


def _picture_stream(container: av.container.InputContainer) -> VideoStream:
    """The first stream that is not a cover picture."""
    streams = container.streams.video
    moving = [stream for stream in streams if not stream.disposition & av.stream.Disposition.attached_pic]
    if not moving and container.streams.audio:
        raise SourceError(f"{container.name} holds only audio, with a cover picture; give a video")
    stream = (moving or list(streams))[0]
    if stream.codec_context is None:
        raise SourceError(f"{container.name} is coded in a way that no decoder here knows; convert it")
    return stream


def _first_frame(path: Path, container: av.container.InputContainer, stream: VideoStream) -> VideoFrame:
    try:
        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    assert isinstance(frame, VideoFrame)
                    return frame
            except av.error.FFmpegError:
                continue
    except av.error.FFmpegError:
        pass
    raise SourceError(f"{path} has a video stream ({stream.codec_context.name}), but no frame of it can be decoded")


@dataclass(frozen=True, slots=True)
class _Index:
    pts: NDArray[np.int64]
    key_pts: NDArray[np.int64]
    counted: bool
    time_base: Fraction | None
    """None where there are no times at all, and `pts` numbers the frames."""
    unshown: int
    """Packets that show nothing: empty, cut away by an edit list, or references only."""
    end: int | None
    """Where the last frame ends, if its packet says so."""


# AVI stores packets in decoding order and nothing else: its times are right as a set, but not each with its own frame.
_WITHOUT_TIMES = ("avi",)


def _index_of(path: Path, stream: VideoStream) -> _Index:
    """Times of all frames, from the packets alone: reading them costs next to nothing beside decoding."""
    times: list[int] = []
    decoding_times: set[int] = set()
    keys: list[int] = []
    packets, unshown, end = 0, 0, None
    with open_source(path) as container:
        try:
            for packet in container.demux(container.streams[stream.index]):
                if packet.is_corrupt:
                    continue
                if packet.size == 0 or packet.is_discard or _is_hidden(packet, stream.codec_context.name):
                    unshown += packet.pts is not None or packet.dts is not None  # the last, empty one ends the stream
                    continue
                packets += 1
                if packet.dts is not None:
                    decoding_times.add(packet.dts)
                if packet.pts is None:
                    continue
                times.append(packet.pts)
                if packet.is_keyframe:
                    keys.append(packet.pts)
                if packet.duration:
                    end = max(end or 0, packet.pts + packet.duration)
        except av.error.FFmpegError:
            pass  # the file was cut off; what is missing shows against what the container promises
    key_pts, time_base = np.array(sorted(keys), np.int64), stream.time_base
    if container.format.name not in _WITHOUT_TIMES and len(times) == len(set(times)) == packets:
        return _Index(np.array(sorted(times), np.int64), key_pts, False, time_base, unshown, end)
    if len(decoding_times) == packets:
        return _Index(np.array(sorted(decoding_times), np.int64), key_pts, True, time_base, unshown, None)
    return _Index(np.arange(packets, dtype=np.int64), key_pts, True, None, unshown, None)


def _rate(stream: VideoStream, index: _Index) -> Fraction:
    """Frames a second; what the container says, unless the times say something altogether different."""
    said = Fraction(stream.average_rate or stream.guessed_rate or 25)
    if index.time_base is None or len(index.pts) < 2:
        return said
    seen = 1 / (Fraction(int(np.median(np.diff(index.pts)))) * index.time_base)
    return said if seen / 2 < said < seen * 2 else seen.limit_denominator(1001)


def _check_clock(path: Path, container: av.container.InputContainer, index: _Index) -> None:
    """MPEG streams put together bytewise jump in time; what was meant cannot be told."""
    if container.format.name not in _RUNNING_CLOCKS:
        return
    jumps = np.flatnonzero(np.diff(index.pts) * float(index.time_base or 0) > _LONGEST_GAP_S)
    if index.counted or len(jumps):
        where = f"at frame {jumps[0] + 1}" if len(jumps) else "back to times that it has shown before"
        raise SourceError(
            f"{path}: the clip's clock jumps {where}; put its parts together with a tool that mends times"
        )


_RUNNING_CLOCKS = ("mpegts", "mpeg")
_LONGEST_GAP_S = 60


def _is_hidden(packet: av.Packet[av.stream.Stream], codec: str) -> bool:
    """VP8 stores reference frames that are never shown as packets of their own; bit 4 of the first byte says so."""
    return codec == "vp8" and not bytes(packet)[0] >> 4 & 1


def _last_duration(index: _Index, time_base: Fraction, rate: Fraction) -> int:
    if index.end is not None and index.end > index.pts[-1]:
        return int(index.end - index.pts[-1])
    return max(1, round(1 / (rate * time_base)))


def _promised(
    container: av.container.InputContainer, stream: VideoStream, index: _Index, time_base: Fraction, rate: Fraction
) -> int:
    """Frames that the container says it has; 0 when it says nothing.

    mp4, mov and avi count them. Matroska knows durations, which say the same as long as the rate is constant; they
    are asked only when the file is shorter than its own header says.
    """
    if stream.frames:
        return int(stream.frames) - index.unshown
    if index.counted or not container.duration or not _matroska_is_cut_off(Path(container.name)):
        return 0
    steps = np.diff(index.pts) * float(time_base) * float(rate)
    if len(steps) and np.median(np.abs(steps - 1)) > 0.1:
        return 0
    until = _clock_time(stream.metadata.get("DURATION"))
    if until is None:
        until = Fraction(container.duration + (container.start_time or 0), av.time_base)
    return round((until - int(index.pts[0]) * time_base) * rate)


def _matroska_is_cut_off(path: Path) -> bool:
    """Whether a Matroska or WebM file ends before the end of its Segment element (RFC 8794, RFC 9559)."""
    with path.open("rb") as file:
        if file.read(4) != b"\x1a\x45\xdf\xa3":
            return False
        file.seek(_ebml_size(file) or 0, 1)
        if file.read(4) != b"\x18\x53\x80\x67":
            return False
        size = _ebml_size(file)
        return size is not None and file.tell() + size > path.stat().st_size


def _ebml_size(file: BinaryIO) -> int | None:
    """The variable-length integer at the file's position; None where it says "unknown", as live streams do."""
    first = file.read(1)
    length = 9 - first[0].bit_length() if first else 0
    value = int.from_bytes(first + file.read(length - 1)) & ~(1 << 7 * length)
    return None if value == (1 << 7 * length) - 1 else value


def _sounds(path: Path, stream: int) -> bool:
    """Whether an audio stream holds anything: a recorder may have opened it in vain, or the file ends before it."""
    with open_source(path) as container:
        try:
            return any(packet.size for packet in container.demux(container.streams[stream]))
        except av.error.FFmpegError:
            return False


def _clock_time(text: str | None) -> Fraction | None:
    """Seconds of a Matroska tag such as 00:00:31.032000000."""
    if text is None:
        return None
    hours, minutes, seconds = text.split(":")
    return Fraction(int(hours) * 3600 + int(minutes) * 60) + Fraction(seconds)


def _coding(path: Path, frame: VideoFrame, stream: VideoStream) -> Coding:
    """What the codes mean; untagged HD is BT.709, untagged SD is BT.601."""
    depth = frame.format.components[0].bits
    bits = 8 if depth <= 8 else 10 if depth <= 10 else 12
    full_range = int(frame.color_range) == 2 or frame.format.name.startswith("yuvj")
    primaries = _known(int(frame.color_primaries), stream.codec_context.color_primaries)
    transfer = _known(int(frame.color_trc), stream.codec_context.color_trc)
    matrix = _known(int(frame.colorspace), stream.codec_context.colorspace)
    if frame.format.is_rgb or frame.format.name == "pal8":
        return Coding(ColorTags(RGB_MATRIX, primaries, transfer, full_range=True), bits)
    if matrix in (UNSPECIFIED, RGB_MATRIX):
        wide = primaries == BT2020_PRIMARIES or transfer in HDR_TRANSFERS
        is_hd = frame.width >= HD_WIDTH or frame.height >= HD_HEIGHT
        matrix = BT2020_MATRICES[0] if wide else (BT709 if is_hd else BT601).matrix
    if matrix not in MATRICES:
        raise SourceError(
            f"{path} is coded with colour matrix {matrix} of H.273, which vmatte does not know; convert it"
        )
    return Coding(ColorTags(matrix, primaries, transfer, full_range), bits)


ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Codecs whose alpha FFmpeg's own decoder drops, and the decoder that shows it."""


def _has_alpha(frame: VideoFrame, stream: VideoStream) -> bool:
    """A palette's transparency does not count. The usual decoders of VP8 and VP9 drop alpha; the container tells."""
    if frame.format.has_palette:
        return False
    return has_alpha(frame) or (stream.codec_context.name in ALPHA_DECODERS and says_alpha(stream))


def says_alpha(stream: VideoStream) -> bool:
    """Whether a stream of Matroska or WebM is tagged as one that has alpha beside its pictures."""
    return any(key.lower() == "alpha_mode" and value == "1" for key, value in stream.metadata.items())


def _known(of_frame: int, of_stream: int) -> int:
    tag = of_frame if of_frame not in (0, UNSPECIFIED) else int(of_stream)
    return tag or UNSPECIFIED


def _orientation(frame: VideoFrame) -> Orientation:
    """From the display matrix itself: the angle alone cannot tell a mirrored picture from a turned one."""
    side = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(side, SideData):
        return Orientation()
    a, b, _, c, d, *_ = np.frombuffer(bytes(side), "<i4")
    if abs(int(a)) + abs(int(d)) >= abs(int(b)) + abs(int(c)):
        return Orientation(transpose=False, flip_x=bool(a < 0), flip_y=bool(d < 0))
    return Orientation(transpose=True, flip_x=bool(c < 0), flip_y=bool(b < 0))


def _hdr_light(frame: VideoFrame) -> HdrLight:
    """From FFmpeg's AVMasteringDisplayMetadata (eight ratios of chromaticities, the least and the greatest light, and
    whether each kind is there) and AVContentLightMetadata (MaxCLL, MaxFALL)."""
    display, content = (frame.side_data.get(name) for name in ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"))
    display_peak = content_peak = 0.0
    if isinstance(display, SideData):
        *_, numerator, denominator, _, has_light = np.frombuffer(bytes(display), "<i4")[:22].tolist()
        display_peak = numerator / denominator if has_light and denominator else 0.0
    if isinstance(content, SideData):
        content_peak = float(np.frombuffer(bytes(content), "<u4")[0])
    return HdrLight(display_peak, content_peak)


def _upright_size(frame: VideoFrame, sample_aspect: Fraction, orientation: Orientation) -> tuple[int, int]:
    """(width, height); the side that is too short is widened, so that nothing is lost."""
    width, height = square_size(frame.width, frame.height, sample_aspect)
    return (height, width) if orientation.transpose else (width, height)


def square_size(width: int, height: int, sample_aspect: Fraction) -> tuple[int, int]:
    """(width, height) with square pixels of a picture whose pixels are `sample_aspect` wide.

    Less than half a per cent is a rounding of whoever scaled it, not worth a resampling.
    """
    if abs(sample_aspect - 1) < Fraction(1, 200):
        return width, height
    if sample_aspect > 1:
        return round(width * sample_aspect), height
    return width, round(height / sample_aspect)


def _clock_start(container: av.container.InputContainer, time_base: Fraction, *, counted: bool) -> Fraction:
    if counted or container.format.name not in _RUNNING_CLOCKS:
        return Fraction(0)
    start = Fraction(container.start_time or 0, av.time_base)
    return round(start / time_base) * time_base


def _timecode(container: av.container.InputContainer) -> str | None:
    places = [container.metadata, *(stream.metadata for stream in container.streams)]
    return next((place["timecode"] for place in places if "timecode" in place), None)
