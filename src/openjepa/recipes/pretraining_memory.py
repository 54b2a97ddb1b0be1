"""How much memory a recipe of perception needs, from its configuration: masks are drawn, views are counted."""

import os
from typing import Any

from openjepa.baselines.masked_autoencoder import MaskedAutoencoderConfig
from openjepa.masking import BlockMaskConfig, Masks, hide_random_tokens, sample_blocks, sample_tubes
from openjepa.methods.levjepa import LeVJEPAConfig
from openjepa.nn.random import keyed_generator
from openjepa.nn.tokens import num_tokens
from openjepa.train.memory import MemoryEstimate, Stage, estimate_memory

DRAWN = 32  # samples whose masks are drawn


def memory_of(config: Any, method: Any) -> MemoryEstimate:
    """Estimates what one process needs to train a method; see `openjepa.train.memory`."""
    encoder, train = config.method.encoder, config.train
    world = int(os.environ.get("WORLD_SIZE", "1"))
    seen, read = tokens_of(config.method)
    stages = [Stage(seen, encoder.embed_dim, encoder.depth, encoder.checkpoint_activations)]
    head = getattr(config.method, "predictor", None) or getattr(config.method, "decoder", None)
    if head is not None:
        stages.append(Stage(read, head.predictor_dim, head.depth, head.checkpoint_activations))
    return estimate_memory(
        sum(p.numel() for p in method.parameters() if p.requires_grad),
        sum(p.numel() for p in method.parameters() if not p.requires_grad),
        stages,
        samples=max(1, config.batch_size // (train.accumulate * world)),
        pixels=encoder.num_frames * encoder.in_chans * encoder.img_size[0] * encoder.img_size[1],
        half=train.precision == "bf16",
    )


def tokens_of(config: Any) -> tuple[float, float]:
    """Tokens of one sample that the encoder sees with a gradient, and tokens that go through the predictor."""
    if hasattr(config, "global_view"):
        return _tokens_of_views(config), 0.0
    masks = _draw(config)
    seen = sum(m.context_idx.shape[1] for m in masks)
    read = sum(m.target_idx.shape[1] * (m.context_idx.shape[1] + m.target_idx.shape[2]) for m in masks)
    return float(seen), float(read)


def _draw(config: Any) -> list[Masks]:
    generator, grid = keyed_generator(0), config.encoder.grid
    if isinstance(config, MaskedAutoencoderConfig):
        tubes = config.encoder.is_video
        return [hide_random_tokens(DRAWN, grid, config.hidden, tubes=tubes, generator=generator)]
    if isinstance(config.masks, BlockMaskConfig):
        return [sample_blocks(config.masks, DRAWN, grid, generator=generator)]
    return [sample_tubes(kind, DRAWN, grid, generator=generator) for kind in config.masks]


def _tokens_of_views(config: Any) -> float:
    encoder = config.encoder
    frames = encoder.num_frames // encoder.tubelet_size
    num_global, keep = (1, config.keep_share) if isinstance(config, LeVJEPAConfig) else (config.num_global, 1.0)
    views = ((config.global_view, num_global), (config.local_view, config.num_local))
    grids = ((frames, view.size // encoder.patch_size, view.size // encoder.patch_size, n) for view, n in views)
    return sum(n * (keep * num_tokens((t, h, w)) + encoder.num_prefix_tokens) for t, h, w, n in grids)
