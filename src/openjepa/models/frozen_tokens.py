"""What a frozen encoder tells of single frames, as normalised tokens (V-JEPA 2-AC predicts them).

Either a vision transformer, each frame alone (a video model sees it as a still clip), or the cells of a `context`
encoder (`context_keypoints.py`), which a world model has learned: few tokens, in each of which the whole picture takes
part.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.errors import ConfigError, check_shape
from openjepa.models.context_keypoints import ContextKeypoints
from openjepa.models.frame_encoder import FrameEncoder, FrameEncoderConfig
from openjepa.models.vit import VisionTransformer, ViTConfig
from openjepa.nn.patch_embed import normalize_pixels
from openjepa.nn.tokens import normalize_features


@dataclass(frozen=True)
class FrozenTokensConfig:
    """Which network it is; exactly one of the two.

    Attributes:
        vit: a vision transformer; frames are shrunk or stretched to its own size.
        frames: a frame encoder of kind `context`.
        rows: rows and columns of the grid that its cells are averaged to; they must divide those it has, an eighth of
            the picture's side.
    """

    vit: ViTConfig | None = None
    frames: FrameEncoderConfig | None = None
    rows: int = 4

    def __post_init__(self) -> None:
        if (self.vit is None) == (self.frames is None):
            raise ConfigError("exactly one of `vit` and `frames` must be given; got both or none.")
        if self.frames is not None:
            side = self.frames.image_size // 8
            if self.frames.kind != "context" or self.rows < 1 or side % self.rows:
                raise ConfigError(
                    f"`frames.kind` must be context and `rows` divide its {side} rows of cells; got "
                    f"{self.frames.kind} and {self.rows}."
                )

    @property
    def embed_dim(self) -> int:
        """Width D of a token."""
        if self.vit is not None:
            return self.vit.embed_dim
        assert self.frames is not None
        return 2 * self.frames.width

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a frame's tokens."""
        return (self.rows, self.rows) if self.vit is None else self.vit.grid[1:]


class FrozenTokens(nn.Module):
    """Frames [B, C, H, W] uint8 to tokens [B, N, D] of mean 0 and variance 1 each; it never learns.

    Args:
        config: which network.
    """

    def __init__(self, config: FrozenTokensConfig) -> None:
        super().__init__()
        self.config = config
        if config.vit is not None:
            self.network: VisionTransformer | FrameEncoder = VisionTransformer(config.vit)
        else:
            assert config.frames is not None
            self.network = FrameEncoder(config.frames, 1)
            self.network.head = nn.Identity()  # its latent is not read
        self.requires_grad_(False)

    def fill(self, network: nn.Module) -> None:
        """Takes the weights of a trained network of the same kind and shape."""
        weights = network.state_dict()
        if isinstance(self.network, FrameEncoder):
            weights = {name: x for name, x in weights.items() if not name.startswith("head.")}
        self.network.load_state_dict(weights, strict=True)

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:  # noqa: D102
        check_shape(frames, "B C H W", name="frames")
        with torch.autocast(frames.device.type, enabled=False):
            if isinstance(self.network, VisionTransformer):
                size = self.network.config.img_size
                if tuple(frames.shape[-2:]) != tuple(size):
                    frames = functional.interpolate(frames.float(), size, mode="bilinear", antialias=True)
                return normalize_features(self.network(normalize_pixels(frames)))
            trunk = self.network.trunk
            assert isinstance(trunk, ContextKeypoints)
            _, _, cells = trunk.told(self.network.pixels(frames))  # [B, D, H / 8, W / 8]
            return normalize_features(functional.adaptive_avg_pool2d(cells, self.config.rows).flatten(2).mT)
