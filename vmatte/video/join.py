"""Segments become one file: packets are copied, true times are put on them, and the clip's sound is added."""

from __future__ import annotations

import heapq
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vmatte.clip import AudioTrack, ClipInfo, Excerpt
from vmatte.encodings import MATROSKA_TICK, Encoding
from vmatte.errors import EncodeError
from vmatte.video.animation import animate, shown_times
from vmatte.video.probe import open_source, says_alpha
from vmatte.video.write import writing

logger = logging.getLogger(__name__)

_FINE_ENOUGH = 64


@dataclass(frozen=True, slots=True)
class EncodedSegment:
    """A file (or a folder of pictures) that holds the frames numbered `written`, in order."""

    path: Path
    written: tuple[int, ...]


def join(segments: Sequence[EncodedSegment], clip: ClipInfo, encoding: Encoding, path: Path) -> None:
    """Join segments in order into `path`, with the source's times, sound, timecode and metadata.

    Sound that the container takes is copied packet by packet; other sound is transcoded. Raises EncodeError.
    """
    with writing(path):
        if encoding.is_sequence:
            _gather_pictures(segments, path)
        elif encoding.animation is not None:
            if clip.audio:
                logger.info("%s has no sound: the clip's is left out", encoding.name)
            written = [number for segment in segments for number in segment.written]
            animate([segment.path for segment in segments], shown_times(written, clip), encoding, path)
        else:
            _join_files(segments, clip, encoding, path)


def _gather_pictures(segments: Sequence[EncodedSegment], path: Path) -> None:
    """By name, not by moving them: were this cut off, the segments must still have theirs."""
    path.mkdir()
    for segment in segments:
        for picture in sorted(segment.path.iterdir()):
            try:
                os.link(picture, path / picture.name)
            except OSError:  # a file system without hard links, or one that is full
                shutil.copyfile(picture, path / picture.name)


def _join_files(segments: Sequence[EncodedSegment], clip: ClipInfo, encoding: Encoding, path: Path) -> None:
    options = dict(encoding.container_options)
    if encoding.is_quicktime:
        # The file's own clock, in which it says when the picture begins; milliseconds would round that.
        options["movie_timescale"] = str(_tick(clip).denominator)
    with av.open(str(path), "w", format=encoding.container, options=options) as container:
        with av.open(str(segments[0].path)) as first:
            template = first.streams.video[0]
            # Asked plainly for AV1 it looks for an encoder that is called as the decoder, and there is none.
            picture = container.add_stream_from_template(template, opaque="av1" in encoding.codec)
            # The template resets the tag, and ProRes 4444 would call itself 422 HQ.
            if encoding.is_quicktime:
                picture.codec_context.codec_tag = template.codec_context.codec_tag
            if says_alpha(template):
                picture.metadata["alpha_mode"] = "1"  # without it Chromium shows the picture opaque
        picture.time_base = _tick(clip)
        # A timecode track needs a rate; Matroska would make of it a duration that all frames have.
        rateless = encoding.is_matroska and _is_variable(clip)
        picture.codec_context.framerate = Fraction(0) if rateless else clip.rate
        if clip.language:
            picture.metadata["language"] = language_tag(clip.language, encoding)
        _describe(container, clip)
        with open_source(clip.path) as source:
            tracks = clip.audio if encoding.audio else ()
            sound = [_SoundTrack(container, source, track, encoding, clip.excerpt) for track in tracks]
            packets = [_picture_packets(segments, clip, encoding, picture), _sound_packets(source, sound, clip)]
            for _, _, packet in heapq.merge(*packets):
                container.mux(packet)


def _is_variable(clip: ClipInfo) -> bool:
    steps = np.diff(clip.pts) * float(clip.time_base) * float(clip.rate)
    return bool(len(steps)) and bool(np.abs(steps - 1).max() > 0.1)


def _describe(container: av.container.OutputContainer, clip: ClipInfo) -> None:
    technical = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "alpha_mode"}
    for key, value in clip.metadata.items():
        if key.lower() not in technical:
            container.metadata[key] = value
    if clip.timecode:
        container.metadata["timecode"] = clip.timecode


# Sorted by (seconds, rank of the stream): equal times keep the picture first.
_Packet: TypeAlias = "av.Packet[VideoStream] | av.Packet[AudioStream]"
_Timed: TypeAlias = tuple[Fraction, int, _Packet]


