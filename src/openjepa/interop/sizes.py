"""Reads the size of a network off its tensors. Head counts and epsilons leave no trace there."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor

from openjepa.errors import CheckpointError, ConfigError
from openjepa.models.attentive_probe import AttentiveProbeConfig
from openjepa.models.masked_predictor import MaskedPredictorConfig
from openjepa.models.vit import ViTConfig

C = TypeVar("C")

# (width, depth) of the published encoders
NAMES = {
    (192, 12): "vit_tiny",
    (384, 12): "vit_small",
    (768, 12): "vit_base",
    (1024, 24): "vit_large",
    (1280, 32): "vit_huge",
    (1408, 40): "vit_giant",
    (1664, 48): "vit_gigantic",
}


def shape_of(name: str) -> tuple[int, int]:
    """Width and depth of a published size such as `vit_large`."""
    return next(shape for shape, known in NAMES.items() if known == name)


def count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Number of members of a numbered list such as `blocks.`."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)(\.|$)")
    numbers = {int(found[1]) for name in state if (found := pattern.match(name))}
    return len(numbers)


def shape(state: Mapping[str, Tensor], name: str, source: str, axes: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a tensor that must be there, not empty, with one of these numbers of axes."""
    if name not in state:
        raise CheckpointError(f"{source}: `{name}` is missing. This is a checkpoint of another model.")
    found = tuple(state[name].shape)
    if len(found) not in axes or 0 in found:
        wanted = " or ".join(map(str, axes))
        raise CheckpointError(f"{source}: `{name}` must have {wanted} axes; it is {list(found)}.")
    return found


def _make(kind: type[C], values: dict[str, Any], source: str) -> C:
    try:
        return kind(**values)
    except ConfigError as error:
        raise CheckpointError(f"{source}: {error} This is a checkpoint of another model.") from error


def vit_config(
    state: Mapping[str, Tensor], *, num_heads: int, img_size: tuple[int, int], source: str, **options: Any
) -> ViTConfig:
    """Config of the encoder that these tensors (our names) belong to."""
    width, channels, *kernel = shape(state, "patch_embed.proj.weight", source, (4, 5))
    hidden = shape(state, "blocks.0.mlp.fc1.weight", source, (2,))[0]
    found = {
        "img_size": img_size,
        "patch_size": kernel[-1],
        "tubelet_size": kernel[0] if len(kernel) == 3 else 1,
        "in_chans": channels,
        "embed_dim": width,
        "depth": count(state, "blocks."),
        "num_heads": num_heads,
        "mlp_ratio": hidden / width,
        "qkv_bias": "blocks.0.attn.qkv.bias" in state,
        "image_tokenizer": "image_embed.proj.weight" in state,
    }
    return _make(ViTConfig, {**found, **options}, source)


def predictor_config(
    state: Mapping[str, Tensor], *, num_heads: int, in_dim: int, source: str, **options: Any
) -> MaskedPredictorConfig:
    """Config of the predictor that these tensors (our names) belong to."""
    deep = "embed.2.weight" in state
    width = shape(state, "embed.2.weight" if deep else "embed.weight", source, (2,))[0]
    hidden = shape(state, "blocks.0.mlp.fc1.weight", source, (2,))[0]
    levels = max(shape(state, "embed.0.weight", source, (2,))[1] // in_dim, 1) if deep else 1
    found = {
        "in_dim": in_dim,
        "out_dim": shape(state, "proj.weight", source, (2,))[0] // levels,
        "predictor_dim": width,
        "depth": count(state, "blocks."),
        "num_heads": num_heads,
        "mlp_ratio": hidden / width,
        "qkv_bias": "blocks.0.attn.qkv.bias" in state,
        "num_mask_tokens": count(state, "mask_tokens."),
        "num_levels": levels,
        "predict_context": "proj_context.weight" in state,
        "modality_embedding": "video_modality" in state,
    }
    return _make(MaskedPredictorConfig, {**found, **options}, source)


def probe_config(
    state: Mapping[str, Tensor], *, num_heads: int, layer_norm_eps: float, source: str
) -> AttentiveProbeConfig:
    """Config of the attentive probe that these tensors (our names) belong to."""
    _, queries, width = shape(state, "query_tokens", source, (3,))
    hidden = shape(state, "cross_attention.mlp.fc1.weight", source, (2,))[0]
    heads = range(count(state, "classifiers."))
    found = {
        "embed_dim": width,
        "num_classes": tuple(shape(state, f"classifiers.{i}.weight", source, (2,))[0] for i in heads),
        "num_heads": num_heads,
        "depth": count(state, "blocks.") + 1,
        "num_queries": queries,
        "mlp_ratio": hidden / width,
        "qkv_bias": "cross_attention.xattn.q.bias" in state,
        "layer_norm_eps": layer_norm_eps,
    }
    return _make(AttentiveProbeConfig, found, source)


def looks_like(state: Mapping[str, Tensor]) -> str:
    """Says which published encoder the tensors (our names) belong to, where that can be told."""
    weight = state.get("patch_embed.proj.weight")
    name = NAMES.get((len(weight), count(state, "blocks."))) if weight is not None else None
    return f"This looks like a {name} checkpoint." if name else ""
