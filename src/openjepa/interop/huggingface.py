"""The Hugging Face layouts of I-JEPA and V-JEPA 2: a `config.json`, other names, query, key and value apart.

Published Hub weights are the online encoder, not the averaged one. What `transformers` does differently
from the papers (its context mask acts after encoding, its predictor asks with mask token 1, its pooler
takes the backbone's heads and epsilon) lies in how the networks are called, not in the weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openjepa.errors import CheckpointError
from openjepa.interop import sizes
from openjepa.interop.key_maps import KeyMap, to_ours, to_theirs
from openjepa.interop.meta_files import Traits, options
from openjepa.interop.state_files import State, build, read_file, read_json
from openjepa.models.attentive_probe import AttentiveProbe
from openjepa.models.masked_predictor import MaskedPredictor
from openjepa.models.vit import VisionTransformer

WEIGHTS, CONFIG, INDEX = "model.safetensors", "config.json", "model.safetensors.index.json"


@dataclass(frozen=True)
class HuggingFaceModel:
    """The networks of one folder; what it does not hold is None."""

    encoder: VisionTransformer
    predictor: MaskedPredictor | None
    probe: AttentiveProbe | None
    model_type: str


# ------------------------------------------------------------------------------------------------------------
# Names: pairs (ours, theirs); projections are split and joined apart from that


def _blocks(depth: int, ours: str, theirs: str, names: KeyMap) -> KeyMap:
    return tuple((f"{ours}.{i}.{a}", f"{theirs}.{i}.{b}") for i in range(depth) for a, b in names)


_SAME = (("norm1", "norm1"), ("norm2", "norm2"), ("mlp", "mlp"), ("attn.proj", "attention.proj"))
_VJEPA2_BLOCK: KeyMap = (*_SAME, *((f"attn.{x}", f"attention.{x}") for x in ("query", "key", "value")))
_IJEPA_BLOCK: KeyMap = (
    ("norm1", "layernorm_before"),
    ("norm2", "layernorm_after"),
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
    ("attn.proj", "attention.output.dense"),
    *((f"attn.{x}", f"attention.attention.{x}") for x in ("query", "key", "value")),
)
_POOLER_BLOCK: KeyMap = (
    ("norm1", "layer_norm1"),
    ("norm2", "layer_norm2"),
    ("mlp", "mlp"),
    ("attn.proj", "self_attn.out_proj"),
    *((f"attn.{x}", f"self_attn.{x[0]}_proj") for x in ("query", "key", "value")),
)


def ijepa_names(depth: int) -> KeyMap:
    """Names of an I-JEPA encoder on disk."""
    return (
        ("pos_embed", "embeddings.position_embeddings"),
        ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
        ("norm", "layernorm"),
        *_blocks(depth, "blocks", "encoder.layer", _IJEPA_BLOCK),
    )


def encoder_names(depth: int) -> KeyMap:
    """Names of a V-JEPA 2 encoder."""
    return (
        ("patch_embed.proj", "encoder.embeddings.patch_embeddings.proj"),
        ("norm", "encoder.layernorm"),
        *_blocks(depth, "blocks", "encoder.layer", _VJEPA2_BLOCK),
    )


def predictor_names(depth: int) -> KeyMap:
    """Names of a V-JEPA 2 predictor."""
    return (
        ("mask_tokens", "predictor.embeddings.mask_tokens"),
        ("embed", "predictor.embeddings.predictor_embeddings"),
        ("norm", "predictor.layernorm"),
        ("proj", "predictor.proj"),
        *_blocks(depth, "blocks", "predictor.layer", _VJEPA2_BLOCK),
    )


def probe_names(depth: int) -> KeyMap:
    """Names of the pooler and the classifier; `depth` counts the self-attention blocks."""
    layer = "pooler.cross_attention_layer"
    return (
        ("query_tokens", "pooler.query_tokens"),
        ("classifiers.0", "classifier"),
        ("cross_attention.norm1", f"{layer}.layer_norm1"),
        ("cross_attention.norm2", f"{layer}.layer_norm2"),
        ("cross_attention.mlp", f"{layer}.mlp"),
        ("cross_attention.xattn.q", f"{layer}.cross_attn.q_proj"),
        ("cross_attention.xattn.key", f"{layer}.cross_attn.k_proj"),
        ("cross_attention.xattn.value", f"{layer}.cross_attn.v_proj"),
        *_blocks(depth, "blocks", "pooler.self_attention_layers", _POOLER_BLOCK),
    )


_FUSED = {"attn.qkv": ("attn.query", "attn.key", "attn.value"), "xattn.kv": ("xattn.key", "xattn.value")}


def join_projections(state: Mapping[str, Tensor]) -> State:
    """Joins query, key and value of our names into the fused matrices.

    Raises:
        CheckpointError: when only some of them are there.
    """
    joined = dict(state)
    for fused, parts in _FUSED.items():
        for name in list(joined):
            if f".{parts[0]}." not in name:
                continue
            names = [name.replace(parts[0], part) for part in parts]
            if missing := [n for n in names if n not in joined]:
                raise CheckpointError(f"`{missing[0]}` is missing beside `{name}`.")
            joined[name.replace(parts[0], fused)] = torch.cat([joined.pop(n) for n in names])
    return joined


def split_projections(state: Mapping[str, Tensor]) -> State:
    """Splits the fused matrices into query, key and value."""
    split: State = {}
    for name, tensor in state.items():
        fused = next((f for f in _FUSED if f".{f}." in name), None)
        if fused is None:
            split[name] = tensor
            continue
        for part, rows in zip(_FUSED[fused], tensor.chunk(len(_FUSED[fused])), strict=True):
            split[name.replace(fused, part)] = rows.clone()
    return split


# ------------------------------------------------------------------------------------------------------------
# Reading


def read_folder(folder: Path) -> tuple[dict[str, Any], State]:
    """Reads `config.json` and the weights, in one file or in several.

    Raises:
        CheckpointError: when something is missing or damaged.
    """
    config = read_json(folder / CONFIG)
    if (folder / INDEX).is_file():
        files = sorted(set(read_json(folder / INDEX)["weight_map"].values()))
        return config, {n: t for file in files for n, t in read_file(folder / file).items()}
    return config, read_file(folder / WEIGHTS)


def load_folder(folder: Path | str) -> HuggingFaceModel:
    """Loads a folder in the Hugging Face layout, whatever it holds, strictly; networks in evaluation mode.

    Raises:
        CheckpointError: for anything missing, unexpected or of another shape, or another kind of model.
    """
    folder = Path(folder)
    config, state = read_folder(folder)
    kind = config.get("model_type")
    if kind == "ijepa":
        return HuggingFaceModel(_load_ijepa(config, state, str(folder)), None, None, kind)
    if kind == "vjepa2":
        return _load_vjepa2(config, state, str(folder))
    raise CheckpointError(f"{folder / CONFIG}: `model_type` must be ijepa or vjepa2; got {kind}.")


def _load_ijepa(config: Mapping[str, Any], state: State, source: str) -> VisionTransformer:
    state = {name.removeprefix("ijepa."): tensor for name, tensor in state.items()}
    ours = join_projections(to_ours(state, ijepa_names(config["num_hidden_layers"])))
    traits = Traits(
        "ijepa",
        config["num_attention_heads"],
        _pair(config["image_size"]),
        layer_norm_eps=config["layer_norm_eps"],
    )
    return _encoder(ours, traits, source)


def _load_vjepa2(config: Mapping[str, Any], state: State, source: str) -> HuggingFaceModel:
    state = {name.removeprefix("vjepa2."): tensor for name, tensor in state.items()}
    eps = config.get("layer_norm_eps", 1e-6)
    traits = Traits(
        "vjepa2",
        config["num_attention_heads"],
        _pair(config["crop_size"]),
        config["frames_per_clip"],
        predictor_heads=config.get("pred_num_attention_heads", 12),
        layer_norm_eps=eps,
        predictor_eps=eps,
    )
    groups = {"encoder": State(), "predictor": State(), "probe": State()}
    for name, tensor in state.items():
        first = name.split(".")[0]
        groups[first if first in groups else "probe"][name] = tensor
    ours = join_projections(to_ours(groups["encoder"], encoder_names(config["num_hidden_layers"])))
    encoder = _encoder(ours, traits, source)
    predictor = probe = None
    if groups["predictor"]:
        predictor = _predictor(groups["predictor"], traits, encoder, config["pred_num_hidden_layers"], source)
    if groups["probe"]:
        ours = join_projections(to_ours(groups["probe"], probe_names(config.get("num_pooler_layers", 3))))
        probe_config = sizes.probe_config(ours, num_heads=traits.num_heads, layer_norm_eps=eps, source=source)
        probe = build(AttentiveProbe, probe_config, ours, source=f"{source} [probe]")
    return HuggingFaceModel(encoder, predictor, probe, "vjepa2")


def _encoder(ours: State, traits: Traits, source: str) -> VisionTransformer:
    config = sizes.vit_config(
        ours,
        num_heads=traits.num_heads,
        img_size=traits.img_size,
        source=source,
        num_frames=traits.num_frames,
        layer_norm_eps=traits.layer_norm_eps,
        rescale_residual_init=traits.family != "ijepa",
        **options(traits),
    )
    return build(VisionTransformer, config, ours, source=f"{source} [encoder]", hint=sizes.looks_like(ours))


def _predictor(state: State, traits: Traits, encoder: VisionTransformer, depth: int, source: str) -> MaskedPredictor:
    ours = join_projections(to_ours(state, predictor_names(depth)))
    if "mask_tokens" in ours:
        ours |= {f"mask_tokens.{i}": token for i, token in enumerate(ours.pop("mask_tokens"))}
    config = sizes.predictor_config(
        ours,
        num_heads=traits.predictor_heads,
        in_dim=encoder.config.embed_dim,
        source=source,
        grid=encoder.config.grid,
        layer_norm_eps=traits.predictor_eps,
        **options(traits, predictor=True),
    )
    return build(MaskedPredictor, config, ours, source=f"{source} [predictor]")


def _pair(size: int | list[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


# ------------------------------------------------------------------------------------------------------------
# Writing


def to_folder(model: HuggingFaceModel) -> tuple[dict[str, Any], State]:
    """Returns the `config.json` and the tensors of a folder that `transformers` reads.

    Raises:
        CheckpointError: for a network that this layout has no place for.
    """
    encoder = model.encoder.config
    state = split_projections(model.encoder.state_dict())
    if model.model_type == "ijepa":
        return _ijepa_config(model.encoder), to_theirs(state, ijepa_names(encoder.depth))
    tensors = to_theirs(state, encoder_names(encoder.depth))
    config = _vjepa2_config(model)
    if model.predictor is not None:
        own = model.predictor.state_dict()
        tokens = [own.pop(f"mask_tokens.{i}") for i in range(model.predictor.config.num_mask_tokens)]
        own["mask_tokens"] = torch.stack(tokens)  # [n, 1, 1, P]
        tensors |= to_theirs(split_projections(own), predictor_names(model.predictor.config.depth))
    if model.probe is not None:
        tensors = {f"vjepa2.{name}": tensor for name, tensor in tensors.items()}
        own = split_projections(model.probe.state_dict())
        tensors |= to_theirs(own, probe_names(model.probe.config.depth - 1))
    return config, tensors


def _ijepa_config(encoder: VisionTransformer) -> dict[str, Any]:
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


def _vjepa2_config(model: HuggingFaceModel) -> dict[str, Any]:
    config = model.encoder.config
    if config.rope_layout != "tiled" or config.positions != "rope" or config.level_layers:
        raise CheckpointError(
            "the V-JEPA 2 layout needs tiled rotary positions and one norm; `transformers` has no other."
        )
    if len(set(config.img_size)) != 1:
        raise CheckpointError(f"the V-JEPA 2 layout needs square pictures; got {config.img_size}.")
    found: dict[str, Any] = {
        "architectures": ["VJEPA2Model" if model.probe is None else "VJEPA2ForVideoClassification"],
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
    if model.predictor is not None:
        predictor = model.predictor.config
        found |= {
            "pred_hidden_size": predictor.predictor_dim,
            "pred_num_attention_heads": predictor.num_heads,
            "pred_num_hidden_layers": predictor.depth,
            "pred_num_mask_tokens": predictor.num_mask_tokens,
            "pred_mlp_ratio": predictor.mlp_ratio,
        }
    if model.probe is not None:
        classes = model.probe.config.num_classes[0]
        if model.probe.config.num_heads != config.num_heads:
            raise CheckpointError(
                f"`transformers` gives a pooler the {config.num_heads} heads of its encoder; this probe has "
                f"{model.probe.config.num_heads}."
            )
        found |= {
            "num_pooler_layers": model.probe.config.depth - 1,
            "id2label": {str(i): f"LABEL_{i}" for i in range(classes)},
            "label2id": {f"LABEL_{i}": i for i in range(classes)},
        }
    return found
