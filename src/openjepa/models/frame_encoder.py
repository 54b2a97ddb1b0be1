"""Encoders of single frames for world models: a small convolutional net, keypoints, points with features, and a ViT.

The last layer always runs in float32: in bfloat16 it would quantise latents of small variance.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.errors import ConfigError, check_shape
from openjepa.models.context_keypoints import ContextKeypoints
from openjepa.models.frame_input import Box, Centred, Gain, ImageNet, PerImage, centred, hidden
from openjepa.models.keypoints import Keypoints, cell_centres, expected_position
from openjepa.models.object_points import ObjectPoints
from openjepa.models.point_features import PointFeatures
from openjepa.models.vit import VisionTransformer, ViTConfig


@dataclass(frozen=True)
class FrameEncoderConfig:
    """Shape of the encoder of a world model.

    Attributes:
        kind: `conv` (three convolutions, fastest), `two-conv` (the same twice, for the scene and for what moves),
            `keypoints` (adds a path of spatial soft-maxima, which read positions of small things), `split` (keypoints
            only, fine ones for the scene and coarse ones for what moves, both read linearly), `context` (keypoints that
            see the whole picture, each frame standardised by itself: for looks that vary), `attn` (keypoints and the
            features under them: where, and what), `objects` (keypoints of things, then of what acts, and nothing else;
            as they are where `embed_dim` is twice their number), or `vit` (ViT-Tiny with a class token and LeWM's
            projector).
        image_size: px, the height of a frame; a multiple of 16 for the convolutions, of `patch_size` for the ViT, any
            size for `attn`.
        shrink_from: (H, W) of the frames that come in, shrunk or stretched to that size with antialiasing; None where
            they have it.
        hidden: boxes in px of the frames that come in, of which nothing is seen: displays of the last action.
        width: channels of the first convolutions.
        hidden_dim: width before the last layer.
        num_keypoints: of `keypoints`, `context`, `attn`, each half of `split`, and the things of `objects`.
        agent_keypoints: of what acts, for `objects`.
        patch_size: px, of `vit`, and of the cells of `attn`: that of the cells in which things move, if they do.
        depth: blocks, of `vit`.
        gain: root mean square of the pixels without the mean frame of the data set, > 0 (`set_frame_statistics` of the
            method gives it); None sees pixels as they are.
        image_width: px, for `attn` where frames are not square; None for square ones.
        placed: whether a keypoint of the scene, of `split`, may prefer some places of the picture: it tells an inner
            wall from the border, and blends things that may lie anywhere.
    """

    kind: Literal["conv", "two-conv", "keypoints", "split", "context", "attn", "objects", "vit"] = "conv"
    image_size: int = 64
    width: int = 32
    hidden_dim: int = 128
    num_keypoints: int = 16
    agent_keypoints: int = 4
    patch_size: int = 14
    depth: int = 12
    gain: float | None = None
    image_width: int | None = None
    shrink_from: tuple[int, int] | None = None
    hidden: tuple[Box, ...] = ()
    placed: bool = True

    def __post_init__(self) -> None:
        kinds = ("conv", "two-conv", "keypoints", "split", "context", "attn", "objects", "vit")
        if self.kind not in kinds:
            raise ConfigError(f"`kind` must be one of {', '.join(kinds)}; got {self.kind}.")
        if self.patch_size < 1:
            raise ConfigError(f"`patch_size` must be at least 1; got {self.patch_size}.")
        if self.gain is not None and not self.gain > 0:
            raise ConfigError(f"`gain` must be above 0, or None; got {self.gain}.")
        if self.image_width not in (None, self.image_size) and self.kind != "attn":
            raise ConfigError(
                f"`image_width` must be `image_size` ({self.image_size}) for `kind` {self.kind}; got "
                f"{self.image_width}. Use attn for frames that are not square."
            )
        unit = {"vit": self.patch_size, "attn": 1}.get(self.kind, 16)
        if self.image_size % unit or self.image_size < unit:
            raise ConfigError(f"`image_size` must be a multiple of {unit}; got {self.image_size}.")
        if min(self.width, self.hidden_dim, self.depth, self.image_width or 1) < 1:
            raise ConfigError("`width`, `hidden_dim`, `depth` and `image_width` must be at least 1.")
        if min(self.num_keypoints, self.agent_keypoints) < 1:
            raise ConfigError("`num_keypoints` and `agent_keypoints` must be at least 1.")
        height, width = self.shrink_from or self.frame_size
        for box in self.hidden:
            top, left, bottom, right = box
            if not (0 <= top < bottom <= height and 0 <= left < right <= width):
                raise ConfigError(
                    f"`hidden` must be boxes (top, left, bottom, right) in frames of {height} x {width}; got {box}."
                )

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of a frame in px."""
        return self.image_size, self.image_width or self.image_size


