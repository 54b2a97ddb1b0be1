"""Latent dynamics on top of any frozen encoder: the same for every rival, so that only representations differ.

States of a trained model are flattened to one token and standardised; a new predictor is learned on cached latents
of whole episodes (`methods.refine`). Planners, costs and heads then see one kind of world, whoever made the latents.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from openjepa.errors import check_shape
from openjepa.heads.fitting import Standardize, seeded
from openjepa.methods.lewm import LeWMConfig
from openjepa.methods.refine import RefineConfig, refine_predictor
from openjepa.models.latent_predictor import LatentPredictorConfig, build_predictor
from openjepa.models.latent_rollout import roll_out
from openjepa.models.latent_states import FrameState


class FrozenWorld(nn.Module):
    """A `WorldModel` made of a frozen encoder and a predictor of its own; states have one token (N = 1).

    Args:
        model: has `encode`, and `rollout` where its own dynamics are to be used.
        latents: [E, T, N, D] of training episodes, which set the scale.
        actions: [E, T - 1, A] of the same episodes, likewise.
        predictor: shape of the new predictor.
        generator: of its first weights.
    """

    action_mean: Tensor
    action_std: Tensor
    scene_dim = 0  # nothing in a state is known to stay

    def __init__(
        self,
        model: Any,
        latents: Tensor,
        actions: Tensor,
        predictor: LatentPredictorConfig,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        sizes = check_shape(latents, "E T N D", name="latents")
        self.tokens, self.dim = sizes["N"], sizes["D"]
        width = self.tokens * self.dim
        self.states = FrameState(width)
        self.config = LeWMConfig(action_dim=actions.shape[-1], embed_dim=width, predictor=predictor)
        self.model = model
        self.standardize = Standardize(self.tokens * self.dim)
        self.standardize.measure(latents.flatten(2))
        std = actions.flatten(0, 1).std(0)
        self.register_buffer("action_mean", actions.flatten(0, 1).mean(0))
        self.register_buffer("action_std", torch.where(std > 1e-6, std, torch.ones_like(std)))
        with seeded(generator):
            self.predictor = build_predictor(predictor, self.tokens * self.dim, actions.shape[-1])

    def flat(self, z: Tensor) -> Tensor:
        """States of the model [B, T, N, D] as states of this world [B, T, 1, N * D]."""
        return self.standardize(z.flatten(2)).unsqueeze(2)

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """See `WorldModel.encode`."""
        return self.flat(self.model.encode(frames, proprio))

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """See `WorldModel.rollout`; Markov, so only the last known state is read."""
        moves = (actions - self.action_mean) / self.action_std
        return roll_out(self.predict, z.squeeze(2), moves, context_len=1).unsqueeze(2)

    def predict(self, z: Tensor, actions: Tensor) -> Tensor:
        """One step: states [B, T, N * D] and standardised actions [B, T, A] to the next states."""
        return self.predictor(z, actions)

    def learn(self, latents: Tensor, actions: Tensor, config: RefineConfig, *, generator: torch.Generator) -> None:
        """Trains the predictor on latents of the model [E, T, N, D] and actions [E, T - 1, A]."""
        with torch.no_grad():
            states = self.flat(latents)
        refined = refine_predictor(cast(Any, self), states, actions, config, generator=generator)
        self.predictor = refined.predictor


class OwnDynamics(nn.Module):
    """The same world with the dynamics that the model itself was trained with.

    Args:
        world: with a model that has `rollout`.
    """

    def __init__(self, world: FrozenWorld) -> None:
        super().__init__()
        self.world = world

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """See `WorldModel.encode`."""
        return self.world.encode(frames, proprio)

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """See `WorldModel.rollout`."""
        own = self.world.standardize.inverse(z.squeeze(2)).unflatten(-1, (self.world.tokens, self.world.dim))
        return self.world.flat(self.world.model.rollout(own, actions))
