"""Content Credentials: a signed C2PA manifest in an output, that says which clip it was made of and how."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
from pydantic import ValidationError

from vmatte.encodings import ENCODINGS, Encoding
from vmatte.errors import EncodeError, JobError
from vmatte.options import Record
from vmatte.outputs import LayerName
from vmatte.version import __version__

_MIME_TYPES = {".mp4": "video/mp4", ".mov": "video/quicktime", ".gif": "image/gif", ".webp": "image/webp"}
"""Of the files that can carry a manifest: it would not be bound to the picture of a WebM, or of a folder."""

_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_EDITS: dict[LayerName, tuple[str, str]] = {
    "cutout": ("algorithmicallyEnhanced", "The background was removed."),
    "foreground": ("algorithmicallyEnhanced", "The subject's colours, without those of its background."),
    "alpha": ("algorithmicMedia", "The subject's matte."),
    "composite": ("composite", "The background was removed, and another one put in its place."),
}
"""What was done for each layer: IPTC's digital source type, and in words."""


class _Settings(Record):
    """The keys of c2patool's manifest file that say who signs, and how."""

    alg: str = "es256"
    sign_cert: Path | None = None
    private_key: Path | None = None
    ta_url: str | None = None


@dataclass(frozen=True, slots=True)
class Signing:
    """Who signs: `certificates` are PEM, the signer's own first; `time_authority` is the address of an RFC 3161 one."""

    algorithm: str
    certificates: bytes
    key: bytes
    time_authority: str | None


@dataclass(frozen=True, slots=True)
class Ingredient:
    """A file that an output was made of; the clip is the first, what else is in the picture follows it."""

    path: Path
    is_parent: bool


def can_carry(encoding: Encoding) -> bool:
    """Whether files of an encoding have a place for a manifest that is bound to them."""
    return encoding.suffix in _MIME_TYPES


def check_signing(settings: Path, encodings: Iterable[Encoding]) -> None:
    """JobError where nothing can be signed by these settings: a clip of one frame is, if an output of a job will be.

    What is wrong with a certificate, its key or a time authority shows only when something is signed.
    """
    signing = read_signing(settings)
    if not any(map(can_carry, encodings)):
        return
    try:
        with TemporaryDirectory() as folder:
            trial = Path(folder) / "trial.mp4"
            with av.open(str(trial), "w") as container:
                stream = container.add_stream("mpeg4", rate=25)
                stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
                container.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
                container.mux(stream.encode(None))
            made_of = [Ingredient(trial, is_parent=True)]
            signed = trial.with_stem("signed")
            sign(trial, signed, signing, ENCODINGS["mp4"], "composite", title=trial.name, ingredients=made_of)
    except EncodeError as error:
        raise JobError(f"{settings}: nothing can be signed with it: {error.__cause__}") from error
    except OSError as error:
        raise JobError(f"{settings}: a trial signature cannot be written: {error.strerror}") from error


def read_signing(settings: Path) -> Signing:
    """Who signs, by a JSON file with c2patool's words: `alg`, `sign_cert`, `private_key` and `ta_url`.

    Files that it names lie beside it; the PEM text itself may instead stand in the environment, in C2PA_SIGN_CERT and
    C2PA_PRIVATE_KEY, so that no key need lie on a disk. Raises JobError.
    """
    if importlib.util.find_spec("c2pa") is None:
        raise JobError("C2PA manifests need c2pa-python; pip install 'vmatte[c2pa]'")
    try:
        found = _Settings.model_validate_json(settings.read_bytes())
    except OSError as error:
        raise JobError(f"{settings} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{first['loc'][0]}: " if first["loc"] else ""
        words = ", ".join(_Settings.model_fields)
        raise JobError(f"{settings}: {where}{first['msg']}; its words are {words}") from error
    signing = Signing(
        found.alg,
        _pem(settings, "sign_cert", found.sign_cert, "C2PA_SIGN_CERT"),
        _pem(settings, "private_key", found.private_key, "C2PA_PRIVATE_KEY"),
        found.ta_url,
    )
    with _signer(signing):
        return signing


def _pem(settings: Path, word: str, named: Path | None, variable: str) -> bytes:
    if text := os.environ.get(variable):
        return text.encode()
    if named is None:
        raise JobError(f"{settings} has no {word}, and {variable} is not set; give one of them")
    try:
        return (settings.parent / named).read_bytes()
    except OSError as error:
        raise JobError(f"{settings}: {word} {named} cannot be read: {error.strerror}") from error


@contextmanager
def _signer(signing: Signing) -> Iterator[Any]:
    import c2pa  # an extra

    try:
        words = (signing.algorithm, signing.certificates, signing.key, signing.time_authority)
        signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(*words))
    except c2pa.C2paError as error:
        raise JobError(f"C2PA: certificate, key and {signing.algorithm} do not make a signer: {error}") from error
    with signer:
        yield signer


def sign(
    path: Path,
    signed: Path,
    signing: Signing,
    encoding: Encoding,
    layer: LayerName,
    *,
    title: str,
    ingredients: Sequence[Ingredient],
) -> None:
    """Write a copy of an output that carries its manifest. Raises EncodeError, and OSError where the disk is at fault.

    `title` is the name that the output will have.
    """
    import c2pa

    mime_type = _MIME_TYPES[encoding.suffix]
    manifest = _manifest(mime_type, layer, title=title, ingredients=ingredients)
    try:
        with _signer(signing) as signer, c2pa.Builder(manifest) as builder:
            for number, each in enumerate(ingredients):
                _add(builder, each, _label(number))
            with path.open("rb") as source, signed.open("w+b") as target:
                builder.sign(signer, mime_type, source, target)
    except c2pa.C2paError as error:
        raise EncodeError(f"{title} cannot be signed: {error}") from error


def _add(builder: Any, ingredient: Ingredient, label: str) -> None:
    """With the bytes of the file, so that a manifest of its own comes along; of other formats the name alone."""
    import c2pa

    relation = "parentOf" if ingredient.is_parent else "componentOf"
    about = {"title": ingredient.path.name, "relationship": relation, "label": label}
    kind = ingredient.path.suffix.lower().lstrip(".")
    if kind not in c2pa.Builder.get_supported_mime_types():
        kind = "application/octet-stream"
    with ingredient.path.open("rb") as source:
        builder.add_ingredient(json.dumps(about), kind, source)


def _manifest(mime_type: str, layer: LayerName, *, title: str, ingredients: Sequence[Ingredient]) -> dict[str, object]:
    source_type, words = _EDITS[layer]
    actions: list[dict[str, object]] = []
    for number, each in enumerate(ingredients):
        opened = "c2pa.opened" if each.is_parent else "c2pa.placed"
        actions.append({"action": opened, "parameters": {"ingredientIds": [_label(number)]}})
    edited: dict[str, object] = {
        "action": "c2pa.edited",
        "description": words,
        "digitalSourceType": _SOURCE_TYPE + source_type,
    }
    # What was opened comes first, then what was done to it, then what was put beside it.
    actions.insert(1, edited)
    return {
        "claim_generator_info": [{"name": "vmatte", "version": __version__}],
        "title": title,
        "format": mime_type,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
    }


def _label(number: int) -> str:
    return f"ingredient-{number}"
