"""Meta's checkpoint files: one dictionary of `encoder`, `target_encoder` (or `ema_encoder`), `predictor`.

What a file cannot tell, `Traits` states. The four families differ only in these and in the names of a few
tensors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from openjepa.errors import CheckpointError, ConfigError, listing
from openjepa.interop import key_maps, sizes
from openjepa.interop.state_files import State, build, drop, section
from openjepa.interop.traits import Family, Traits
from openjepa.models.masked_predictor import MaskedPredictor
from openjepa.models.vit import VisionTransformer

Part = Literal["target_encoder", "context_encoder", "predictor"]


@dataclass
class LoadReport:
    """What was loaded: printed by tools, asserted by tests."""

    source: str
    family: str
    layout: str
    key: str = ""
    num_tensors: int = 0
    ignored: list[str] = field(default_factory=list)  # on purpose


def options(traits: Traits, *, predictor: bool = False) -> dict[str, Any]:
    """How a family encodes positions."""
    if traits.family == "ijepa":
        return {"positions": "sincos", "sincos_order": "column_first"}
    if traits.family == "vjepa":
        return {"positions": "sincos", "sincos_order": "row_first"}
    if traits.family == "vjepa2":
        return {"positions": "rope", "rope_layout": "tiled"}
    stretched = traits.predictor_stretch or not predictor
    grid = traits.pretrained_grid if stretched else None
    return {"positions": "rope", "rope_layout": "interleaved", "rope_pretrained_grid": grid}


def encoder_keys(traits: Traits) -> key_maps.KeyMap:
    """Names of the encoder's tensors in a family's files."""
    return key_maps.level_norms(len(traits.level_layers)) if traits.level_layers else key_maps.META_ENCODER


def predictor_keys(traits: Traits) -> key_maps.KeyMap:
    """Names of the predictor's tensors in a family's files."""
    if traits.family != "ijepa":
        return key_maps.META_PREDICTOR
    return (("mask_tokens.0", "mask_token"), *key_maps.META_PREDICTOR)


def build_encoder(ours: State, traits: Traits, source: str) -> VisionTransformer:
    """An encoder of a family from tensors under our names; in evaluation mode."""
    config = sizes.vit_config(
        ours,
        num_heads=traits.num_heads,
        img_size=traits.img_size,
        source=source,
        num_frames=traits.num_frames,
        layer_norm_eps=traits.layer_norm_eps,
        level_layers=traits.level_layers,
        rescale_residual_init=traits.family not in ("ijepa", "vjepa"),
        **options(traits),
    )
    return build(VisionTransformer, config, ours, source=source, hint=sizes.looks_like(ours))


def build_predictor(ours: State, traits: Traits, encoder: VisionTransformer, source: str) -> MaskedPredictor:
    """The predictor of a family from tensors under our names; in evaluation mode."""
    config = sizes.predictor_config(
        ours,
        num_heads=traits.predictor_heads,
        in_dim=encoder.config.embed_dim,
        source=source,
        grid=encoder.config.grid,
        layer_norm_eps=traits.predictor_eps,
        init_mask_tokens="normal" if traits.family == "ijepa" else "zeros",
        rescale_residual_init=traits.family not in ("ijepa", "vjepa"),
        **options(traits, predictor=True),
    )
    return build(MaskedPredictor, config, ours, source=source)


def encoder_key(content: Mapping[str, Any], part: Part, source: str) -> str:
    """Name of the wanted encoder in a file; distilled V-JEPA 2.1 files call the average `ema_encoder`."""
    if part == "context_encoder":
        return "encoder"
    found = next((key for key in ("target_encoder", "ema_encoder") if key in content), None)
    if found is None:
        raise CheckpointError(
            f"{source} must hold `target_encoder` or `ema_encoder`; it has {listing(content)}. "
            "Ask for `context_encoder` to use the online encoder."
        )
    return found


def load_encoder(
    content: Mapping[str, Any], traits: Traits, *, part: Part = "target_encoder", source: str
) -> tuple[VisionTransformer, LoadReport]:
    """Takes an encoder out of a file's content.

    Raises:
        CheckpointError: for anything missing, unexpected or of another shape.
    """
    key = encoder_key(content, part, source)
    place = f"{source} [{key}]"
    kept, ignored = drop(section(content, key, source), () if traits.family in ("ijepa", "vjepa") else ("pos_embed",))
    encoder = build_encoder(key_maps.to_ours(kept, encoder_keys(traits), source=place), traits, place)
    return encoder, LoadReport(source, traits.family, "meta", key, len(kept), ignored)


def load_predictor(
    content: Mapping[str, Any], traits: Traits, encoder: VisionTransformer, *, source: str
) -> tuple[MaskedPredictor, LoadReport]:
    """Takes the predictor out of a file's content.

    Raises:
        CheckpointError: for anything missing, unexpected or of another shape.
    """
    state, place = section(content, "predictor", source), f"{source} [predictor]"
    kept, ignored = drop(state, () if traits.family in ("ijepa", "vjepa") else ("predictor_pos_embed",))
    ours = key_maps.to_ours(kept, predictor_keys(traits), source=place)
    predictor = build_predictor(ours, traits, encoder, place)
    return predictor, LoadReport(source, traits.family, "meta", "predictor", len(kept), ignored)


def encoder_to_meta(encoder: VisionTransformer, traits: Traits) -> State:
    """Tensors of an encoder under Meta's names, without prefix."""
    return key_maps.to_theirs(encoder.state_dict(), encoder_keys(traits))


def predictor_to_meta(predictor: MaskedPredictor, traits: Traits) -> State:
    """Tensors of a predictor under Meta's names, without prefix."""
    return key_maps.to_theirs(predictor.state_dict(), predictor_keys(traits))


def family_of(encoder: VisionTransformer) -> Family:
    """Which family's files could hold this encoder.

    Raises:
        ConfigError: when none could.
    """
    config = encoder.config
    if config.class_token or config.reg_tokens or config.attention != "full":
        raise ConfigError("an encoder with class or register tokens has no place in Meta's layouts.")
    if config.positions == "sincos":
        family: Family = "vjepa" if config.is_video else "ijepa"
        fits = config.sincos_order == ("row_first" if config.is_video else "column_first")
    else:
        family = "vjepa2_1" if config.level_layers else "vjepa2"
        fits = config.rope_layout == ("interleaved" if config.level_layers else "tiled") and config.is_video
    if not fits:
        raise ConfigError(
            f"Meta's {family} code would read other positions into these weights than {config.positions} "
            f"{config.sincos_order if config.positions == 'sincos' else config.rope_layout}. Keep our layout."
        )
    return family


def traits_of(encoder: VisionTransformer, predictor: MaskedPredictor | None = None) -> Traits:
    """States what the file of these networks will not show."""
    config = encoder.config
    extra: dict[str, Any] = {}
    if predictor is not None:
        extra = {
            "predictor_heads": predictor.config.num_heads,
            "predictor_eps": predictor.config.layer_norm_eps,
            "predictor_stretch": predictor.config.rope_pretrained_grid is not None,
        }
    return Traits(
        family=family_of(encoder),
        num_heads=config.num_heads,
        img_size=config.img_size,
        num_frames=config.num_frames,
        layer_norm_eps=config.layer_norm_eps,
        level_layers=config.level_layers,
        pretrained_grid=config.rope_pretrained_grid or 16,
        **extra,
    )
