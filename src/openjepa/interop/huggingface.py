"""The Hugging Face layouts of I-JEPA and V-JEPA 2: a `config.json`, other names, query, key and value apart.

Published Hub weights are the online encoder, not the averaged one. What `transformers` does differently
from the papers (its context mask acts after encoding, its predictor asks with mask token 1, its pooler
takes the backbone's heads and epsilon) lies in how the networks are called, not in the weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openjepa.errors import CheckpointError, brief
from openjepa.interop import sizes
from openjepa.interop.huggingface_config import (
    CONFIG,
    IJEPA_DEFAULTS,
    VJEPA2_DEFAULTS,
    VJEPA2_PREDICTOR_DEFAULTS,
    VJEPA2_PROBE_DEFAULTS,
    check_sizes,
    ijepa_config,
    settings,
    vjepa2_config,
)
from openjepa.interop.key_maps import KeyMap, to_ours, to_theirs
from openjepa.interop.meta_files import build_encoder, build_predictor
from openjepa.interop.state_files import State, build, read_file, read_json, rename, unwrap
from openjepa.interop.traits import Traits
from openjepa.models.attentive_probe import AttentiveProbe
from openjepa.models.masked_predictor import MaskedPredictor
from openjepa.models.vit import VisionTransformer

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


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


def join_projections(state: Mapping[str, Tensor], *, source: str) -> State:
    """Joins query, key and value of our names into the fused matrices.

    Raises:
        CheckpointError: when only some of them are there, or the fused matrix is there too.
    """
    joined = dict(state)
    for fused, parts in _FUSED.items():
        for name in list(joined):
            if f".{parts[0]}." not in name:
                continue
            names = [name.replace(parts[0], part) for part in parts]
            if missing := [n for n in names if n not in joined]:
                raise CheckpointError(f"{source}: `{missing[0]}` is missing beside `{name}`.")
            whole = name.replace(parts[0], fused)
            if whole in joined or len({joined[n].shape[1:] for n in names}) > 1:
                raise CheckpointError(f"{source}: `{name}` does not fit to `{whole}` and its other parts.")
            joined[whole] = torch.cat([joined.pop(n) for n in names])
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
    """Reads `config.json` and the weights, in one file or in several; of several, the index says what is where.

    Raises:
        CheckpointError: when something is missing or damaged, or the index and its files disagree.
    """
    config = read_json(folder / CONFIG)
    index = folder / INDEX
    if not index.is_file():
        if shard := next(folder.glob("model-*-of-*.safetensors"), None):
            raise CheckpointError(f"{folder} holds `{shard.name}`, but no `{INDEX}` to say what is where. Fetch it.")
        return config, unwrap(read_file(folder / WEIGHTS), source=str(folder))
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(_is_file_name(file) for file in places.values()):
        raise CheckpointError(f"{index} must hold a `weight_map` of names to files beside it; it does not.")
    files = sorted(set(places.values()))
    if WEIGHTS not in files and (folder / WEIGHTS).is_file():
        raise CheckpointError(f"{folder} holds `{WEIGHTS}` and `{INDEX}`; which one counts is not known. Remove one.")
    state: State = {}
    for file in files:
        found, wanted = read_file(folder / file), {name for name, place in places.items() if place == file}
        for name in sorted(found.keys() ^ wanted):
            has, says = ("holds", "does not") if name in found else ("lacks", "does")
            raise CheckpointError(
                f"{folder / file} {has} `{name}`, which `{INDEX}` {says} place there. Fetch both again."
            )
        state |= found
    return config, unwrap(state, source=str(folder))


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
    raise CheckpointError(f"{folder / CONFIG}: `model_type` must be ijepa or vjepa2; got {brief(kind)}.")


def _is_file_name(name: Any) -> bool:
    return isinstance(name, str) and name not in ("", "..") and Path(name).name == name


def _load_ijepa(config: Mapping[str, Any], state: State, source: str) -> VisionTransformer:
    own = settings(config, IJEPA_DEFAULTS, source)
    state = rename(state, lambda name: name.removeprefix("ijepa."), source=source)
    ours = join_projections(to_ours(state, ijepa_names(own["num_hidden_layers"]), source=source), source=source)
    traits = Traits("ijepa", own["num_attention_heads"], own["image_size"], layer_norm_eps=own["layer_norm_eps"])
    encoder = build_encoder(ours, traits, f"{source} [encoder]")
    check_sizes(config, ijepa_config(encoder), source)
    return encoder


def _load_vjepa2(config: Mapping[str, Any], state: State, source: str) -> HuggingFaceModel:
    own = settings(config, VJEPA2_DEFAULTS, source)
    state = rename(state, lambda name: name.removeprefix("vjepa2."), source=source)
    eps = own["layer_norm_eps"]
    traits = Traits(
        "vjepa2",
        own["num_attention_heads"],
        own["crop_size"],
        own["frames_per_clip"],
        layer_norm_eps=eps,
        predictor_eps=eps,
    )
    groups = {"encoder": State(), "predictor": State(), "probe": State()}
    for name, tensor in state.items():
        first = name.split(".")[0]
        groups[first if first in groups else "probe"][name] = tensor
    names = encoder_names(own["num_hidden_layers"])
    ours = join_projections(to_ours(groups["encoder"], names, source=source), source=source)
    encoder = build_encoder(ours, traits, f"{source} [encoder]")
    predictor = probe = None
    if groups["predictor"]:
        own = settings(config, VJEPA2_PREDICTOR_DEFAULTS, source)
        traits = replace(traits, predictor_heads=own["pred_num_attention_heads"])
        predictor = _predictor(groups["predictor"], traits, encoder, own["pred_num_hidden_layers"], source)
    if groups["probe"]:
        names = probe_names(settings(config, VJEPA2_PROBE_DEFAULTS, source)["num_pooler_layers"])
        ours = join_projections(to_ours(groups["probe"], names, source=source), source=source)
        probe_config = sizes.probe_config(ours, num_heads=traits.num_heads, layer_norm_eps=eps, source=source)
        probe = build(AttentiveProbe, probe_config, ours, source=f"{source} [probe]")
    check_sizes(config, vjepa2_config(encoder, predictor, probe), source)
    return HuggingFaceModel(encoder, predictor, probe, "vjepa2")


def _predictor(state: State, traits: Traits, encoder: VisionTransformer, depth: int, source: str) -> MaskedPredictor:
    ours = join_projections(to_ours(state, predictor_names(depth), source=source), source=source)
    if "mask_tokens" in ours:
        ours |= {f"mask_tokens.{i}": token for i, token in enumerate(ours.pop("mask_tokens"))}
    return build_predictor(ours, traits, encoder, f"{source} [predictor]")


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
        return ijepa_config(model.encoder), to_theirs(state, ijepa_names(encoder.depth))
    tensors = to_theirs(state, encoder_names(encoder.depth))
    config = vjepa2_config(model.encoder, model.predictor, model.probe)
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
