"""How other layouts call our tensors: pairs (ours, theirs) of name prefixes, read in both directions."""

from collections.abc import Iterable, Mapping

from torch import Tensor

from openjepa.errors import CheckpointError
from openjepa.interop.state_files import State, rename

KeyMap = tuple[tuple[str, str], ...]

META_ENCODER: KeyMap = (
    ("pos_embed", "pos_embed"),
    ("patch_embed", "patch_embed"),
    ("image_embed", "patch_embed_img"),
    ("video_modality", "video_mod_embed"),
    ("image_modality", "img_mod_embed"),
    ("blocks", "blocks"),
    ("norm", "norm"),
)
META_PREDICTOR: KeyMap = (
    ("pos_embed", "predictor_pos_embed"),
    ("embed", "predictor_embed"),
    ("mask_tokens", "mask_tokens"),
    ("video_modality", "video_mod_embed"),
    ("image_modality", "img_mod_embed"),
    ("blocks", "predictor_blocks"),
    ("norm", "predictor_norm"),
    ("proj_context", "predictor_proj_context"),
    ("proj", "predictor_proj"),
)
META_PROBE: KeyMap = (
    ("query_tokens", "pooler.query_tokens"),
    ("blocks", "pooler.blocks"),
    ("cross_attention", "pooler.cross_attention_block"),
    ("classifiers.0", "linear"),
)
META_EK100_PROBE: KeyMap = (
    *META_PROBE[:-1],
    ("classifiers.0", "verb_classifier"),
    ("classifiers.1", "noun_classifier"),
    ("classifiers.2", "action_classifier"),
)


def level_norms(num_levels: int) -> KeyMap:
    """V-JEPA 2.1 keeps all norms in one list, the last one being the final norm."""
    others = tuple((f"level_norms.{i}", f"norms_block.{i}") for i in range(num_levels - 1))
    return (*META_ENCODER[:-1], *others, ("norm", f"norms_block.{num_levels - 1}"))


def to_ours(state: Mapping[str, Tensor], keys: KeyMap, *, source: str) -> State:
    """Renames from their layout to ours; names outside of the map stay and will be reported as unexpected.

    Raises:
        CheckpointError: where two names become one.
    """
    pairs = [(theirs, ours) for ours, theirs in keys]
    return rename(state, lambda name: _rename(name, pairs) or name, source=source)


def to_theirs(state: Mapping[str, Tensor], keys: KeyMap) -> State:
    """Renames from our layout to theirs.

    Raises:
        CheckpointError: for a tensor that their layout has no place for.
    """
    renamed = {}
    for name, tensor in state.items():
        new = _rename(name, keys)
        if new is None:
            raise CheckpointError(f"`{name}` has no place in the other layout. The networks differ.")
        renamed[new] = tensor
    return renamed


def _rename(name: str, pairs: Iterable[tuple[str, str]]) -> str | None:
    return next((new + name[len(old) :] for old, new in pairs if name == old or name.startswith(f"{old}.")), None)
