"""Opening an output again: is it what was promised? Only then does it get its name."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from vmatte.clip import BT709, RGB_MATRIX, ClipInfo, Coding
from vmatte.encodings import Encoding
from vmatte.errors import EncodeError, KeptMatteError, SourceError
from vmatte.frames import KeptMatte
from vmatte.job import Verify
from vmatte.video.alpha import alpha_decoder, alpha_of
from vmatte.video.animation import animation_frames, shown_times
from vmatte.video.planes import float_planes, has_alpha, is_float, plane_views
from vmatte.video.probe import says_alpha
from vmatte.video.sent import Ends, SentSegment, alpha_ends, frames_compared, luma_ends
from vmatte.video.verify_container import verify_container, verify_frame_tags
from vmatte.video.write import picture_name


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found of an output that was opened again. Errors are of alpha, in 1/255; None where there is none."""

    frames_decoded: int
    alphas_compared: int
    alpha_max_error: float | None
    alpha_mean_error: float | None
    luma_psnr_db: float | None
    """Of the worst frame that was compared, over what is to be seen of it; None where nothing was, or all is equal."""


def verify(
    path: Path,
    clip: ClipInfo,
    encoding: Encoding,
    coding: Coding,
    sent: Sequence[SentSegment],
    *,
    alpha: bool,
    is_matte: bool = False,
    how: Verify = "sampled",
) -> Verified:
    """Open a finished output and compare it with what was sent to the encoder; EncodeError for what is not as it was.

    `coding` is that of the layer, `alpha` says whether it has one, `is_matte` whether its luma is the matte. Looked at
    are: the number of frames, their times, size and colour tags, how many audio tracks there are, their language and
    where they begin and end; decoded, with `full` every frame and else some of each segment, are alpha and luma.
    """
    written = [number for segment in sent for number in segment.written]
    compared = {number for segment in sent for number in frames_compared(segment.frames, how)}
    wanted = [number for number in written if number in compared or number in (written[0], written[-1])]
    try:
        comparison = _Comparison(path, encoding, coding, sent, is_matte=is_matte)
        if encoding.animation is not None:
            shown = animation_frames(path, shown_times(written, clip), encoding, (clip.width, clip.height), alpha=alpha)
            for number, frame in zip(written, shown, strict=True):
                if number in wanted:
                    comparison.compare(number, frame)
            return comparison.found(len(written))
        if encoding.is_sequence:
            frames = _open_pictures(path, encoding, written, wanted)
        else:
            verify_container(path, clip, encoding, coding, written)
            frames = _open_file(path, written, wanted)
        size = encoding.coded_size(clip.width, clip.height)
        for number, frame in frames:
            where = f"{path}: frame {number}"
            if (frame.width, frame.height) != size:
                raise EncodeError(f"{where} is {frame.width}×{frame.height}, not {size[0]}×{size[1]}")
            if has_alpha(frame) != (alpha and not encoding.stacked):
                raise EncodeError(f"{where} {'lost its alpha' if alpha else 'has an alpha that nobody asked for'}")
            verify_frame_tags(where, frame, coding)
            comparison.compare(number, frame)
        if alpha and encoding.container == "webm" and not _file_says_alpha(path):
            raise EncodeError(f"{path} does not say that it has alpha: browsers would show it opaque")
    except (OSError, av.error.FFmpegError) as error:
        raise EncodeError(f"{path} was written but cannot be read again: {error}") from error
    except KeptMatteError as error:
        raise EncodeError(f"{path}: what it should hold was not kept: {error}; run again") from error
    return comparison.found(len(wanted))


def _file_says_alpha(path: Path) -> bool:
    with av.open(str(path)) as container:
        return says_alpha(container.streams.video[0])


