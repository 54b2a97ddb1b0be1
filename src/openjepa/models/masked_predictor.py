"""Predicts the features of hidden tokens from those of visible ones: the predictor of I-JEPA and the V-JEPAs.

The sequence is [context | queries]: context features mapped to the predictor's width, and one learned mask
token for each hidden position. Positions come from the token numbers alone, by a fixed table (I-JEPA arXiv
2301.08243, V-JEPA 1 2404.08471) or by rotation (V-JEPA 2 2506.09985, 2.1 2603.14482), so the order of the
tokens does not matter and nothing is sorted.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from openjepa.config import check_counts
from openjepa.errors import ConfigError, ShapeError
from openjepa.models.vit import ViTConfig
from openjepa.nn.linear import Linear
from openjepa.nn.positions import SincosOrder, positions_of, resize_table
from openjepa.nn.rope import RopeLayout
from openjepa.nn.tokens import Grid
from openjepa.nn.transformer import init_normal, init_weights, rescale_residuals, run_blocks, stack_blocks


@dataclass(frozen=True)
class MaskedPredictorConfig:
    """Shape and options of a `MaskedPredictor`."""

    in_dim: int = 384  # width of one level of the context encoder
    out_dim: int = 384  # width of one level of the target encoder
    predictor_dim: int = 192  # own width P
    depth: int = 6
    num_heads: int = 6
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    layer_norm_eps: float = 1e-6
    grid: Grid = (1, 14, 14)  # native arrangement (t, h, w) of the tokens
    positions: Literal["rope", "sincos"] = "rope"
    sincos_order: SincosOrder = "row_first"  # I-JEPA weights need "column_first"
    rope_layout: RopeLayout = "interleaved"  # V-JEPA 2 weights need "tiled"
    rope_pretrained_grid: int | None = None  # 16 in V-JEPA 2.1
    num_mask_tokens: int = 1  # published V-JEPA 2 files hold 10 although training uses the first only
    num_levels: int = 1  # levels of the encoder that are read and predicted, concatenated on channels
    predict_context: bool = False  # a second output for the context tokens (V-JEPA 2.1)
    modality_embedding: bool = False  # tell pictures and clips apart (V-JEPA 2.1)
    init_mask_tokens: Literal["zeros", "normal"] = "zeros"
    init_std: float | None = 0.02  # of the first weights; None = 1 / sqrt(inputs)
    rescale_residual_init: bool = True
    checkpoint_activations: bool = False

    def __post_init__(self) -> None:
        check_counts(self, "in_dim", "out_dim", "predictor_dim", "depth", "num_heads")
        if self.predictor_dim % self.num_heads:
            raise ConfigError(f"`num_heads` must divide `predictor_dim` {self.predictor_dim}; got {self.num_heads}.")
        if self.num_mask_tokens < 1:
            raise ConfigError(f"`num_mask_tokens` must be at least 1; got {self.num_mask_tokens}.")

    @classmethod
    def beside(cls, encoder: ViTConfig, **options: Any) -> "MaskedPredictorConfig":
        """The predictor that belongs to an encoder: its grid, positions and first weights; `options` are the rest."""
        shared: dict[str, Any] = {
            "in_dim": encoder.embed_dim,
            "out_dim": encoder.embed_dim,
            "layer_norm_eps": encoder.layer_norm_eps,
            "grid": encoder.grid,
            "positions": encoder.positions,
            "sincos_order": encoder.sincos_order,
            "rope_layout": encoder.rope_layout,
            "rope_pretrained_grid": encoder.rope_pretrained_grid,
            "init_std": encoder.init_std,
            "rescale_residual_init": encoder.rescale_residual_init,
            "checkpoint_activations": encoder.checkpoint_activations,
        }
        return cls(**{**shared, **options})


class MaskedPredictor(nn.Module):
    """Maps context features and token numbers to predicted features of the hidden tokens.

    Args:
        config: shape and options.
        generator: draws the initial weights; the global one where None.
    """

    pos_embed: Tensor | None

    def __init__(self, config: MaskedPredictorConfig, *, generator: torch.Generator | None = None):
        super().__init__()
        self.config = config
        width, levels = config.predictor_dim, config.num_levels
        if levels == 1:
            self.embed: nn.Module = Linear(config.in_dim, width)
        else:
            self.embed = nn.Sequential(
                Linear(levels * config.in_dim, config.in_dim), nn.GELU(), Linear(config.in_dim, width)
            )
        self.mask_tokens = nn.ParameterList(torch.zeros(1, 1, width) for _ in range(config.num_mask_tokens))
        has_modality = config.modality_embedding
        self.video_modality = nn.Parameter(torch.zeros(1, 1, width)) if has_modality else None
        self.image_modality = nn.Parameter(torch.zeros(1, 1, width)) if has_modality else None
        self.rope, table = positions_of(config, width, config.grid, is_video=config.grid[0] > 1)
        self.register_buffer("pos_embed", table)
        self.blocks = stack_blocks(config, width, config.depth)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.proj = Linear(width, levels * config.out_dim)
        self.proj_context = Linear(width, levels * config.out_dim) if config.predict_context else None
        self.init_weights(generator)

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draws fresh weights; mask tokens start at zero or, for I-JEPA, at random."""
        init_weights(self, generator, self.config.init_std)
        if self.config.rescale_residual_init:
            rescale_residuals(self.blocks)
        if self.config.init_mask_tokens == "normal":
            for token in self.mask_tokens:
                init_normal(token, generator)
        for modality in (self.video_modality, self.image_modality):
            if modality is not None:
                init_normal(modality, generator, std=1e-6)

    def forward(
        self,
        z: Tensor,
        context_idx: Tensor,
        target_idx: Tensor,
        *,
        grid: Grid | None = None,
        mask_token: int = 0,
        is_image: bool = False,
    ) -> Tensor:
        """Predicts the target tokens.

        Args:
            z: [B, K, L * D] context features.
            context_idx: [B, K] their token numbers.
            target_idx: [B, Q], or [B, M, Q] for blocks that must not see each other's queries.
            grid: (t, h, w) that the numbers refer to; the native one where None.
            mask_token: which mask token asks. 0 is the trained one; the published EK100 probes and
                transformers use 1.
            is_image: whether the tokens are those of a picture; matters where modalities have embeddings.

        Returns:
            z_pred [B, Q, L * D'] or [B, M, Q, L * D'], in the order of `target_idx`.
        """
        if target_idx.ndim == 2:
            x = self._run(z, context_idx, target_idx, grid, mask_token, is_image)
            return self.proj(self.norm(x[:, context_idx.shape[1] :]))
        # The context attends to the queries too, so every block needs its own sequence.
        blocks = target_idx.shape[1]
        z_pred = self(
            z.repeat_interleave(blocks, 0),
            context_idx.repeat_interleave(blocks, 0),
            target_idx.flatten(0, 1),
            grid=grid,
            mask_token=mask_token,
            is_image=is_image,
        )
        return z_pred.unflatten(0, (-1, blocks))

    def predict_all(
        self,
        z: Tensor,
        context_idx: Tensor,
        target_idx: Tensor,
        *,
        grid: Grid | None = None,
        mask_token: int = 0,
        is_image: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Predicts target and context tokens (V-JEPA 2.1); arguments as in `forward`.

        Returns:
            z_pred [B, Q, L * D'] and z_context_pred [B, K, L * D'].
        """
        if self.proj_context is None:
            raise ConfigError("`predict_context` must be on for a prediction of context tokens; it is off.")
        x = self.norm(self._run(z, context_idx, target_idx, grid, mask_token, is_image))
        count = context_idx.shape[1]
        return self.proj(x[:, count:]), self.proj_context(x[:, :count])

    def _run(
        self,
        z: Tensor,
        context_idx: Tensor,
        target_idx: Tensor,
        grid: Grid | None,
        mask_token: int,
        is_image: bool,
    ) -> Tensor:
        """Runs the blocks on [context | queries]; [B, K + Q, P]."""
        grid = grid or self.config.grid
        if z.shape[:2] != context_idx.shape:
            raise ShapeError(
                f"`context_idx` must be {list(z.shape[:2])} as the features; got {list(context_idx.shape)}."
            )
        if not 0 <= mask_token < self.config.num_mask_tokens:
            raise ConfigError(f"`mask_token` must be below {self.config.num_mask_tokens}; got {mask_token}.")
        context = self.embed(z)
        queries = self.mask_tokens[mask_token].to(context.dtype).expand(*target_idx.shape, -1)
        x = torch.cat((context, queries), dim=1)
        token_idx = torch.cat((context_idx, target_idx), dim=1)
        modality = self.image_modality if is_image else self.video_modality
        if modality is not None:
            x = x + modality
        if self.pos_embed is not None:
            x = x + resize_table(self.pos_embed, self.config.grid, grid)[0][token_idx]
        rope = None if self.rope is None else self.rope.table(grid, x.device).gather(token_idx)
        for out in run_blocks(self.blocks, x, rope, checkpointing=self.config.checkpoint_activations and self.training):
            x = out
        return x
