"""Next-token prediction in the manner of a language model: discrete codes per patch, and a transformer over them.

    L = w_r * |G(q(E(frame))) - frame|^2  -  mean_t,i log p(c_t+1,i | c_t+1,<i, a_t, c_t, ...),   c_t = q(E(frame_t))

A frame is a word of N codes (one for each 16 x 16 px, finite scalar quantisation), an action is one more token, and
the transformer predicts one code after the other. After VQ-VAE (1711.00937), IRIS (2209.00588) and Genie (2402.15391).
It gives what the others do not: exact log-likelihoods, and samples. The likelihood's gradient ends at the codes, so
the tokenizer learns to draw and the transformer to predict. See `docs/rivals.md`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.errors import ConfigError, ShapeError, check_shape
from openjepa.models.action_statistics import StandardisesActions
from openjepa.models.frame_encoder import CellEncoder, FrameEncoderConfig
from openjepa.models.picture_decoder import CELL, CellDecoder, pixel_error, to_pictures
from openjepa.models.quantizer import ScalarQuantizer
from openjepa.models.token_transformer import TokenTransformer, TokenTransformerConfig
from openjepa.nn.host import to_device
from openjepa.nn.random import global_stream, keyed_generator
from openjepa.protocols import JEPALoss, TrajectoryBatch


@dataclass(frozen=True)
class NextTokenConfig:
    """Options of the next-token model.

    Attributes:
        action_dim: width A of a model action (frameskip times the environment's).
        encoder: `conv`; its convolutions, without the dense layer, are the tokenizer's encoder.
        levels: of the quantiser; their product is the vocabulary, their number the width D of a code.
        predictor: the transformer.
        decoder_width: channels of a decoded cell, a multiple of 4.
        decoded_frames: frames of a window that the tokenizer draws in a step; None is all.
        tokenizer_steps: steps in which the tokenizer learns; then it is frozen. None is always.
        predictor_start: first step in which the transformer learns.
        reconstruction_weight: of the squared error of pixels in [-1, 1], > 0.
        seed: of initial weights and of everything drawn in a step.
    """

    action_dim: int = 2
    encoder: FrameEncoderConfig = field(default_factory=FrameEncoderConfig)
    levels: tuple[int, ...] = (8, 5, 5, 5)
    predictor: TokenTransformerConfig = field(default_factory=TokenTransformerConfig)
    decoder_width: int = 64
    decoded_frames: int | None = 3
    tokenizer_steps: int | None = None
    predictor_start: int = 0
    reconstruction_weight: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.encoder.kind != "conv":
            raise ConfigError(f"`encoder.kind` must be conv: its cells are the patches; got {self.encoder.kind}.")
        if min(self.action_dim, self.decoder_width) < 1 or min(self.seed, self.predictor_start) < 0:
            raise ConfigError("`action_dim` and `decoder_width` must be >= 1, `seed` and `predictor_start` >= 0.")
        if self.decoded_frames is not None and self.decoded_frames < 1:
            raise ConfigError(f"`decoded_frames` must be at least 1, or None for all; got {self.decoded_frames}.")
        if self.tokenizer_steps is not None and self.tokenizer_steps < max(1, self.predictor_start):
            raise ConfigError(
                f"`tokenizer_steps` must be at least 1 and reach `predictor_start` {self.predictor_start}, else "
                f"nothing would learn in between; got {self.tokenizer_steps}."
            )
        if self.reconstruction_weight <= 0:
            raise ConfigError(f"`reconstruction_weight` must be above 0; got {self.reconstruction_weight}.")

    @property
    def num_tokens(self) -> int:
        """Codes N of a frame."""
        return (self.encoder.image_size // CELL) ** 2


class NextToken(StandardisesActions):
    """A `Method` that trains, and a `WorldModel` whose states [N, D] are the codes of a frame.

    Args:
        config: the options.
    """

    def __init__(self, config: NextTokenConfig) -> None:
        super().__init__(config.action_dim)
        self.config = config
        width, code_dim = config.predictor.embed_dim, len(config.levels)
        with global_stream(config.seed):
            self.context_encoder = CellEncoder(config.encoder, code_dim)
            self.norm = nn.BatchNorm2d(code_dim, affine=False)  # else small things share the code of an empty patch
            self.quantizer = ScalarQuantizer(config.levels)
            self.cell_in = nn.Conv2d(code_dim, config.decoder_width, 1)
            self.decoder = CellDecoder(config.decoder_width)
            self.code_in = nn.Linear(code_dim, width)
            self.action_in = nn.Linear(config.action_dim, width)
            self.slots = nn.Parameter(0.02 * torch.randn(config.num_tokens + 1, width))  # the last one is the action
            self.predictor = TokenTransformer(config.predictor)
            self.head = nn.Linear(width, self.quantizer.num_codes)

    # ---------------------------------------------------------------------------------------------- world model

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """Frames [B, T, 3, H, W] uint8 to their codes [B, T, N, D]; proprioception is not looked at."""
        check_shape(frames, "B T C H W", name="frames")
        cells = self.norm(self.context_encoder(frames.flatten(0, 1)))  # [B * T, D, h, w]
        cells = self.quantizer(cells.movedim(1, -1))
        return cells.flatten(1, 2).unflatten(0, frames.shape[:2])

    @torch.no_grad()
    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """See `WorldModel.rollout`: the likeliest code of every patch, one after the other; no gradient passes."""
        return self._generate(z, actions, lambda logits: logits.argmax(-1))

    @torch.no_grad()
    def sample(
        self, z: Tensor, actions: Tensor, *, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws one future; arguments and result as for `rollout`.

        Args:
            z: context codes [B, T, N, D].
            actions: [B, T - 1 + H, A].
            temperature: divides the logits, > 0; towards 0 it is `rollout`.
            generator: the random numbers.
        """
        if temperature <= 0:
            raise ConfigError(f"`temperature` must be above 0; got {temperature}. `rollout` takes the likeliest codes.")

        def draw(logits: Tensor) -> Tensor:
            return torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator).squeeze(-1)

        return self._generate(z, actions, draw)

    def decode(self, z: Tensor) -> Tensor:
        """The pictures [..., 3, H, W] uint8 of codes [..., N, D]."""
        return to_pictures(self._paint(z))

    def log_likelihood(self, frames: Tensor, actions: Tensor) -> Tensor:
        """Exact log-probability [B, T - 1] in nats of the codes of each frame but the first, given those before."""
        return -self._negative_log_likelihood(self.encode(frames), self._standardised(actions)).sum(-1)

    @torch.no_grad()
    def surprise(self, frames: Tensor, actions: Tensor) -> Tensor:
        """Negative log-likelihood [B, T - 1] in nats of each frame [B, T, 3, H, W] but the first."""
        return -self.log_likelihood(frames, actions)

    # ------------------------------------------------------------------------------------------------- training

    def loss(self, batch: TrajectoryBatch, step: int) -> JEPALoss:
        """Returns the weighted sum and the unweighted terms of windows of T frames at step number `step`."""
        c = self.config
        sizes = check_shape(batch.frames, "B T C H W", name="frames")
        if sizes["T"] < 2:
            raise ShapeError(f"`frames` must hold at least 2 time steps to predict; got {sizes['T']}.")
        check_shape(batch.actions, f"B={sizes['B']} T={sizes['T'] - 1} A={c.action_dim}", name="actions")
        nothing = torch.zeros((), device=batch.frames.device)
        terms, loss = {"reconstruction": nothing, "next_token": nothing}, nothing
        if c.tokenizer_steps is None or step < c.tokenizer_steps:
            shown = batch.frames[:, to_device(self._shown(sizes["T"], step), batch.frames.device)]
            terms["reconstruction"] = pixel_error(self._paint(self.encode(shown)), shown).mean()
            loss = loss + c.reconstruction_weight * terms["reconstruction"]
        if step >= c.predictor_start:
            with torch.no_grad():
                z = self.encode(batch.frames)
            terms["next_token"] = self._negative_log_likelihood(z, self._standardised(batch.actions)).mean()
            loss = loss + terms["next_token"]
        return JEPALoss(loss, {name: term.detach() for name, term in terms.items()})

    # ---------------------------------------------------------------------------------------------------- parts

    def _paint(self, z: Tensor) -> Tensor:
        """Codes [..., N, D] to pictures [..., 3, H, W] in [-1, 1]."""
        side = self.config.encoder.image_size // CELL
        cells = z.flatten(0, -3).movedim(-1, 1).unflatten(-1, (side, side))  # [B, D, h, w]
        return self.decoder(functional.relu(self.cell_in(cells))).unflatten(0, z.shape[:-2])

    def _shown(self, steps: int, step: int) -> Tensor:
        """The frames of `steps` that the tokenizer draws in step number `step`, ascending."""
        generator = keyed_generator(self.config.seed, step)
        order = torch.randperm(steps, generator=generator)
        return order[: self.config.decoded_frames].sort().values

    def _tokens(self, z: Tensor, actions: Tensor) -> Tensor:
        """Embeds frames and what was done after each: [B, T, N, D] and [B, T, A] to [B, T, N + 1, W]."""
        action = self.action_in(actions).unsqueeze(2)
        return torch.cat([self.code_in(z), action], 2) + self.slots

    def _negative_log_likelihood(self, z: Tensor, actions: Tensor) -> Tensor:
        """Of each code of each frame but the first [B, T - 1, N], in nats."""
        tokens = z.shape[2]
        frames = torch.arange(z.shape[1]).repeat_interleave(tokens + 1)
        stream = self._tokens(z, functional.pad(actions, (0, 0, 0, 1))).flatten(1, 2)  # the last action is never read
        hidden = self.predictor(stream[:, :-2], frames[:-2])[:, tokens:]  # from the first action on
        hidden = functional.pad(hidden, (0, 0, 0, 1)).unflatten(1, (-1, tokens + 1))[:, :, :-1]
        logits = self.head(hidden).float()  # [B, T - 1, N, K]
        target = self.quantizer.index(z[:, 1:])
        return functional.cross_entropy(logits.flatten(0, 2), target.flatten(), reduction="none").view(target.shape)

    def _generate(self, z: Tensor, actions: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """Writes frames code by code; `choose` takes logits [B, K] to numbers [B]."""
        tokens = self.config.num_tokens
        sizes = check_shape(z, f"B T N={tokens} D={len(self.config.levels)}", name="z")
        check_shape(actions, f"B T A={self.config.action_dim}", name="actions", sizes={"B": sizes["B"]})
        known, context = sizes["T"], self.config.predictor.context_len
        if actions.shape[1] < known:
            raise ConfigError(f"`actions` must hold at least {known} steps for {known} states; got {actions.shape[1]}.")
        actions = self._standardised(actions)
        first = max(0, known - 1 - context * self.config.predictor.depth)  # what no later token can feel
        stream = self._tokens(z[:, first:], actions[:, first:known]).flatten(1, 2)
        numbers = torch.arange(first, known).repeat_interleave(tokens + 1)
        capacity = stream.shape[1] + (context + 2) * (tokens + 1)
        hidden, cache = self.predictor.read(stream, numbers, self.predictor.start(len(z), capacity, stream))
        path: list[Tensor] = []
        for t in range(known, actions.shape[1] + 1):
            cache = cache.without_frames_before(t - context)
            number = torch.full((1,), t)
            codes: list[Tensor] = []
            for i in range(tokens):
                codes.append(self.quantizer.codes(choose(self.head(hidden[:, -1]).float())))  # [B, D]
                token = (self.code_in(codes[-1]) + self.slots[i]).unsqueeze(1)
                if i < tokens - 1:
                    hidden, cache = self.predictor.read(token, number, cache)
            path.append(torch.stack(codes, 1))
            if t < actions.shape[1]:
                action = (self.action_in(actions[:, t]) + self.slots[-1]).unsqueeze(1)
                last = torch.cat([token, action], 1)  # one call for two tokens
                hidden, cache = self.predictor.read(last, number.repeat(2), cache)
        return torch.stack(path, 1)