def _picture_packets(
    segments: Sequence[EncodedSegment], clip: ClipInfo, encoding: Encoding, stream: VideoStream
) -> Iterator[_Timed]:
    """All segments' packets in decoding order, with the source's times and dts rebuilt for the whole stream.

    Rebuilt, because with B-frames and variable times the dts that the segments bring run backwards at the seams.
    """
    tick = _tick(clip)
    finer = int(clip.time_base / tick)
    places = [place for segment in segments for place in _places_of_packets(segment)]
    shown = np.concatenate([clip.pts[list(segment.written)] for segment in segments if segment.written])
    shown = (shown - round(clip.clock_start / clip.time_base)) * finer
    times = np.append(shown, shown[-1] + _last_duration(clip, segments) * finer)
    if encoding.is_matroska:
        times, tick = _in_matroska_ticks(times, tick), MATROSKA_TICK
    shown, ends = times[:-1], times[1:]
    order = np.array(_absolute(places, segments))
    dts = _decoding_times(shown, order)
    lengths = ends[order] - shown[order]
    # mp4 has times of decoding, and the last one's length: only so do they add up to the stream's.
    lengths[-1] = dts[0] + ends[-1] - shown[0] - dts[-1]
    number = 0
    for segment in segments:
        with av.open(str(segment.path)) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.size == 0:  # not "dts is None": Matroska has frames without one
                    continue
                packet.stream = stream
                packet.time_base = tick
                packet.pts = int(shown[order[number]])
                packet.dts = int(dts[number])
                packet.duration = int(lengths[number])
                yield packet.dts * tick, 0, packet
                number += 1


def _in_matroska_ticks(times: NDArray[np.int64], tick: Fraction) -> NDArray[np.int64]:
    """Times as Matroska has them, each later than the one before: of two frames with one time a player shows one."""
    rounded = np.array([round(int(time) * tick / MATROSKA_TICK) for time in times], np.int64)
    rising = np.arange(len(times))
    distinct: NDArray[np.int64] = np.maximum.accumulate(rounded - rising) + rising
    return distinct


def _tick(clip: ClipInfo) -> Fraction:
    """The output's clock: the source's, or finer where that leaves no room between frames to decode them in."""
    steps = np.diff(clip.pts)
    coarse = len(steps) > 0 and int(steps.min()) < _FINE_ENOUGH
    return clip.time_base / _FINE_ENOUGH if coarse else clip.time_base


def _decoding_times(shown: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Strictly rising dts, none of them after its packet's pts `shown[order[i]]`.

    A picture that begins after zero must not be decoded before it: the mp4 muxer would begin it too early.
    """
    delay = int((shown - shown[order]).max())
    if shown[0] > 0:
        delay = min(delay, int(shown[0]))
    rising = np.arange(len(shown))
    # The latest times that leave every packet, and all behind it, in time.
    latest = np.minimum.accumulate((shown[order] - rising)[::-1])[::-1] + rising
    decoded: NDArray[np.int64] = np.minimum(shown - delay, latest)
    return decoded


def _last_duration(clip: ClipInfo, segments: Sequence[EncodedSegment]) -> int:
    last = max(segment.written[-1] for segment in segments if segment.written)
    return clip.last_duration if last == clip.frames - 1 else int(clip.pts[last + 1] - clip.pts[last])


def _places_of_packets(segment: EncodedSegment) -> NDArray[np.int64]:
    """For each packet in decoding order, which of the segment's frames it shows."""
    with av.open(str(segment.path)) as container:
        packets = container.demux(container.streams.video[0])
        times = np.array([packet.pts for packet in packets if packet.size], np.int64)
    if len(times) != len(segment.written):
        raise EncodeError(f"{segment.path} holds {len(times)} frames where {len(segment.written)} were written")
    return np.argsort(np.argsort(times))


def _absolute(places: Iterable[np.int64], segments: Sequence[EncodedSegment]) -> list[int]:
    starts = np.repeat(
        np.cumsum([0, *(len(segment.written) for segment in segments[:-1])]),
        [len(segment.written) for segment in segments],
    )
    return [int(place + start) for place, start in zip(places, starts, strict=True)]


class _SoundTrack:
    """One audio stream on its way to the output: copied where the container takes its codec, else transcoded."""

    def __init__(
        self,
        container: av.container.OutputContainer,
        source: av.container.InputContainer,
        track: AudioTrack,
        encoding: Encoding,
        excerpt: Excerpt | None,
    ) -> None:
        stream = source.streams[track.stream]
        assert isinstance(stream, AudioStream)
        self.source = stream
        self._begin, self._end = (None, None) if excerpt is None else (excerpt.begin, excerpt.end)
        codec = stream.codec_context.codec.canonical_name
        # Only QuickTime's edit list can say that sound begins within a packet.
        can_begin = self._begin is None or encoding.is_quicktime
        self.copied = codec in encoding.audio and can_begin
        self._lead = Fraction(0) if codec.startswith("pcm_") else _LEAD
        if self.copied:
            self.output = container.add_stream_from_template(stream)
        else:
            assert encoding.audio_codec is not None
            rate = 48_000 if encoding.audio_codec == "libopus" else track.sample_rate
            added = container.add_stream(encoding.audio_codec, rate=rate)
            assert isinstance(added, AudioStream)
            self.output = added
            self.output.codec_context.layout = layout = _layout_for(encoding.audio_codec, stream)
            if encoding.audio_codec in _BIT_RATES:
                self.output.codec_context.bit_rate = _BIT_RATES[encoding.audio_codec] * AudioLayout(layout).nb_channels
        if track.language:
            self.output.metadata["language"] = language_tag(track.language, encoding)

    def packets(self, packet: av.Packet[AudioStream]) -> Iterator[av.Packet[AudioStream]]:
        """What one packet of the source becomes; an empty packet flushes."""
        if packet.size and self._is_outside(packet):
            return
        if self.copied:
            if packet.size:
                packet.stream = self.output
                yield packet
            return
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            return  # damaged sound leaves a gap of its own length, times go on
        for frame in frames:
            assert isinstance(frame, AudioFrame)
            inside = self._inside(frame)
            if inside is not None:
                yield from self.output.encode(inside)
        if packet.size == 0:
            yield from self.output.encode(None)

    def _is_outside(self, packet: av.Packet[AudioStream]) -> bool:
        """Whether nothing of a packet is heard, nor needed to decode what is. One that goes on behind the end becomes
        shorter."""
        if packet.pts is None or not packet.time_base:
            return False
        starts = packet.pts * packet.time_base
        stops = starts + (packet.duration or 0) * packet.time_base
        if self._end is not None and starts < self._end < stops and self.copied:
            packet.duration = max(1, round((self._end - starts) / packet.time_base))
        before = self._begin is not None and stops <= self._begin - self._lead
        return before or (self._end is not None and starts >= self._end)

    def _inside(self, frame: AudioFrame) -> AudioFrame | None:
        """What of a frame is heard, to the sample; None where nothing is."""
        if (self._begin is None and self._end is None) or frame.pts is None or frame.time_base is None:
            return frame
        tick = frame.time_base
        starts = frame.pts * tick

        def sample_at(time: Fraction) -> int:
            return min(max(round((time - starts) * frame.sample_rate), 0), frame.samples)

        first = 0 if self._begin is None else sample_at(self._begin)
        stop = frame.samples if self._end is None else sample_at(self._end)
        if first >= stop:
            return None
        wide = 1 if frame.format.is_planar else frame.layout.nb_channels
        samples = np.ascontiguousarray(frame.to_ndarray()[:, first * wide : stop * wide])
        inside = AudioFrame.from_ndarray(cast("NDArray[np.float32]", samples), frame.format.name, frame.layout)
        inside.sample_rate, inside.time_base = frame.sample_rate, tick
        inside.pts = frame.pts + round(first / (frame.sample_rate * tick))
        return inside


_LEAD = Fraction(1, 10)
"""Seconds of coded sound before a cut, without which what comes after it is not decoded as it was: Opus converges in
80 ms (RFC 7845), others sooner."""


# ISO 639-2 has two codes for some languages; QuickTime's table has one of them, and FFmpeg drops the other.
_QUICKTIME_LANGUAGES = {
    "fre": "fra",
    "deu": "ger",
    "nld": "dut",
    "swe": "sve",
    "ell": "gre",
    "isl": "ice",
    "zho": "chi",
    "cze": "ces",
    "rum": "ron",
    "slo": "slk",
    "mkd": "mac",
    "eus": "baq",
    "cym": "wel",
    "sqi": "alb",
    "hye": "arm",
    "kat": "geo",
    "fas": "per",
    "msa": "may",
    "mya": "bur",
    "bod": "tib",
}


def language_tag(language: str, encoding: Encoding) -> str:
    """The language as the container has it."""
    return _QUICKTIME_LANGUAGES.get(language, language) if encoding.container == "mov" else language


_USUAL_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 6: "5.1", 8: "7.1"}
# RFC 7845 orders these; libopus takes no others.
_OPUS_LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")


