"""Measures what every encoding keeps of alpha and colour, by decoders that are not vmatte's, and writes it into
docs/formats.md.

Movies are decoded by the ffmpeg program, OpenEXR pictures by the OpenEXR library, TIFF by tifffile, PNG by OpenCV.
What is sent is synthetic: ramps of colour, ramps and hair-like noise of alpha. CPU time is of 1080p frames of a clip.

    python scripts/make_formats.py [--format NAME ...]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import OpenEXR
import tifffile
import torch
from bench_encodings import Cost, costs
from numpy.typing import NDArray

from vmatte.clip import BT709, FLOAT_BITS, ClipInfo, Coding
from vmatte.encodings import ENCODINGS, Encoding, half_height
from vmatte.errors import EncodeError
from vmatte.frames import LayerBatch
from vmatte.imaging.compositing import matte_planes
from vmatte.outputs import AlphaForm, LayerName
from vmatte.stages.recode import recode
from vmatte.video.join import EncodedSegment, join
from vmatte.video.layer_coding import coding_for
from vmatte.video.probe import probe
from vmatte.video.write import check_encoder, encode

WIDTH, HEIGHT, FRAMES = 160, 96, 4
ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "formats.md"
MEASURED = {
    name: row for name, row in ENCODINGS.items() if row.animation is None and not row.codec.endswith("_videotoolbox")
}
"""The encodings that the table has: animations are in docs/web.md, and VideoToolbox is on macOS alone."""
TABLE = "<!-- made by scripts/make_formats.py -->"

Numbers = NDArray[np.float64]
Error = tuple[float, float]


@dataclass(frozen=True)
class Sent:
    """Synthetic frames: their planes as vmatte has them, and what these mean by the standards' own formulas."""

    delivery: Coding
    luma: torch.Tensor
    chroma: torch.Tensor
    alpha: torch.Tensor
    rgb: Numbers
    """R'G'B' (T, H, W, 3) in [0, 1]."""


@dataclass(frozen=True)
class Errors:
    """Largest and mean absolute errors, in parts of 255; None for what is not there."""

    color: Error | None = None
    alpha: Error | None = None
    """Of cutouts."""
    matte: Error | None = None
    """Of the matte alone."""


def bt709(luma: Numbers, cb: Numbers, cr: Numbers, bits: int, *, full: bool = False) -> Numbers:
    """R'G'B' of codes (ITU-R BT.709, items 3.2 to 3.4 and 4.6)."""
    unit = 2.0 ** (bits - 8)
    y = luma / (2**bits - 1) if full else (luma / unit - 16) / 219
    b, r = (((plane / unit) - 128) / 224 for plane in (cb, cr))
    red, blue = y + 1.5748 * r, y + 1.8556 * b
    return np.stack([red, (y - 0.2126 * red - 0.0722 * blue) / 0.7152, blue], axis=-1)


def light(encoded: Numbers) -> Numbers:
    """The inverse of BT.709's OETF (item 1.2)."""
    return np.where(encoded < 0.081242858, encoded / 4.5, ((encoded + 0.09929682681) / 1.09929682681) ** (1 / 0.45))


