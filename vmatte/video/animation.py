"""Animated pictures, for stickers: made of the finished segments, a frame at a time, and shown over and over."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.filter import Graph
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from vmatte.clip import ClipInfo
from vmatte.encodings import Animation, Encoding
from vmatte.errors import EncodeError

logger = logging.getLogger(__name__)

MANY_FRAMES = 1000
"""From here on a warning is due: players keep the frames of an animation in memory, and know no seeking."""


def check_animation(encoding: Encoding, rate: Fraction) -> None:
    """EncodeError for more frames a second than an animation of that kind can show."""
    animation = encoding.animation
    if animation is None or rate <= (fastest := 1 / (animation.tick * animation.shortest)):
        return
    raise EncodeError(
        f"{encoding.name} shows at most {fastest} frames a second, and this would have {float(rate):g}; "
        f"give --rate {fastest} or less, or another format: webp, apng"
    )


def animate(files: Iterable[Path], times: Sequence[Fraction], encoding: Encoding, path: Path) -> None:
    """Write the frames of all files, in order, to one picture: frame i is shown from times[i] to times[i + 1] seconds.

    `times` has one more entry than there are frames; the animation begins with the first of them.
    """
    assert encoding.animation is not None
    files, ticks = list(files), ticks_of(times, encoding.animation)
    if len(ticks) > MANY_FRAMES:
        logger.warning(
            "%s has %d frames: a page that shows it holds all of them; for so many webm or stacked is meant",
            path.suffix.removeprefix("."),
            len(ticks) - 1,
        )
    if encoding.animation.codec == "gif":
        pictures: Iterable[VideoFrame] = _with_palette(files, encoding.animation)
    else:
        pictures = _pictures(files)
    if encoding.animation.codec == "libwebp_anim":
        path.write_bytes(_webp(pictures, ticks, encoding.animation))
    else:
        _write(pictures, ticks, encoding.animation, path)


def shown_times(written: Sequence[int], clip: ClipInfo) -> list[Fraction]:
    """Seconds at which a clip's frames of those numbers begin, and the last one ends."""
    last = written[-1]
    ends = int(clip.pts[last + 1]) if last + 1 < clip.frames else int(clip.pts[last]) + clip.last_duration
    return [time * clip.time_base for time in (*clip.pts[list(written)].tolist(), ends)]


def ticks_of(times: Sequence[Fraction], animation: Animation) -> list[int]:
    """Times from the first one on, each rounded by itself, so that they do not drift."""
    ticks: list[int] = []
    for time in times:
        tick = round((time - times[0]) / animation.tick)
        ticks.append(max(tick, ticks[-1] + animation.shortest) if ticks else tick)
    return ticks


def animation_frames(
    path: Path, times: Sequence[Fraction], encoding: Encoding, size: tuple[int, int], *, alpha: bool
) -> Iterator[VideoFrame]:
    """What is shown at each of the times but the last, RGBA or RGB, by another decoder than FFmpeg's.

    Equal frames that follow each other may have become one. EncodeError where a picture is not `size`, (width, height),
    or begins at another time, and where the animation does not end with the last time, or at all.
    """
    assert encoding.animation is not None
    ticks = ticks_of(times, encoding.animation)
    due, now_ms = 0, 0
    try:
        with Image.open(path) as picture:
            if picture.size != size:
                raise EncodeError(f"{path} is {picture.width}×{picture.height}, not {size[0]}×{size[1]}")
            stands = getattr(picture, "n_frames", 1) == 1
            for number in range(getattr(picture, "n_frames", 1)):
                picture.seek(number)
                picture.load()
                now_ms += round(picture.info.get("duration", 0))
                ends = ticks[-1] if stands else round(Fraction(now_ms, 1000) / encoding.animation.tick)
                if ends not in ticks[due + 1 :]:
                    raise EncodeError(f"{path}: picture {number} ends at {now_ms} ms, as no frame does")
                codes = np.asarray(picture.convert("RGBA" if alpha else "RGB"))
                while ticks[due] < ends:
                    yield VideoFrame.from_ndarray(codes, format="rgba" if alpha else "rgb24")
                    due += 1
            loops = stands or picture.info.get("loop") == 0
    except (OSError, SyntaxError, EOFError) as error:
        raise EncodeError(f"{path} was written but cannot be read again: {error}") from error
    if due != len(ticks) - 1 or not loops:
        raise EncodeError(f"{path} ends before its last frame, or does not begin again")


def _pictures(files: Iterable[Path]) -> Iterator[VideoFrame]:
    """The frames of all files, RGB or RGBA."""
    for file in files:
        with av.open(str(file)) as container:
            yield from container.decode(container.streams.video[0])


def _timed(pictures: Iterable[VideoFrame], ticks: Sequence[int], tick: Fraction) -> Iterator[VideoFrame]:
    for picture, begins, ends in zip(pictures, ticks[:-1], ticks[1:], strict=True):
        picture.pts, picture.time_base, picture.duration = begins, tick, ends - begins
        yield picture


