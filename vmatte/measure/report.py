"""What was measured, to be read: by a program as JSON, by people as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from string import Template

import cv2
import numpy as np

from vmatte.errors import EncodeError, JobError
from vmatte.measure.measurement import FrameMeasures, Measurement, Pixels, Suspect
from vmatte.measure.steadiness import METRICS as STEADINESS_METRICS
from vmatte.measure.truth import METRICS as TRUTH_METRICS

_MEANINGS = {
    "mad": "mean absolute difference from the truth, × 1000",
    "mse": "mean squared difference, × 1000",
    "grad": "squared differences of the gradient, summed / 1000",
    "conn": "connectivity error, summed / 1000",
    "dtssd": "difference of the changes from frame to frame, root mean square × 100",
    "flicker": "change of alpha in levels of 255, in the edge band where the picture stands still",
    "edge_jitter": "way of the outline in pixels, where the picture stands still",
    "coverage_jump": "alpha gained or lost beyond what motion explains, percent of the picture; of a clip, the largest",
    "coverage": "mean alpha, percent of the picture",
}
_BESIDE_TRUTH = "boundary_"
_GREEN = (0, 177, 64)
"""#00b140, behind the composites: neither skin, hair nor cloth."""
_PLOT_WIDTH, _PLOT_HEIGHT = 1200, 110
_MOST_POINTS = 1200
"""Of a curve; a longer clip's shows the largest value of each stretch of frames."""


def check_report(path: Path, suffix: str) -> None:
    """JobError where a report cannot be written to `path`; told by its extension from a clip, it never replaces one."""
    if path.suffix.lower() != suffix:
        raise JobError(f"{path}: this report is a file with the extension {suffix}")
    if not path.absolute().parent.is_dir():
        raise JobError(f"{path}: the folder does not exist; make it first")


def write_report(path: Path, text: str) -> None:
    """Write a report, replacing an earlier one; EncodeError where that fails."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EncodeError(f"{path} cannot be written: {error.strerror}") from error


def as_json(measurement: Measurement, *, every_frame: bool) -> dict[str, object]:
    """The clip's metrics and its suspicious frames, worst first; with `every_frame` also each frame's measures."""
    height, width = measurement.size
    steadiness = measurement.steadiness
    record: dict[str, object] = {
        "predicted": str(measurement.predicted),
        "truth": None if measurement.truth is None else str(measurement.truth),
        "source": None if measurement.source is None else str(measurement.source),
        "frames": len(measurement.frames),
        "width": width,
        "height": height,
        "metrics": dict(measurement.values()),
    }
    if steadiness is not None:
        record |= {"still_percent": steadiness.still, "cuts": steadiness.cuts}
    record["suspicious"] = [
        {"frame": suspect.measures.number, "time_s": suspect.measures.time_s, "suspicion": suspect.measures.suspicion}
        for suspect in measurement.suspects
    ]
    if every_frame:
        record["per_frame"] = [_frame_as_json(frame) for frame in measurement.frames]
    return record


def _frame_as_json(frame: FrameMeasures) -> dict[str, object]:
    record: dict[str, object] = {"frame": frame.number, "time_s": frame.time_s}
    for measures in (frame.scores, frame.steadiness):
        if measures is not None:
            record |= asdict(measures)
    return record


def as_html(measurement: Measurement) -> str:
    """The report: the clip's metrics, their curves over time, and the suspicious frames."""
    height, width = measurement.size
    against = [
        f"{word} {escape(path.name)}"
        for word, path in (("truth", measurement.truth), ("source", measurement.source))
        if path is not None
    ]
    return _PAGE.substitute(
        style=STYLE,
        name=escape(measurement.predicted.name),
        facts=f"{len(measurement.frames)} frames of {width}×{height}, against {' and '.join(against)}",
        metrics="\n".join(_metric_rows(measurement)),
        still=_still_note(measurement),
        curves="\n".join(_curves(measurement)),
        suspects="\n".join(_suspect_figure(each) for each in measurement.suspects) or "<p>None.</p>",
    )


def _metric_rows(measurement: Measurement) -> Iterator[str]:
    for name, value in measurement.values():
        shown = "–" if value is None else f"{value:.3f}"
        yield f"<tr><th>{_title(name)}</th><td>{shown}</td><td>{_meaning(name)}</td></tr>"


def _title(name: str) -> str:
    return name.replace("_", " ")