class _Comparison:
    """Decoded frames beside what was sent of them. Frames come in order; those of which nothing was kept pass."""

    def __init__(
        self, path: Path, encoding: Encoding, coding: Coding, sent: Sequence[SentSegment], *, is_matte: bool
    ) -> None:
        self._path, self._encoding, self._coding, self._is_matte = path, encoding, coding, is_matte
        self._mattes = _Ahead(code for segment in sent for code in segment.mattes())
        self._lumas = _Ahead(code for segment in sent for code in segment.lumas())
        self._compared = 0
        self._worst, self._sum = 0.0, 0.0
        self._psnr = float("inf")

    def compare(self, number: int, frame: VideoFrame) -> None:
        """Raises EncodeError where the frame is too far from what was sent."""
        matte, luma = self._mattes.of(number), self._lumas.of(number)
        if matte is not None:
            self._compare_matte(number, frame, matte)
        if luma is not None:
            self._compare_luma(number, frame, luma, matte)

    def found(self, decoded: int) -> Verified:
        some = self._compared > 0
        return Verified(
            frames_decoded=decoded,
            alphas_compared=self._compared,
            alpha_max_error=round(self._worst, 3) if some else None,
            alpha_mean_error=round(self._sum / self._compared, 5) if some else None,
            luma_psnr_db=round(self._psnr, 2) if np.isfinite(self._psnr) else None,
        )

    def _compare_matte(self, number: int, frame: VideoFrame, sent: NDArray[np.uint16]) -> None:
        ends = luma_ends(self._coding) if self._is_matte else alpha_ends(self._encoding)
        try:
            shown = _matte_of(frame, self._encoding, f"{self._path}: frame {number}")
            seen = shown[: sent.shape[0], : sent.shape[1]]
        except SourceError as error:
            raise EncodeError(f"{self._path}: frame {number} of the matte is in colour") from error
        span = ends.white - ends.black
        # As the codes that were sent: a decoder that shows alpha in more bits has rounded nothing away.
        wrong = np.abs(np.rint(seen * np.float32(span)) - (sent.astype(np.float32) - ends.black)) * (255 / span)
        worst = float(wrong.max())
        as_luma = self._is_matte or self._encoding.stacked
        allowed = self._encoding.matte_tolerance if as_luma else self._encoding.alpha_tolerance
        if worst > allowed + _ROUNDING:
            row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
            what = "matte" if self._is_matte else "alpha"
            raise EncodeError(
                f"{self._path}: {what} of frame {number} is off by {worst:.2f} of 255 at ({column}, {row}); "
                f"{self._encoding.name} may be off by {allowed:g}"
            )
        mean = float(wrong.mean())
        if as_luma and mean > _STRAYED:
            raise EncodeError(
                f"{self._path}: the matte of frame {number} is another: off by {mean:.1f} of 255 on average"
            )
        self._compared += 1
        self._worst = max(self._worst, worst)
        self._sum += mean

    def _compare_luma(
        self, number: int, frame: VideoFrame, sent: NDArray[np.uint16], alpha: NDArray[np.uint16] | None
    ) -> None:
        """PSNR, weighed by alpha: what lies where nobody sees it may be coded as it likes."""
        seen = _luma_of(frame, self._coding)
        if seen is None:
            return
        ends = luma_ends(self._coding)
        due = (sent.astype(np.float32) - ends.black) / np.float32(ends.white - ends.black)
        squares = np.square(seen[: sent.shape[0], : sent.shape[1]] - due)
        weights = np.ones_like(due) if alpha is None else alpha / np.float32(alpha_ends(self._encoding).white)
        visible, error = float(weights.sum()), float((squares * weights).sum())
        if not visible or not error:
            return
        psnr = 10 * float(np.log10(visible / error))
        if psnr < self._encoding.luma_psnr_db:
            raise EncodeError(
                f"{self._path}: the picture of frame {number} is damaged: its luma has {psnr:.1f} dB, "
                f"{self._encoding.luma_psnr_db:g} at least are due"
            )
        self._psnr = min(self._psnr, psnr)


