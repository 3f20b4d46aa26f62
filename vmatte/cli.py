"""The command line: parses, calls, prints. What imports torch is imported inside the commands."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from vmatte import __version__
from vmatte import cli_options as option
from vmatte.encodings import ENCODINGS
from vmatte.errors import EXIT_ALL_FAILED, EXIT_SOME_FAILED, JobError, JobFileError, VmatteError
from vmatte.image_cli import image
from vmatte.terminal import fetch_lines, logs_shown, say

if TYPE_CHECKING:
    from vmatte.batch.status import Board
    from vmatte.delivery import RenderReport
    from vmatte.jobfile import Entry
    from vmatte.kept_mattes import KeptEntry
    from vmatte.models.contract import Weights
    from vmatte.render import OnFrames
    from vmatte.stopwatch import Stopwatch

EXIT_INCOMPLETE = 3
"""The output is there, but frames of the clip could not be decoded."""
EXIT_ABOVE_LIMIT = 4
"""A measured matte is above a limit of `--fail-above`."""
EXIT_INTERRUPTED = 130

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
models_app = typer.Typer(help="The matting models: what they are for, their licences, and whether they are here.")
app.add_typer(models_app, name="models")
cache_app = typer.Typer(help="The mattes that are kept: of which clips, and how to make room.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")
app.command()(image)


def main() -> None:
    """Run the command line; a user's mistake ends in one line on stderr and the error's exit code."""
    for number in _ENDING_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup wants to be left alone
            signal.signal(number, _interrupt)
    if sys.stderr is None:  # closed by whoever started us: there is nobody to tell
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    try:
        app()
    except JobFileError as error:
        _fail("\nvmatte: ".join(" ".join(problem.split()) for problem in error.problems), error.exit_code)
    except VmatteError as error:
        _fail(" ".join(str(error).split()), error.exit_code)
    except _Interrupted:
        _fail("interrupted; the same command goes on from what is finished", EXIT_INTERRUPTED)


_ENDING = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no hang-up
_ENDING_SIGNALS = [number for number in signal.Signals if number.name in _ENDING]


class _Interrupted(BaseException):
    """Not a KeyboardInterrupt: typer would end on one without a word."""


def _interrupt(*_: object) -> NoReturn:
    for number in _ENDING_SIGNALS:  # a second Ctrl-C must not stop the first one's cleaning up
        signal.signal(number, signal.SIG_IGN)
    raise _Interrupted


def _fail(message: str, code: int) -> NoReturn:
    print(f"vmatte: {message}", file=sys.stderr)
    sys.exit(code)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"vmatte {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Video matting for digital humans: a talking clip in, a composite or an alpha master out."""


