"""What lies behind the subject: a picture, a video, colours, or the clip's own background out of focus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from math import ceil, cos, floor, radians, sin

import numpy as np
import torch
from torch import Tensor

from vmatte.canvas import Canvas, PlateShape
from vmatte.clip import ClipInfo, Coding
from vmatte.errors import JobError, SourceError
from vmatte.frames import FrameBatch, SubjectBatch
from vmatte.imaging.blur import blur_around, blur_behind
from vmatte.imaging.color import black, rgb_to_ycbcr
from vmatte.imaging.resize import contained, cover, covered_part, resize
from vmatte.imaging.tonemap import ToneMap, tone_mapped
from vmatte.options import BlurPlate, ColorPlate, FilePlate, Fit, GradientPlate
from vmatte.playback import Playback
from vmatte.stages.compose import PlatePlanes
from vmatte.video.probe import probe
from vmatte.video.read import is_still, read_still, still_size


def check_plate(plate: FilePlate) -> PlateShape:
    """What the file shows. JobError where it is neither a picture nor a video, or has no such start or end."""
    path = plate.path
    try:
        if not is_still(path):
            video = probe(path)
        else:
            height, width = still_size(path)
            if plate.start or plate.end is not None:
                raise JobError(f"background {path} is a picture, which has no start and no end; leave them out")
            return PlateShape(width, height, None)
    except SourceError as error:
        raise JobError(f"background {path} is neither a picture nor a video that can be used: {error}") from error
    for name, moment in (("start", plate.start), ("end", plate.end or 0)):
        if moment > video.duration or (name == "start" and moment == video.duration):
            length = f"{float(video.duration):.3f} s"
            raise JobError(f"background {path} is {length} long; its {name} cannot be at {moment:g} s")
    return PlateShape(video.width, video.height, video.rate)


@contextmanager
def open_plate(
    background: FilePlate | ColorPlate | GradientPlate | BlurPlate, canvas: Canvas, device: torch.device
) -> Iterator[PlatePlanes]:
    """The plate behind the frames of a canvas, on their device; a video is being decoded until the context ends."""
    output = canvas.composite
    size = (output.height, output.width)
    match background:
        case ColorPlate(rgb=rgb):
            yield _constant(_color(rgb, device).expand(1, 3, *size), output)
        case GradientPlate(colors=colors, angle=angle):
            stops = torch.cat([_color(rgb, device) for rgb in colors])
            yield _constant(_gradient(stops, angle, size), output)
        case BlurPlate(radius=radius):
            tone = ToneMap.of(canvas.clip) if canvas.tone_mapped else None
            yield lambda subject: _blurred(subject, radius, tone, moved=canvas.placement is not None)
        case FilePlate(path=path, fit=fit) if is_still(path):
            picture = torch.from_numpy(read_still(path, size, fit))[None].to(device)
            yield _constant(picture.to(torch.float32) / 255, output)
        case FilePlate(path=path):
            with closing(_VideoPlate(background, probe(path), output, device)) as video:
                yield video.planes


def _color(rgb: tuple[int, int, int], device: torch.device) -> Tensor:
    return torch.tensor(rgb, dtype=torch.float32, device=device).view(1, 3, 1, 1) / 255


def _gradient(stops: Tensor, angle: float, size: tuple[int, int]) -> Tensor:
    """Stops (n, 3, 1, 1) as one picture (1, 3, H, W): the first and the last are reached in the corners, as in CSS."""
    down, right = cos(radians(angle)), sin(radians(angle))
    rows, columns = (torch.arange(side, device=stops.device) + 0.5 - side / 2 for side in size)
    length = size[0] * abs(down) + size[1] * abs(right)
    along = ((rows[:, None] * down + columns * right) / length + 0.5) * (len(stops) - 1)
    before = along.floor().clamp(0, len(stops) - 2)
    part = along - before
    flat, number = stops.view(-1, 3), before.to(torch.int64)
    mixed = torch.lerp(flat[number], flat[number + 1], part[..., None])
    return mixed.permute(2, 0, 1)[None]


def _constant(rgb: Tensor, output: ClipInfo) -> PlatePlanes:
    """`rgb` (1, 3, H, W) in [0, 1] behind every frame; coded once, when the first frame tells the chroma's size."""
    coded: list[tuple[Tensor, Tensor]] = []

    def planes(subject: SubjectBatch) -> tuple[Tensor, Tensor]:
        if not coded:
            coded.append(rgb_to_ycbcr(rgb, output.delivery, subject.chroma_size))
        return coded[0]

    return planes