class FrameEncoder(nn.Module):
    """Frames [B, C, H, W] uint8 to latents [B, D].

    Args:
        config: shape.
        embed_dim: width D of the latent.
        scene_dim: leading dimensions that `split` and `two-conv` read from what sees the scene, the others from what
            sees what moves; the other kinds make no difference.
    """

    def __init__(self, config: FrameEncoderConfig, embed_dim: int, scene_dim: int = 0) -> None:
        super().__init__()
        self.config = config
        self.pixels: Gain | ImageNet | PerImage | Centred
        if config.gain is not None:
            self.pixels = Gain(config.gain, *config.frame_size)
        else:
            inputs: dict[str, type[ImageNet | PerImage]] = {"vit": ImageNet, "context": PerImage}
            self.pixels = inputs.get(config.kind, Centred)()
        kinds: dict[str, Callable[[FrameEncoderConfig], Any]] = {
            "conv": ConvTrunk,
            "two-conv": TwoTrunks,
            "keypoints": KeypointTrunk,
            "split": SplitTrunk,
            "context": context_trunk,
            "attn": point_trunk,
            "objects": object_trunk,
            "vit": ViTTrunk,
        }
        self.trunk = kinds[config.kind](config)
        if config.kind in ("split", "two-conv"):
            if not 0 < scene_dim < embed_dim:
                raise ConfigError(
                    f"`scene_dim` must be from 1 to below {embed_dim} for a `{config.kind}` encoder; got {scene_dim}."
                )
            self.head: nn.Module = SplitLinear(self.trunk.out_dim // 2, scene_dim, embed_dim - scene_dim)
        elif config.kind == "objects" and embed_dim == self.trunk.out_dim:
            self.head = nn.Identity()
        else:
            self.head = nn.Linear(self.trunk.out_dim, embed_dim)

    def forward(self, frames: Tensor) -> Tensor:  # noqa: D102
        size = self.config.frame_size
        height, width = self.config.shrink_from or size
        check_shape(frames, f"B C=3 H={height} W={width}", name="frames")
        frames = hidden(frames, self.config.hidden)
        if (height, width) != size:
            frames = functional.interpolate(frames.float(), size, mode="bilinear", antialias=True)
        features = self.trunk(self.pixels(frames))
        with torch.autocast(frames.device.type, enabled=False):
            return self.head(features.float())


class ConvTrunk(nn.Module):
    """Three convolutions and one dense layer: 160 k parameters, 10 k frames per second and CPU core in bf16."""

    def __init__(self, config: FrameEncoderConfig) -> None:
        super().__init__()
        width, cells = config.width, (config.image_size // 16) ** 2
        self.out_dim = config.hidden_dim
        self.stem = nn.Conv2d(3, width, 4, 4)
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * width * cells, config.hidden_dim),
            nn.ReLU(),
        )

    def forward(self, pixels: Tensor) -> Tensor:  # noqa: D102
        return self.body(functional.relu(self.stem(pixels)))


class TwoTrunks(nn.Module):
    """Convolutions for the scene and others for what moves, side by side: neither drowns what the other learns."""

    def __init__(self, config: FrameEncoderConfig) -> None:
        super().__init__()
        self.scene, self.moving = ConvTrunk(config), ConvTrunk(config)
        self.out_dim = 2 * config.hidden_dim

    def forward(self, pixels: Tensor) -> Tensor:  # noqa: D102
        return torch.cat([self.scene(pixels), self.moving(pixels)], -1)


