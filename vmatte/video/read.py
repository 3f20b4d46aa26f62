"""Decoding: frames of a clip, upright, progressive, with square pixels, as planes of Y'CbCr codes."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from vmatte.clip import ClipInfo, Coding, Orientation
from vmatte.errors import SourceError
from vmatte.frames import DecodedFrames
from vmatte.video.alpha import alpha_decoder, own_alpha
from vmatte.video.planes import plane_views
from vmatte.video.probe import open_source

Planes = tuple[NDArray[np.generic], NDArray[np.generic], NDArray[np.uint16] | None]
"""Luma (1, H, W), chroma (2, h, w), and the clip's own alpha (1, H, W), 65535 is opaque."""


def decode(clip: ClipInfo, frames: range, batch: int, threads: int = 0) -> Iterator[DecodedFrames]:
    """The clip's frames numbered `frames`, up to `batch` at a time; the decoder chooses its threads where 0 are named.

    A frame that cannot be decoded is left out: the batch ends before it and the next one starts behind it, so that
    `index` always tells the truth.
    """
    waiting: list[Planes] = []
    first = 0
    for number, frame in _numbered_frames(clip, frames, threads):
        if waiting and number != first + len(waiting):
            yield _stacked(first, waiting, clip.coding)
            waiting = []
        if not waiting:
            first = number
        waiting.append(_planes(frame, clip))
        if len(waiting) == batch:
            yield _stacked(first, waiting, clip.coding)
            waiting = []
    if waiting:
        yield _stacked(first, waiting, clip.coding)


def decode_samples(clip: ClipInfo, numbers: Sequence[int]) -> Iterator[DecodedFrames]:
    """The frames of these numbers, in rising order, one by one; those that cannot be decoded are left out.

    What lies between them costs only its decoding, and nothing where a key frame comes before the next one.
    """
    keys = np.flatnonzero(np.isin(clip.pts, clip.key_pts))
    runs: list[list[int]] = []
    for number in numbers:
        if runs and (clip.counted or not np.any((keys > runs[-1][-1]) & (keys <= number))):
            runs[-1].append(number)
        else:
            runs.append([number])
    for run in runs:
        # Several threads need as many frames before they give the first one back: too many, for a single one.
        threads = 1 if len(run) == 1 and run[0] in keys else 0
        wanted = set(run)
        for number, frame in _numbered_frames(clip, range(run[0], run[-1] + 1), threads):
            if number in wanted:
                yield _stacked(number, [_planes(frame, clip)], clip.coding)


def _stacked(first: int, planes: list[Planes], coding: Coding) -> DecodedFrames:
    if len(planes) == 1:  # the decoder's own memory: nothing downstream writes into codes
        luma, chroma = planes[0][0][None], planes[0][1][None]
    else:
        luma = np.stack([luma for luma, _, _ in planes])
        chroma = np.stack([chroma for _, chroma, _ in planes])
    alphas = [alpha for _, _, alpha in planes if alpha is not None]
    return DecodedFrames(
        range(first, first + len(planes)),
        luma,
        chroma,
        coding,
        np.stack(alphas) if len(alphas) == len(planes) else None,
    )


def _numbered_frames(clip: ClipInfo, frames: range, threads: int) -> Iterator[tuple[int, VideoFrame]]:
    """(number, frame) of every frame in `frames` that can be decoded, in order."""
    if not len(frames):
        return
    if clip.excerpt is not None:
        first = clip.excerpt.first
        of_file = range(frames.start + first, frames.stop + first)
        for number, frame in _numbered_frames(clip.excerpt.whole, of_file, threads):
            yield number - first, frame
        return
    # A deinterlacer looks one frame back and one ahead.
    lead, tail = (1, 1) if clip.interlaced else (0, 0)
    read = range(max(0, frames.start - lead), min(clip.frames, frames.stop + tail))
    numbered: Iterable[tuple[int, VideoFrame]] = _read_range(clip, read, threads)
    if clip.interlaced:
        numbered = _deinterlaced(numbered, clip)
    for number, frame in numbered:
        if number in frames:
            yield number, frame