def sent(bits: int) -> Sent:
    """Frames of `bits` bits: from black to white, then ramps of colour, one direction each for luma, Cb and Cr."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    unit = 2 ** (bits - 8)
    gray = np.round((16 + 219 * columns / (WIDTH - 1)) * unit)
    lumas, chromas = [gray], [np.full((2, HEIGHT // 2, WIDTH // 2), 128.0 * unit)]
    slope = np.arange(WIDTH // 2)
    for number in range(1, FRAMES):
        ramp = np.round((95 + 60 * (rows if number % 2 else rows[::-1]) / (HEIGHT - 1)) * unit)
        cb = (88 + slope if number < 3 else 167 - slope) * float(unit)
        lumas.append(ramp)
        chromas.append(np.broadcast_to(np.stack([cb, 255 * unit - cb])[:, None], (2, HEIGHT // 2, WIDTH // 2)))
    luma, chroma = np.stack(lumas)[:, None], np.stack(chromas)
    kind = np.uint8 if bits == 8 else np.uint16
    return Sent(
        delivery=Coding(BT709, bits),
        luma=torch.from_numpy(luma.astype(kind)),
        chroma=torch.from_numpy(chroma.astype(kind)),
        alpha=torch.from_numpy(np.stack([alpha_of(number) for number in range(FRAMES)])[:, None]),
        rgb=np.stack([bt709(y[0], *upsampled(c), bits) for y, c in zip(luma, chroma, strict=True)]),
    )


def alpha_of(number: int) -> NDArray[np.float32]:
    """A ramp above, hair-like noise below: thin strokes of every strength, soft on some of their way."""
    random = np.random.default_rng(number)
    alpha = np.tile(np.linspace(0, 1, WIDTH), (HEIGHT, 1))
    hair = np.zeros((HEIGHT // 2, WIDTH))
    for _ in range(60):
        start, end = (random.integers(0, [WIDTH, HEIGHT // 2]).tolist() for _ in range(2))
        stroke = cv2.line(np.zeros_like(hair), start, end, float(random.uniform(0.1, 1)), 1, cv2.LINE_AA)
        hair = np.maximum(hair, stroke)
    alpha[HEIGHT // 2 :] = np.clip(hair + random.normal(0, 0.05, hair.shape) * (hair > 0), 0, 1)
    return alpha.astype(np.float32)


def upsampled(chroma: Numbers) -> Numbers:
    """Half-size chroma (2, h, w) at full size: sited left and half-way between rows, bilinear; 4:2:2 and 4:4:4 too."""
    planes = []
    for plane in chroma:
        if plane.shape[1] != WIDTH:
            places = np.arange(WIDTH) / 2
            plane = np.stack([np.interp(places, np.arange(plane.shape[1]), row) for row in plane])
        if plane.shape[0] != HEIGHT:
            places = (np.arange(HEIGHT) - 0.5) / 2
            plane = np.stack([np.interp(places, np.arange(plane.shape[0]), column) for column in plane.T], axis=1)
        planes.append(plane)
    return np.stack(planes)


def layers_of(encoding: Encoding) -> list[LayerName]:
    layers: tuple[LayerName, ...] = ("cutout", "composite", "alpha")
    return [layer for layer in layers if encoding.carries(layer)]


def written(frames: Sent, clip: ClipInfo, encoding: Encoding, layer: LayerName, form: AlphaForm, folder: Path) -> Path:
    """The layer as a finished output: two segments, joined."""
    coding = coding_for(encoding, layer, frames.delivery, form)
    segments = []
    for part in (range(FRAMES // 2), range(FRAMES // 2, FRAMES)):
        own = slice(part.start, part.stop)
        alpha = frames.alpha[own]
        if layer == "alpha":
            batch = LayerBatch(part, *matte_planes(alpha, coding, (HEIGHT // 2, WIDTH // 2)), None)
        else:
            cutout = alpha if layer == "cutout" else None
            batch = LayerBatch(part, frames.luma[own], frames.chroma[own], cutout)
            (batch,) = recode([batch], frames.delivery, coding, encoding, form)
        path = folder / f"{part.start}{encoding.suffix}"
        numbers = encode(
            [batch],
            path,
            encoding,
            coding,
            Fraction(25),
            is_matte=layer == "alpha",
            premultiplied=form == "premultiplied",
        )
        segments.append(EncodedSegment(path, tuple(numbers)))
    output = folder / f"whole{encoding.suffix}"
    join(segments, clip, encoding, output)
    return output


def errors(frames: Sent, path: Path, encoding: Encoding, layer: LayerName, form: AlphaForm) -> Errors:
    """Of a finished output, against what was sent."""
    color, alpha = decoded(path, encoding)
    wanted_alpha = frames.alpha[:, 0].numpy().astype(np.float64)
    if layer == "alpha":
        return Errors(matte=_apart(color, wanted_alpha[..., None]))
    wanted = light(frames.rgb) if encoding.colour == "linear" else frames.rgb
    if layer != "cutout":
        return Errors(color=_apart(color, wanted))
    assert alpha is not None, f"{path} lost its alpha"
    if form == "premultiplied" or encoding.premultiplied:
        wanted = wanted * wanted_alpha[..., None]
    return Errors(color=_apart(color, wanted), alpha=_apart(alpha, wanted_alpha))


def _apart(seen: Numbers, wanted: Numbers) -> Error:
    difference = 255 * np.abs(seen - wanted)
    return float(difference.max()), float(difference.mean())


def decoded(path: Path, encoding: Encoding, frames: int = FRAMES) -> tuple[Numbers, Numbers | None]:
    """RGB (T, H, W, 3) and alpha (T, H, W) in [0, 1], as another program than vmatte sees them."""
    if not encoding.is_sequence:
        return _by_ffmpeg(path, encoding, frames)
    pictures = [_READERS[encoding.picture_suffix](picture) for picture in sorted(path.iterdir())]
    assert len(pictures) == frames
    color = np.stack([picture[..., :3] if picture.ndim == 3 else picture[..., None] for picture in pictures])
    alpha = np.stack([picture[..., 3] for picture in pictures]) if pictures[0].shape[2:] == (4,) else None
    return color, alpha


def _read_png(path: Path) -> Numbers:
    codes = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if codes.ndim == 3:
        codes = codes[..., [2, 1, 0, 3][: codes.shape[2]]]
    return codes / np.iinfo(codes.dtype).max


def _read_tiff(path: Path) -> Numbers:
    codes = tifffile.imread(path)
    return codes / np.iinfo(codes.dtype).max


def _read_exr(path: Path) -> Numbers:
    with OpenEXR.File(str(path)) as file:
        (channel,) = file.channels().values()
        return channel.pixels.astype(np.float64)


_READERS = {".png": _read_png, ".tif": _read_tiff, ".exr": _read_exr}


def _by_ffmpeg(path: Path, encoding: Encoding, frames: int) -> tuple[Numbers, Numbers | None]:
    stream = _ffprobe(path)
    alpha_beside = str(stream.get("tags", {})).lower().find("'alpha_mode': '1'") >= 0
    decoder = ["-c:v", "libvpx-vp9"] if alpha_beside else []
    pix_fmt = "yuva420p" if alpha_beside else stream["pix_fmt"]
    command = ["ffmpeg", "-v", "error", *decoder, "-i", str(path), "-vsync", "0", "-f", "rawvideo"]
    raw = subprocess.run([*command, "-pix_fmt", pix_fmt, "-"], check=True, capture_output=True).stdout
    form = av.VideoFormat(pix_fmt, WIDTH, stream["height"])
    bits = form.components[0].bits
    codes = np.frombuffer(raw, "u1" if bits == 8 else "<u2").reshape(frames, -1).astype(np.float64)
    if form.is_rgb:
        packed = codes.reshape(frames, HEIGHT, WIDTH, -1) / 255
        return (packed[..., 1:], packed[..., 0]) if pix_fmt == "argb" else (packed, None)
    sizes = [part.width * part.height for part in form.components]
    planes = np.split(codes, np.cumsum(sizes)[:-1], axis=1)
    planes = [
        plane.reshape(frames, part.height, part.width) for plane, part in zip(planes, form.components, strict=True)
    ]
    if pix_fmt.startswith("gray"):
        return planes[0][..., None] / (2**bits - 1), None
    if encoding.stacked:
        matte = planes[0][:, half_height(HEIGHT) :][:, :HEIGHT]
        planes = [plane[:, : HEIGHT * plane.shape[1] // stream["height"]] for plane in planes]
        planes.append((matte - 16) / 219 * 255)
    color = np.stack([bt709(y, *upsampled(np.stack(c)), bits) for y, *c in zip(*planes[:3], strict=True)])
    return color, planes[3] / (2**bits - 1) if len(planes) == 4 else None


def _ffprobe(path: Path) -> dict[str, object]:
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_streams", "-of", "json", str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["streams"][0]


def source_clip(folder: Path) -> ClipInfo:
    """A clip whose times the outputs get."""
    path = folder / "source.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(FRAMES):
            frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return probe(path)


def measured(encoding: Encoding, folder: Path, bits: int = 10) -> Errors | None:
    """The worst of all layers; None where this machine cannot encode so."""
    try:
        check_encoder(encoding)
    except EncodeError:
        return None
    clip, frames = source_clip(folder), sent(bits)
    found = []
    for layer in layers_of(encoding):
        own = folder / layer
        own.mkdir()
        path = written(frames, clip, encoding, layer, "straight", own)
        found.append(errors(frames, path, encoding, layer, "straight"))
    return Errors(*(_worst([getattr(each, what) for each in found]) for what in ("color", "alpha", "matte")))


def _worst(found: list[Error | None]) -> Error | None:
    return max((each for each in found if each is not None), default=None)


_HEAD = (
    "`--format`",
    "in",
    "codec",
    "pixels: opaque, with alpha, matte alone",
    "bits of colour",
    "of alpha",
    "alpha",
    "error of colour",
    "of a cutout's alpha",
    "of a matte alone",
    "CPU ms",
    "opens in",
)


def lines_of(page: str) -> dict[str, str]:
    """The table's lines by encoding."""
    lines = [line for line in page.partition(TABLE)[2].splitlines() if line.startswith("| `")][1:]
    return {line.split("`")[1]: line for line in lines}


