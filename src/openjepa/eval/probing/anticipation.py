"""Anticipation probes: what will happen, read from a clip's features, from predicted ones, and from both.

After the EK100 protocol of V-JEPA 2 (arXiv 2506.09985): the encoder sees a clip that ends some time before the
labelled moment, the frozen predictor is asked for the tokens of that moment, and an attentive probe reads the
encoder's tokens, the predicted ones, or the one behind the other. All three are shown, because the predictor
is worth its cost only where `both` beats `context`; and each stands beside random weights of both networks.

It differs from the protocol in the label, one class for each clip instead of verb, noun and action with a
focal loss, and in the score, accuracy instead of class-mean recall at 5.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from openjepa.errors import ConfigError, check_shape
from openjepa.eval.probing.attentive_probe import AttentiveTrainConfig, attentive_probe
from openjepa.eval.probing.frozen_encoder import FrozenEncoder, check_finite, check_uint8
from openjepa.eval.probing.frozen_probes import (
    FrozenProbeConfig,
    LabelledSet,
    ProbeReport,
    ProbeRow,
    read_sets,
    without_probe,
)
from openjepa.models.masked_predictor import MaskedPredictor
from openjepa.models.vit import VisionTransformer
from openjepa.nn.patch_embed import normalize_pixels

Source = Literal["context", "future", "both"]
SOURCES: tuple[Source, ...] = ("context", "future", "both")
EK100_DECAYS = (1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class Forecaster:
    """A frozen encoder of clips and its predictor.

    Attributes:
        encoder: of clips; a `VisionTransformer` inside.
        predictor: the one that was trained with it.
        mask_token: which mask token asks: 0 is the trained one, 1 that of the published EK100 probes.
        num_latent: latent frames that are predicted, >= 1; the protocol has 1.
    """

    encoder: FrozenEncoder
    predictor: MaskedPredictor
    mask_token: int = 0
    num_latent: int = 1

    def __post_init__(self) -> None:
        network, config = self.encoder.network, self.predictor.config
        if not isinstance(network, VisionTransformer) or not network.config.is_video:
            raise ConfigError("`encoder` must be a V-JEPA encoder of clips; it is another network.")
        if config.in_dim != network.config.embed_dim:
            raise ConfigError(
                f"`predictor` must read features of width {network.config.embed_dim}, as the encoder gives; "
                f"it reads {config.in_dim}. Take both from one checkpoint."
            )

    @torch.inference_mode()
    def forecast(self, clips: Tensor, ahead: int) -> tuple[Tensor, Tensor]:
        """Encodes clips and predicts what is `ahead` frames behind their end.

        Args:
            clips: [B, T, C, H, W] uint8; T is a multiple of the tubelet.
            ahead: frames, of the clip's own rate, between its end and the first predicted frame, >= 0.

        Returns:
            the encoder's tokens [B, N, D] and the predicted ones [B, Q, D'], D' <= D channels of the last level.
        """
        check_shape(clips, "B T C H W", name="clips")
        check_uint8(clips)
        network: Any = self.encoder.network
        device = torch.device(self.encoder.device)
        if ahead < 0:
            raise ConfigError(f"`ahead` must be >= 0 frames; got {ahead}.")
        with torch.autocast(device.type, torch.bfloat16, enabled=self.encoder.precision == "bf16"):
            pixels = normalize_pixels(clips.to(device), self.encoder.mean, self.encoder.std)
            tokens = network.tokenize(pixels)
            levels = self.predictor.config.num_levels
            if levels > 1:
                outputs = network.levels(tokens, layers=network.config.level_layers[-levels:])
                z, context = torch.cat(outputs, -1), outputs[-1]
            else:
                z = context = network.encode(tokens)
            (t, h, w), batch = tokens.grid, len(clips)
            first = t + ahead // network.config.tubelet_size
            grid = self._grid(first + self.num_latent, h, w)
            context_idx = torch.arange(t * h * w, device=device).expand(batch, -1)
            target_idx = torch.arange(first * h * w, (first + self.num_latent) * h * w, device=device)
            future = self.predictor(z, context_idx, target_idx.expand(batch, -1), grid=grid, mask_token=self.mask_token)
        return check_finite(context.float()), check_finite(future[..., -context.shape[-1] :].float())

    def untrained(self, seed: int = 0) -> "Forecaster":
        """The same networks with random weights: the control."""
        predictor = copy.deepcopy(self.predictor).cpu()
        predictor.init_weights(torch.Generator().manual_seed(seed + 1))
        return replace(self, encoder=self.encoder.untrained(seed), predictor=predictor.to(self.encoder.device))

    def _grid(self, frames: int, h: int, w: int) -> tuple[int, int, int]:
        """The grid that token numbers refer to: as long as asked for, or the native one where positions are a table."""
        config = self.predictor.config
        if config.positions == "rope":
            return frames, h, w
        if frames > config.grid[0]:
            raise ConfigError(
                f"`ahead` must stay within the {config.grid[0]} latent frames that the predictor has positions for; "
                f"it asks for frame {frames}. Give fewer frames of context, or look less far ahead."
            )
        return config.grid[0], h, w


@dataclass(frozen=True)
class AnticipationConfig:
    """How far ahead, and the grid of heads.

    Attributes:
        ahead: frames between the end of a clip and the labelled moment, >= 0; a tubelet or more for anything new.
        batch_size: clips encoded together, >= 1.
        attentive: the grid of heads; the default is EK100's 20.
        sources: what is probed, of `context`, `future` and `both`.
        seed: of random weights and of the heads.
    """

    ahead: int = 8
    batch_size: int = 16
    attentive: AttentiveTrainConfig = field(default_factory=lambda: AttentiveTrainConfig(weight_decays=EK100_DECAYS))
    sources: tuple[Source, ...] = SOURCES
    seed: int = 0

    def __post_init__(self) -> None:
        if self.ahead < 0 or self.batch_size < 1:
            raise ConfigError(f"`ahead` must be >= 0 and `batch_size` >= 1; got {self.ahead} and {self.batch_size}.")
        if not self.sources or not set(self.sources) <= set(SOURCES):
            raise ConfigError(f"`sources` must be of {', '.join(SOURCES)}; got {self.sources}.")


def anticipate_arrays(
    forecaster: Forecaster,
    train: LabelledSet,
    test: LabelledSet,
    config: AnticipationConfig | None = None,
    *,
    control: Forecaster | None = None,
    progress: Callable[[str], None] | None = None,
) -> ProbeReport:
    """Probes clips in memory whose labels lie in their future.

    Args:
        forecaster: encoder and predictor.
        train: clips that end `config.ahead` frames before the labelled moment, and labels.
        test: likewise.
        config: how far ahead, and the grid.
        control: drawn from `config.seed` where None.
        progress: called with a line for each thing that begins.
    """
    config = config or AnticipationConfig()
    control = control or forecaster.untrained(config.seed)
    say = progress or (lambda line: None)
    heads = replace(config.attentive, seed=config.seed)
    found: dict[Source, list[tuple[float, float]]] = {source: [] for source in config.sources}
    for name, networks in (("model", forecaster), ("random init", control)):
        say(f"{name}: encoding {len(train.labels) + len(test.labels)} clips")
        x, test_x = (_features(networks, s.pixels, config) for s in (train, test))
        for source in config.sources:
            say(f"{name}: attentive probe of {source}")
            scores = attentive_probe(x[source], train.labels, test_x[source], test.labels, heads)
            found[source].append((scores.accuracy, scores.best_on_test))
    rows = tuple(ProbeRow(source, s[0][0], s[1][0], s[0][1]) for source, s in found.items())
    return ProbeReport(rows, len(train.labels), len(test.labels), **without_probe(train, test))


def run_anticipation(
    forecaster: Forecaster,
    files: FrozenProbeConfig,
    config: AnticipationConfig,
    *,
    fps: float,
    progress: Callable[[str], None] | None = None,
) -> ProbeReport:
    """Probes labelled videos: the label is what happens at a video's end, the clip ends `config.ahead` frames earlier.

    Args:
        forecaster: encoder and predictor.
        files: videos, split, and size; its probes are not used.
        config: how far ahead, and the grid.
        fps: frames per second of a clip; `files.num_frames` of them are read.
        progress: called with a line for each thing that begins.
    """
    train, test, damaged = read_sets(files, times=ClipBeforeTheEnd(files.num_frames, config.ahead, fps))
    return replace(anticipate_arrays(forecaster, train, test, config, progress=progress), damaged=damaged)


@dataclass(frozen=True)
class ClipBeforeTheEnd:
    """Moments of a clip that ends some frames before the last one of a video; a short video repeats its first."""

    num_frames: int
    ahead: int
    fps: float

    def __call__(self, seconds: float) -> np.ndarray:
        """Moments [T] in seconds of a video that lasts `seconds`."""
        back = np.arange(self.num_frames - 1, -1, -1) + self.ahead + 0.5
        return np.maximum(seconds - back / self.fps, 0.0)


def _features(networks: Forecaster, clips: Tensor, config: AnticipationConfig) -> dict[Source, Tensor]:
    """Tokens of every source in half precision on the CPU, [N, L, D] each."""
    parts = [networks.forecast(part, config.ahead) for part in clips.split(config.batch_size)]
    context, future = (torch.cat([pair[i].half().cpu() for pair in parts]) for i in (0, 1))
    found: dict[Source, Tensor] = {"context": context, "future": future}
    if "both" in config.sources:
        if future.shape[-1] != context.shape[-1]:
            raise ConfigError(
                f"`sources` cannot have both for predicted features of width {future.shape[-1]} behind those of "
                f"width {context.shape[-1]}. Probe context and future."
            )
        found["both"] = torch.cat((context, future), 1)
    return found