class CellEncoder(nn.Module):
    """The convolutions of `ConvTrunk` without its dense layer: frames to one vector for each 16 x 16 px.

    Args:
        config: shape; `width` and `image_size` are used.
        embed_dim: width D of a cell.
    """

    def __init__(self, config: FrameEncoderConfig, embed_dim: int) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.stem = nn.Conv2d(3, width, 4, 4)
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU()
        )
        self.head = nn.Conv2d(2 * width, embed_dim, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames [B, 3, H, W] uint8 to cells [B, D, H / 16, W / 16]."""
        size = self.config.image_size
        check_shape(frames, f"B C=3 H={size} W={size}", name="frames")
        cells = self.body(functional.relu(self.stem(centred(frames))))
        with torch.autocast(frames.device.type, enabled=False):
            return self.head(cells.float())


class KeypointTrunk(nn.Module):
    """The convolutional trunk beside expected positions of feature maps (spatial soft-max, 1509.06113).

    The positions go straight to the last, linear layer: they are exact to a tenth of a pixel, and a hidden layer
    between them and the latent loses most of that.
    """

    cells: Tensor

    def __init__(self, config: FrameEncoderConfig) -> None:
        super().__init__()
        width = config.width
        self.conv = ConvTrunk(config)
        self.out_dim = config.hidden_dim + 2 * config.num_keypoints
        self.local = nn.Conv2d(width, width, 3, 1, 1)
        self.maps = nn.Conv2d(width, config.num_keypoints, 1)
        self.sharpness = nn.Parameter(torch.tensor([3.0]))  # one number; FSDP shards no scalars
        self.register_buffer("cells", cell_centres(config.image_size // 4), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:  # noqa: D102
        stem = functional.relu(self.conv.stem(pixels))  # [B, W, H / 4, W / 4]
        maps = self.maps(functional.relu(self.local(stem)))
        with torch.autocast(pixels.device.type, enabled=False):
            weights = (maps.float() * self.sharpness).flatten(2).softmax(-1).view(maps.shape)
            where = expected_position(weights, self.cells, self.cells)
        return torch.cat([self.conv.body(stem).float(), where], -1)


class SplitTrunk(nn.Module):
    """Fine keypoints for the scene and coarse ones for what moves, [B, 2 K] each, side by side."""

    def __init__(self, config: FrameEncoderConfig) -> None:
        super().__init__()
        count, size, width = config.num_keypoints, config.image_size, config.width
        self.out_dim = 4 * count
        self.scene = Keypoints(
            count, image_size=size, stride=2, width=max(1, width // 2), depth=2, placed=config.placed
        )
        self.moving = Keypoints(count, image_size=size, stride=4, width=width, depth=1, placed=False)

    def forward(self, pixels: Tensor) -> Tensor:  # noqa: D102
        return torch.cat([self.scene(pixels), self.moving(pixels)], -1)


def point_trunk(config: FrameEncoderConfig) -> PointFeatures:
    """Points and the features under them, in cells of a patch."""
    return PointFeatures(
        config.num_keypoints, frame_size=config.frame_size, patch_size=config.patch_size, width=config.width
    )


def object_trunk(config: FrameEncoderConfig) -> ObjectPoints:
    """Points of things and points of what acts."""
    return ObjectPoints(config.num_keypoints, config.agent_keypoints, image_size=config.image_size)


def context_trunk(config: FrameEncoderConfig) -> ContextKeypoints:
    """Keypoints that see the whole picture, beside its vector."""
    return ContextKeypoints(
        config.num_keypoints, image_size=config.image_size, width=config.width, hidden_dim=config.hidden_dim
    )


class SplitLinear(nn.Module):
    """Two linear layers side by side: [B, 2 F] to [B, S + M], the first half of the features to S, the rest to M."""

    def __init__(self, features: int, scene_dim: int, moving_dim: int) -> None:
        super().__init__()
        self.scene, self.moving = nn.Linear(features, scene_dim), nn.Linear(features, moving_dim)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        scene, moving = x.chunk(2, -1)
        return torch.cat([self.scene(scene), self.moving(moving)], -1)


class ViTTrunk(nn.Module):
    """ViT-Tiny on one frame, its class token, and LeWM's projector (192, 2048, BatchNorm, GELU; 2603.19312)."""

    def __init__(self, config: FrameEncoderConfig) -> None:
        super().__init__()
        size = config.image_size
        self.vit = VisionTransformer(
            ViTConfig(
                img_size=(size, size),
                patch_size=config.patch_size,
                embed_dim=192,
                depth=config.depth,
                num_heads=3,
                positions="sincos",
                class_token=True,
            )
        )
        self.out_dim = 2048
        self.project = nn.Sequential(nn.Linear(192, 2048), nn.BatchNorm1d(2048), nn.GELU())

    def forward(self, pixels: Tensor) -> Tensor:  # noqa: D102
        return self.project(self.vit(pixels)[:, 0])
