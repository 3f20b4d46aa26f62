"""BiRefNet and RMBG-2.0 for transformers, without remote code: `import vmatte.transformers` is all it takes.

    import vmatte.transformers
    from transformers import AutoModelForImageSegmentation

    model = AutoModelForImageSegmentation.from_pretrained("ZhengPeng7/BiRefNet")
    alpha = model(pictures)[-1].sigmoid()

From then on transformers takes vmatte's network for every BiRefNet that it meets. With `trust_remote_code=True` too:
the code beside the weights is neither fetched nor run.
"""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, AutoModelForImageSegmentation, PretrainedConfig

from vmatte.models.birefnet.pretrained import BiRefNetConfig, BiRefNetForImageSegmentation, recognised

__all__ = ["BiRefNetConfig", "BiRefNetForImageSegmentation", "register", "unregister"]

_ORIGINAL = PretrainedConfig.__dict__["get_config_dict"]


def register() -> None:
    """Let the Auto classes take vmatte's BiRefNet; importing this module has done it."""
    AutoConfig.register(BiRefNetConfig.model_type, BiRefNetConfig, exist_ok=True)
    AutoModelForImageSegmentation.register(BiRefNetConfig, BiRefNetForImageSegmentation, exist_ok=True)
    # transformers finds a registered class by the `model_type` of a config.json, which the published ones do not have,
    # and offers no other way in. So it is put in where AutoConfig reads them.
    PretrainedConfig.get_config_dict = classmethod(_get_config_dict)  # type: ignore[method-assign, assignment]


def unregister() -> None:
    """Let AutoConfig read published BiRefNets as before. Folders that vmatte's class saved are still known."""
    PretrainedConfig.get_config_dict = _ORIGINAL  # type: ignore[method-assign]


def _get_config_dict(
    cls: type[PretrainedConfig], *arguments: Any, **options: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    found, unused = _ORIGINAL.__get__(None, cls)(*arguments, **options)
    # A subclass, such as the code beside the weights, is asked by those who mean it; only AutoConfig asks the root.
    return (recognised(found) if cls is PretrainedConfig else found), unused


register()
