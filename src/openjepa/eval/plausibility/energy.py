"""Energy over time: how badly a model foresees each part of a clip. The higher, the stranger.

Every judge has the same verbs, so that models and controls are treated alike: `positions(T)`, the frames that
energies belong to; `scan(T)`, which takes frames as they come (`scans`); `energies(clips)`, the same for clips in
memory, one row per context length (or horizon); `untrained(seed)`, the same architecture with fresh weights. For
masked predictors this is the protocol of 2502.11831: windows of C + M frames, every second start, several context
lengths C, the mean absolute error to layer-normalised targets over all tokens to come. Windows are never padded
(padding lowers energies by a clip's length): the last one ends with the clip.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError, DataError
from openjepa.eval.plausibility.scans import CausalScan, ChangeScan, MaskedScan, Scan, WholeScan, window_starts
from openjepa.eval.probing.frozen_encoder import check_finite
from openjepa.methods.causal_jepa import CausalJEPA
from openjepa.models.masked_predictor import MaskedPredictor
from openjepa.models.vit import VisionTransformer
from openjepa.nn.patch_embed import normalize_pixels
from openjepa.nn.tokens import gather_tokens, normalize_features, normalize_levels

CONTEXT_SHARES = (2 / 16, 4 / 16, 6 / 16, 8 / 16, 10 / 16)  # of a window, as published


@runtime_checkable
class EnergyModel(Protocol):
    """What can say how surprising a clip is.

    Attributes:
        name: in words, for reports.
        window: fewest frames of a clip that it can judge.
        size: side of its pictures in pixels; None for any.
        rows: a name for each row of energies, such as a context length.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def window(self) -> int: ...  # noqa: D102

    @property
    def size(self) -> int | None: ...  # noqa: D102

    @property
    def rows(self) -> tuple[str, ...]: ...  # noqa: D102

    def positions(self, length: int) -> np.ndarray:
        """Returns the frame that each energy of a clip of `length` frames belongs to; [P] ascending."""
        ...

    def scan(self, length: int) -> Scan:
        """Begins to judge clips of `length` frames each, which are handed over in parts."""
        ...

    def energies(self, clips: Tensor) -> np.ndarray:
        """Returns the energies of clips [B, T, 3, H, W] uint8; [B, K, P], NaN where a row has none.

        Raises:
            DataError: where the networks give NaN or infinity, which would pass for a row that has none.
        """
        ...

    def untrained(self, seed: int) -> "EnergyModel":
        """Returns a judge of the same architecture that has learned nothing."""
        ...


class Judge:
    """Judging in parts and judging whole, each by way of the other: a judge writes one of the two.

    One that writes `energies` keeps the frames of a clip until they are all there.
    """

    rows: tuple[str, ...]

    def scan(self, length: int) -> Scan:
        """Begins to judge clips of `length` frames."""
        return WholeScan(length, len(self.rows), self.energies)

    def energies(self, clips: Tensor) -> np.ndarray:
        """Energies [B, K, P] of clips [B, T, 3, H, W] uint8."""
        return self.scan(clips.shape[1]).add(clips)