@app.command()
def run(
    clip: Annotated[Path, typer.Argument(help="the clip to matte", show_default=False)],
    bg: Annotated[
        str | None,
        typer.Option(
            "--bg",
            "--plate",
            help="picture, video, colour (#00b140, navy), gradient:navy,white, blur or none",
            show_default="none: a cutout",
        ),
    ] = None,
    fit: option.Fit = None,
    play: Annotated[str | None, typer.Option(help="of a video: loop | ping-pong | hold", show_default="loop")] = None,
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            "--outputs",
            "-o",
            help="file, or folder of pictures; may be repeated. Behind the name may stand the layer (cutout, "
            "foreground, alpha, composite), the format, the speed and premultiplied: -o matte.mp4,alpha,hevc",
            show_default="NAME_composite.mp4 beside the clip",
        ),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option("--format", help=" | ".join(ENCODINGS), show_default="by the output's extension")
    ] = None,
    speed: Annotated[
        str | None, typer.Option(help="of the encoder: fast | good | best (smaller files)", show_default="good")
    ] = None,
    model: option.Model = None,
    weights: option.Weights = None,
    start: Annotated[
        str | None,
        typer.Option(help="render from here on: frame 120f, seconds 2.5, 00:00:02.500", show_default="the beginning"),
    ] = None,
    end: Annotated[
        str | None, typer.Option(help="render up to here, without that frame", show_default="the end")
    ] = None,
    smooth: Annotated[
        str | None, typer.Option(help="over time: motion | gaussian | off", show_default="motion; off for a key")
    ] = None,
    strength: Annotated[
        str | None, typer.Option("--smooth-strength", help="low | medium | high", show_default="medium")
    ] = None,
    upsample: Annotated[
        str | None,
        typer.Option(help="a network's matte to full size: guided (by the frame) | bilinear", show_default="guided"),
    ] = None,
    crop: option.Crop = None,
    remove_specks: option.RemoveSpecks = None,
    fill_holes: option.FillHoles = None,
    black: option.Black = None,
    white: option.White = None,
    gamma: option.Gamma = None,
    choke: option.Choke = None,
    feather: option.Feather = None,
    garbage: Annotated[
        str | None, typer.Option(help="picture or clip, white where nothing is kept: a microphone")
    ] = None,
    hold_out: option.HoldOut = None,
    subject: option.Subject = None,
    subject_scale: Annotated[
        float | None, typer.Option(help="of the clip on the output; at 1 it is as high", show_default="1")
    ] = None,
    subject_x: option.SubjectX = None,
    subject_y: option.SubjectY = None,
    screen: Annotated[
        str | None, typer.Option(help="the clip has a coloured screen: auto, green, blue or a colour; keys the edge")
    ] = None,
    clean_plate: option.CleanPlate = None,
    despill: option.Despill = None,
    foreground: option.Foreground = None,
    own_alpha: Annotated[
        str | None,
        typer.Option(help="alpha that the clip has already: multiply | ignore", show_default="multiply"),
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="of the output: clip, plate or WIDTHxHEIGHT", show_default="clip")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="frames a second: clip, plate, 25, 30000/1001", show_default="clip")
    ] = None,
    blend: option.Blend = None,
    tone_map: Annotated[
        str | None,
        typer.Option(help="of an HDR clip, composites and 8 bits become SDR: auto | off", show_default="auto"),
    ] = None,
    light_wrap: option.LightWrap = None,
    color_match: option.ColorMatch = None,
    shadow: option.Shadow = None,
    grain: Annotated[float | None, typer.Option(help="the clip's grain on the plate: 0 to 2", show_default="0")] = None,
    device: option.Device = None,
    precision: option.Precision = None,
    batch: Annotated[
        str | None, typer.Option(help="frames through the network at once", show_default="auto: by the device")
    ] = None,
    compile: Annotated[
        bool | None, typer.Option("--compile", help="let torch.compile make the network faster first")
    ] = None,
    licence_guard: option.LicenceGuard = None,
    segment_frames: Annotated[
        int | None, typer.Option(help="frames that are lost at most when a render is cut off", show_default="240")
    ] = None,
    cache: Annotated[
        bool | None, typer.Option("--cache/--no-cache", help="keep mattes for later renders", show_default="--cache")
    ] = None,
    verify: Annotated[
        str | None,
        typer.Option(help="sampled | full: what of an output is decoded again", show_default="sampled"),
    ] = None,
    sidecar: Annotated[
        bool | None,
        typer.Option("--sidecar/--no-sidecar", help="write OUTPUT.json: what it was made of", show_default="--sidecar"),
    ] = None,
    c2pa: Annotated[
        Path | None,
        typer.Option(metavar="SIGNER.json", help="sign outputs with a C2PA manifest", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", "-y", help="replace an existing output")] = False,
    preview: Annotated[
        int | None,
        typer.Option(metavar="N", help="write only a sheet of N frames: NAME_preview.png", show_default=False),
    ] = None,
    quiet: option.Quiet = False,
    as_json: option.AsJson = False,
) -> None:
    """Remove a clip's background; put another one behind it, or write a cutout with alpha."""
    from vmatte.job import Words, job_words, make_job, make_runtime, runtime_words
    from vmatte.render import render_job

    words: Words = {
        "background": bg,
        "output": output,
        "encoding": encoding,
        "speed": speed,
        "model": model,
        "weights": weights,
        "start": start,
        "end": end,
        "smooth": smooth,
        "strength": strength,
        "device": device,
        "precision": precision,
        "batch": batch,
        "compile": compile,
        "licence_guard": licence_guard,
        "segment_frames": segment_frames,
        "cache": cache,
        "fit": fit,
        "play": play,
        "upsample": upsample,
        "crop": crop,
        "remove_specks": remove_specks,
        "fill_holes": fill_holes,
        "black": black,
        "white": white,
        "gamma": gamma,
        "choke": choke,
        "feather": feather,
        "garbage": garbage,
        "hold_out": hold_out,
        "subject": subject,
        "subject_scale": subject_scale,
        "subject_x": subject_x,
        "subject_y": subject_y,
        "screen": screen,
        "clean_plate": clean_plate,
        "despill": despill,
        "foreground": foreground,
        "own_alpha": own_alpha,
        "size": size,
        "rate": rate,
        "blend": blend,
        "tone_map": tone_map,
        "light_wrap": light_wrap,
        "color_match": color_match,
        "shadow": shadow,
        "grain": grain,
        "verify": verify,
        "sidecar": sidecar,
        "c2pa": c2pa,
        "overwrite": overwrite,
    }
    job, runtime = make_job(clip, **job_words(words)), make_runtime(**runtime_words(words))
    with _progress(quiet=quiet or as_json) as (on_frames, on_weights):
        if preview is not None:
            from vmatte.preview import preview as render_preview

            sheet = render_preview(job, runtime, preview, on_weights)
            say(json.dumps({"preview": str(sheet)}) if as_json else str(sheet))
            return
        report = render_job(job, runtime, on_frames=on_frames, on_weights=on_weights)
    if as_json:
        say(json.dumps(_as_json(report)))
    elif not quiet:
        say(_told(report))
    if report.lost:
        total = report.frames + report.lost
        _fail(
            f"{clip} is damaged: {report.lost} of its {total} frames could not be decoded and are missing; "
            f"the {report.frames} intact ones are in {', '.join(str(output.path) for output in report.outputs)}",
            EXIT_INCOMPLETE,
        )


def _told(report: RenderReport) -> str:
    """What became of a render."""
    names = ", ".join(str(output.path) for output in report.outputs)
    return f"{names}: {report.frames} frames in {report.seconds:.1f} s ({report.fps:.2f} fps)"


def _as_json(report: RenderReport) -> dict[str, object]:
    return {
        "output": str(report.output),
        "frames": report.frames,
        "lost": report.lost,
        "seconds": round(report.seconds, 3),
        "fps": round(report.fps, 3),
        "model": report.model,
        "licence": report.licence,
        "weights_sha256": report.weights_sha256,
        "sha256": report.sha256,
        "matte": report.matte,
        "outputs": [
            {
                "path": str(output.path),
                "layer": output.layer,
                "encoding": output.encoding,
                "alpha": output.alpha,
                "sha256": output.sha256,
                "verified": asdict(output.verified),
            }
            for output in report.outputs
        ],
    }


@contextmanager
def _progress(*, quiet: bool) -> Iterator[tuple[OnFrames | None, Callable[[str, int, int], None] | None]]:
    """Callbacks that show a render's progress on stderr: bars on a terminal, plain lines elsewhere."""
    if quiet:
        yield None, None
        return
    with logs_shown(_note):
        if sys.stderr.isatty():
            with _bars() as callbacks:
                yield callbacks
        else:
            yield _plain_frames(), fetch_lines(_note)


def _note(text: str) -> None:
    say(text, sys.stderr)


@contextmanager
def _bars() -> Iterator[tuple[OnFrames, Callable[[str, int, int], None]]]:
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TextColumn("{task.fields[amount]}"),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[note]}"),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, progress.TaskID] = {}

        def show(name: str, done: int, total: int, amount: str, note: str) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total, amount=amount, note=note)
            bars.update(tasks[name], completed=done, total=total, amount=amount, note=note)

        def on_frames(done: int, total: int, stopwatch: Stopwatch) -> None:
            speed = bars.tasks[tasks["frames"]].speed if "frames" in tasks else None
            fps = f"{speed:.1f} fps, " if speed else ""
            show("frames", done, total, f"{done}/{total}", f"{fps}slowest: {_slowest(stopwatch)}")

        def on_weights(name: str, done: int, total: int) -> None:
            show(name, done, total, f"{done / 1e6:.1f}/{total / 1e6:.1f} MB", "")

        yield on_frames, on_weights


