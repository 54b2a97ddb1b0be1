"""Attentive probes in Meta's files: a list (V-JEPA 2, arXiv 2506.09985) or one (V-JEPA 1, 2404.08471)."""

from collections.abc import Mapping
from typing import Any

from openjepa.errors import CheckpointError, listing
from openjepa.interop import key_maps, sizes
from openjepa.interop.meta_files import LoadReport
from openjepa.interop.state_files import State, build, drop, unwrap
from openjepa.models.attentive_probe import AttentiveProbe

# V-JEPA 1 stores an output projection of the cross-attention that its forward pass never applies.
UNUSED = ("pooler.cross_attention_block.xattn.proj.weight", "pooler.cross_attention_block.xattn.proj.bias")


def num_probes(content: Mapping[str, Any]) -> int:
    """Number of probes in a file; 1 for V-JEPA 1."""
    return len(content["classifiers"]) if isinstance(content.get("classifiers"), list) else 1


def load_probe(
    content: Mapping[str, Any],
    *,
    index: int = 0,
    num_heads: int = 16,
    layer_norm_eps: float = 1e-5,
    source: str,
) -> tuple[AttentiveProbe, LoadReport]:
    """Takes one probe out of a file's content.

    Args:
        content: of the file.
        index: which probe of the list; published files keep the selected one at 0.
        num_heads: 16 in all published probes.
        layer_norm_eps: 1e-5 in all published probes.
        source: what messages call the file.

    Raises:
        CheckpointError: for anything missing, unexpected or of another shape.
    """
    state, ignored, key = _state(content, index, source)
    keys = key_maps.META_EK100_PROBE if "verb_classifier.weight" in state else key_maps.META_PROBE
    ours = key_maps.to_ours(state, keys, source=source)
    config = sizes.probe_config(ours, num_heads=num_heads, layer_norm_eps=layer_norm_eps, source=source)
    probe = build(AttentiveProbe, config, ours, source=f"{source} [{key}]")
    return probe, LoadReport(source, "probe", "meta", key, len(state), ignored)


def _state(content: Mapping[str, Any], index: int, source: str) -> tuple[State, list[str], str]:
    if isinstance(content.get("classifier"), Mapping):
        return *drop(unwrap(content["classifier"], source=source), UNUSED), "classifier"
    probes = content.get("classifiers")
    if not isinstance(probes, list) or not all(isinstance(p, Mapping) for p in probes):
        raise CheckpointError(f"{source} must hold `classifiers` or `classifier`; it has {listing(content)}.")
    if not 0 <= index < len(probes):
        raise CheckpointError(f"{source} holds {len(probes)} probes; there is no number {index}.")
    return unwrap(probes[index], source=source), [], f"classifiers.{index}"
