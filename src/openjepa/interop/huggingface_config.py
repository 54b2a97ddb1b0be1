"""The `config.json` of the Hugging Face layouts: what is read from it, what must agree, and what is written."""

import json
import math
from collections.abc import Mapping
from typing import Any

from openjepa.errors import CheckpointError, brief
from openjepa.models.attentive_probe import AttentiveProbe
from openjepa.models.masked_predictor import MaskedPredictor
from openjepa.models.vit import VisionTransformer

CONFIG = "config.json"
# What `transformers` takes where a key is missing, and writes only where it differs. What tensors show as well must
# agree with them; what they do not show is believed.
IJEPA_DEFAULTS = {
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "image_size": 224,
}
VJEPA2_DEFAULTS = {
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "crop_size": 256,
    "frames_per_clip": 64,
}
VJEPA2_PREDICTOR_DEFAULTS = {"pred_num_hidden_layers": 12, "pred_num_attention_heads": 12}
VJEPA2_PROBE_DEFAULTS = {"num_pooler_layers": 3}
SHOWN_BY_TENSORS = {
    *("hidden_size", "patch_size", "num_channels", "in_chans", "tubelet_size", "qkv_bias", "intermediate_size"),
    *("mlp_ratio", "pred_hidden_size", "pred_num_mask_tokens", "pred_mlp_ratio"),
    *("num_hidden_layers", "pred_num_hidden_layers", "num_pooler_layers"),
}


def settings(config: Mapping[str, Any], defaults: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The keys of `defaults`, each of the type of its default; sizes are whole and above 0, or a pair of such.

    Raises:
        CheckpointError: for a value of another kind.
    """
    found = {key: config.get(key, default) for key, default in defaults.items()}
    for key, value in found.items():
        if key in ("image_size", "crop_size"):
            sides = [value] * 2 if isinstance(value, int) else value
            rule, fits = "a size in pixels", isinstance(sides, list) and len(sides) == 2 and all(map(_is_count, sides))
            found[key] = tuple(sides) if fits else value
        elif key == "hidden_act":
            rule, fits = "gelu, which is all that these networks have", value == "gelu"
        elif key == "layer_norm_eps":
            rule, fits = "a number above 0", type(value) in (int, float) and 0 < value < math.inf
        elif key == "num_pooler_layers":  # self-attention before the cross-attention, which is always there
            rule, fits = "a whole number from 0", value == 0 or _is_count(value)
        else:
            rule, fits = "a whole number above 0", _is_count(value)
        if not fits:
            raise CheckpointError(f"{source}: `{key}` of `{CONFIG}` must be {rule}; got {brief(json.dumps(value))}.")
    return found


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def check_sizes(config: Mapping[str, Any], shown: Mapping[str, Any], source: str) -> None:
    """Refuses keys that say something else than the networks that were built.

    Args:
        config: what the file says; a key that it lacks is told by the tensors.
        shown: what would be written for the networks.
        source: what messages call the folder.

    Raises:
        CheckpointError: naming the first key.
    """
    for key in sorted(SHOWN_BY_TENSORS & config.keys() & shown.keys()):
        said, size = config[key], shown[key]
        is_number = type(said) in (int, float) and type(size) in (int, float)
        if not (said == size or (is_number and math.isclose(said, size, rel_tol=1e-3))):
            raise CheckpointError(
                f"{source}: `{key}` of `{CONFIG}` is {brief(json.dumps(said))}, but the tensors have {size}. They "
                "do not belong together."
            )


def ijepa_config(encoder: VisionTransformer) -> dict[str, Any]:
    """The `config.json` of an I-JEPA encoder.

    Raises:
        CheckpointError: for an encoder that this layout has no place for.
    """
    config = encoder.config
    if config.is_video or config.positions != "sincos":
        raise CheckpointError("the I-JEPA layout needs a picture encoder with sine-cosine positions.")
    return {
        "architectures": ["IJepaModel"],
        "model_type": "ijepa",
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "intermediate_size": encoder.blocks[0].mlp.fc1.out_features,  # type: ignore[union-attr]
        "hidden_act": "gelu",
        "layer_norm_eps": config.layer_norm_eps,
        "image_size": config.img_size[0] if len(set(config.img_size)) == 1 else list(config.img_size),
        "patch_size": config.patch_size,
        "num_channels": config.in_chans,
        "qkv_bias": config.qkv_bias,
    }


def vjepa2_config(
    encoder: VisionTransformer, predictor: MaskedPredictor | None, probe: AttentiveProbe | None
) -> dict[str, Any]:
    """The `config.json` of a V-JEPA 2 encoder and what goes with it.

    Raises:
        CheckpointError: for networks that this layout has no place for.
    """
    config = encoder.config
    if config.rope_layout != "tiled" or config.positions != "rope" or config.level_layers:
        raise CheckpointError(
            "the V-JEPA 2 layout needs tiled rotary positions and one norm; `transformers` has no other."
        )
    if len(set(config.img_size)) != 1:
        raise CheckpointError(f"the V-JEPA 2 layout needs square pictures; got {config.img_size}.")
    found: dict[str, Any] = {
        "architectures": ["VJEPA2Model" if probe is None else "VJEPA2ForVideoClassification"],
        "model_type": "vjepa2",
        "patch_size": config.patch_size,
        "crop_size": config.img_size[0],
        "frames_per_clip": config.num_frames,
        "tubelet_size": config.tubelet_size,
        "hidden_size": config.embed_dim,
        "in_chans": config.in_chans,
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.depth,
        "mlp_ratio": config.mlp_ratio,
        "layer_norm_eps": config.layer_norm_eps,
        "qkv_bias": config.qkv_bias,
        "hidden_act": "gelu",
    }
    if predictor is not None:
        shape = predictor.config
        found |= {
            "pred_hidden_size": shape.predictor_dim,
            "pred_num_attention_heads": shape.num_heads,
            "pred_num_hidden_layers": shape.depth,
            "pred_num_mask_tokens": shape.num_mask_tokens,
            "pred_mlp_ratio": shape.mlp_ratio,
        }
    if probe is not None:
        classes = probe.config.num_classes[0]
        if probe.config.num_heads != config.num_heads:
            raise CheckpointError(
                f"`transformers` gives a pooler the {config.num_heads} heads of its encoder; this probe has "
                f"{probe.config.num_heads}."
            )
        found |= {
            "num_pooler_layers": probe.config.depth - 1,
            "id2label": {str(i): f"LABEL_{i}" for i in range(classes)},
            "label2id": {f"LABEL_{i}": i for i in range(classes)},
        }
    return found