class MaskedEnergy(Judge):
    """Energies of a masked predictor (V-JEPA 2, 2.1): a point for each window, a row for each context length.

    Args:
        context_encoder: sees the first frames of a window.
        target_encoder: sees all of it; the same network where a file holds one only.
        predictor: fills in the rest.
        window: frames C + M of a window; the encoder's own number where None.
        contexts: frames C, multiples of the tubelet; shares of the window as published where None.
        batch_size: windows computed at once.
    """

    def __init__(
        self,
        context_encoder: VisionTransformer,
        target_encoder: VisionTransformer,
        predictor: MaskedPredictor,
        *,
        window: int | None = None,
        contexts: Sequence[int] | None = None,
        batch_size: int = 8,
        name: str = "model",
    ) -> None:
        config = context_encoder.config
        if not config.is_video:
            raise ConfigError("the encoder must take clips to foresee frames; this one takes pictures.")
        tubelet = config.tubelet_size
        self.name, self.window, self.size = name, window or config.num_frames, int(min(config.img_size))
        shares = [max(tubelet, int(self.window * share) // tubelet * tubelet) for share in CONTEXT_SHARES]
        self.contexts = tuple(sorted(set(contexts or shares)))
        if any(c % tubelet or not 0 < c < self.window for c in self.contexts) or self.window % tubelet:
            raise ConfigError(
                f"`contexts` must be multiples of the tubelet of {tubelet} frames below the window of "
                f"{self.window}; got {self.contexts}."
            )
        self.rows = tuple(f"context {c}" for c in self.contexts)
        self.networks = (context_encoder.eval(), target_encoder.eval(), predictor.eval())
        self.batch_size = batch_size

    def positions(self, length: int) -> np.ndarray:
        """The middle of each window."""
        return np.array(window_starts(length, self.window)) + self.window // 2

    def scan(self, length: int) -> Scan:
        """Keeps the frames from the next window on."""
        return MaskedScan(length, self.window, len(self.rows), self.judge, self.batch_size)

    @torch.no_grad()
    def judge(self, windows: Tensor) -> Tensor:
        """Energies [N, K] of windows [N, C + M, 3, H, W] uint8."""
        context_encoder, target_encoder, predictor = self.networks
        device = next(predictor.parameters()).device
        pixels = normalize_pixels(windows.to(device))
        levels = len(target_encoder.config.level_layers)
        tokens = context_encoder.tokenize(pixels)
        if levels:
            whole = torch.cat(target_encoder.levels(target_encoder.tokenize(pixels)), -1).float()
            h = normalize_levels(whole, levels)  # [B, N, L * D]
        else:
            h = normalize_features(target_encoder(pixels).float())  # [B, N, D]
        per_frame = tokens.grid[1] * tokens.grid[2]
        order = torch.arange(tokens.grid[0] * per_frame, device=device).expand(len(pixels), -1)
        columns = []
        for context in self.contexts:
            known = context // context_encoder.config.tubelet_size * per_frame
            context_idx, target_idx = order[:, :known], order[:, known:]
            if levels:
                z = torch.cat(context_encoder.levels(tokens, context_idx), -1)
                z_pred, _ = predictor.predict_all(z, context_idx, target_idx, grid=tokens.grid)
            else:
                z = context_encoder.encode(tokens, context_idx)
                z_pred = predictor(z, context_idx, target_idx, grid=tokens.grid)
            columns.append((z_pred.float() - gather_tokens(h, target_idx)).abs().mean((1, 2)))
        return check_finite(torch.stack(columns, 1)).cpu()

    def untrained(self, seed: int) -> "MaskedEnergy":
        """The same networks with weights drawn anew; one encoder in both places, as at the start of training."""
        context, _, predictor = self.networks
        generator = torch.Generator().manual_seed(seed)
        encoder = VisionTransformer(context.config, generator=generator)
        fresh = MaskedPredictor(predictor.config, generator=generator)
        device = next(predictor.parameters()).device
        return MaskedEnergy(
            encoder.to(device), encoder.to(device), fresh.to(device),
            window=self.window, contexts=self.contexts, batch_size=self.batch_size, name=f"untrained {seed}",
        )  # fmt: skip


class CausalEnergy(Judge):
    """Energies of `CausalJEPA`: a point for each frame that is foretold, a row for each horizon.

    An error is divided by the error that the model expected, so the energy is about 1 where nothing is strange. Only
    horizons from half of the longest on are judged: a hiding outlasts the short ones, which see the return begin. A
    clip that is longer than the model's memory is judged in windows of it, every second start, and a frame has the
    mean over those windows that give it at least half of their memory (all of them near the clip's beginning).
    """

    def __init__(self, method: CausalJEPA, *, batch_size: int = 32, name: str = "model") -> None:
        self.method, self.batch_size, self.name = method.eval(), batch_size, name
        horizons = method.config.horizons
        self.first = next(i for i, k in enumerate(horizons) if 2 * k >= horizons[-1])
        self.window, self.size = horizons[-1] + 1, method.config.encoder.image_size
        self.rows = tuple(f"{k} ahead" for k in horizons[self.first :])

    def positions(self, length: int) -> np.ndarray:
        """Every frame that is foretold."""
        window_starts(length, self.window)
        return np.arange(self.method.config.horizons[self.first], length)

    def scan(self, length: int) -> Scan:
        """Keeps the first frame, and the latents from the next window on."""
        self.positions(length)
        config = self.method.config
        rows = slice(self.first, None)
        return CausalScan(
            length,
            config.context_len,
            config.horizons[rows],
            encode=self.encode,
            surprise=lambda z: self.method.surprise(z)[..., rows],
            batch_size=self.batch_size,
        )

    def encode(self, clips: Tensor) -> Tensor:
        """Latents of clips [B, T, 3, H, W] uint8; [B, T, D]."""
        return self.method.encode(clips.to(next(self.method.parameters()).device))

    def untrained(self, seed: int) -> "CausalEnergy":
        """The same networks with weights drawn anew."""
        fresh = CausalJEPA(replace(self.method.config, seed=seed))
        device = next(self.method.parameters()).device
        return CausalEnergy(fresh.to(device), batch_size=self.batch_size, name=f"untrained {seed}")


class OneStepJudge(Judge):
    """What judges every frame but the first by the one before."""

    rows = ("1 ahead",)
    window = 2

    def positions(self, length: int) -> np.ndarray:
        """Every frame but the first."""
        window_starts(length, self.window)
        return np.arange(1, length)


class RolloutEnergy(OneStepJudge):
    """Energies of any world model with `encode` and `rollout`: squared one-step errors, under given actions.

    Args:
        model: the world model.
        actions: [T - 1, A] taken between the frames, shared by all clips, or [B, T - 1, A].
        size: side of its pictures in pixels.
    """

    def __init__(self, model: Any, actions: Tensor, *, size: int | None = None, name: str = "model") -> None:
        self.model, self.actions, self.size, self.name = model, actions, size, name

    @torch.no_grad()
    def energies(self, clips: Tensor) -> np.ndarray:
        """Energies [B, 1, T - 1] of clips [B, T, 3, H, W] uint8."""
        actions = self.actions.expand(len(clips), *self.actions.shape[-2:])
        if actions.shape[1] != clips.shape[1] - 1:
            raise DataError(
                f"clips of {clips.shape[1]} frames need {clips.shape[1] - 1} actions; got {actions.shape[1]}."
            )
        z = self.model.encode(clips)
        z_pred = self.model.rollout(z[:, :-1].flatten(0, 1)[:, None], actions.flatten(0, 1)[:, None])[:, 0]
        errors = (z_pred - z[:, 1:].flatten(0, 1)).square().mean((1, 2))
        return check_finite(errors.view(len(clips), 1, -1)).cpu().numpy()

    def untrained(self, seed: int) -> "RolloutEnergy":
        """Not known for a model from elsewhere."""
        raise ConfigError("a world model from elsewhere must be built anew by its owner for an untrained control.")


class ChangeEnergy(OneStepJudge):
    """The controls without a predictor: how much each frame differs from the one before.

    Args:
        encode: clips [B, T, 3, H, W] uint8 to features [B, T, ...]; None compares pixels.
        name: in words.
        size: side of the pictures in pixels.
    """

    def __init__(self, encode: Any = None, *, name: str = "pixel difference", size: int | None = None) -> None:
        self.encode, self.name, self.size = encode, name, size

    def scan(self, length: int) -> Scan:
        """Keeps the features of the last frame, and the first frame."""
        self.positions(length)
        return ChangeScan(self.encode)

    def untrained(self, seed: int) -> "ChangeEnergy":
        """The same: there is nothing to learn."""
        return self


def copy_last(model: EnergyModel) -> ChangeEnergy | None:
    """Returns the control that expects each frame's latent to stay, in the encoder of a model; None without one."""
    if isinstance(model, CausalEnergy):
        return ChangeEnergy(model.encode, name="copy last frame", size=model.size)
    if isinstance(model, MaskedEnergy):
        encoder = model.networks[1]

        def still(clips: Tensor) -> Tensor:
            pixels = normalize_pixels(clips.to(next(encoder.parameters()).device))
            tubes = pixels.flatten(0, 1)[:, None].expand(-1, encoder.config.tubelet_size, -1, -1, -1)
            parts = [normalize_features(encoder(t).float()) for t in tubes.split(32)]
            return torch.cat(parts).unflatten(0, clips.shape[:2])

        return ChangeEnergy(still, name="copy last frame", size=model.size)
    return None


def energy_model(method: nn.Module, *, name: str = "model") -> EnergyModel:
    """Returns the judge that belongs to a method.

    Raises:
        ConfigError: for a method without a predictor of coming frames.
    """
    if isinstance(method, CausalJEPA):
        return CausalEnergy(method, name=name)
    context, predictor = getattr(method, "context_encoder", None), getattr(method, "predictor", None)
    if isinstance(context, VisionTransformer) and isinstance(predictor, MaskedPredictor) and context.config.is_video:
        return MaskedEnergy(context, getattr(method, "target_encoder", context), predictor, name=name)
    raise ConfigError(
        f"the model must have a predictor of coming frames to be surprised; {type(method).__name__} has none. "
        "Take a run of `openjepa train physics`, or a V-JEPA 2 file that holds its predictor."
    )


def nan_mean(x: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """Mean over what is there; NaN where nothing is."""
    there = ~np.isnan(x)
    count = there.sum(axis)
    return np.where(count > 0, np.where(there, x, 0).sum(axis) / np.maximum(count, 1), np.nan)
