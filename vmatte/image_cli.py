"""The command `vmatte image`. What imports torch is imported inside it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmatte.errors import JobError, PicturesError
from vmatte.stills.formats import FORMATS
from vmatte.stills.sizes import COLORS, ID_PHOTOS, SHEETS_MM, find_id_photo, find_sheet

if TYPE_CHECKING:
    from vmatte.job import Words
    from vmatte.stills.run import PhotoOptions, StillReport


def image(
    pictures: Annotated[list[Path], typer.Argument(help="pictures, folders of them, or '*.jpg'", show_default=False)],
    bg: Annotated[
        str | None,
        typer.Option(
            "--bg",
            "--plate",
            help=f"picture, colour (#00b140, navy), gradient:navy,white, blur, none; ID photos: {', '.join(COLORS)}",
            show_default="none: a cutout; white for ID photos",
        ),
    ] = None,
    fit: Annotated[str | None, typer.Option(help="of a plate: cover | contain | stretch", show_default="cover")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="file, or folder for several", show_default="NAME_LAYER beside the picture"
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help=" | ".join(FORMATS), show_default="by -o; png, or jpg for a composite"),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="cutout | alpha | composite | foreground; may be repeated",
            show_default="composite with --bg, else cutout",
        ),
    ] = None,
    quality: Annotated[
        int | None, typer.Option(min=1, max=100, help="of jpg and webp", show_default="95; webp lossless")
    ] = None,
    id_photo: Annotated[
        str | None, typer.Option(metavar="SIZE", help=f"{' | '.join(ID_PHOTOS)} | WxHmm@DPI", show_default=False)
    ] = None,
    sheet: Annotated[
        str | None,
        typer.Option(help=f"print ID photos on paper too: {' | '.join(SHEETS_MM)} | WxHmm", show_default=False),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="see `vmatte models`", show_default="auto: the best for the device")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="weights to use instead of the catalogue's: a file, or a folder that holds it")
    ] = None,
    upsample: Annotated[
        str | None,
        typer.Option(help="a network's matte to full size: guided (by the picture) | bilinear", show_default="guided"),
    ] = None,
    crop: Annotated[
        str | None, typer.Option(help="auto: the network sees only where the subject is | off", show_default="auto")
    ] = None,
    remove_specks: Annotated[
        float | None, typer.Option(help="drop islands of the matte up to so many pixels wide", show_default="0")
    ] = None,
    fill_holes: Annotated[
        float | None, typer.Option(help="fill its holes up to so many pixels wide", show_default="0")
    ] = None,
    black: Annotated[float | None, typer.Option(help="alpha up to here becomes 0", show_default="0")] = None,
    white: Annotated[float | None, typer.Option(help="alpha from here on becomes 1", show_default="1")] = None,
    gamma: Annotated[float | None, typer.Option(help="above 1 soft edges become denser", show_default="1")] = None,
    choke: Annotated[
        float | None, typer.Option(help="pixels that the edge moves in; below 0 it spreads", show_default="0")
    ] = None,
    feather: Annotated[float | None, typer.Option(help="pixels by which the edge is blurred", show_default="0")] = None,
    garbage: Annotated[str | None, typer.Option(help="picture, white where nothing is kept: a microphone")] = None,
    hold_out: Annotated[str | None, typer.Option(help="the same, where everything is kept: a desk")] = None,
    subject: Annotated[
        str | None, typer.Option(help="who is kept of several: all | largest | center", show_default="all")
    ] = None,
    subject_scale: Annotated[
        float | None, typer.Option(help="of the picture on the output; at 1 it is as high", show_default="1")
    ] = None,
    subject_x: Annotated[
        str | None, typer.Option(help="where its middle is: 70%, left, center or right", show_default="50%")
    ] = None,
    subject_y: Annotated[str | None, typer.Option(help="50%, top, center or bottom", show_default="bottom")] = None,
    screen: Annotated[
        str | None, typer.Option(help="it has a coloured screen: auto, green, blue or a colour; keys the edge")
    ] = None,
    clean_plate: Annotated[str | None, typer.Option(help="picture of the screen alone")] = None,
    despill: Annotated[
        float | None, typer.Option(help="how much of the screen's light is taken off: 0 to 1", show_default="1")
    ] = None,
    foreground: Annotated[
        str | None, typer.Option(help="colour of soft edges: estimate | source", show_default="estimate")
    ] = None,
    own_alpha: Annotated[
        str | None, typer.Option(help="alpha that it has already: multiply | ignore", show_default="multiply")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="of the output: clip (the picture's), plate or WIDTHxHEIGHT", show_default="clip")
    ] = None,
    blend: Annotated[
        str | None, typer.Option(help="edges are mixed as light or as codes: linear | display", show_default="linear")
    ] = None,
    light_wrap: Annotated[
        float | None, typer.Option(help="light of the plate round the edge: 0 to 1", show_default="0")
    ] = None,
    color_match: Annotated[
        float | None, typer.Option(help="the subject takes on the plate's colours: 0 to 1", show_default="0")
    ] = None,
    shadow: Annotated[float | None, typer.Option(help="shadow where a figure stands: 0 to 1", show_default="0")] = None,
    grain: Annotated[
        float | None, typer.Option(help="the picture's grain on the plate: 0 to 2", show_default="0")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cuda, cuda:1, mps or cpu", show_default="auto: the first of them there is")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32 | fp16", show_default="auto: half on CUDA, else fp32")
    ] = None,
    licence_guard: Annotated[
        str | None,
        typer.Option(
            "--license-guard",
            "--licence-guard",
            help="commercial: refuse weights that are not free for commercial use; permissive: refuse copyleft too",
        ),
    ] = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="leave out pictures whose outputs are there")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", "-y", help="replace existing outputs")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but errors")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object at the end")] = False,
) -> None:
    """Remove the background of pictures: cutouts, mattes, composites and ID photos.

    Of several pictures one that fails does not stop the others: exit code 5 where some failed, 6 where all did.
    """
    options = _photo_options(id_photo, sheet, quality, skip_existing=skip_existing)
    words: Words = {
        "background": _background(bg, options),
        "fit": fit,
        "model": model,
        "weights": weights,
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
        "blend": blend,
        "light_wrap": light_wrap,
        "color_match": color_match,
        "shadow": shadow,
        "grain": grain,
        "device": device,
        "precision": precision,
        "licence_guard": licence_guard,
        "overwrite": overwrite,
    }
    if options.id_photo is not None:
        _check_id_words(words)
        words["subject"] = words["subject"] or "largest"
    _run(pictures, output, layer or [], form, words, options, quiet=quiet, as_json=as_json)


def _photo_options(
    id_photo: str | None, sheet: str | None, quality: int | None, *, skip_existing: bool
) -> PhotoOptions:
    if sheet is not None and id_photo is None:
        raise JobError("a sheet is of ID photos; give --id-photo too")
    photo, sheet_mm = (None if id_photo is None else find_id_photo(id_photo)), None
    if sheet is not None:
        sheet_mm = find_sheet(sheet)
    from vmatte.stills.run import PhotoOptions

    return PhotoOptions(photo, sheet_mm, quality, skip_existing)


def _background(bg: str | None, options: PhotoOptions) -> str | None:
    """In an ID photo the colours' words mean what photographers mean by them."""
    if options.id_photo is None:
        return bg
    rgb = COLORS.get((bg or "white").lower())
    return bg if rgb is None else "#{:02x}{:02x}{:02x}".format(*rgb)


