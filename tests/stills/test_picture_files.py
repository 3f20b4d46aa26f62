"""Picture files: what is read of them, and what others read of ours."""

from __future__ import annotations

import io
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


def test_an_array_of_floats_is_refused() -> None:
    with pytest.raises(ValueError, match="uint8 or uint16"):
        picture_of_codes(np.zeros((4, 4, 3)))
