"""What lies behind the subject: a picture, a video, a colour, or the clip's own background out of focus."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import torch
from torch import Tensor

from vmatte.clip import ClipInfo
from vmatte.errors import JobError, SourceError
from vmatte.frames import FrameBatch, SubjectBatch
from vmatte.imaging.blur import blur_around
from vmatte.imaging.color import rgb_to_ycbcr
from vmatte.imaging.resize import cover, covered_part
from vmatte.options import BlurPlate, ColorPlate, FilePlate, GradientPlate
from vmatte.playback import Playback
from vmatte.stages.compose import PlatePlanes
from vmatte.video.probe import probe
from vmatte.video.read import is_still, read_still


def check_plate(path: Path) -> None:
    """JobError where the file is neither a picture nor a video."""
    try:
        if is_still(path):
            read_still(path, (1, 1))
        else:
            probe(path)
    except SourceError as error:
        raise JobError(f"background {path} is neither a picture nor a video that can be used: {error}") from error


@contextmanager
def open_plate(
    background: FilePlate | ColorPlate | GradientPlate | BlurPlate, clip: ClipInfo, device: torch.device
) -> Iterator[PlatePlanes]:
    """The plate behind the clip's frames, on their device; a video is being decoded until the context ends."""
    match background:
        case ColorPlate(rgb=rgb):
            color = torch.tensor(rgb, dtype=torch.float32, device=device).view(1, 3, 1, 1) / 255
            yield _constant(color.expand(1, 3, clip.height, clip.width), clip)
        case BlurPlate(radius=radius):
            yield lambda subject: _blurred(subject, radius)
        case FilePlate(path=path) if is_still(path):
            picture = torch.from_numpy(read_still(path, (clip.height, clip.width)))[None].to(device)
            yield _constant(picture.to(torch.float32) / 255, clip)
        case FilePlate(path=path):
            with closing(_VideoPlate(probe(path), clip, device)) as video:
                yield video.planes


def _constant(rgb: Tensor, clip: ClipInfo) -> PlatePlanes:
    """`rgb` (1, 3, H, W) in [0, 1] behind every frame; coded once, when the first frame tells the chroma's size."""
    coded: list[tuple[Tensor, Tensor]] = []

    def planes(subject: SubjectBatch) -> tuple[Tensor, Tensor]:
        if not coded:
            coded.append(rgb_to_ycbcr(rgb, clip.delivery, subject.chroma_size))
        return coded[0]

    return planes


def _blurred(subject: SubjectBatch, radius: float) -> tuple[Tensor, Tensor]:
    frames, alpha = subject.source.frames, subject.source.alpha
    sigma = radius * frames.size[0]
    return blur_around(frames.luma, alpha, sigma), blur_around(frames.chroma, alpha, sigma)


class _VideoPlate:
    """A video that starts with the clip's first frame and loops. At each moment it shows what it would show alone."""

    def __init__(self, plate: ClipInfo, clip: ClipInfo, device: torch.device) -> None:
        self.clip = clip
        self._playback = Playback(plate, plate.coding_for(clip.delivery.color), device)
        self._covering: tuple[FrameBatch, Tensor, Tensor] | None = None

    def planes(self, subject: SubjectBatch) -> tuple[Tensor, Tensor]:
        covering = [self._covered(self._playback.frame(self._number_at(number)), subject) for number in subject.index]
        return torch.cat([luma for luma, _ in covering]), torch.cat([chroma for _, chroma in covering])

    def _covered(self, shown: FrameBatch, behind: SubjectBatch) -> tuple[Tensor, Tensor]:
        """A plate frame's planes at the size of the clip's; kept while the plate shows that frame."""
        if self._covering is None or self._covering[0] is not shown:
            part = covered_part(shown.size, behind.size)
            # A plate of another depth has the same limited-range codes, times a power of two.
            scale = 2.0 ** (behind.coding.bits - shown.coding.bits)
            luma = cover(shown.luma.to(torch.float32), behind.size, part) * scale
            chroma = cover(shown.chroma.to(torch.float32), behind.chroma_size, part) * scale
            self._covering = (shown, luma, chroma)
        return self._covering[1:]

    def _number_at(self, number: int) -> int:
        clip, plate = self.clip, self._playback.video
        time = int(clip.pts[number] - clip.pts[0]) * clip.time_base % plate.duration
        return bisect_right(plate.pts, int(plate.pts[0]) + time // plate.time_base) - 1

    def close(self) -> None:
        self._playback.close()