def _read_range(clip: ClipInfo, frames: range, threads: int) -> Iterator[tuple[int, VideoFrame]]:
    """Seek, and seek further back where that overshoots (fragmented mp4, MPEG-TS), until the first frame is there."""
    if frames.start == 0 or clip.counted:
        yield from _decoded(clip, None, frames, threads)
        return
    target = int(clip.pts[frames.start])
    # Aim at a key frame's own time: aiming at the target itself can land after it (open GOP).
    keys = clip.key_pts[clip.key_pts <= target]
    aim: int | None = int(keys[-1]) if len(keys) else None
    back = Fraction(1)
    while True:
        decoded = _decoded(clip, aim, frames, threads)
        head = next(decoded, None)
        if aim is None or (head is not None and head[0] == frames.start):
            break
        aim = aim - round(back / clip.time_base)
        back *= 2
        if aim <= clip.pts[0]:
            aim = None
    if head is not None:
        yield head
        yield from decoded


def _decoded(clip: ClipInfo, seek_pts: int | None, frames: range, threads: int) -> Iterator[tuple[int, VideoFrame]]:
    with open_source(clip.path) as container:
        stream = container.streams[clip.stream]
        assert isinstance(stream, VideoStream)
        decoder = alpha_decoder(stream) if clip.alpha else stream.codec_context
        # Whole frames in parallel, off this thread; slices, PyAV's default, would all be waited for on it.
        decoder.thread_type, decoder.thread_count = "FRAME", threads
        if seek_pts is not None:
            container.seek(seek_pts, stream=stream, backward=True)
        last = -1
        for position, frame in enumerate(_intact_frames(container, stream, decoder)):
            number = position if clip.counted else _number_of(clip, frame)
            if number is None or number <= last or number < frames.start:
                continue
            if number >= frames.stop:
                return
            last = number
            yield number, frame
            if number == frames.stop - 1:
                return


def _number_of(clip: ClipInfo, frame: VideoFrame) -> int | None:
    if frame.pts is None:
        return None
    number = int(np.searchsorted(clip.pts, frame.pts))
    return number if number < clip.frames and clip.pts[number] == frame.pts else None