def _plain_frames() -> OnFrames:
    import time

    started = shown = time.monotonic()

    def on_frames(done: int, total: int, stopwatch: Stopwatch) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown < 5 and done < total:
            return
        shown = now
        fps = done / max(now - started, 1e-9)
        left = (total - done) / max(fps, 1e-9)
        line = f"{done}/{total} frames, {fps:.1f} fps, {left:.0f} s left, slowest: {_slowest(stopwatch)}"
        _note(line)

    return on_frames


def _slowest(stopwatch: Stopwatch) -> str:
    """The step that takes most of the time, and its share of all of it."""
    seconds = {step: spent for step, spent in stopwatch.seconds.items() if step != "waiting"}
    if not seconds:
        return "-"
    step = max(seconds, key=lambda name: seconds[name])
    return f"{step} {seconds[step] / max(sum(seconds.values()), 1e-9):.0%}"


@app.command()
def batch(
    jobs: Annotated[Path, typer.Argument(help="the job file (YAML)", show_default=False)],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="instead of the file's; may be repeated")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="look at everything, render nothing")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what each job costs, render nothing")] = False,
    workers: Annotated[str, typer.Option(help="clips at once: auto, by cores and free memory, or a number")] = "auto",
    ray: Annotated[
        str | None, typer.Option(metavar="auto|HOST:PORT", help="render on a Ray cluster", show_default=False)
    ] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="stop at the first clip that fails")] = False,
    report: Annotated[Path | None, typer.Option(help="write a page with a picture of each clip as HTML")] = None,
    status: Annotated[
        Path | None, typer.Option(help="how far each job is, as JSON", show_default="JOBS.status.json")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", "-y", help="render all anew, replace outputs")] = False,
    quiet: option.Quiet = False,
    as_json: option.AsJson = False,
) -> None:
    """Render the jobs of a file, several at once; what an earlier run has done is not done again."""
    from vmatte.batch.display import counts, shown
    from vmatte.batch.run import only_run, open_board, run_batch
    from vmatte.jobfile import read_jobs

    at_once = _parse_workers(workers)
    if report is not None:
        from vmatte.measure.report import check_report

        check_report(report, ".html")
    read = read_jobs(jobs, settings or [])
    status = status or jobs.with_suffix(".status.json")
    if check or dry_run:
        board, entries = open_board(read, status, again=overwrite)
        _check_jobs(entries, board, costs=dry_run, quiet=quiet, as_json=as_json)
        return
    with only_run(jobs):
        board, entries = open_board(read, status, again=overwrite)
        try:
            with shown(board, sys.stderr, quiet=quiet or as_json) as watcher:
                if ray is None:
                    run_batch(entries, board, watcher, workers=at_once, fail_fast=fail_fast)
                else:
                    from vmatte.batch.farm import run_on_farm

                    run_on_farm(entries, board, watcher, ray, workers=at_once, fail_fast=fail_fast)
            if report is not None:
                from vmatte.batch.report import write_batch_report

                write_batch_report(report, jobs.name, entries, board)
        except _Interrupted:
            _fail(f"interrupted; {counts(board)}; the same command goes on from here", EXIT_INTERRUPTED)
    if as_json:
        say(json.dumps(board.as_json()))
    elif not quiet:
        say(counts(board))
    _end_batch(board)