def _meaning(name: str) -> str:
    if name.startswith(_BESIDE_TRUTH):
        return f"{_MEANINGS[name.removeprefix(_BESIDE_TRUTH)]}; in the truth’s edge band"
    return _MEANINGS[name]


def _still_note(measurement: Measurement) -> str:
    steadiness = measurement.steadiness
    if steadiness is None:
        return ""
    cuts = f"{steadiness.cuts} shot change{'' if steadiness.cuts == 1 else 's'}"
    return f"<p>{steadiness.still:.1f} % of the edge stood still and was measured; {cuts}, dashed in the curves.</p>"


@dataclass(frozen=True, slots=True, eq=False)
class _Curve:
    name: str
    values: Sequence[float | None]


def _curves(measurement: Measurement) -> Iterator[str]:
    cuts = [frame.number for frame in measurement.frames if frame.steadiness is not None and frame.steadiness.cut]
    marks = [suspect.measures.number for suspect in measurement.suspects]

    def curve(name: str, of: Callable[[FrameMeasures], object]) -> _Curve:
        return _Curve(name, [getattr(of(frame), name) for frame in measurement.frames])

    if measurement.scores is not None:
        for name in TRUTH_METRICS:
            yield _plot(curve(name, lambda frame: frame.scores), cuts, marks)
    if measurement.steadiness is not None:
        for name in (*STEADINESS_METRICS, "coverage"):
            yield _plot(curve(name, lambda frame: frame.steadiness), cuts, marks)


def _plot(curve: _Curve, cuts: Sequence[int], marks: Sequence[int]) -> str:
    """An SVG of the values over the frame's number; a gap where there is none."""
    last = max(1, len(curve.values) - 1)
    present = [value for value in curve.values if value is not None]
    low, high = min(0.0, *present, 0.0), max(0.0, *present, 0.0)
    span = (high - low) or 1.0

    def x(number: float) -> float:
        return round(number / last * _PLOT_WIDTH, 1)

    def y(value: float) -> float:
        return round((high - value) / span * _PLOT_HEIGHT, 1)

    strokes, drawing = [], False
    for number, value in _thinned(curve.values):
        if value is not None:
            strokes.append(f"{'L' if drawing else 'M'}{x(number)} {y(value)}")
            # A value between two gaps would not show without a length.
            strokes.extend([] if drawing else ["h1"])
        drawing = value is not None
    dashed = "".join(f'<path class="cut" d="M{x(cut)} 0V{_PLOT_HEIGHT}"/>' for cut in cuts)
    dots = "".join(
        f'<a href="#frame-{mark}"><circle cx="{x(mark)}" cy="{y(value)}" r="4"><title>frame {mark}: {value:.3f}</title>'
        "</circle></a>"
        for mark in marks
        if (value := curve.values[mark]) is not None
    )
    return (
        f'<figure class="curve"><figcaption><b>{_title(curve.name)}</b> {_meaning(curve.name)}</figcaption>'
        f'<div class="axis"><span>{high:.3g}</span><span>{low:.3g}</span></div>'
        f'<svg viewBox="0 -5 {_PLOT_WIDTH} {_PLOT_HEIGHT + 10}" role="img" aria-label="{_title(curve.name)} over time">'
        f'<path class="zero" d="M0 {y(0)}H{_PLOT_WIDTH}"/>{dashed}<path class="value" d="{" ".join(strokes)}"/>{dots}'
        f'</svg><div class="frames"><span>0</span><span>frame {last}</span></div></figure>'
    )


