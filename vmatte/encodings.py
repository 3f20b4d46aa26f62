"""The encodings an output can have. Options are measured choices: see docs/encodings.md."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal

THREADS = 4
"""x264 and VP9 write other bytes on other numbers of threads: fixed, so that every machine writes the same file."""

MATROSKA_TICK = Fraction(1, 1000)
"""Seconds: what Matroska and WebM count time in."""

Speed = Literal["fast", "good", "best"]
"""How much an encoder may compute for a smaller file."""
DEFAULT_SPEED: Speed = "good"

_BLOCK = 16
_GAP = 8
"""Rows between the halves of a stacked picture, at least: a codec's filters reach four to either side."""


@dataclass(frozen=True, slots=True)
class Animation:
    """How finished segments, which hold pictures without loss, become one animated picture."""

    codec: str
    container: str
    options: dict[str, str]
    tick: Fraction
    """Seconds: durations are whole multiples of it."""
    shortest: int = 1
    """Ticks that a frame lasts at least."""
    dither: str = ""
    """Options of `paletteuse`, where there is a palette."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """A row of ENCODINGS."""

    name: str
    suffix: str
    """The extension of its files; empty for sequences of pictures."""
    container: str
    """FFmpeg's muxer."""
    codec: str
    """FFmpeg's encoder."""
    pix_fmt: str | None
    """Of opaque layers; None for the clip's own."""
    pix_fmt_alpha: str | None
    """Of cutouts; None where there is no alpha."""
    bits: int
    """The depth of colour; 32 for float numbers, whether or not they are stored in half of that."""
    alpha_bits: int
    """The depth of alpha; 0 where there is none."""
    even_size: bool
    """Whether an odd width or height is padded."""
    codec_options: dict[str, str]
    container_options: dict[str, str]
    thread_type: Literal["FRAME", "SLICE", "AUTO"]
    thread_count: int
    """Of the encoder; 0 for as many as it likes, where they do not change what is written."""
    alpha_options: dict[str, str] | None = None
    """Of a second encoder, for alpha alone, where a cutout's alpha lies beside the picture (WebM) and not in it."""
    audio: tuple[str, ...] = ()
    """Codecs that are copied as they are; empty where the file has no sound."""
    audio_codec: str | None = None
    """What any other codec becomes."""
    plays: str = ""
    """Who opens it."""
    colour: Literal["ycbcr", "rgb", "linear"] = "ycbcr"
    """Of its planes: Y'CbCr, display-coded R'G'B', or RGB in proportion to the scene's light."""
    half: bool = False
    """Whether its float numbers have 16 bits."""
    pix_fmt_gray: str | None = None
    """Of the matte alone, where the encoding has a format of one channel."""
    picture_suffix: str = ""
    """The extension of the pictures in a sequence."""
    matte_options: dict[str, str] | None = None
    """Codec options for the matte alone, over the others: hair is thin, and what is lost of it shows in every edge."""
    codec_tag: str | None = None
    """Which of several names a QuickTime file knows the codec by; None for FFmpeg's own choice."""
    premultiplied: bool = False
    """Whether its alpha is premultiplied whatever a job says."""
    alpha_tolerance: float = 0.0
    """How far, in 1/255, a decoded alpha may lie from the one that was encoded; 0 is exact."""
    matte_tolerance: float = 128.0
    """The same for the luma of an `alpha` layer, which most codecs smooth where hair is: AV1 by 57."""
    luma_psnr_db: float = 30.0
    """Below it, over what is to be seen, decoded luma is not merely coded but damaged."""
    stacked: bool = False
    """Whether a cutout's colour lies above its matte in one picture; such a file holds cutouts alone."""
    animation: Animation | None = None
    """For animated pictures; the row's codec and container are those of the segments."""
    speeds: dict[Speed, dict[str, str]] = field(default_factory=dict)
    """Options that a speed puts over `codec_options`, or an animation's; DEFAULT_SPEED is the row as it stands."""
    alpha_speeds: dict[Speed, dict[str, str]] = field(default_factory=dict)
    """The same for `alpha_options`."""

    def at(self, speed: Speed) -> Encoding:
        """The row with the options of a speed."""
        if speed not in self.speeds:
            return self
        if self.animation is not None:
            return replace(self, animation=replace(self.animation, options=self.animation.options | self.speeds[speed]))
        alpha = self.alpha_options and self.alpha_options | self.alpha_speeds.get(speed, {})
        return replace(self, codec_options=self.codec_options | self.speeds[speed], alpha_options=alpha)

    def coded_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the pictures in the file, for layers of this size."""
        if self.even_size:
            width, height = width + width % 2, height + height % 2
        if self.stacked:
            height = 2 * half_height(height)
        return width, height

    @property
    def usual_alpha(self) -> Literal["straight", "premultiplied"] | None:
        """What whoever opens it takes a cutout's colours for; None where both are known."""
        if self.premultiplied:
            return "premultiplied"
        return "straight" if self.codec in ("png", "libvpx-vp9") else None  # PNG, stickers, WebM

    @property
    def is_sequence(self) -> bool:
        """Whether the output is a folder of pictures."""
        return self.container == "image2"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The extensions that a file of it may have."""
        return (self.suffix, *(alias for alias, usual in _ALIASES.items() if usual == self.suffix))

    def carries(self, layer: str) -> bool:
        """Whether it can hold a layer: a cutout needs alpha."""
        if self.stacked:
            return layer == "cutout"
        return layer != "cutout" or self.pix_fmt_alpha is not None

    def chroma_steps(self, layer: str) -> tuple[int, int] | None:
        """Rows and columns of luma for a sample of chroma in a layer's format; None: the clip's own, or no chroma."""
        pix_fmt = self.pix_fmt_alpha if layer == "cutout" else self.pix_fmt
        if self.colour != "ycbcr" or pix_fmt is None:
            return None
        layouts = {"444": (1, 1), "422": (1, 2)}
        return next((steps for layout, steps in layouts.items() if layout in pix_fmt), (2, 2))

    @property
    def is_matroska(self) -> bool:
        """Whether its times are whole milliseconds (MATROSKA_TICK)."""
        return self.container in ("matroska", "webm")

    @property
    def is_quicktime(self) -> bool:
        """Whether its times are exact, its sound can begin within a packet, and a box of its own tells its colour."""
        return self.container in ("mp4", "mov")


_ALIASES = {".m4v": ".mp4"}
"""Extensions that mean another one."""


_QUICKTIME_AUDIO = ("aac", "mp3", "ac3", "eac3", "alac")
_PCM = ("pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le")

_X26X_SPEEDS: dict[Speed, dict[str, str]] = {"fast": {"preset": "ultrafast"}, "best": {"preset": "slow"}}

# Key frames at fixed places: those of colour and alpha must be the same ones, or a seek shows the wrong alpha.
_VP9 = {
    "deadline": "realtime",
    "cpu-used": "6",
    "row-mt": "1",
    "tile-columns": "2",
    "g": "120",
    "keyint_min": "120",
}

_MP4 = {"movflags": "faststart+write_colr", "write_tmcd": "1"}
_MP4_AUDIO = (*_QUICKTIME_AUDIO, "opus", "flac")
_MOV = {"movflags": "write_colr", "write_tmcd": "1"}
_MOV_AUDIO = (*_QUICKTIME_AUDIO, *_PCM)
# With mbtree x264 does not write the same bytes twice on a processor with AVX-512 (measured).
_X264 = {"preset": "veryfast", "crf": "18", "x264-params": "mbtree=0"}
# Closed groups of pictures: in open ones a seek can land after its target. Its note of itself names the threads.
_X265 = {"preset": "fast", "crf": "18", "x265-params": "open-gop=0:info=0:log-level=error"}
# From preset 10 upwards the encoder warns of visible artefacts.
_SVT_AV1 = {"preset": "8", "crf": "22", "g": "120", "svtav1-params": "lp=4"}
_SVT_AV1_SPEEDS: dict[Speed, dict[str, str]] = {"fast": {"preset": "9"}, "best": {"preset": "6"}}
_NVENC = {"preset": "p5", "rc": "constqp", "qp": "19", "g": "120", "forced-idr": "1"}
# "up" with level 1 costs a fifth of the default "paeth", for files a tenth larger.
_PNG = {"compression_level": "1", "pred": "up"}
_TIFF = {"compression_algo": "deflate"}

_QUANTISER = 118
"""FFmpeg's unit of `global_quality`."""