def _parse_workers(word: str) -> int | None:
    if word == "auto":
        return None
    if not word.isdecimal() or not 1 <= int(word) <= 256:
        raise JobError(f"workers cannot be {word!r}; give auto, or how many clips at once: 1 to 256")
    return int(word)


def _end_batch(board: Board) -> None:
    """Name each job that failed, and leave with the code that says whether all did."""
    from vmatte.batch.display import describe
    from vmatte.batch.status import FINISHED

    failed = [job for job in board.jobs if job.state == "failed"]
    if not failed:
        return
    for job in failed:
        print(f"vmatte: {describe(job)}", file=sys.stderr)
    sys.exit(EXIT_SOME_FAILED if board.count(*FINISHED) else EXIT_ALL_FAILED)


def _check_jobs(entries: list[Entry], board: Board, *, costs: bool, quiet: bool, as_json: bool) -> None:
    """Print all that is wrong with a batch, or else what it costs."""
    from dataclasses import asdict

    from vmatte.batch.plan import costs_table, disk_needed, plan, problems, seconds_needed, too_full

    found = list(problems(entries))
    plans = list(plan(entries, board)) if costs and not found else []
    if as_json:
        shown: dict[str, object] = {"jobs": len(entries), "problems": [asdict(each) for each in found]}
        if plans:
            shown |= {"plans": [asdict(each) for each in plans], "disk_bytes": disk_needed(plans)}
            shown["seconds"] = seconds_needed(plans)
        say(json.dumps(shown))
    for problem in found:
        print(f"vmatte: {problem.where}: {problem.error}", file=sys.stderr)
    if found:
        bad = len({problem.output for problem in found})
        _fail(f"{bad} of {len(entries)} jobs cannot be rendered as they are", JobError.exit_code)
    for line in too_full(plans):
        print(f"vmatte: {line}", file=sys.stderr)
    if quiet or as_json:
        return
    if not costs:
        say(f"{len(entries)} job{'' if len(entries) == 1 else 's'}, nothing wrong")
        return
    for line in costs_table(plans):
        say(line)