def _check_id_words(words: Words) -> None:
    for name in ("size", "subject_scale", "subject_x", "subject_y"):
        if words.get(name) is not None:
            raise JobError(f"an ID photo has its size and place by its rule; leave out {name.replace('_', ' ')}")
    if words.get("background") == "none":
        raise JobError(f"an ID photo needs a background; give --bg: {', '.join(COLORS)} or another colour")


def _run(
    pictures: Sequence[Path],
    output: Path | None,
    layers: Sequence[str],
    form: str | None,
    words: Words,
    options: PhotoOptions,
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    from vmatte.stills.display import describe, say, shown
    from vmatte.stills.plan import find_layers, plan_stills
    from vmatte.stills.run import run_stills

    background = words.get("background")
    plate = background is not None and background != "none"
    wanted = find_layers(layers, plate=plate)
    if options.sheet_mm is not None and wanted != ("composite",):
        raise JobError("a sheet is of composites; leave out the layer")
    stills = plan_stills(pictures, output, wanted, form, sheet=options.sheet_mm is not None)
    if options.quality is not None and not any(each.format.lossy for still in stills for each in still.writings):
        raise JobError("only jpg and webp have a quality; leave it out, or give one of these formats")
    with shown(len(stills), sys.stderr, quiet=quiet or as_json) as watcher:
        reports = run_stills(stills, words, options, watcher, None if quiet or as_json else watcher.fetching)
    failed = sum(report.error is not None for report in reports)
    if as_json:
        say(json.dumps({"pictures": [_as_json(report) for report in reports], "failed": failed}), sys.stdout)
    elif not quiet:
        made, spent = len(reports) - failed, sum(report.seconds for report in reports)
        say(describe(reports[0]) if len(reports) == 1 else f"{made} pictures in {spent:.1f} s", sys.stdout)
    if failed:
        raise PicturesError(failed, len(reports))


def _as_json(report: StillReport) -> dict[str, object]:
    return {
        "picture": str(report.picture),
        "outputs": list(map(str, report.outputs)),
        "seconds": round(report.seconds, 3),
        "error": report.error,
    }
