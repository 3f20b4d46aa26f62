"""The encodings an output can have. Options are measured choices: see docs/encodings.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

THREADS = 4
"""x264 and VP9 write other bytes on other numbers of threads: fixed, so that every machine writes the same file."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """A row of ENCODINGS.

    `pix_fmt` is used for opaque layers, `pix_fmt_alpha` (None where there is no alpha) for cutouts; `bits` is the depth
    of the colour, `alpha_bits` that of alpha. `alpha_options` are those of a second encoder, for alpha alone, where a
    cutout's alpha lies beside the picture (WebM) and not in it. `audio` lists codecs that are copied as they are; any
    other becomes `audio_codec`.
    """

    name: str
    suffix: str
    container: str
    codec: str
    pix_fmt: str
    pix_fmt_alpha: str | None
    bits: int
    alpha_bits: int
    even_size: bool
    codec_options: dict[str, str]
    container_options: dict[str, str]
    thread_type: Literal["FRAME", "SLICE", "AUTO"]
    thread_count: int
    alpha_options: dict[str, str] | None = None
    audio: tuple[str, ...] = ()
    audio_codec: str | None = None

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
        return layer != "cutout" or self.pix_fmt_alpha is not None


_ALIASES = {".m4v": ".mp4"}
"""Extensions that mean another one."""


_QUICKTIME_AUDIO = ("aac", "mp3", "ac3", "eac3", "alac")
_PCM = ("pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le")

# Key frames at fixed places: those of colour and alpha must be the same ones, or a seek shows the wrong alpha.
_VP9 = {
    "deadline": "realtime",
    "cpu-used": "6",
    "row-mt": "1",
    "tile-columns": "2",
    "g": "120",
    "keyint_min": "120",
}

ENCODINGS: dict[str, Encoding] = {
    "mp4": Encoding(
        name="mp4",
        suffix=".mp4",
        container="mp4",
        codec="libx264",
        pix_fmt="yuv420p",
        pix_fmt_alpha=None,
        bits=8,
        alpha_bits=0,
        even_size=True,
        # With mbtree x264 does not write the same bytes twice on a processor with AVX-512 (measured).
        codec_options={"preset": "veryfast", "crf": "18", "x264-params": "mbtree=0"},
        container_options={"movflags": "faststart+write_colr", "write_tmcd": "1"},
        thread_type="AUTO",
        thread_count=THREADS,
        audio=(*_QUICKTIME_AUDIO, "opus", "flac"),
        audio_codec="aac",
    ),
    "prores4444": Encoding(
        name="prores4444",
        suffix=".mov",
        container="mov",
        codec="prores_ks",
        pix_fmt="yuv444p10le",
        pix_fmt_alpha="yuva444p10le",
        bits=10,
        alpha_bits=10,
        even_size=False,
        # A fixed quantiser: the default rate control searches for one, at five times the cost for the same picture.
        codec_options={"profile": "4444", "vendor": "apl0", "alpha_bits": "16", "global_quality": str(118 * 2)},
        container_options={"movflags": "write_colr", "write_tmcd": "1"},
        thread_type="FRAME",
        thread_count=0,
        audio=(*_QUICKTIME_AUDIO, *_PCM),
        audio_codec="pcm_s24le",
    ),
    "webm": Encoding(
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
    ),
    "png": Encoding(
        name="png",
        suffix="",
        container="image2",
        codec="png",
        pix_fmt="rgb24",
        pix_fmt_alpha="rgba",
        bits=8,
        alpha_bits=8,
        even_size=False,
        # "up" with level 1 costs a fifth of the default "paeth", for files a tenth larger.
        codec_options={"compression_level": "1", "pred": "up"},
        container_options={},
        thread_type="AUTO",
        thread_count=0,
    ),
}


def encoding_for_suffix(suffix: str) -> Encoding | None:
    """The encoding that an output's extension asks for; None for an extension that no encoding has.

    Where several have it, the first one in the table.
    """
    suffix = _ALIASES.get(suffix.lower(), suffix.lower())
    return next((encoding for encoding in ENCODINGS.values() if encoding.suffix == suffix), None)