@app.command()
def watch(
    folder: Annotated[Path, typer.Argument(help="where the clips are dropped", show_default=False)],
    job: Annotated[Path, typer.Option(help="a job file: its defaults and matrix, for every clip", show_default=False)],
    out: Annotated[Path, typer.Option(help="where the results go", show_default=False)],
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="as for batch")] = None,
    poll: Annotated[float, typer.Option(min=0.1, help="seconds between two looks")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="end when nothing is left to do")] = False,
    quiet: option.Quiet = False,
) -> None:
    """Render every clip that is dropped into a folder, each once, when all of it is there."""
    from vmatte.jobfile import read_jobs
    from vmatte.render import render_job
    from vmatte.watch import check_names, make_place
    from vmatte.watch import watch as watch_folder

    def entries_of(*clips: Path) -> list[Entry]:
        entries = [entry for clip in clips for entry in read_jobs(job, settings or (), clip)]
        check_names([output.path.name for entry in entries for output in entry.job.outputs], job)
        return entries

    def render(clip: Path) -> list[Path]:
        made = []
        for entry in entries_of(clip):
            place = make_place(clip, folder, out)
            outputs = tuple(each.model_copy(update={"path": place / each.path.name}) for each in entry.job.outputs)
            runtime = entry.runtime.model_copy(update={"overwrite": True})
            with _progress(quiet=quiet) as (on_frames, on_weights):
                moved = entry.job.model_copy(update={"outputs": outputs})
                report = render_job(moved, runtime, on_frames=on_frames, on_weights=on_weights)
            made += [output.path for output in report.outputs]
            if not quiet:
                say(_told(report))
        return made

    entries_of(folder / "one.mp4", folder / "other.mp4")  # mistakes are told now, not with the first clip
    done, failed = watch_folder(folder, out, render, poll_s=poll, once=once)
    if failed:
        _fail(f"{failed} of {done + failed} clips could not be rendered", EXIT_SOME_FAILED if done else EXIT_ALL_FAILED)


