"""vmatte: video matting for digital humans.

import vmatte
vmatte.run("avatar.mp4", background="studio.png", output="out.mp4")
for matte in vmatte.matte("avatar.mp4"):
    matte.rgb, matte.alpha, matte.pts
rgba = vmatte.matte_image("portrait.jpg")
"""

from __future__ import annotations

import logging
import os
from importlib import import_module
from typing import TYPE_CHECKING

from vmatte.version import __version__ as __version__

# ONNX Runtime reports what it runs to its maker unless this is set before it is imported; nobody agreed to that here.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

logging.getLogger("vmatte").addHandler(logging.NullHandler())  # whoever imports it decides what is shown

if TYPE_CHECKING:
    from vmatte.delivery import RenderReport
    from vmatte.errors import VmatteError
    from vmatte.job import RenderJob, Runtime
    from vmatte.models.catalogue import load_model
    from vmatte.render import Matte, matte, render_job, run
    from vmatte.stills.run import matte_image
    from vmatte.video.probe import probe

_HOMES = {
    "Matte": "vmatte.render",
    "RenderJob": "vmatte.job",
    "RenderReport": "vmatte.delivery",
    "Runtime": "vmatte.job",
    "VmatteError": "vmatte.errors",
    "load_model": "vmatte.models.catalogue",
    "matte": "vmatte.render",
    "matte_image": "vmatte.stills.run",
    "probe": "vmatte.video.probe",
    "render_job": "vmatte.render",
    "run": "vmatte.render",
}

__all__ = [
    "Matte",
    "RenderJob",
    "RenderReport",
    "Runtime",
    "VmatteError",
    "load_model",
    "matte",
    "matte_image",
    "probe",
    "render_job",
    "run",
]


def __getattr__(name: str) -> object:
    """Import on first use: `import vmatte` must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'vmatte' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