def _quantiser(number: int) -> dict[str, str]:
    # A fixed quantiser: the default rate control searches for one, at five times the cost for the same picture.
    return {"global_quality": str(_QUANTISER * number)}


_PRORES_SPEEDS: dict[Speed, dict[str, str]] = {"fast": _quantiser(4), "best": _quantiser(1)}


def _prores(profile: str, quantiser: int) -> dict[str, str]:
    options = {"profile": profile, "vendor": "apl0"} | _quantiser(quantiser)
    return options | {"alpha_bits": "16"} if profile.startswith("4444") else options


def _mp4(
    name: str,
    codec: str,
    bits: int,
    options: dict[str, str],
    plays: str,
    *,
    pix_fmt: str | None = None,
    even_size: bool = True,
    codec_tag: str | None = None,
    speeds: dict[Speed, dict[str, str]] | None = None,
) -> Encoding:
    """A row of .mp4 files, which are 4:2:0 and opaque."""
    return Encoding(
        name=name,
        suffix=".mp4",
        container="mp4",
        codec=codec,
        pix_fmt=pix_fmt or ("yuv420p" if bits == 8 else f"yuv420p{bits}le"),
        pix_fmt_alpha=None,
        bits=bits,
        alpha_bits=0,
        even_size=even_size,
        codec_options=options,
        container_options=_MP4,
        thread_type="AUTO",
        thread_count=THREADS,
        audio=_MP4_AUDIO,
        audio_codec="aac",
        plays=plays,
        matte_options={"qp": "8"} if codec.endswith("_nvenc") else {"crf": "8"},
        codec_tag=codec_tag,
        speeds=speeds or {},
    )


