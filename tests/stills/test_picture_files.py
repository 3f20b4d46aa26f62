"""Picture files: what is read of them, and what others read of ours."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps, TiffImagePlugin

from vmatte.errors import EncodeError, SourceError
from vmatte.stills.formats import FORMATS
from vmatte.stills.picture import Codes, Tags, picture_of_codes, read_picture
from vmatte.stills.write import Pixels, verify_picture, write_picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def noise(*shape: int, bits: int = 8) -> Codes:
    """Codes of all values."""
    codes: Codes = np.random.default_rng(7).integers(0, 2**bits, shape, f"u{bits // 8}")
    return codes


def camera() -> Image.Exif:
    """What a camera says."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Lens & Co"
    exif[ExifTags.Base.Copyright] = "nobody"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = TiffImagePlugin.IFDRational(1, 50)
    exif.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    return exif


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize(
    ("samples", "form"),
    [((), "gray"), ((3,), "rgb"), ((4,), "rgba")],
)
@pytest.mark.parametrize("bits", [8, 16])
def test_ffmpeg_reads_every_code_of_ours(
    tmp_path: Path, run_ffmpeg: Callable[..., bytes], suffix: str, samples: tuple[int, ...], form: str, bits: int
) -> None:
    codes, path = noise(301, 517, *samples, bits=bits), tmp_path / f"picture.{suffix}"
    write_picture(Pixels(codes, Tags(SRGB, camera(), (300, 300))), path, FORMATS[suffix], None)
    names = {"gray": "gray", "rgb": "rgb24", "rgba": "rgba"} if bits == 8 else {}
    name = names.get(form, {"gray": "gray16le", "rgb": "rgb48le", "rgba": "rgba64le"}[form])
    seen = np.frombuffer(run_ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", name, "-"), f"<u{bits // 8}")
    assert np.array_equal(seen.reshape(codes.shape), codes)


@pytest.mark.parametrize("name", FORMATS)
def test_profile_exif_and_resolution_go_along(tmp_path: Path, name: str) -> None:
    form, path = FORMATS[name], tmp_path / f"picture{FORMATS[name].suffixes[0]}"
    write_picture(Pixels(noise(40, 60, 4 if form.alpha else 3), Tags(SRGB, camera(), (254, 254))), path, form, None)
    with Image.open(path) as seen:
        seen.load()
        assert seen.info["icc_profile"] == SRGB
        exif = seen.getexif()
        assert exif[ExifTags.Base.Make] == "Lens & Co"
        assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] == 0.02
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"
        if name != "webp":  # it has no place for it
            assert [round(dots) for dots in seen.info["dpi"]] == [254, 254]


def test_the_thumbnail_of_the_old_picture_does_not_go_along(tmp_path: Path) -> None:
    small = b"THE OLD BACKGROUND"
    make = struct.pack("<HHHI4s", 1, 271, 2, 4, b"Cam\0")  # one entry, Make, of four letters
    thumbnail = struct.pack("<HHHIIHHIII", 2, 513, 4, 1, 56, 514, 4, 1, len(small), 0)  # where it is, and how long
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + make + struct.pack("<I", 26) + thumbnail + small
    Image.fromarray(noise(16, 24, 3)).save(tmp_path / "camera.jpg", exif=exif)
    assert small in (tmp_path / "camera.jpg").read_bytes()
    seen = read_picture(tmp_path / "camera.jpg")
    for form in FORMATS.values():
        path = tmp_path / f"ours{form.suffixes[0]}"
        write_picture(Pixels(seen.rgb, seen.tags), path, form, None)
        assert small not in path.read_bytes()
        with Image.open(path) as opened:
            assert opened.getexif()[ExifTags.Base.Make] == "Cam"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_a_turned_picture_comes_upright_as_pillow_turns_it(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = camera()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / f"turned{suffix}"
    Image.fromarray(noise(16, 24, 3)).save(path, exif=exif, quality=95)
    with Image.open(path) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    seen = read_picture(path)
    assert np.array_equal(seen.rgb, expected)
    assert seen.tags.exif is not None
    assert ExifTags.Base.Orientation not in seen.tags.exif
    assert seen.tags.exif[ExifTags.Base.Make] == "Lens & Co"


def test_a_turned_picture_of_16_bits_comes_upright(tmp_path: Path) -> None:
    codes, exif = noise(16, 24, 4, bits=16), Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # its first row is the right side
    write_picture(Pixels(codes, Tags(exif=exif)), tmp_path / "deep.png", FORMATS["png"], None)
    seen = read_picture(tmp_path / "deep.png")
    assert np.array_equal(seen.rgb, np.rot90(codes[..., :3], -1))
    assert seen.alpha is not None
    assert np.array_equal(seen.alpha, np.rot90(codes[..., 3], -1))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "1", "RGBA"])
def test_other_kinds_become_the_rgb_that_pillow_makes_of_them(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(noise(20, 30, 4 if "A" in mode else 3)).convert(mode)
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    image.save(path)
    seen = read_picture(path)
    assert np.array_equal(seen.rgb, np.asarray(image.convert("RGBA").convert("RGB")))
    if mode in ("LA", "RGBA"):
        assert seen.alpha is not None
        assert np.array_equal(seen.alpha, np.asarray(image.getchannel("A")))
    else:
        assert seen.alpha is None


def test_a_palette_keeps_its_transparency(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.save(tmp_path / "picture.png", transparency=0)
    seen = read_picture(tmp_path / "picture.png")
    assert seen.alpha is not None
    assert seen.alpha.tolist() == [[0, 255]]
    assert seen.rgb.tolist() == [[[255, 0, 0], [0, 0, 255]]]


def test_gray_of_16_bits_stays_16_bits(tmp_path: Path) -> None:
    codes = noise(20, 30, bits=16)
    Image.fromarray(codes).save(tmp_path / "gray.png")
    assert np.array_equal(read_picture(tmp_path / "gray.png").rgb, np.stack([codes] * 3, axis=-1))


def moving(path: Path) -> Path:
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 255)]
    frames[0].save(path.with_suffix(".gif"), save_all=True, append_images=frames[1:])
    return path.with_suffix(".gif")


