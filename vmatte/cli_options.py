"""Options that several commands have; their defaults stand in `job.py` and `options.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Fit = Annotated[str | None, typer.Option(help="of a plate: cover | contain | stretch", show_default="cover")]
Model = Annotated[str | None, typer.Option(help="see `vmatte models`", show_default="auto: the best for the device")]
Weights = Annotated[
    Path | None, typer.Option(help="weights to use instead of the catalogue's: a file, or a folder that holds it")
]
Crop = Annotated[
    str | None, typer.Option(help="auto: the network sees only where the subject is | off", show_default="auto")
]
RemoveSpecks = Annotated[
    float | None, typer.Option(help="drop islands of the matte up to so many pixels wide", show_default="0")
]
FillHoles = Annotated[float | None, typer.Option(help="fill its holes up to so many pixels wide", show_default="0")]
Black = Annotated[float | None, typer.Option(help="alpha up to here becomes 0", show_default="0")]
White = Annotated[float | None, typer.Option(help="alpha from here on becomes 1", show_default="1")]
Gamma = Annotated[float | None, typer.Option(help="above 1 soft edges become denser", show_default="1")]
Choke = Annotated[
    float | None, typer.Option(help="pixels that the edge moves in; below 0 it spreads", show_default="0")
]
Feather = Annotated[float | None, typer.Option(help="pixels by which the edge is blurred", show_default="0")]
HoldOut = Annotated[str | None, typer.Option(help="the same, where everything is kept: a desk")]
Subject = Annotated[str | None, typer.Option(help="who is kept of several: all | largest | center", show_default="all")]
SubjectX = Annotated[
    str | None, typer.Option(help="where its middle is: 70%, left, center or right", show_default="50%")
]
SubjectY = Annotated[str | None, typer.Option(help="50%, top, center or bottom", show_default="bottom")]
CleanPlate = Annotated[str | None, typer.Option(help="picture of the screen alone")]
Despill = Annotated[
    float | None, typer.Option(help="how much of the screen's light is taken off: 0 to 1", show_default="1")
]
Foreground = Annotated[
    str | None, typer.Option(help="colour of soft edges: estimate | source", show_default="estimate")
]
Blend = Annotated[
    str | None, typer.Option(help="edges are mixed as light or as codes: linear | display", show_default="linear")
]
LightWrap = Annotated[float | None, typer.Option(help="light of the plate round the edge: 0 to 1", show_default="0")]
ColorMatch = Annotated[
    float | None, typer.Option(help="the subject takes on the plate's colours: 0 to 1", show_default="0")
]
Shadow = Annotated[float | None, typer.Option(help="shadow where a figure stands: 0 to 1", show_default="0")]
Device = Annotated[
    str | None, typer.Option(help="cuda, cuda:1, mps or cpu", show_default="auto: the first of them there is")
]
Precision = Annotated[str | None, typer.Option(help="fp32 | fp16", show_default="auto: half on CUDA, else fp32")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but errors")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object at the end")]
LicenceGuard = Annotated[
    str | None,
    typer.Option(
        "--license-guard",
        "--licence-guard",
        help="commercial: refuse weights that are not free for commercial use; permissive: refuse copyleft too",
    ),
]