def _mov(
    name: str,
    codec: str,
    pix_fmt: str,
    pix_fmt_alpha: str | None,
    bits: int,
    options: dict[str, str],
    plays: str,
    *,
    colour: Literal["ycbcr", "rgb"] = "ycbcr",
    speeds: dict[Speed, dict[str, str]] | None = None,
) -> Encoding:
    """A row of .mov files for editors: alpha is as deep as colour."""
    return Encoding(
        name=name,
        suffix=".mov",
        container="mov",
        codec=codec,
        pix_fmt=pix_fmt,
        pix_fmt_alpha=pix_fmt_alpha,
        bits=bits,
        alpha_bits=0 if pix_fmt_alpha is None else bits,
        even_size=False,
        codec_options=options,
        container_options=_MOV,
        thread_type="FRAME",
        thread_count=0,
        audio=_MOV_AUDIO,
        audio_codec="pcm_s24le",
        plays=plays,
        matte_options=_quantiser(1) if codec == "prores_ks" else None,
        matte_tolerance=8.0 if codec == "prores_ks" else 0.0,
        colour=colour,
        speeds=speeds or {},
    )


_HALF_STEP = 255 / 2**12 + 255 / 2**16
"""Half floats below 1 are rounded in steps of 2^-11; what they are compared with has 16 bits."""


def _pictures(
    name: str,
    codec: str,
    formats: tuple[str, str, str],
    bits: int,
    options: dict[str, str],
    plays: str,
    *,
    suffix: str,
    colour: Literal["rgb", "linear"] = "rgb",
    premultiplied: bool = False,
    half: bool = False,
) -> Encoding:
    """A row of picture sequences, with `formats` for opaque layers, cutouts and mattes, which lose nothing but what
    their numbers round."""
    return Encoding(
        name=name,
        suffix="",
        container="image2",
        codec=codec,
        pix_fmt=formats[0],
        pix_fmt_alpha=formats[1],
        bits=bits,
        alpha_bits=bits,
        even_size=False,
        codec_options=options,
        container_options={},
        thread_type="AUTO",
        thread_count=0,
        plays=plays,
        colour=colour,
        half=half,
        pix_fmt_gray=formats[2],
        picture_suffix=suffix,
        premultiplied=premultiplied,
        alpha_tolerance=_HALF_STEP if half else 0.0,
        matte_tolerance=_HALF_STEP if half else 0.0,
    )


def _exr(name: str, plays: str, *, half: bool = True, colour: Literal["rgb", "linear"] = "linear") -> Encoding:
    formats = ("gbrpf32le", "gbrapf32le", "grayf32le")
    options = {"compression": "zip16", "format": "half" if half else "float"}
    return _pictures(
        name, "exr", formats, 32, options, plays, suffix=".exr", colour=colour, premultiplied=True, half=half
    )


def _sticker(
    name: str,
    animation: Animation,
    plays: str,
    *,
    alpha_tolerance: float = 0.0,
    luma_psnr_db: float = 25.0,
    speeds: dict[Speed, dict[str, str]] | None = None,
) -> Encoding:
    """A row of animated pictures. Their segments are PNG pictures in a QuickTime file."""
    return Encoding(
        name=name,
        suffix=f".{name}",
        container="mov",
        codec="png",
        pix_fmt="rgb24",
        pix_fmt_alpha="rgba",
        bits=8,
        alpha_bits=8,
        even_size=False,
        codec_options=_PNG,
        container_options={},
        thread_type="AUTO",
        thread_count=0,
        plays=plays,
        colour="rgb",
        alpha_tolerance=alpha_tolerance,
        luma_psnr_db=luma_psnr_db,
        animation=animation,
        speeds=speeds or {},
    )