def _thinned(values: Sequence[float | None]) -> Iterator[tuple[int, float | None]]:
    """(number, value), of at most `_MOST_POINTS` stretches the value furthest from zero."""
    stretch = -(-len(values) // _MOST_POINTS)
    for start in range(0, len(values), stretch):
        numbers = range(start, min(start + stretch, len(values)))
        number = max(numbers, key=lambda each: -1.0 if (value := values[each]) is None else abs(value))
        yield number, values[number]


def _suspect_figure(suspect: Suspect) -> str:
    measures = suspect.measures
    pictures: list[tuple[str, Pixels | None]] = [
        ("source", suspect.source),
        ("matte before", suspect.matte_before),
        ("matte", suspect.matte),
        ("change × 4", _difference(suspect.matte, suspect.matte_before, gain=4)),
        ("truth", suspect.truth),
        ("difference", _difference(suspect.matte, suspect.truth)),
        ("composite", None if suspect.source is None else _composite(suspect.source, suspect.matte)),
    ]
    shown = "".join(
        f'<figure><img src="{embedded(pixels)}" alt="{title} of frame {measures.number}">'
        f"<figcaption>{title}</figcaption></figure>"
        for title, pixels in pictures
        if pixels is not None
    )
    facts = [f"frame {measures.number}", f"{measures.time_s:.2f} s"]
    for record, names in ((measures.scores, TRUTH_METRICS[:5]), (measures.steadiness, STEADINESS_METRICS)):
        values = [(name, getattr(record, name)) for name in names] if record is not None else []
        facts += [f"{_title(name)} {value:.2f}" for name, value in values if value is not None]
    title = " · ".join(facts)
    return f'<section class="suspect" id="frame-{measures.number}"><h3>{title}</h3><div>{shown}</div></section>'


def _difference(matte: Pixels, other: Pixels | None, gain: float = 1) -> Pixels | None:
    return None if other is None else np.asarray(cv2.convertScaleAbs(cv2.absdiff(matte, other), alpha=gain), np.uint8)


def _composite(source: Pixels, matte: Pixels) -> Pixels:
    alpha = matte[..., None].astype(np.float32) / 255
    mixed = source * alpha + np.array(_GREEN, np.float32) * (1 - alpha)
    return mixed.round().astype(np.uint8)


def embedded(pixels: Pixels, quality: int = 95) -> str:
    """A picture (h, w) or (h, w, 3) RGB as a data address: gray without loss, colour as JPEG of this quality."""
    kind, shown = ("png", pixels) if pixels.ndim == 2 else ("jpeg", pixels[..., ::-1])
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if kind == "jpeg" else []
    _, coded = cv2.imencode(f".{kind}", np.ascontiguousarray(shown), options)
    return f"data:image/{kind};base64,{base64.b64encode(coded.tobytes()).decode()}"


STYLE = """:root { color-scheme: light dark; --ink: light-dark(#1c1e21, #e6e6e3); --soft: light-dark(#6a6f76, #9a9fa6);
  --line: light-dark(#d9dbde, #3a3d41); --curve: light-dark(#0b6e99, #5db7de); --mark: light-dark(#c2410c, #fb923c); }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: light-dark(#fff, #17181a);
  max-width: 1320px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
h3 { font-size: .95rem; font-weight: 600; margin: 0 0 .4rem; } p { color: var(--soft); }
table { border-collapse: collapse; } th { text-align: left; font-weight: 600; }
th, td { padding: .2rem 1rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }"""
"""What the reports' pages have in common: colours by day and night, type, tables."""

_PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>$name – vmatte measure</title>
<style>
$style
td:nth-child(2) { text-align: right; font-variant-numeric: tabular-nums; } td:nth-child(3) { color: var(--soft); }
figure { margin: 0; } figcaption { font-size: .8rem; color: var(--soft); } figcaption b { color: var(--ink); }
.curve { display: grid; grid-template-columns: 4rem 1fr; margin-bottom: 1rem; }
.curve figcaption, .curve .frames { grid-column: 2; }
.axis { display: flex; flex-direction: column; justify-content: space-between; }
.axis { text-align: right; padding-right: .5rem; }
.axis, .frames { font-size: .75rem; color: var(--soft); font-variant-numeric: tabular-nums; }
.frames { display: flex; justify-content: space-between; }
svg { width: 100%; height: auto; overflow: visible; }
path { fill: none; vector-effect: non-scaling-stroke; } .value { stroke: var(--curve); stroke-width: 1.4; }
.zero { stroke: var(--line); } .cut { stroke: var(--soft); stroke-dasharray: 3 3; } circle { fill: var(--mark); }
.suspect { margin: 0 0 1.5rem; } .suspect > div { display: grid; grid-auto-flow: column; }
.suspect > div { grid-auto-columns: minmax(0, 320px); gap: .5rem; }
img { width: 100%; display: block; border: 1px solid var(--line); }
</style>
<h1>$name</h1>
<p>$facts</p>
<table>
$metrics
</table>
$still
<h2>Over time</h2>
<p>Dots are the frames below.</p>
$curves
<h2>Frames to look at, worst first</h2>
$suspects
</html>
""")
