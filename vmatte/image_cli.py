"""The command `vmatte image`. What imports torch is imported inside it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmatte import cli_options as option
from vmatte.errors import JobError, PicturesError
from vmatte.stills.formats import FORMATS
from vmatte.stills.sizes import COLORS, ID_PHOTOS, SHEETS_MM, find_id_photo, find_sheet
from vmatte.terminal import say

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
    fit: option.Fit = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", help="file, or folder/ for several", show_default="NAME_LAYER beside the picture"
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
    model: option.Model = None,
    weights: option.Weights = None,
    upsample: Annotated[
        str | None,
        typer.Option(help="a network's matte to full size: guided (by the picture) | bilinear", show_default="guided"),
    ] = None,
    crop: option.Crop = None,
    remove_specks: option.RemoveSpecks = None,
    fill_holes: option.FillHoles = None,
    black: option.Black = None,
    white: option.White = None,
    gamma: option.Gamma = None,
    choke: option.Choke = None,
    feather: option.Feather = None,
    garbage: Annotated[str | None, typer.Option(help="picture, white where nothing is kept: a microphone")] = None,
    hold_out: option.HoldOut = None,
    subject: option.Subject = None,
    subject_scale: Annotated[
        float | None, typer.Option(help="of the picture on the output; at 1 it is as high", show_default="1")
    ] = None,
    subject_x: option.SubjectX = None,
    subject_y: option.SubjectY = None,
    screen: Annotated[
        str | None, typer.Option(help="it has a coloured screen: auto, green, blue or a colour; keys the edge")
    ] = None,
    clean_plate: option.CleanPlate = None,
    despill: option.Despill = None,
    foreground: option.Foreground = None,
    own_alpha: Annotated[
        str | None, typer.Option(help="alpha that it has already: multiply | ignore", show_default="multiply")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="of the output: clip (the picture's), plate or WIDTHxHEIGHT", show_default="clip")
    ] = None,
    blend: option.Blend = None,
    light_wrap: option.LightWrap = None,
    color_match: option.ColorMatch = None,
    shadow: option.Shadow = None,
    grain: Annotated[
        float | None, typer.Option(help="the picture's grain on the plate: 0 to 2", show_default="0")
    ] = None,
    device: option.Device = None,
    precision: option.Precision = None,
    licence_guard: option.LicenceGuard = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="leave out pictures whose outputs are there")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", "-y", help="replace existing outputs")] = False,
    quiet: option.Quiet = False,
    as_json: option.AsJson = False,
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
    output: str | None,
    layers: Sequence[str],
    form: str | None,
    words: Words,
    options: PhotoOptions,
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    from vmatte.stills.display import describe, shown
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
        say(json.dumps({"pictures": [_as_json(report) for report in reports], "failed": failed}))
    elif not quiet:
        made, spent = len(reports) - failed, sum(report.seconds for report in reports)
        say(describe(reports[0]) if len(reports) == 1 else f"{made} pictures in {spent:.1f} s")
    if failed:
        raise PicturesError(failed, len(reports))


def _as_json(report: StillReport) -> dict[str, object]:
    return {
        "picture": str(report.picture),
        "outputs": list(map(str, report.outputs)),
        "seconds": round(report.seconds, 3),
        "error": report.error,
    }
