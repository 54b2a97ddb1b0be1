"""What an encoder sees: the first three principal components of its tokens as colours, beside the picture."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from openjepa.data.images import read_image
from openjepa.data.video_file import write_video
from openjepa.data.videos import is_picture, open_video
from openjepa.errors import ConfigError, DataError, check_shape
from openjepa.eval.probing.frozen_encoder import FrozenEncoder


@dataclass(frozen=True)
class FeaturesConfig:
    """What is drawn.

    Attributes:
        path: a picture or a video.
        output: `.png` for a picture, `.mp4` or `.gif` for a video; None puts it beside the input.
        size: side given to the encoder in pixels; finer maps for larger ones.
        num_frames: frames of a video, >= 2, spread evenly over it.
        fps: frames per second of the video written.
    """

    path: Path = Path()
    output: Path | None = None
    size: int = 256
    num_frames: int = 16
    fps: int = 8

    def __post_init__(self) -> None:
        if self.size < 1 or self.num_frames < 2 or self.fps < 1:
            raise ConfigError(
                f"`size` and `fps` must be >= 1, `num_frames` >= 2; got {self.size}, {self.fps}, {self.num_frames}."
            )


@dataclass(frozen=True)
class FeaturesReport:
    """Where the drawing is, the grid (t, h, w) of tokens, and the share of variance that its colours hold."""

    output: Path
    grid: tuple[int, int, int]
    explained: float

    def text(self) -> str:
        """Returns one line for a terminal."""
        t, h, w = self.grid
        return f"{self.output}: {t}x{h}x{w} tokens, {100 * self.explained:.0f} % of their variance in three colours"


def run_features(encoder: FrozenEncoder, config: FeaturesConfig) -> FeaturesReport:
    """Draws the picture or video on the left and its feature map on the right.

    Raises:
        DataError: where the file cannot be decoded.
    """
    if not config.path.is_file():
        found = "it is a folder" if config.path.exists() else "there is no such file"
        raise DataError(f"`{config.path}` must be a picture or a video; {found}. Give one file.")
    size = max(config.size // encoder.patch_size, 1) * encoder.patch_size
    if is_picture(config.path):
        frames = read_image(config.path, size)[None]  # [1, C, H, W]
    else:
        with open_video(config.path, str(config.path), min_frames=2) as video:
            times = (np.arange(config.num_frames) + 0.5) * video.seconds / config.num_frames
            frames = video.read(times, size)
    pixels = torch.from_numpy(frames)
    tokens = encoder.tokens(pixels if is_picture(config.path) else pixels[None])
    tokens = tokens.flatten(0, 1) if is_picture(config.path) else tokens[0]  # [t, h, w, D]
    colors, explained = pca_colors(tokens)
    repeated = colors.repeat_interleave(-(-len(frames) // len(colors)), 0)[: len(frames)]
    maps = torch.nn.functional.interpolate(repeated.permute(0, 3, 1, 2), (size, size), mode="bilinear")
    drawn = torch.cat([pixels, (255 * maps).round().to(torch.uint8)], 3).numpy()  # [T, 3, H, 2 W]
    output = config.output or config.path.with_name(
        f"{config.path.stem}_features{'.png' if len(frames) == 1 else '.mp4'}"
    )
    _save(output, drawn, config.fps)
    return FeaturesReport(output, (tokens.shape[0], tokens.shape[1], tokens.shape[2]), explained)


def pca_colors(tokens: Tensor) -> tuple[Tensor, float]:
    """Projects tokens on their first three principal components, each stretched to 0 ... 1.

    Args:
        tokens: [t, h, w, D], all frames together, so that a colour means the same in each.

    Returns:
        Colours [t, h, w, 3], the 2nd and 98th percentile at 0 and 1; and the share of the variance they hold.
    """
    check_shape(tokens, "t h w D", name="tokens")
    flat = tokens.flatten(0, 2).double()
    flat = flat - flat.mean(0)
    values, vectors = torch.linalg.eigh(flat.T @ flat)  # ascending
    axes = vectors[:, -3:].flip(1)
    if axes.shape[1] < 3:
        axes = torch.nn.functional.pad(axes, (0, 3 - axes.shape[1]))
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    axes = axes * torch.where(largest < 0, -1.0, 1.0)  # an axis has no sign of its own; fix one
    scores = flat @ axes
    ends = torch.quantile(scores[:: max(1, len(scores) // 100_000)], torch.tensor([0.02, 0.98]).double(), dim=0)
    colors = ((scores - ends[0]) / (ends[1] - ends[0]).clamp_min(1e-12)).clamp(0, 1)
    explained = float(values[-3:].sum() / values.sum().clamp_min(1e-12))
    return colors.float().unflatten(0, tokens.shape[:3]), explained


def _save(output: Path, frames: np.ndarray, fps: int) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix.lower() in (".mp4", ".mkv", ".webm"):
        write_video(output, frames, fps=fps, codec="libvpx-vp9" if output.suffix == ".webm" else "libx264")
        return
    if output.suffix.lower() not in (".png", ".gif", ".jpg", ".webp"):
        raise ConfigError(f"`output` must end in .png, .gif or .mp4; got {output.name}.")
    pictures = [Image.fromarray(f.transpose(1, 2, 0)) for f in frames]
    if output.suffix.lower() == ".gif" and len(pictures) > 1:
        pictures[0].save(output, save_all=True, append_images=pictures[1:], duration=1000 // fps, loop=0)
    else:
        pictures[0].save(output)