def line_of(row: Encoding, found: Errors | None, cost: Cost | None) -> str:
    seen = ["needs the card"] * 3 if found is None else [_said(found.color), _said(found.alpha), _said(found.matte)]
    cells = (*known_of(row), *seen, "–" if cost is None else f"{cost.cpu_ms:.0f}", row.plays)
    return f"| {' | '.join(cells)} |"


def known_of(row: Encoding) -> tuple[str, ...]:
    """The cells that need no measuring."""
    formats = (row.pix_fmt or "the clip's own", row.pix_fmt_alpha, row.pix_fmt_gray)
    return (
        f"`{row.name}`",
        f"folder of {row.picture_suffix}" if row.is_sequence else row.suffix,
        row.codec,
        ", ".join(form or "–" for form in formats),
        _depth(row, row.bits),
        _depth(row, row.alpha_bits),
        "–" if not row.pix_fmt_alpha else row.usual_alpha or "straight, or as asked",
    )


def _depth(row: Encoding, bits: int) -> str:
    if bits == FLOAT_BITS:
        return "half float" if row.half else "float"
    return str(bits or "–")


def _said(found: Error | None) -> str:
    return "–" if found is None else f"{found[0]:.2f} ({found[1]:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format", action="append", choices=list(MEASURED), help="measure these alone")
    parser.add_argument("--frames", type=int, default=10, help="of the sample, to time")
    options = parser.parse_args()
    names = options.format or list(MEASURED)
    page = PAGE.read_text()
    lines = lines_of(page)
    with tempfile.TemporaryDirectory() as scratch:
        cost = {each.encoding: each for each in costs(names, options.frames, Path(scratch))}
        for name in names:
            folder = Path(scratch) / name
            folder.mkdir()
            lines[name] = line_of(MEASURED[name], measured(MEASURED[name], folder), cost.get(name))
    table = [f"| {' | '.join(_HEAD)} |", "|---" * len(_HEAD) + "|", *(lines[name] for name in MEASURED)]
    PAGE.write_text(f"{page.partition(TABLE)[0]}{TABLE}\n\n" + "\n".join(table) + "\n")


if __name__ == "__main__":
    main()
