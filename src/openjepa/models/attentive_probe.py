"""The attentive probe of the V-JEPA evaluations: learned queries read frozen tokens, a linear map classifies.

V-JEPA 2 (arXiv 2506.09985): self-attention blocks over all tokens, then one cross-attention block. V-JEPA 1
(2404.08471): the cross-attention block alone. Published probes have 16 heads whatever the encoder, and a
layer-norm epsilon of 1e-5. The query is not normalised before attention, and cross-attention has no output
projection.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from openjepa.config import check_counts
from openjepa.errors import ConfigError
from openjepa.nn.linear import Linear
from openjepa.nn.transformer import (
    Mlp,
    attend,
    hidden_width,
    init_normal,
    init_weights,
    rescale_residuals,
    stack_blocks,
)


@dataclass(frozen=True)
class AttentiveProbeConfig:
    """Shape of an `AttentiveProbe`."""

    embed_dim: int = 384  # width D of the tokens
    num_classes: tuple[int, ...] = (10,)  # one classifier each; with several queries, query i feeds classifier i
    num_heads: int = 16  # divides embed_dim
    depth: int = 4  # blocks, the last one being cross-attention; 1 in V-JEPA 1
    num_queries: int = 1
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        check_counts(self, "embed_dim", "num_heads", "depth")
        if self.embed_dim % self.num_heads:
            raise ConfigError(f"`num_heads` must divide `embed_dim` {self.embed_dim}; got {self.num_heads}.")
        if self.num_queries not in (1, len(self.num_classes)):
            raise ConfigError(
                f"`num_queries` must be 1 or one for each of {len(self.num_classes)} classifiers; "
                f"got {self.num_queries}."
            )


class CrossAttention(nn.Module):
    """Queries as they are attend to tokens; no output projection.

    Args:
        dim: width D.
        num_heads: number of heads.
        qkv_bias: whether queries, keys and values have a bias.
    """

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool):
        super().__init__()
        self.num_heads = num_heads
        self.q = Linear(dim, dim, bias=qkv_bias)
        self.kv = Linear(dim, 2 * dim, bias=qkv_bias)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:  # noqa: D102
        q = self.q(queries).unflatten(-1, (self.num_heads, -1))  # [B, Q, heads, head_dim]
        k, v = self.kv(tokens).unflatten(-1, (2, self.num_heads, -1)).unbind(2)  # [B, N, heads, head_dim]
        return attend(q, k, v)


class CrossAttentionBlock(nn.Module):
    """q + Attention(q, Norm(x)), then q + Mlp(Norm(q))."""

    def __init__(self, config: AttentiveProbeConfig):
        super().__init__()
        dim = config.embed_dim
        self.norm1 = nn.LayerNorm(dim, eps=config.layer_norm_eps)
        self.xattn = CrossAttention(dim, config.num_heads, config.qkv_bias)
        self.norm2 = nn.LayerNorm(dim, eps=config.layer_norm_eps)
        self.mlp = Mlp(dim, hidden_width(dim, config.mlp_ratio))

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:  # noqa: D102
        queries = queries + self.xattn(queries, self.norm1(tokens))
        return queries + self.mlp(self.norm2(queries))


class AttentiveProbe(nn.Module):
    """Classifies frozen tokens [B, N, D].

    Args:
        config: shape.
        generator: draws the initial weights; the global one where None.
    """

    def __init__(self, config: AttentiveProbeConfig, *, generator: torch.Generator | None = None):
        super().__init__()
        self.config = config
        self.query_tokens = nn.Parameter(torch.zeros(1, config.num_queries, config.embed_dim))
        self.blocks = stack_blocks(config, config.embed_dim, config.depth - 1)
        self.cross_attention = CrossAttentionBlock(config)
        self.classifiers = nn.ModuleList(Linear(config.embed_dim, n) for n in config.num_classes)
        self.init_weights(generator)

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draws fresh weights as the published probes do."""
        init_weights(self, generator)
        init_normal(self.query_tokens, generator)
        rescale_residuals(self.blocks)
        with torch.no_grad():
            self.cross_attention.mlp.fc2.weight.div_(math.sqrt(2.0 * max(len(self.blocks), 1)))

    def pool(self, tokens: Tensor) -> Tensor:
        """Summarises tokens [B, N, D] by the queries; [B, Q, D]."""
        for block in self.blocks:
            tokens = block(tokens)
        return self.cross_attention(self.query_tokens.expand(len(tokens), -1, -1), tokens)

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """Returns the scores of every classifier, each [B, classes]."""
        pooled = self.pool(tokens)
        last = pooled.shape[1] - 1
        return [head(pooled[:, min(i, last)]) for i, head in enumerate(self.classifiers)]
