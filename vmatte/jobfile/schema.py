"""The JSON schema of job files, for editors: made from the same keys that the reader checks by."""

from __future__ import annotations

from typing import Annotated, Any, Union

from pydantic import Field, TypeAdapter

from vmatte.jobfile.keys import KEYS, Key
from vmatte.jobfile.names import FIELDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, object]:
    """JSON schema, draft 2020-12, of a job file."""
    values, shared = _values()
    settings = {
        word: {"description": key.meaning, "anyOf": [values[key.word], {"type": "null"}]}
        for key in KEYS.values()
        for word in key.words
    }
    fields = "; ".join(f"{{{name}}}: {meaning}" for name, meaning in FIELDS.items())
    settings["output"]["description"] = f"{KEYS['output'].meaning} {fields}."
    file = {"type": "string", "minLength": 1}
    clip = {
        "clip": {**file, "description": "A file or a glob."},
        "shot": {**file, "pattern": r"^[^/\\]+$", "description": "What {shot} stands for in output."},
        **settings,
    }
    item = {
        "anyOf": [
            {**file, "description": "A file or a glob."},
            {"type": "object", "required": ["clip"], "properties": clip, "additionalProperties": False},
        ]
    }
    axes = {
        word: {
            "description": key.meaning,
            "type": "array",
            "minItems": 1,
            "uniqueItems": True,
            "items": values[key.word],
        }
        for key in KEYS.values()
        for word in key.words
    }
    sections = {
        "defaults": {
            "description": "Settings of every clip: the options of `vmatte run`.",
            "type": ["object", "null"],
            "properties": settings,
            "additionalProperties": False,
        },
        "clips": {
            "description": "What is rendered: a file, a glob, or a list of these and of mappings with settings.",
            "anyOf": [file, {"type": "array", "minItems": 1, "items": item}],
        },
        "matrix": {
            "description": "Lists of settings: each clip is rendered once for every combination.",
            "type": ["object", "null"],
            "properties": axes,
            "additionalProperties": False,
        },
    }
    return {
        "$schema": DIALECT,
        "title": "vmatte job file",
        "type": "object",
        "required": ["clips"],
        "properties": sections,
        "additionalProperties": False,
        "$defs": shared,
    }


def _values() -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of each key's value, and what they share."""
    types = [(word, "validation", TypeAdapter(_type(key))) for word, key in KEYS.items()]
    schemas, shared = TypeAdapter.json_schemas(types, ref_template="#/$defs/{model}")  # type: ignore[arg-type]
    definitions: dict[str, Any] = shared.get("$defs", {})
    for key in KEYS.values():
        for method, model in key.methods().items():
            if key.method is None:  # its keys tell its method, so it needs one
                definitions[model.__name__]["minProperties"] = 1
            elif method != key.method:
                definitions[model.__name__].setdefault("required", []).append("method")
    return {word: schemas[word, "validation"] for word in KEYS}, definitions


def _type(key: Key) -> Any:
    one = Union[(key.annotation, *key.options)] if key.options else key.annotation
    if not key.many:
        return one
    return one | Annotated[list[one], Field(min_length=1)]  # type: ignore[valid-type]