@app.command()
def measure(
    predicted: Annotated[
        Path, typer.Argument(help="clip with alpha, gray clip, or folder of pictures", show_default=False)
    ],
    truth: Annotated[Path | None, typer.Argument(help="the true matte, as one of these", show_default=False)] = None,
    source: Annotated[Path | None, typer.Option(help="the clip that was matted: measures flicker")] = None,
    report: Annotated[Path | None, typer.Option(help="write the curves and the worst frames as HTML")] = None,
    json_file: Annotated[Path | None, typer.Option(help="write everything, each frame too, as JSON")] = None,
    fail_above: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=NUMBER", help="end with code 4 above it; may be repeated")
    ] = None,
    quiet: option.Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Measure a matte: against the true one (MAD, MSE, Grad, Conn, dtSSD), or for flicker against its source."""
    from vmatte.measure.limits import broken_limits, parse_limits
    from vmatte.measure.measurement import measure as measure_clip
    from vmatte.measure.measurement import metric_names
    from vmatte.measure.report import as_html, check_report, write_report
    from vmatte.measure.report import as_json as measurement_as_json

    limits = parse_limits(fail_above or [], metric_names(truth=truth is not None, source=source is not None))
    for path, suffix in ((report, ".html"), (json_file, ".json")):
        if path is not None:
            check_report(path, suffix)
    with _progress(quiet=quiet or as_json) as (on_frames, _):
        measurement = measure_clip(predicted, truth, source, on_frames)
    if report is not None:
        write_report(report, as_html(measurement))
    if json_file is not None:
        write_report(json_file, json.dumps(measurement_as_json(measurement, every_frame=True)))
    if as_json:
        say(json.dumps(measurement_as_json(measurement, every_frame=False)))
    elif not quiet:
        for name, value in measurement.values():
            say(f"{name:20} {'not measured' if value is None else f'{value:.3f}'}")
        if measurement.suspects:
            say(f"{'look at frames':20} {', '.join(str(each.measures.number) for each in measurement.suspects)}")
    broken = list(broken_limits(measurement, limits))
    if broken:
        _fail(f"{predicted}: {'; '.join(broken)}", EXIT_ABOVE_LIMIT)


@app.command()
def schema() -> None:
    """Print the JSON schema of job files, for editors."""
    from vmatte.jobfile import schema as schema_of_job_files

    say(json.dumps(schema_of_job_files(), indent=2))


@app.command()
def probe(clip: Annotated[Path, typer.Argument(help="the clip to look at", show_default=False)]) -> None:
    """Print what is known of a clip: size, times, colour, sound."""
    from vmatte.video.probe import probe as probe_clip

    found = probe_clip(clip)
    color = found.coding.color
    facts: dict[str, object] = {
        "file": found.path,
        "size": f"{found.width}×{found.height}",
        "frames": found.frames,
        "lost": found.promised_frames - found.frames,
        "duration_s": round(float(found.duration), 3),
        "rate": f"{found.rate} ({float(found.rate):.3f} fps)",
        "time_base": found.time_base,
        "codec": found.codec,
        "pixel_format": found.pixel_format,
        "color": f"matrix {color.matrix}, primaries {color.primaries}, transfer {color.transfer}, "
        f"{'full' if color.full_range else 'limited'} range",
        "interlaced": "yes" if found.interlaced else "no",
        "timecode": found.timecode or "none",
        "audio": "; ".join(f"{t.codec} {t.sample_rate} Hz {t.channels} ch" for t in found.audio) or "none",
    }
    for name, value in facts.items():
        print(f"{name:13} {value}")


@app.command()
def bench(
    model: Annotated[str, typer.Option(help="a name from `vmatte models`", show_default=False)],
    device: Annotated[str | None, typer.Option(help="cuda, cuda:1, mps or cpu", show_default="auto")] = None,
    size: Annotated[
        str | None, typer.Option(help="1024 | 2560x1440 | 1024,2048", show_default="the network's for 1080p")
    ] = None,
    batch: Annotated[str, typer.Option(help="frames at once: 1,2,4")] = "1",
    precision: Annotated[
        str | None, typer.Option(help="fp32,tf32,fp16,bf16", show_default="what a render would take")
    ] = None,
    compile: Annotated[bool, typer.Option("--compile", help="let torch.compile make the network faster first")] = False,
    weights: Annotated[
        str | None, typer.Option(help="PATH | random", show_default="random; for ONNX networks the published ones")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="PyTorch's threads on a CPU", show_default="its choice")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="how long each case is repeated", show_default="a few")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the numbers there")] = None,
    markdown: Annotated[Path | None, typer.Option(help="write the table there")] = None,
) -> None:
    """Measure a network: speed, memory, and how near it comes to what the device can do."""
    from vmatte.benchmark.run import bench as measure
    from vmatte.measure.report import write_report

    for file in (json_file, markdown):
        if file is not None:
            _check_writable(file)
    with _progress(quiet=False) as (_, on_weights):
        report = measure(
            model,
            device=device,
            sizes=size,
            batches=batch,
            precisions=precision,
            compile=compile,
            weights=weights,
            threads=threads,
            seconds=seconds,
            on_line=lambda line: print(line, file=sys.stderr, flush=True),
            on_weights=on_weights,
        )
    say(report.as_markdown())
    for file, text in ((json_file, report.as_json()), (markdown, report.as_markdown())):
        if file is not None:
            write_report(file, text)
    if report.failed is not None:
        _fail(f"{model}: nothing could be measured: {report.failed.reason}", VmatteError.exit_code)


def _check_writable(file: Path) -> None:
    """JobError where a file could not be written once all is measured."""
    if file.is_dir():
        raise JobError(f"{file} is a folder; give the name of a file")
    if not file.parent.is_dir():
        raise JobError(f"the folder {file.parent} for {file.name} does not exist")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise JobError(f"{file} cannot be written: permission denied")


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context, licence_guard: option.LicenceGuard = None) -> None:
    """List the models: name, licence, size, whether the weights are here, and what each is for."""
    if context.invoked_subcommand is not None:
        if licence_guard is not None:
            raise JobError(f"the licence guard marks the list of models; `{context.invoked_subcommand}` takes none")
        return
    from vmatte.job import make_runtime
    from vmatte.models.catalogue import MODELS

    guard = make_runtime(licence_guard=licence_guard).licence_guard
    mark = "" if guard is None else f"{guard:12}"
    print(f"{'name':20} {mark}{'licence':14} {'commercial':11} {'copyleft':9} {'size':>8}  {'weights':16} for")
    for spec in MODELS.values():
        licence = spec.licence
        mark = "" if guard is None else f"{'passes' if licence.passes(guard) else 'REFUSED':12}"
        commercial, copyleft = "yes" if licence.commercial_use else "NO", "yes" if licence.copyleft else "no"
        size = "-" if spec.weights is None else f"{spec.weights.size_bytes / 1e6:.1f} MB"
        print(
            f"{spec.name:20} {mark}{licence.name:14} {commercial:11} {copyleft:9} {size:>8}  "
            f"{_whereabouts(spec.weights):16} {spec.purpose}"
        )


def _whereabouts(weights: Weights | None) -> str:
    from vmatte.models.weights import in_cache

    if weights is None:
        return "not needed"
    if in_cache(weights):
        return "cached"
    return "not here, gated" if weights.gate else "not here"


@models_app.command()
def pull(name: Annotated[str, typer.Argument(help="a name from `vmatte models`", show_default=False)]) -> None:
    """Fetch a model's weights into the cache."""
    from vmatte.models.catalogue import fetch_weights, find_model

    spec = find_model(name)
    if spec.is_key:
        print(f"{name} needs no weights")
        return
    with _progress(quiet=False) as (_, on_weights):
        path = fetch_weights(spec, on_weights)
    print(f"{name}: {path}")


