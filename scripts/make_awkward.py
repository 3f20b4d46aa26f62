"""Make 20 awkward sources, such as cameras, phones and recorders leave behind, with Debian's ffmpeg.

    python scripts/make_awkward.py --out FOLDER

Always alike, and small: 12 frames of 96 × 64 but where that is the point. Each shows, on black, a rectangle in the
upper left quarter of the picture as it is meant to be seen; the rectangle's luma tells the frame's number.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

WIDTH, HEIGHT, FRAMES, RATE = 96, 64, 12, 25
DARKEST, STEP = 60, 8
"""Luma of the rectangle in frame 0, and by how much each next one is brighter: 8-bit codes of the limited range."""
TINT = (112, 144)
"""Its chroma: 8-bit codes of Cb and Cr."""
SAMPLE_RATE = 48_000
LOST = 5
"""Frames of `truncated` that are not there any more."""

_QUICK = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "0")
_BT709 = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv")
_ALIKE = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact", "-threads", "1")


def ffmpeg(*arguments: str | Path) -> None:
    """Run it; CalledProcessError where it fails."""
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def picture(
    pix_fmt: str = "yuv420p", *, size: tuple[int, int] = (WIDTH, HEIGHT), frames: int = FRAMES, black: int = 16
) -> list[str]:
    """An input: frames whose codes are written out."""
    bits = 10 if "10" in pix_fmt else 8
    unit = 2 ** (bits - 8)
    inside = "lt(Y,H/2)*lt(X,W/2)"
    planes = [f"lum='if({inside},{unit}*({DARKEST}+{STEP}*N),{unit * black})'"]
    planes += [
        f"{name}='if({inside},{unit * code},{128 * unit})'" for name, code in zip(("cb", "cr"), TINT, strict=True)
    ]
    # geq works on the format that it is given; nothing behind it may convert. A source of odd size would round it.
    even = f"{size[0] + size[0] % 2}x{size[1] + size[1] % 2}"
    cut = f"crop={size[0]}:{size[1]}:0:0:exact=1"
    drawn = f"color=size={even}:rate={RATE},format={pix_fmt},{cut},geq={':'.join(planes)}"
    return ["-f", "lavfi", "-i", f"{drawn},trim=end_frame={frames},setpts=PTS-STARTPTS"]


def sound(hertz: int = 440) -> list[str]:
    """An input: a tone as long as the picture."""
    seconds = FRAMES / RATE
    return ["-f", "lavfi", "-i", f"sine=frequency={hertz}:sample_rate={SAMPLE_RATE}:duration={seconds}"]


def _coded(path: Path, *inputs: list[str], codec: tuple[str, ...] = _QUICK, more: tuple[str, ...] = ()) -> Path:
    chosen = [argument for each in inputs for argument in each]
    every = [argument for number in range(len(inputs)) for argument in ("-map", str(number))]
    ffmpeg(*chosen, *every, *codec, *_BT709, *_ALIKE, *more, path)
    return path


def phone(folder: Path) -> Path:
    """As a phone has it: frames at their own times, stored lying on the side, with a matrix that turns them."""
    times = "settb=1/90000,setpts='(N+0.3*sin(2.1*N))/25/TB'"
    lying = folder / "phone.lying.mp4"
    # Turned by 90° clockwise, what was the lower left corner comes to lie in the upper left one.
    turned = f"transpose=cclock,{times}"
    _coded(
        lying,
        picture(size=(HEIGHT, WIDTH)),
        sound(),
        more=("-vf", turned, "-vsync", "vfr", "-enc_time_base", "1/90000", "-video_track_timescale", "90000"),
    )
    path = folder / "phone.mp4"
    ffmpeg("-i", lying, "-map", "0", "-c", "copy", *_ALIKE, "-metadata:s:v", "rotate=270", path)
    lying.unlink()
    return path


def odd_size(folder: Path) -> Path:
    """853 × 479, with chroma at half of that."""
    return _coded(folder / "odd_size.mkv", picture(size=(853, 479)), codec=("-c:v", "ffv1"))


def ten_bit_422(folder: Path) -> Path:
    """10 bits, 4:2:2."""
    return _coded(folder / "ten_bit_422.mov", picture("yuv422p10le"), sound())


def interlaced(folder: Path) -> Path:
    """Two fields a frame, the upper one first."""
    fields = ("-vf", "setfield=tff", "-flags:v", "+ildct+ilme+bitexact", "-top", "1")
    codec = ("-c:v", "mpeg2video", "-q:v", "1", "-intra_vlc", "1", "-g", "1")
    return _coded(folder / "interlaced.mov", picture(), sound(), codec=codec, more=fields)


def pq(folder: Path) -> Path:
    """HDR: BT.2020 with the PQ transfer, 10 bits."""
    tags = ("-colorspace", "bt2020nc", "-color_primaries", "bt2020", "-color_trc", "smpte2084")
    return _coded(folder / "pq.mp4", picture("yuv420p10le"), more=tags)


def full_range(folder: Path) -> Path:
    """Codes from 0 to 255, and a tag that says so."""
    return _coded(folder / "full_range.mp4", picture(black=0), more=("-color_range", "pc"))


def anamorphic(folder: Path) -> Path:
    """Pixels that are a third wider than high."""
    return _coded(folder / "anamorphic.mp4", picture(), sound(), more=("-vf", "setsar=4/3"))


def late_stream(folder: Path) -> Path:
    """An MPEG transport stream whose clock shows something when it begins, as one cut from a broadcast."""
    more = ("-bf", "2", "-output_ts_offset", "41.25", "-c:a", "aac")
    return _coded(folder / "late_stream.ts", picture(), sound(), more=more)


def open_gop(folder: Path) -> Path:
    """Frames that are shown before a key frame need it, and the key frame before it."""
    codec = ("-c:v", "libx264", "-preset", "veryfast", "-qp", "0")
    more = ("-x264-params", "open-gop=1:keyint=5:min-keyint=5:bframes=2:b-adapt=0:scenecut=0")
    return _coded(folder / "open_gop.mp4", picture(), codec=codec, more=more)


def edit_list(folder: Path) -> Path:
    """Cut without coding it anew: four frames are stored, and an edit list says that they are not shown."""
    whole = _coded(folder / "edit_list.whole.mp4", picture(frames=FRAMES + 4), more=("-g", "100", "-bf", "0"))
    path = folder / "edit_list.mp4"
    ffmpeg("-ss", str(4 / RATE), "-i", whole, "-c", "copy", *_ALIKE, path)
    whole.unlink()
    return path


def silent(folder: Path) -> Path:
    """No audio."""
    return _coded(folder / "silent.mov", picture())


def three_languages(folder: Path) -> Path:
    """Three audio tracks, each with its language."""
    languages = [f"-metadata:s:a:{n} language={name}" for n, name in enumerate(("eng", "ger", "jpn"))]
    more = tuple(" ".join(languages).split())
    return _coded(folder / "three_languages.mp4", picture(), *map(sound, (440, 550, 660)), more=(*more, "-c:a", "aac"))


def ac3(folder: Path) -> Path:
    """AC-3, six channels."""
    return _coded(folder / "ac3.mkv", picture(), sound(), more=("-c:a", "ac3", "-ac", "6"))


def timecode(folder: Path) -> Path:
    """A timecode track."""
    return _coded(folder / "timecode.mov", picture(), sound(), more=("-timecode", "10:20:30:05", "-c:a", "pcm_s16le"))


def truncated(folder: Path) -> Path:
    """A file of which the last part never arrived."""
    # Each frame takes the same number of bytes: which of them are there follows from the file's size.
    codec = ("-c:v", "rawvideo", "-pix_fmt", "uyvy422")
    path = _coded(folder / "truncated.mov", picture("yuv422p"), codec=codec, more=("-movflags", "faststart"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - LOST * WIDTH * HEIGHT * 2 + WIDTH])
    return path


def one_frame(folder: Path) -> Path:
    """A single frame."""
    return _coded(folder / "one_frame.mp4", picture(frames=1))


def zero_duration(folder: Path) -> Path:
    """A file with a video track in which there is nothing."""
    return _coded(folder / "zero_duration.mp4", picture(), more=("-t", "0"))


def rgb(folder: Path) -> Path:
    """R'G'B' instead of Y'CbCr, nothing subsampled."""
    codec = ("-c:v", "libx264rgb", "-preset", "ultrafast", "-qp", "0")
    drawn = ["-f", "lavfi", "-i", f"color=size={WIDTH}x{HEIGHT}:rate={RATE},format=gbrp,geq={_rgb_planes()}"]
    more = ("-color_range", "pc", "-colorspace", "rgb", "-frames:v", str(FRAMES))
    return _coded(folder / "rgb.mp4", drawn, codec=codec, more=more)


def _rgb_planes(alpha: str = "") -> str:
    inside = "lt(Y,H/2)*lt(X,W/2)"
    level = f"if({inside},{DARKEST}+{STEP}*N,0)"
    return f"r='{level}':g='{level}':b='{level}'" + (f":a='{alpha}'" if alpha else "")


def own_alpha(folder: Path) -> Path:
    """Alpha that is there already: of the rectangle the left half is opaque, the right half lets half of it through."""
    alpha = "if(lt(Y,H/2),if(lt(X,W/4),255,128),0)"
    drawn = ["-f", "lavfi", "-i", f"color=size={WIDTH}x{HEIGHT}:rate={RATE},format=gbrap,geq={_rgb_planes(alpha)}"]
    more = ("-pix_fmt", "rgba", "-color_range", "pc", "-frames:v", str(FRAMES))
    return _coded(folder / "own_alpha.mov", drawn, codec=("-c:v", "png"), more=more)


def motion_jpeg(folder: Path) -> Path:
    """Motion JPEG in AVI, which knows no times."""
    codec = ("-c:v", "mjpeg", "-q:v", "1", "-pix_fmt", "yuvj420p", "-huffman", "default")
    return _coded(folder / "motion_jpeg.avi", picture(), sound(), codec=codec, more=("-c:a", "pcm_s16le"))


SOURCES: tuple[Callable[[Path], Path], ...] = (
    phone,
    odd_size,
    ten_bit_422,
    interlaced,
    pq,
    full_range,
    anamorphic,
    late_stream,
    open_gop,
    edit_list,
    silent,
    three_languages,
    ac3,
    timecode,
    truncated,
    one_frame,
    zero_duration,
    rgb,
    own_alpha,
    motion_jpeg,
)


def make_all(folder: Path) -> Iterator[Path]:
    """All of them, in a folder that is made where there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    for make in SOURCES:
        yield make(folder)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder")
    for path in make_all(parser.parse_args().out):
        print(path)


if __name__ == "__main__":
    main()