def _write(pictures: Iterable[VideoFrame], ticks: Sequence[int], animation: Animation, path: Path) -> None:
    last = (ticks[-1] - ticks[-2]) * animation.tick
    # Neither muxer takes the last frame's duration from its packet: one has an option in hundredths, one in seconds.
    options = {"loop": "0", "final_delay": str(round(last * 100))}
    if animation.container == "apng":
        options = {"plays": "0", "final_delay": f"{last.numerator}/{last.denominator}"}
    with av.open(str(path), "w", format=animation.container, options=options) as container:
        stream: VideoStream | None = None
        for picture in _timed(pictures, ticks, animation.tick):
            if stream is None:
                added = container.add_stream(animation.codec, rate=1 / animation.tick, options=animation.options)
                assert isinstance(added, VideoStream)
                stream = added
                context = stream.codec_context
                context.width, context.height, context.pix_fmt = picture.width, picture.height, picture.format.name
                context.time_base = animation.tick
            container.mux(stream.encode(picture))
        if stream is not None:
            container.mux(stream.encode(None))


def _webp(pictures: Iterable[VideoFrame], ticks: Sequence[int], animation: Animation) -> bytes:
    """The whole file, which libwebp makes: in memory are its finished frames, and two of those to come."""
    encoder = av.CodecContext.create(animation.codec, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.options, encoder.time_base, encoder.framerate = dict(animation.options), animation.tick, 1 / animation.tick
    encoder.pix_fmt = "bgra"
    whole = b""
    for picture in _timed((picture.reformat(format="bgra") for picture in pictures), ticks, animation.tick):
        if not encoder.is_open:
            encoder.width, encoder.height = picture.width, picture.height
        whole += b"".join(bytes(packet) for packet in encoder.encode(picture))
    whole += b"".join(bytes(packet) for packet in encoder.encode(None))
    return _with_last_duration(whole, round(ticks[-1] * animation.tick * 1000))


def _with_last_duration(webp: bytes, whole_ms: int) -> bytes:
    """The animation with a last frame that lasts to its end; FFmpeg leaves that to libwebp, which takes a mean."""
    changed, place, last, before = bytearray(webp), 12, None, 0
    while place + 8 <= len(webp):
        name, size = struct.unpack_from("<4sI", webp, place)
        if name == b"ANMF":
            before += 0 if last is None else int.from_bytes(webp[last : last + 3], "little")
            last = place + 8 + 12  # behind x, y, width and height of three bytes each
        place += 8 + size + size % 2
    if last is not None:
        changed[last : last + 3] = (whole_ms - before).to_bytes(3, "little")
    return bytes(changed)


def _with_palette(files: Sequence[Path], animation: Animation) -> Iterator[VideoFrame]:
    """The frames in the 255 colours that serve all of them best, and one that is clear."""
    palette = _palette(files)
    graph = Graph()
    source: av.filter.context.FilterContext | None = None
    sink = graph.add("buffersink")
    for picture in _cut_out(files):
        if source is None:
            user = graph.add("paletteuse", f"{animation.dither}:alpha_threshold=128")
            source, colours = _source(graph, picture), _source(graph, palette)
            source.link_to(user, 0, 0)
            colours.link_to(user, 0, 1)
            user.link_to(sink)
            graph.configure()
            colours.push(palette)
            colours.push(None)
        source.push(picture)
        yield from _pulled(sink)
    if source is not None:
        source.push(None)
        yield from _pulled(sink)


def _palette(files: Sequence[Path]) -> VideoFrame:
    graph = Graph()
    pictures = _cut_out(files)
    first = next(pictures)
    source, sink = _source(graph, first), graph.add("buffersink")
    graph.link_nodes(source, graph.add("palettegen", "reserve_transparent=1"), sink).configure()
    for picture in chain([first], pictures):
        source.push(picture)
    source.push(None)
    palette = sink.pull()
    assert isinstance(palette, VideoFrame)
    return palette


def _cut_out(files: Iterable[Path]) -> Iterator[VideoFrame]:
    """RGBA frames that are opaque where alpha is half or more, and clear elsewhere, numbered from 0."""
    for number, picture in enumerate(_pictures(files)):
        codes = picture.to_ndarray(format="rgba")
        opaque = codes[..., 3:] >= 128
        codes[..., 3] = 255
        frame = VideoFrame.from_ndarray(np.where(opaque, codes, np.uint8(0)), format="rgba")
        frame.pts, frame.time_base = number, Fraction(1, 100)
        yield frame


def _source(graph: Graph, like: VideoFrame) -> av.filter.context.FilterContext:
    return graph.add_buffer(width=like.width, height=like.height, format=like.format, time_base=Fraction(1, 100))


def _pulled(sink: av.filter.context.FilterContext) -> Iterator[VideoFrame]:
    while True:
        try:
            frame = sink.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        assert isinstance(frame, VideoFrame)
        yield frame