@cache_app.command("list")
def list_mattes(
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """List the kept mattes, the longest unused first."""
    from vmatte.kept_mattes import list_kept

    entries = list_kept()
    if as_json:
        say(json.dumps({"mattes": [_entry_as_json(entry) for entry in entries]}))
    else:
        _say_entries(entries, "in all")


@cache_app.command("prune")
def prune_mattes(
    max_size: Annotated[str, typer.Option(help="what may stay: 50G, 500M, 0", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Remove the longest unused mattes until no more than a size is left. Weights stay, and what a render is using."""
    from vmatte.kept_mattes import prune

    removed = prune(_bytes_of(max_size))
    if as_json:
        say(json.dumps({"removed": [_entry_as_json(entry) for entry in removed]}))
    else:
        _say_entries(removed, "removed")


_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def _bytes_of(size: str) -> int:
    """The bytes that a size like 50G, 1.5 GB or 0 means."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", size.strip().upper())
    if parts is None:
        raise JobError(f"{size!r} is no size; give one like 50G, 500M or 0")
    return int(float(parts[1]) * _UNITS[parts[2]])


def _say_entries(entries: list[KeptEntry], what: str) -> None:
    from datetime import datetime

    if entries:
        say(f"{'last used':17} {'size':>10} {'frames':>7} {'model':20} clip")
    for entry in entries:
        used = datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
        frames, model, clip = (str(entry.about.get(name, "?")) for name in ("frames", "model", "clip"))
        say(f"{used:17} {entry.bytes / 1e6:7.1f} MB {frames:>7} {model:20} {clip}")
    say(f"{len(entries)} {what}, {sum(entry.bytes for entry in entries) / 1e6:.1f} MB")


def _entry_as_json(entry: KeptEntry) -> dict[str, object]:
    about = {name: entry.about.get(name) for name in ("clip", "model", "frames")}
    return {**about, "bytes": entry.bytes, "used": entry.used, "path": str(entry.path)}