def _matte_of(frame: VideoFrame, encoding: Encoding, where: str) -> NDArray[np.float32]:
    """Alpha, or the luma that stands for it: of a stacked picture that of its lower half."""
    if not encoding.stacked:
        return alpha_of(frame, where)
    ends = Ends(*Coding(BT709, frame.format.components[0].bits).luma_ends)
    codes = plane_views(frame)[0][frame.height // 2 :].astype(np.float32)
    return ((codes - ends.black) / np.float32(ends.white - ends.black)).clip(0, 1)


_STRAYED = 12.0
"""Of 255, the mean: a codec smooths single hairs by far, and even noise by no more than 4 on the whole."""
_ROUNDING = 0.001
"""Of 1/255: what floating point makes of equal numbers."""


class _Ahead:
    """Kept codes in the frames' order, from which some are picked."""

    def __init__(self, codes: Iterator[KeptMatte]) -> None:
        self._codes = codes
        self._next = next(codes, None)

    def of(self, number: int) -> NDArray[np.uint16] | None:
        """The codes of a frame; None where none were kept. Those of frames before it are passed over."""
        while self._next is not None and self._next.number < number:
            self._next = next(self._codes, None)
        return self._next.alpha if self._next is not None and self._next.number == number else None


def _luma_of(frame: VideoFrame, coding: Coding) -> NDArray[np.float32] | None:
    """A frame's luma (of RGB, green) with black at 0 and white at 1; None where the layer was coded as another kind."""
    form = frame.format
    if form.has_palette or form.is_rgb != (coding.color.matrix == RGB_MATRIX):
        return None
    if is_float(frame):
        return float_planes(frame)[0].clip(0, 1)  # what was kept ends at white, where HDR's light goes on
    bits = form.components[0].bits
    ends = Ends(*Coding(coding.color, bits).luma_ends)
    if len(frame.planes) >= 3 and not form.name.endswith("be"):
        codes: NDArray[np.generic] = plane_views(frame)[0]
    elif form.is_rgb:  # packed
        codes = frame.to_ndarray()[..., 2 if form.name.startswith(("argb", "abgr")) else 1]
    else:
        codes = frame.to_ndarray()
    return (codes.astype(np.float32) - ends.black) / np.float32(ends.white - ends.black)


def _open_pictures(
    path: Path, encoding: Encoding, written: Sequence[int], wanted: Sequence[int]
) -> Iterator[tuple[int, VideoFrame]]:
    names = [picture_name(number, encoding) for number in written]
    if sorted(entry.name for entry in path.iterdir()) != sorted(names):
        raise EncodeError(f"{path} does not hold the {len(names)} pictures that were written")
    for number in wanted:
        picture = path / picture_name(number, encoding)
        try:
            with av.open(str(picture.absolute()), options={"err_detect": "explode"}) as container:
                yield number, next(iter(container.decode(video=0)))
        except (StopIteration, IndexError, av.error.FFmpegError) as error:
            raise EncodeError(f"{picture} was written but cannot be read again: {error}") from error


_Moment = tuple[int, int]
"""When a picture is shown, in ticks, and how many before it are shown at that tick: in Matroska two may."""


def _open_file(path: Path, written: Sequence[int], wanted: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
    """The wanted frames of a file, with a decoder that shows alpha; groups of pictures without any are passed over."""
    with av.open(str(path)) as container:
        packets = [(packet.pts or 0, packet.is_keyframe) for packet in container.demux(video=0) if packet.size]
    before: Counter[int] = Counter()
    moments = [(_moment(before, pts), is_key) for pts, is_key in packets]
    number_at = dict(zip(sorted(moment for moment, _ in moments), written, strict=True))
    left = set(wanted)
    needed = _groups_of(moments, {moment for moment, number in number_at.items() if number in left})
    with av.open(str(path)) as container:
        try:
            for moment, frame in _decoded(container, needed):
                number = number_at.get(moment)
                if number in left and not frame.is_corrupt:
                    left.remove(number)
                    yield number, frame
        except av.error.FFmpegError as error:
            raise EncodeError(f"{path}: frame {min(left, default=written[-1])} cannot be decoded: {error}") from error
    if left:
        raise EncodeError(f"{path}: frame {min(left)} cannot be decoded")


def _moment(before: Counter[int], pts: int) -> _Moment:
    before[pts] += 1
    return pts, before[pts] - 1


def _groups_of(packets: Sequence[tuple[_Moment, bool]], wanted: set[_Moment]) -> dict[int, set[_Moment | None]]:
    """The groups of pictures that must be decoded, and until which moments; None stands for all of a group."""
    needed: dict[int, set[_Moment | None]] = defaultdict(set)
    group, key = -1, (0, 0)
    for moment, is_key in packets:
        if is_key or group < 0:
            group, key = group + 1, moment
        if moment in wanted:
            needed[group].add(moment)
            if moment < key:  # shown before its key frame, it is made of the group before, too
                needed[group - 1].add(None)
    return needed


def _decoded(
    container: av.container.InputContainer, needed: Mapping[int, set[_Moment | None]]
) -> Iterator[tuple[_Moment, VideoFrame]]:
    stream = container.streams.video[0]
    decoder = alpha_decoder(stream)
    decoder.thread_type, decoder.thread_count = "AUTO", 0
    group, running = -1, False
    left: set[_Moment | None] = set()
    before: Counter[int] = Counter()
    for packet in container.demux(stream):
        if packet.size and (packet.is_keyframe or group < 0):
            group += 1
            left = set(needed.get(group, ()))
        frames: list[VideoFrame] = []
        if packet.size and left:
            running = True
            frames = decoder.decode(packet)
        elif running:  # what comes next is not needed
            frames = decoder.decode(None)
            decoder.flush_buffers()
            running = False
        for frame in frames:
            moment = _moment(before, frame.pts or 0)
            left.discard(moment)
            yield moment, frame
        if packet.size and not running:
            before[packet.pts or 0] += 1
