"""Which model renders a job: the one that was named, or the best that the device, the cache and the licences allow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vmatte.errors import JobError
from vmatte.job import LicenceGuard, Runtime
from vmatte.models.catalogue import AUTO, MODELS, RANDOM, find_model, own_weights
from vmatte.models.contract import Licence, ModelSpec
from vmatte.models.placement import Placement, find_device, place
from vmatte.models.weights import in_cache, sha256_of

GPU_MODELS = ("rmbg-2.0", "birefnet-portrait")
"""What `auto` takes on a GPU: the first that the licence guard lets through and that is within reach."""
CPU_MODELS = ("rvm", "modnet")
"""What it takes elsewhere."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A model, its weights and where it runs; its text is the line that tells the user."""

    spec: ModelSpec
    placement: Placement
    why: str
    """What vmatte decided for the user, and why; "" where it decided nothing."""
    own: Path | None
    """The user's own weights file; None for the row's."""
    weights_sha256: str | None
    """None for a model without weights."""
    licence: Licence | None
    """None for weights that nobody told vmatte about."""

    def __str__(self) -> str:
        terms = f"weights of your own, {self.own}: their licence is not known"
        if self.licence is not None:
            terms = f"licence {self.licence}"
        return f"model {self.spec.name} on {self.placement} ({terms}){': ' if self.why else ''}{self.why}"


def choose(model: str, weights: Path | None, runtime: Runtime) -> Choice:
    """Settle what a job's words mean here, before anything is fetched.

    Raises JobError for what cannot be and for what the licence guard refuses, ModelError for an unknown name and for
    weights that are not there.
    """
    if weights is not None and str(weights) == RANDOM:
        raise JobError("random weights are for benches and tests, a render needs trained ones; leave out the weights")
    if model == AUTO and weights is not None:
        raise JobError(f"weights {weights} are given, but not the model that they are for; name it")
    spec, taken = _best_model(runtime) if model == AUTO else (find_model(model), "")
    placement, placed = place(runtime.device, runtime.precision, runtime.compile, spec)
    own = None if weights is None else own_weights(spec, weights)
    pinned = None if spec.weights is None else spec.weights.sha256
    sha256 = pinned if own is None else sha256_of(own)
    licence = spec.licence if own is None else _licence_of(sha256)
    _guard(spec, own, licence, runtime.licence_guard)
    return Choice(spec, placement, "; ".join(filter(None, (taken, placed))), own, sha256, licence)


def _best_model(runtime: Runtime) -> tuple[ModelSpec, str]:
    """What `auto` means for this runtime, and why."""
    device, _ = find_device(runtime.device)
    # Of a Mac's GPU only those get something who ask for it: the models for a CPU cannot use it.
    gpu = device.type == "cuda" or runtime.device == "mps"
    passed_over = []
    for name in GPU_MODELS if gpu else CPU_MODELS:
        spec = MODELS[name]
        if not spec.licence.passes(runtime.licence_guard):
            passed_over.append(f"the licence guard refuses {name}")
        elif not _within_reach(spec):
            passed_over.append(f"{name} is gated, not in the cache, and there is no Hugging Face token")
        else:
            return spec, "; ".join([f"auto takes it {'on a GPU' if gpu else 'without CUDA'}", *passed_over])
    raise AssertionError("the last of each list is open to everyone and passes every guard")


def _within_reach(spec: ModelSpec) -> bool:
    """Whether a row's weights are in the cache or can be asked for."""
    if spec.weights is None or spec.weights.gate is None or in_cache(spec.weights):
        return True
    from huggingface_hub import get_token  # half a second that only gated weights need

    return get_token() is not None


def _licence_of(sha256: str | None) -> Licence | None:
    """The licence of a file that is known by its bytes, whatever it is called."""
    rows = (spec for spec in MODELS.values() if spec.weights is not None and spec.weights.sha256 == sha256)
    return next((spec.licence for spec in rows), None)


def _guard(spec: ModelSpec, own: Path | None, licence: Licence | None, guard: LicenceGuard | None) -> None:
    """JobError where the licence guard refuses these weights."""
    if guard is None or (licence is not None and licence.passes(guard)):
        return
    passing = ", ".join(other.name for other in MODELS.values() if other.licence.passes(guard))
    terms = "not known, for it is none of the files that vmatte pins" if licence is None else licence
    refused = own or spec.name
    raise JobError(
        f"the licence guard {guard!r} refuses {refused}: its licence is {terms}; these models pass: {passing}"
    )
