"""Several futures for any world model: its encoder, with a branching predictor on its frozen latents.

A method that was trained with one future (or reconstructs pixels, or predicts tokens) needs no option of its own:
`add_futures` fits a network to its latents and returns a `protocols.BranchingModel` around it.
"""

import torch
from torch import Tensor, nn

from openjepa.errors import check_shape
from openjepa.heads.futures import FuturesConfig, FuturesNetwork
from openjepa.heads.futures_fitting import FuturesFitConfig, fit_futures
from openjepa.heads.futures_rollout import roll_futures, roll_likely
from openjepa.protocols import Futures, WorldModel


class WithFutures(nn.Module):
    """A world model whose rollouts branch; it sees as the wrapped one does.

    Args:
        model: any world model; its own `rollout` is not used.
        network: fitted to its latents, all tokens of a state joined.
        action_mean: [A], in the environment's units.
        action_std: [A], > 0.
    """

    action_mean: Tensor
    action_std: Tensor

    def __init__(self, model: WorldModel, network: FuturesNetwork, action_mean: Tensor, action_std: Tensor) -> None:
        super().__init__()
        self.model, self.network = model, network
        self.register_buffer("action_mean", action_mean)
        self.register_buffer("action_std", action_std)
        self.eval()

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """See `WorldModel.encode`."""
        return self.model.encode(frames, proprio)

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """The most probable future; see `WorldModel.rollout`."""
        tokens = check_shape(z, "B T N D", name="z")["N"]
        return roll_likely(self.network, z.flatten(2), self._standardised(actions)).unflatten(2, (tokens, -1))

    def rollout_futures(self, z: Tensor, actions: Tensor, *, num_futures: int, generator: torch.Generator) -> Futures:
        """See `BranchingModel.rollout_futures`."""
        tokens = check_shape(z, "B T N D", name="z")["N"]
        moves = self._standardised(actions)
        path, weights = roll_futures(self.network, z.flatten(2), moves, num_futures=num_futures, generator=generator)
        return Futures(path.unflatten(3, (tokens, -1)), weights)

    def _standardised(self, actions: Tensor) -> Tensor:
        return (actions - self.action_mean) / self.action_std


def add_futures(
    model: WorldModel,
    latents: Tensor,
    actions: Tensor,
    config: FuturesConfig,
    options: FuturesFitConfig,
    *,
    generator: torch.Generator,
    context_len: int = 1,
) -> WithFutures:
    """Fits a branching predictor to the latents of any world model.

    Args:
        model: in evaluation mode.
        latents: [E, T, N, D] of whole training episodes, by its `encode`.
        actions: [E, T - 1, A] in the environment's units.
        config: of the network.
        options: of the fit.
        generator: for initial weights, batches and noise.
        context_len: states that the network sees.
    """
    flat = actions.flatten(0, 1)
    mean, std = flat.mean(0), flat.std(0)
    std = torch.where(std > 1e-6, std, torch.ones_like(std))
    network = fit_futures(
        latents, (actions - mean) / std, config, options, generator=generator, context_len=context_len
    )
    return WithFutures(model, network, mean, std)