def _stacked(row: Encoding) -> Encoding:
    """The same of cutouts whose colour lies above their matte."""
    return replace(row, pix_fmt_alpha=row.pix_fmt, alpha_bits=row.bits, matte_options=None, stacked=True)


_EDITORS = "Premiere Pro, Final Cut Pro, DaVinci Resolve, After Effects, Nuke"
_DEEP_H264 = "FFmpeg-based players (VLC, mpv); few phones and browsers"
_HEVC_PLAYS = "Apple devices, Windows with its HEVC extension, VLC, editors"
_AV1_PLAYS = "Chrome, Firefox, Edge, Safari on recent Apple devices, VLC"
_DEEP_PNG = "Photoshop, After Effects, compositors"
_COMPOSITORS = "Nuke, Fusion, After Effects, Blender, Houdini"

ENCODINGS: dict[str, Encoding] = {
    row.name: row
    for row in (
        _mp4("mp4", "libx264", 8, _X264, "everything", speeds=_X26X_SPEEDS),
        _mov(
            "prores4444",
            "prores_ks",
            "yuv444p10le",
            "yuva444p10le",
            10,
            _prores("4444", 2),
            _EDITORS,
            speeds=_PRORES_SPEEDS,
        ),
        Encoding(
            name="webm",
            suffix=".webm",
            container="webm",
            codec="libvpx-vp9",
            pix_fmt="yuv420p",
            pix_fmt_alpha="yuva420p",
            bits=8,
            alpha_bits=8,
            even_size=False,
            codec_options={"crf": "18", **_VP9},
            container_options={"fflags": "+bitexact"},  # else a random id makes every file another one
            thread_type="AUTO",
            thread_count=THREADS,
            # libvpx's own alpha shares the colour's quality, and leaves soft hair up to 40 of 255 off.
            alpha_options={"lossless": "1", **_VP9},
            audio=("opus", "vorbis"),
            audio_codec="libopus",
            plays="Chrome, Firefox, Edge; not Safari",
            matte_options={"crf": "0", "lossless": "1"},
            matte_tolerance=0.0,
            speeds={"fast": {"cpu-used": "8", "crf": "24"}, "best": {"deadline": "good", "cpu-used": "2"}},
            # Without loss 8 is no quicker than 7, and "good" no smaller than "realtime".
            alpha_speeds={"fast": {"cpu-used": "7"}, "best": {"cpu-used": "5"}},
        ),
        Encoding(
            name="hevc-alpha",
            suffix=".mov",
            container="mov",
            codec="hevc_videotoolbox",
            pix_fmt="yuv420p",
            pix_fmt_alpha="bgra",
            bits=8,
            alpha_bits=8,
            even_size=True,
            codec_options={"alpha_quality": "1", "allow_sw": "1", "q": "65"},
            container_options=_MOV,
            thread_type="AUTO",
            thread_count=0,
            audio=_MOV_AUDIO,
            audio_codec="aac",
            plays="Safari; made on macOS alone",
            codec_tag="hvc1",
            alpha_tolerance=48.0,
        ),
        _stacked(
            _mp4("stacked", "libx264", 8, _X264 | {"crf": "15"}, "docs/player, in any browser", speeds=_X26X_SPEEDS)
        ),
        _stacked(
            _mp4(
                "stacked-hevc",
                "libx265",
                8,
                _X265 | {"crf": "14"},
                "docs/player, where the browser plays HEVC",
                codec_tag="hvc1",
                speeds=_X26X_SPEEDS,
            )
        ),
        replace(
            _pictures("png", "png", ("rgb24", "rgba", "gray"), 8, _PNG, "everything", suffix=".png"),
            speeds={"best": {"compression_level": "6", "pred": "mixed"}},
        ),
        _mp4("h264-10bit", "libx264", 10, _X264, _DEEP_H264, speeds=_X26X_SPEEDS),
        _mp4("hevc", "libx265", 8, _X265, _HEVC_PLAYS, codec_tag="hvc1", speeds=_X26X_SPEEDS),
        _mp4("hevc-10bit", "libx265", 10, _X265, _HEVC_PLAYS, codec_tag="hvc1", speeds=_X26X_SPEEDS),
        _mp4("av1", "libsvtav1", 8, _SVT_AV1, _AV1_PLAYS, even_size=False, speeds=_SVT_AV1_SPEEDS),
        _mp4("av1-10bit", "libsvtav1", 10, _SVT_AV1, _AV1_PLAYS, even_size=False, speeds=_SVT_AV1_SPEEDS),
        _mp4("h264-nvenc", "h264_nvenc", 8, _NVENC, "everything"),
        _mp4("hevc-nvenc", "hevc_nvenc", 8, _NVENC, _HEVC_PLAYS, codec_tag="hvc1"),
        _mp4("hevc-nvenc-10bit", "hevc_nvenc", 10, _NVENC, _HEVC_PLAYS, pix_fmt="p010le", codec_tag="hvc1"),
        _mp4("av1-nvenc", "av1_nvenc", 8, _NVENC, _AV1_PLAYS),
        _mov(
            "prores4444xq",
            "prores_ks",
            "yuv444p10le",
            "yuva444p10le",
            10,
            _prores("4444xq", 1),
            _EDITORS,
            speeds={"fast": _quantiser(2)},
        ),
        _mov("prores422hq", "prores_ks", "yuv422p10le", None, 10, _prores("hq", 2), _EDITORS, speeds=_PRORES_SPEEDS),
        _mov("qtrle", "qtrle", "rgb24", "argb", 8, {"g": "60"}, "QuickTime 7, After Effects, editors", colour="rgb"),
        Encoding(
            name="ffv1",
            suffix=".mkv",
            container="matroska",
            codec="ffv1",
            pix_fmt=None,
            pix_fmt_alpha="yuva420p10le",
            bits=16,
            alpha_bits=10,
            even_size=False,
            codec_options={"level": "3", "slicecrc": "1", "g": "1"},
            container_options={"fflags": "+bitexact"},
            thread_type="AUTO",
            thread_count=THREADS,
            audio=(*_MP4_AUDIO, *_PCM, "vorbis", "mp2", "dts"),
            audio_codec="flac",
            plays="FFmpeg-based players; archives",
            pix_fmt_gray="gray16le",
            matte_tolerance=0.0,
        ),
        _pictures("png16", "png", ("rgb48be", "rgba64be", "gray16be"), 16, _PNG, _DEEP_PNG, suffix=".png"),
        _exr("exr", _COMPOSITORS),
        _exr("exr-float", _COMPOSITORS, half=False),
        _exr("exr-display", f"{_COMPOSITORS}, told that it is display-coded", colour="rgb"),
        _pictures("tiff", "tiff", ("rgb24", "rgba", "gray"), 8, _TIFF, "Photoshop, editors", suffix=".tif"),
        _pictures(
            "tiff16", "tiff", ("rgb48le", "rgba64le", "gray16le"), 16, _TIFF, "Photoshop, compositors", suffix=".tif"
        ),
        _sticker(
            "webp",
            # Alpha is without loss whatever the quality of the colour.
            Animation("libwebp_anim", "webp", {"quality": "85", "compression_level": "3"}, Fraction(1, 1000)),
            "every browser, messengers",
            speeds={"fast": {"compression_level": "1"}, "best": {"compression_level": "6"}},
        ),
        _sticker(
            "apng",
            Animation("apng", "apng", {"compression_level": "6", "pred": "up"}, Fraction(1, 1000)),
            "every browser",
            speeds={"fast": {"compression_level": "1"}, "best": {"compression_level": "9", "pred": "mixed"}},
        ),
        _sticker(
            "gif",
            # Browsers show a frame of one hundredth for ten. Ordered dither stands still where the picture does.
            Animation("gif", "gif", {}, Fraction(1, 100), shortest=2, dither="dither=bayer:bayer_scale=3"),
            "everything; edges are hard",
            alpha_tolerance=128.0,
            luma_psnr_db=0.0,  # what is softer than half is clear, and has no colour
        ),
    )
}
"""The first of several rows with one extension is the one that the extension alone asks for.

What a row costs is told in batch/plan.py, where a new one must be added.
"""


PICTURE_SUFFIXES = frozenset(row.picture_suffix for row in ENCODINGS.values() if row.is_sequence)


def half_height(height: int) -> int:
    """Rows of each half of a stacked picture: whole blocks of the codec, and room between the halves."""
    return -(-(height + _GAP) // _BLOCK) * _BLOCK


def encoding_for_suffix(suffix: str) -> Encoding | None:
    """The encoding that an output's extension asks for; None for an extension that no encoding has.

    Where several have it, the first one in the table.
    """
    suffix = _ALIASES.get(suffix.lower(), suffix.lower())
    return next((encoding for encoding in ENCODINGS.values() if encoding.suffix == suffix), None)