def pages(path: Path) -> Path:
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 255)]
    frames[0].save(path.with_suffix(".tif"), save_all=True, append_images=frames[1:])
    return path.with_suffix(".tif")


def raw(path: Path) -> Path:
    Image.new("RGB", (8, 8)).save(path, "TIFF")
    return path.rename(path.with_suffix(".nef"))


def heic(path: Path) -> Path:
    path.with_suffix(".heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    return path.with_suffix(".heic")


def text(path: Path) -> Path:
    path.write_text("no picture")
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


def cut_off(path: Path) -> Path:
    whole = io.BytesIO()
    Image.fromarray(noise(64, 64, 3)).save(whole, "PNG")
    path.write_bytes(whole.getvalue()[:5000])
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (moving, "moves (2 frames)"),
        (pages, "holds 2 pictures"),
        (raw, "camera's raw file"),
        (heic, "is HEIC"),
        (text, "no picture that vmatte reads"),
        (empty, "is empty"),
        (cut_off, "cannot be read as a picture"),
        (lambda path: path, "does not exist"),
    ],
)
def test_what_is_no_still_is_told_in_a_line(tmp_path: Path, make: Callable[[Path], Path], words: str) -> None:
    path = make(tmp_path / "picture.png")
    with pytest.raises(SourceError) as told:
        read_picture(path)
    assert words in str(told.value)
    assert path.name in str(told.value)


def test_a_picture_too_wide_for_webp_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match="at most 16383 pixels"):
        write_picture(Pixels(noise(1, 16384, 3), Tags()), tmp_path / "wide.webp", FORMATS["webp"], None)


def test_a_file_that_is_not_what_was_written_is_found_out(tmp_path: Path) -> None:
    codes, path = noise(20, 30, 4), tmp_path / "picture.png"
    write_picture(Pixels(codes, Tags()), path, FORMATS["png"], None)
    verify_picture(Pixels(codes, Tags()), path, FORMATS["png"])
    codes[3, 5, 3] ^= 1
    with pytest.raises(EncodeError, match="not what was written"):
        verify_picture(Pixels(codes, Tags()), path, FORMATS["png"])


def test_16_bits_become_the_nearest_8(tmp_path: Path) -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    write_picture(Pixels(np.stack([every] * 3, axis=-1), Tags()), tmp_path / "narrow.webp", FORMATS["webp"], None)
    with Image.open(tmp_path / "narrow.webp") as seen:
        assert np.array_equal(np.asarray(seen)[..., 0], np.rint(every / 257).astype(np.uint8))


def test_a_premultiplied_tiff_of_16_bits_becomes_straight(tmp_path: Path) -> None:
    straight, path = noise(30, 40, 4, bits=16), tmp_path / "picture.tif"
    straight[..., 3] |= 0x4000  # not so faint that the colours are gone
    sent = straight.copy()
    sent[..., :3] = np.rint(straight[..., :3] * (straight[..., 3:] / 65535))
    write_picture(Pixels(sent, Tags()), path, FORMATS["tiff"], None)
    extra = b"\x52\x01\x03\x00\x01\x00\x00\x00"  # the tag ExtraSamples, a short; 2 is straight, 1 premultiplied
    path.write_bytes(path.read_bytes().replace(extra + b"\2", extra + b"\1"))
    seen = read_picture(path)
    assert np.abs(seen.rgb.astype(int) - straight[..., :3]).max() <= 3
    assert seen.alpha is not None
    assert np.array_equal(seen.alpha, straight[..., 3])


@pytest.mark.parametrize("algorithm", ["raw", "lzw", "deflate", "packbits"])
def test_a_tiff_of_16_bits_by_ffmpeg_is_read_to_the_code(
    tmp_path: Path, run_ffmpeg: Callable[..., bytes], algorithm: str
) -> None:
    codes = noise(30, 40, 3, bits=16)
    (tmp_path / "raw").write_bytes(codes.astype("<u2").tobytes())
    source = ("-f", "rawvideo", "-pix_fmt", "rgb48le", "-s", "40x30", "-i", tmp_path / "raw")
    run_ffmpeg(*source, "-compression_algo", algorithm, "-pix_fmt", "rgb48le", tmp_path / "picture.tif")
    assert np.array_equal(read_picture(tmp_path / "picture.tif").rgb, codes)


def test_noise_at_the_best_quality_can_be_written_as_jpeg(tmp_path: Path) -> None:
    codes = noise(1500, 1500, 3)
    write_picture(Pixels(codes, Tags(SRGB, camera())), tmp_path / "noise.jpg", FORMATS["jpg"], 100)
    with Image.open(tmp_path / "noise.jpg") as seen:
        assert np.abs(np.asarray(seen).astype(int) - codes).mean() < 1.5


def test_an_array_of_floats_is_refused() -> None:
    with pytest.raises(ValueError, match="uint8 or uint16"):
        picture_of_codes(np.zeros((4, 4, 3)))
