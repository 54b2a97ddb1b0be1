"""A frozen encoder as the evaluations see it: uint8 pictures or clips in, a grid of tokens out.

Encoders of clips are bidirectional, so features of a whole clip that are cut into "past" and "future" leak
the future. `per_frame` and `prefixes` do not: they never show the network what comes later.
"""

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError, DataError, ShapeError, check_shape
from openjepa.nn.patch_embed import IMAGENET_MEAN, IMAGENET_STD, normalize_pixels

Pooling = Literal["mean", "dense", "class"]


@dataclass(frozen=True)
class FrozenEncoder:
    """A network and what one must know to feed it.

    Attributes:
        network: normalised pictures [B, C, H, W] or clips [B, T, C, H, W] to tokens [B, P + N, D].
        takes_clips: whether it takes clips.
        patch_size: pixels of a patch's side.
        tubelet_size: frames of a token; 1 for pictures.
        num_prefix_tokens: tokens P before the patches that the output still has (a class token).
        mean: of the normalisation, per channel, on a scale of 0 to 1.
        std: likewise.
        device: where the network is.
        precision: `bf16` computes under autocast, `fp32` does not.
    """

    network: Callable[[Tensor], Tensor]
    takes_clips: bool
    patch_size: int
    tubelet_size: int = 1
    num_prefix_tokens: int = 0
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    device: str = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"

    @torch.inference_mode()
    def tokens(self, pixels: Tensor) -> Tensor:
        """Encodes pictures or clips whole; what comes out is finite.

        Args:
            pixels: [B, C, H, W] or [B, T, C, H, W] uint8. A network of pictures sees every frame alone; a
                network of clips sees a picture repeated to one tubelet, and a last frame repeated to fill
                one.

        Returns:
            float32 [B, t, h, w, D].

        Raises:
            ShapeError: for pixels that are not uint8.
            DataError: where the network gives NaN or infinity.
        """
        return self._patches(*self._run(pixels), len(pixels))

    @torch.inference_mode()
    def summary_and_tokens(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """One vector per sample [B, D], the class token where there is one, else the mean, and all tokens."""
        out, grid = self._run(pixels)
        tokens = self._patches(out, grid, len(pixels))
        if self.num_prefix_tokens:
            return out[:, 0].float().unflatten(0, (len(pixels), -1)).mean(1), tokens
        return tokens.flatten(1, 3).mean(1), tokens

    @torch.inference_mode()
    def pooled(self, pixels: Tensor, pooling: Pooling = "mean") -> Tensor:
        """One vector per sample [B, D]: the mean of the tokens, or the class token."""
        if pooling == "mean":
            return self.tokens(pixels).flatten(1, 3).mean(1)
        if pooling != "class" or not self.num_prefix_tokens:
            raise ConfigError(f"`pooling` must be mean for an encoder without a class token; got {pooling}.")
        out, _ = self._run(pixels)
        return out[:, 0].float().unflatten(0, (len(pixels), -1)).mean(1)

    def per_frame(self, clips: Tensor) -> Tensor:
        """Encodes every frame alone: [B, T, C, H, W] to [B, T, h, w, D]."""
        check_shape(clips, "B T C H W", name="clips")
        tokens = self.tokens(clips.flatten(0, 1))  # [B * T, 1, h, w, D]
        return tokens[:, 0].unflatten(0, clips.shape[:2])

    def prefixes(self, clips: Tensor) -> Tensor:
        """Encodes, for each latent frame, the clip up to it, and keeps that latent frame: [B, t, h, w, D].

        Costs t forward passes, the mean of them half as long as the clip. A network of pictures has no past
        to look at: each frame alone.
        """
        check_shape(clips, "B T C H W", name="clips")
        if not self.takes_clips:
            return self.per_frame(clips)
        ends = range(self.tubelet_size, clips.shape[1] + 1, self.tubelet_size)
        if not ends:
            raise ConfigError(
                f"a prefix needs `tubelet_size` {self.tubelet_size} frames; the clips have {clips.shape[1]}."
            )
        return torch.stack([self.tokens(clips[:, :end])[:, -1] for end in ends], 1)

    def untrained(self, seed: int = 0) -> "FrozenEncoder":
        """The same network with random weights: the control that every probe needs."""
        network: Any = copy.deepcopy(self.network)
        if not hasattr(network, "init_weights"):
            raise ConfigError(
                "a control needs a network that can draw fresh weights by `init_weights(generator)`; got "
                f"{type(network).__name__}. Hand the control in."
            )
        cpu = network.cpu()
        cpu.init_weights(torch.Generator().manual_seed(seed))
        return replace(self, network=cpu.to(self.device))

    def fingerprint(self) -> str:
        """A short hash of weights and settings, to notice that another model goes on with old work."""
        settings = {k: v for k, v in self.__dict__.items() if k not in ("network", "device")}
        digest = hashlib.blake2b(repr(settings).encode(), digest_size=8)
        if isinstance(self.network, nn.Module):
            for name, value in self.network.state_dict().items():
                digest.update(name.encode())
                digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def _patches(self, out: Tensor, grid: tuple[int, int, int], batch: int) -> Tensor:
        """Output of the network without its prefix, float32 [B, t, h, w, D]."""
        patches = out[:, self.num_prefix_tokens :]
        if patches.shape[1] != grid[0] * grid[1] * grid[2]:
            raise ConfigError(
                f"the encoder must give {grid[0] * grid[1] * grid[2]} tokens for "
                f"{grid[0]}x{grid[1]}x{grid[2]} patches; got {patches.shape[1]}. Check `patch_size`, "
                "`tubelet_size` and `num_prefix_tokens`."
            )
        return patches.float().reshape(batch, -1, grid[1], grid[2], out.shape[-1])

    def _run(self, pixels: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
        """Output of the network, a row per clip (per frame if it takes pictures), and the grid of a row."""
        x = pixels if pixels.ndim == 5 else pixels[:, None]
        sizes = check_shape(x, "B T C H W", name="pixels")
        height, width = sizes["H"] // self.patch_size, sizes["W"] // self.patch_size
        if not self.takes_clips:
            return self._forward(x.flatten(0, 1)), (1, height, width)
        missing = -sizes["T"] % self.tubelet_size
        x = torch.cat([x, x[:, -1:].expand(-1, missing, -1, -1, -1)], 1)
        return self._forward(x), (x.shape[1] // self.tubelet_size, height, width)

    def _forward(self, pixels: Tensor) -> Tensor:
        check_uint8(pixels)
        x = normalize_pixels(pixels.to(self.device, non_blocking=True), self.mean, self.std)
        weights = self.network.parameters() if isinstance(self.network, nn.Module) else iter(())
        x = x.to(next((w.dtype for w in weights), x.dtype))
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.precision == "bf16"):
            return check_finite(self.network(x))


def check_uint8(pixels: Tensor) -> None:
    """Refuses pixels of another type, which might be on a scale of 0 to 1.

    Raises:
        ShapeError: naming the type.
    """
    if pixels.dtype != torch.uint8:
        raise ShapeError(f"`pixels` must be uint8 on a scale of 0 to 255; got {pixels.dtype}.")


def check_finite(features: Tensor) -> Tensor:
    """Returns features [B, ...] that are finite; a number that was read from others would be wrong in silence.

    Raises:
        DataError: for NaN or infinity.
    """
    if not features.isfinite().all():
        bad = int((~features.flatten(1).isfinite()).any(1).sum())
        raise DataError(
            f"features must be finite; the encoder gives NaN or infinity for {bad} of {len(features)} inputs. Its "
            "weights are damaged, or too large for this precision."
        )
    return features


def frozen(network: Any, *, device: str = "cpu", precision: Literal["fp32", "bf16"] = "fp32") -> FrozenEncoder:
    """Wraps a `VisionTransformer`, or a network with a `config` of the same names, in evaluation mode.

    Args:
        network: has `config.patch_size`, `config.tubelet_size`, `config.is_video` and `config.class_token`.
        device: where it goes.
        precision: `bf16` computes under autocast.
    """
    return watched(network.to(device).eval().requires_grad_(False), device=device, precision=precision)


def watched(network: Any, *, device: str = "cpu", precision: Literal["fp32", "bf16"] = "fp32") -> FrozenEncoder:
    """The same without touching the network, for one that is still being trained; put it into evaluation mode."""
    config = network.config
    return FrozenEncoder(
        network,
        takes_clips=config.is_video,
        patch_size=config.patch_size,
        tubelet_size=config.tubelet_size if config.is_video else 1,
        num_prefix_tokens=int(config.class_token),
        device=device,
        precision=precision,
    )


def encoder_of(method: Any) -> Any:
    """The network of a method that is used after training: its target encoder where it has one.

    Raises:
        ConfigError: for a method without an encoder.
    """
    for name in ("target_encoder", "context_encoder", "encoder"):
        network = getattr(method, name, None)
        if network is not None and not isinstance(network, nn.Identity):  # a part that is switched off
            return network
    raise ConfigError(f"a method must have an encoder that can be probed; {type(method).__name__} has none.")
