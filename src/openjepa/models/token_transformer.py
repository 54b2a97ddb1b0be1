"""A causal transformer over a stream of tokens that come frame by frame, with a cache of keys and values.

A token sees earlier tokens of its own frame and of the `context_len` frames before. Time enters by rotary positions,
so only differences of frame numbers matter and a stream may be of any length; which token of a frame it is enters
by a learned embedding.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError, check_shape
from openjepa.nn.host import to_device
from openjepa.nn.rope import RotaryTable, rotary_table, rotate
from openjepa.nn.transformer import Block, attend


@dataclass(frozen=True)
class TokenTransformerConfig:
    """Shape of the transformer.

    Attributes:
        embed_dim: width, a multiple of `num_heads`.
        depth: blocks.
        num_heads: of attention, each at least 6 wide, which rotary positions need.
        context_len: earlier frames that a token sees, >= 1.
    """

    embed_dim: int = 64
    depth: int = 2
    num_heads: int = 2
    context_len: int = 1

    def __post_init__(self) -> None:
        if min(self.embed_dim, self.depth, self.num_heads, self.context_len) < 1:
            raise ConfigError("`embed_dim`, `depth`, `num_heads` and `context_len` must be at least 1.")
        if self.embed_dim % self.num_heads or self.embed_dim // self.num_heads < 6:
            raise ConfigError(
                f"`num_heads` must divide `embed_dim` {self.embed_dim} into heads of at least 6; got {self.num_heads}."
            )


@dataclass(frozen=True)
class TokenCache:
    """Keys and values of what was read, one pair of buffers [B, capacity, heads, head_dim] for each block.

    A step writes into the buffers behind the tokens that are there, so only the newest cache of a stream is valid.

    Attributes:
        keys: of each block.
        values: of each block.
        frames: [M] frame numbers of the tokens that are held, on the host.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    frames: Tensor

    def without_frames_before(self, frame: int) -> "TokenCache":
        """The cache without the tokens of frames below a number, which moves the others to the front."""
        drop = int((self.frames < frame).sum())
        if not drop:
            return self
        held = len(self.frames)
        for buffer in (*self.keys, *self.values):
            buffer[:, : held - drop] = buffer[:, drop:held].clone()
        return replace(self, frames=self.frames[drop:])


class TokenTransformer(nn.Module):
    """Tokens [B, Q, W] and the frame number of each [Q], on the host, to hidden states [B, Q, W].

    Args:
        config: its shape.
    """

    def __init__(self, config: TokenTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config.embed_dim, config.num_heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.embed_dim, eps=1e-6)

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        """Reads a whole stream; equal to reading it in parts with a cache."""
        sizes = check_shape(x, f"B Q W={self.config.embed_dim}", name="x")
        check_shape(frames, f"Q={sizes['Q']}", name="frames")
        rope, mask = self._rope(frames, x.device), self._mask(frames, frames, x.device)
        for block in self.blocks:
            x = block(x, rope, mask)
        return self.norm(x)

    def start(self, batch: int, capacity: int, like: Tensor) -> TokenCache:
        """An empty cache for streams of a batch, with room for `capacity` tokens."""
        heads = self.config.num_heads
        shape = (batch, capacity, heads, self.config.embed_dim // heads)
        buffers = [tuple(like.new_empty(shape) for _ in self.blocks) for _ in range(2)]
        return TokenCache(buffers[0], buffers[1], torch.zeros(0, dtype=torch.long))

    @torch.no_grad()
    def read(self, x: Tensor, frames: Tensor, cache: TokenCache) -> tuple[Tensor, TokenCache]:
        """Reads the next tokens [B, Q, W] of a stream; returns their hidden states and the grown cache.

        Raises:
            ConfigError: where the cache has no room.
        """
        held, end = len(cache.frames), len(cache.frames) + x.shape[1]
        if end > cache.keys[0].shape[1]:
            raise ConfigError(f"the cache must have room for {end} tokens; got {cache.keys[0].shape[1]}.")
        known = torch.cat([cache.frames, frames])
        rope, mask = self._rope(frames, x.device), self._mask(frames, known, x.device)
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            assert isinstance(block, Block)
            qkv = block.attn.qkv(block.norm1(x)).unflatten(-1, (3, self.config.num_heads, -1))
            q, k = rotate(qkv[:, :, :2], rope).unbind(2)
            keys[:, held:end], values[:, held:end] = k, qkv[:, :, 2]
            x = x + block.attn.proj(attend(q, keys[:, :end], values[:, :end], mask))
            x = x + block.mlp(block.norm2(x))
        return self.norm(x), replace(cache, frames=known)

    def _rope(self, frames: Tensor, device: torch.device) -> RotaryTable:
        frames = to_device(frames, device)
        positions = torch.stack([frames, torch.zeros_like(frames), torch.zeros_like(frames)], -1)
        return rotary_table(positions, self.config.embed_dim // self.config.num_heads)

    def _mask(self, query: Tensor, key: Tensor, device: torch.device) -> Tensor:
        """[Q, M] bool: earlier tokens of at most `context_len` frames back; queries are the last of the keys."""
        first = len(key) - len(query)
        order = torch.arange(len(key))
        earlier = order <= torch.arange(first, len(key))[:, None]
        return to_device(earlier & (key >= query[:, None] - self.config.context_len), device)