def _layout_for(codec: str, stream: AudioStream) -> str:
    layout = str(stream.codec_context.layout.name)
    if "channels" in layout:  # the file only counts them
        layout = _USUAL_LAYOUTS.get(stream.codec_context.channels, layout)
    if codec != "libopus":
        return layout
    layout = layout.removesuffix("(side)")
    if layout in _OPUS_LAYOUTS:
        return layout
    logger.warning("audio track %d is %s, which Opus does not have: mixed down to stereo", stream.index, layout)
    return "stereo"


_BIT_RATES = {"libopus": 80_000, "aac": 96_000}
"""Bits a second for each channel."""


def _sound_packets(
    source: av.container.InputContainer, tracks: Sequence[_SoundTrack], clip: ClipInfo
) -> Iterator[_Timed]:
    if not tracks:
        return
    by_stream = {track.source.index: track for track in tracks}
    last = Fraction(-(2**31))
    packets = source.demux([track.source for track in tracks])
    while True:
        try:
            incoming = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError:
            break  # the clip was cut off: what came before is kept
        for packet in by_stream[incoming.stream.index].packets(cast("av.Packet[AudioStream]", incoming)):
            _shift(packet, clip.clock_start)
            time = packet.dts if packet.dts is not None else packet.pts
            if time is not None and packet.time_base:
                last = max(last, time * packet.time_base)
            yield last, 1, packet
    for track in tracks:
        if not track.copied:
            yield from ((last, 1, packet) for packet in track.output.encode(None))


def _shift(packet: _Packet, clock_start: Fraction) -> None:
    if not clock_start or not packet.time_base:
        return
    ticks = round(clock_start / packet.time_base)
    packet.pts = None if packet.pts is None else packet.pts - ticks
    packet.dts = None if packet.dts is None else packet.dts - ticks