def _intact_frames(
    container: av.container.InputContainer, stream: VideoStream, decoder: VideoCodecContext
) -> Iterator[VideoFrame]:
    """All frames that decode without damage. Packet by packet: one bad packet must not cost the decoder's delay."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.FFmpegError):
            break
        if packet.size == 0:
            break
        if packet.is_corrupt:  # cut off: the error it gives would take finished frames along
            continue
        try:
            decoded = decoder.decode(packet)
        except av.error.FFmpegError:
            continue
        yield from (frame for frame in decoded if not frame.is_corrupt)
    try:
        yield from (frame for frame in decoder.decode(None) if not frame.is_corrupt)
    except av.error.FFmpegError:
        return


def _deinterlaced(numbered: Iterable[tuple[int, VideoFrame]], clip: ClipInfo) -> Iterator[tuple[int, VideoFrame]]:
    """One progressive frame for each frame (bwdif); those that are progressive already pass unchanged."""
    graph: av.filter.Graph | None = None
    numbers: list[int] = []
    for number, frame in numbered:
        if graph is None:
            graph = av.filter.Graph()
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=clip.time_base
            )
            bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
            graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
        numbers.append(number)
        graph.vpush(frame)
        yield from _pulled(graph, numbers)
    if graph is not None:
        graph.vpush(None)
        yield from _pulled(graph, numbers)


def _pulled(graph: av.filter.Graph, numbers: list[int]) -> Iterator[tuple[int, VideoFrame]]:
    while True:
        try:
            frame = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        yield numbers.pop(0), frame


_FINE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


def _planes(frame: VideoFrame, clip: ClipInfo) -> Planes:
    """Of a frame, upright, with square pixels."""
    # The clip's own size, whatever this frame's: a stream may change it on the way.
    size = (clip.height, clip.width) if clip.orientation.transpose else (clip.width, clip.height)
    alpha = _own_alpha(frame, size, clip.orientation) if clip.alpha else None
    name = _planar_format(frame.format, whole_chroma=not clip.orientation.upright)
    if frame.format.name.replace("yuvj", "yuv") != name or size != (frame.width, frame.height):
        color_range = ColorRange.JPEG if clip.coding.color.full_range else ColorRange.MPEG
        # One matrix and one range on both sides: swscale may reorder, scale and resample, never convert colour.
        frame = VideoReformatter().reformat(
            frame,
            width=size[0],
            height=size[1],
            format=name,
            src_color_range=color_range,
            dst_color_range=color_range,
            interpolation=_FINE,
        )
    first, second, third = plane_views(frame)[:3]
    luma, chroma = first[None], np.stack([second, third])
    return _upright(luma, clip.orientation), _upright(chroma, clip.orientation), alpha


def _own_alpha(frame: VideoFrame, size: tuple[int, int], orientation: Orientation) -> NDArray[np.uint16]:
    """A frame's own alpha as its clip has it; of one without, as there may be in a stream that changes, opaque."""
    own = own_alpha(frame)
    if own is None:
        alpha: NDArray[Any] = np.full((frame.height, frame.width), 65535, np.uint16)
    else:
        codes, _, opaque = own
        alpha = ((codes.astype(np.uint32) * 65535 + opaque // 2) // opaque).astype(np.uint16)
    if size != (frame.width, frame.height):
        alpha = VideoFrame.from_ndarray(alpha, "gray16le").reformat(*size, interpolation=_FINE).to_ndarray()
    return _upright(alpha[None], orientation).astype(np.uint16, copy=False)


def _planar_format(form: VideoFormat, *, whole_chroma: bool) -> str:
    """The planar format that holds this one's codes.

    A turned picture needs chroma at full size: half-size samples would not lie where "left"-sited ones do.
    """
    bits = form.components[0].bits
    suffix = "" if bits <= 8 else "10le" if bits <= 10 else "12le"
    if form.is_rgb or form.name == "pal8":
        return f"gbrp{suffix}"
    chroma = (form.chroma_width(16), form.chroma_height(16)) if len(form.components) > 2 else (16, 16)
    layout = {(8, 8): "420", (8, 16): "422"}.get(chroma, "444")
    return f"yuv{'444' if whole_chroma else layout}p{suffix}"


def _upright(planes: NDArray[np.generic], orientation: Orientation) -> NDArray[np.generic]:
    if orientation.transpose:
        planes = planes.swapaxes(-1, -2)
    if orientation.flip_x:
        planes = planes[..., ::-1]
    if orientation.flip_y:
        planes = planes[..., ::-1, :]
    # torch knows no negative strides
    return planes if orientation.upright else np.ascontiguousarray(planes)


def read_still(
    path: Path, size: tuple[int, int], fit: Literal["cover", "contain", "stretch"] = "cover"
) -> NDArray[np.uint8]:
    """A picture as sRGB (3, height, width), upright, scaled to `size` = (height, width): it covers that, and the
    overhang is cut off; it is contained in it, with black beside it; or it is stretched to it."""
    picture = _open_still(path)
    if fit == "cover":
        picture = ImageOps.fit(picture, size[::-1], Image.Resampling.LANCZOS)
    elif fit == "contain":
        picture = ImageOps.pad(picture, size[::-1], Image.Resampling.LANCZOS)
    else:
        picture = picture.resize(size[::-1], Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def still_size(path: Path) -> tuple[int, int]:
    """(height, width) of a picture, upright. Raises SourceError for one that cannot be read."""
    width, height = _open_still(path).size
    return height, width


def _open_still(path: Path) -> Image.Image:
    """In sRGB, upright."""
    try:
        with Image.open(path) as opened:
            return _to_srgb(ImageOps.exif_transpose(opened))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SourceError(f"{path} cannot be read as a picture: {error}") from error


def _to_srgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16") or picture.mode == "I":
        return Image.fromarray((np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    profile = picture.info.get("icc_profile")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        # A plate is opaque: what it does not cover is black.
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture).convert("RGB")
    if profile and picture.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            return converted if converted is not None else picture.convert("RGB")
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile says nothing about the colours: take them as sRGB, as viewers do
    return picture.convert("RGB")


def is_still(path: Path) -> bool:
    """Whether the file is a picture that does not move."""
    try:
        with Image.open(path) as picture:
            return not getattr(picture, "is_animated", False)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