def _blurred(subject: SubjectBatch, radius: float, tone: ToneMap | None, *, moved: bool) -> tuple[Tensor, Tensor]:
    frames, alpha = subject.source.frames, subject.source.alpha
    sigma = radius * frames.size[0]
    blur = blur_behind if moved else blur_around
    part = covered_part(frames.size, subject.size)
    luma = cover(blur(frames.luma, alpha, sigma), subject.size, part)
    chroma = cover(blur(frames.chroma, alpha, sigma), subject.chroma_size, part)
    return (luma, chroma) if tone is None else tone_mapped(luma, chroma, tone)


class _VideoPlate:
    """A video that starts with the output's first frame. What it shows at a moment depends on the moment alone.

    One in HDR is tone-mapped where the output is not.
    """

    def __init__(self, choice: FilePlate, video: ClipInfo, output: ClipInfo, device: torch.device) -> None:
        self.choice, self.output = choice, output
        self._is_mapped = video.delivery.is_hdr and not output.delivery.is_hdr
        coding = video.delivery if self._is_mapped else video.coding_for(output.delivery.color)
        self._playback = Playback(video, coding, device)
        self._made: tuple[FrameBatch, Tensor, Tensor] | None = None

    def planes(self, subject: SubjectBatch) -> tuple[Tensor, Tensor]:
        fitted = [self._shown(number, subject) for number in subject.index]
        return torch.cat([luma for luma, _ in fitted]), torch.cat([chroma for _, chroma in fitted])

    def _shown(self, number: int, behind: SubjectBatch) -> tuple[Tensor, Tensor]:
        """The planes behind frame `number`; kept while the video shows the same."""
        time = int(self.output.pts[number] - self.output.pts[0]) * self.output.time_base
        shown = self._playback.frame(*number_at(time, self.choice, self._playback.video))
        if self._made is None or self._made[0] is not shown:
            planes = _fitted(shown, behind, self.choice.fit)
            if self._is_mapped:
                tone = ToneMap(Coding(shown.coding.color, behind.coding.bits), self._playback.video.peak)
                planes = tone_mapped(*planes, tone)
            self._made = (shown, *planes)
        return self._made[1:]

    def close(self) -> None:
        self._playback.close()


def number_at(time: Fraction, plate: FilePlate, video: ClipInfo) -> tuple[int, bool]:
    """The frame of a plate's video that is on screen `time` seconds after it began, and whether it runs backwards."""
    start = Fraction(str(plate.start))
    end = video.duration if plate.end is None else Fraction(str(plate.end))
    length, mirrored = end - start, False
    match plate.play:
        case "loop":
            moment = start + time % length
        case "hold":
            moment = start + min(time, length)
        case "ping-pong":
            there_and_back = time % (2 * length)
            mirrored = there_and_back >= length
            moment = start + (2 * length - there_and_back if mirrored else there_and_back)
    ticks = moment / video.time_base
    # In a mirror, and at the end, the frame counts that ends at the moment, not the one that begins there.
    ending = mirrored or moment == end
    since = int(video.pts[0]) + (ceil(ticks) if ending else floor(ticks))
    return int(np.searchsorted(video.pts, since, side="left" if ending else "right")) - 1, mirrored


def _fitted(shown: FrameBatch, behind: SubjectBatch, fit: Fit) -> tuple[Tensor, Tensor]:
    """A plate frame's planes, at the size of the subject's."""
    size, chroma_size = behind.size, behind.chroma_size
    # A plate of another depth has the same limited-range codes, times a power of two.
    scale = 2.0 ** (behind.coding.bits - shown.coding.bits)
    luma, chroma = (planes.to(torch.float32) * scale for planes in (shown.luma, shown.chroma))
    if fit == "stretch":
        return resize(luma, size), resize(chroma, chroma_size)
    if fit == "cover":
        part = covered_part(shown.size, size)
        return cover(luma, size, part), cover(chroma, chroma_size, part)
    rows, columns = contained(shown.size, size)
    steps = [-(-whole // half) for whole, half in zip(size, chroma_size, strict=True)]
    chroma_rows, chroma_columns = (
        slice(side.start // step, ceil(side.stop / step)) for side, step in zip((rows, columns), steps, strict=True)
    )
    black_luma, black_chroma = black(behind.coding)
    return (
        _within(luma, size, rows, columns, black_luma),
        _within(chroma, chroma_size, chroma_rows, chroma_columns, black_chroma),
    )


def _within(planes: Tensor, size: tuple[int, int], rows: slice, columns: slice, beside: int) -> Tensor:
    """Planes (1, C, h, w) scaled to these rows and columns of planes of `size`."""
    whole = planes.new_full((*planes.shape[:2], *size), beside)
    whole[..., rows, columns] = resize(planes, (rows.stop - rows.start, columns.stop - columns.start))
    return whole
