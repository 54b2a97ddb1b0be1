"""Predictors with several futures: a latent variable says which one, and each future has a probability.

A deterministic predictor that is trained with squared error returns the mean of what can happen. Where the world
branches, that mean may be a state that cannot happen. Here the latent variable `latent_var` (LeCun 2022) has a few
values or a few dimensions, and what it holds is limited by that.

All are called as `branches(z [R, C, D], actions [R, C, A], noise) -> Branches` on windows of the last C states, and
trained by `objective`, which gives no gradient to the encoder: otherwise the encoder would remove the ambiguity
instead of the predictor learning it. Network and objective stand together, because two of the four kinds need
networks in training that prediction does not have.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.errors import ConfigError
from openjepa.heads.scoring import energy_score, mixture_log_likelihood, winner_take_all
from openjepa.nn.host import to_device

Kind = Literal["heads", "mixture", "ensemble", "variational"]


@dataclass(frozen=True)
class FuturesConfig:
    """Options of a predictor with several futures.

    Attributes:
        kind: `heads` (K heads, winner-take-all, with a router for their probabilities), `mixture` (of Gaussians),
            `ensemble` (K networks that see different data: knows what it has not seen, does not know branching) or
            `variational` (conditional VAE, K draws of its prior).
        num_futures: K, heads, components, members or draws; 2 to 4 suit most worlds.
        hidden_dim: width of the hidden layers.
        depth: hidden layers, >= 1.
        router_dim: width of the router's own hidden layers; a narrow one cannot learn by heart which way each sample
            went, which a coin's probability must not depend on.
        objective: of `heads`: `winner` (winner-take-all and cross-entropy of the router) or `energy` (energy score
            of the set, strictly proper; slower).
        relaxation: share of the loss by which all heads follow at first, in [0, 1).
        relaxation_steps: training steps within which that share falls to 0.
        balance_weight: of the router's mean against equal use of the heads; keep it small, it biases probabilities.
        merge: of `heads`: guesses closer than this many ordinary errors of the winner count as one, with the sum of
            their probabilities; where nothing is ambiguous, heads agree, and a tree of futures must not branch there.
        min_prob: futures less probable than this in a step are left out of it, in [0, 1 / K).
        latent_dim: width of `latent_var`, of `variational`.
        kl_weight: of its divergence from the prior.
        keep_share: share of the samples that each member of an `ensemble` sees, in (0, 1].
        weight: of this objective in the loss of the method that carries it, > 0.
    """

    kind: Kind = "heads"
    num_futures: int = 4
    hidden_dim: int = 128
    depth: int = 2
    router_dim: int = 32
    objective: Literal["winner", "energy"] = "winner"
    relaxation: float = 0.05
    relaxation_steps: int = 300
    balance_weight: float = 0.0
    merge: float = 6.0
    min_prob: float = 0.01
    latent_dim: int = 4
    kl_weight: float = 2e-3
    keep_share: float = 0.7
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.objective not in ("winner", "energy"):
            raise ConfigError(
                f"`kind` must be one of {', '.join(KINDS)} and `objective` winner or energy; got {self.kind} and "
                f"{self.objective}."
            )
        if min(self.num_futures, self.hidden_dim, self.depth, self.router_dim, self.latent_dim) < 1:
            raise ConfigError("`num_futures`, `hidden_dim`, `depth`, `router_dim` and `latent_dim` must be at least 1.")
        if not 0 <= self.relaxation < 1 or self.relaxation_steps < 0 or not 0 < self.keep_share <= 1:
            raise ConfigError("`relaxation` must be in [0, 1), `relaxation_steps` >= 0 and `keep_share` in (0, 1].")
        if not 0 <= self.min_prob < 1 / self.num_futures:
            raise ConfigError(f"`min_prob` must be in [0, 1 / `num_futures`); got {self.min_prob}.")
        if min(self.balance_weight, self.kl_weight, self.merge) < 0 or self.weight <= 0:
            raise ConfigError("`balance_weight`, `kl_weight` and `merge` must be >= 0 and `weight` > 0.")

    def relaxation_at(self, step: int) -> float:
        """The share of the loss by which all heads follow at a training step."""
        return self.relaxation * max(0.0, 1 - step / max(1, self.relaxation_steps))


class Branches(NamedTuple):
    """What may follow one step: z [R, K, D] and log_probs [R, K], normalised."""

    z: Tensor
    log_probs: Tensor


class BranchHeads(nn.Module):
    """K heads on one trunk, each a guess at the next state, and a router that says how probable each is."""

    error: Tensor

    def __init__(self, config: FuturesConfig, embed_dim: int, action_dim: int, context_len: int = 1) -> None:
        super().__init__()
        self.config, self.context_len = config, context_len
        self.trunk = _trunk(context_len * (embed_dim + action_dim), config)
        self.heads = nn.Linear(config.hidden_dim, config.num_futures * embed_dim)
        narrow = replace(config, hidden_dim=config.router_dim)
        self.router = nn.Sequential(
            _trunk(context_len * (embed_dim + action_dim), narrow), nn.Linear(config.router_dim, config.num_futures)
        )
        self.register_buffer("error", torch.zeros(1))  # ordinary distance of the winner to the truth

    def guesses(self, z: Tensor, actions: Tensor) -> Branches:
        """All K guesses with the router's probabilities."""
        flat = _flat(z, actions)
        change = self.heads(self.trunk(flat)).unflatten(-1, (self.config.num_futures, -1))  # [R, K, D]
        return Branches(z[:, -1:].float() + change, functional.log_softmax(self.router(flat), -1))

    def branches(self, z: Tensor, actions: Tensor, noise: Tensor | None = None) -> Branches:
        """The guesses, those that agree merged into the most probable of them; the noise is not used."""
        return merge_branches(self.guesses(z, actions), self.config.merge * self.error)

    def likely(self, z: Tensor, actions: Tensor) -> Tensor:
        """The most probable next state [R, D]."""
        found = self.branches(z, actions)
        return found.z[torch.arange(len(z), device=z.device), found.log_probs.argmax(-1)]

    def objective(
        self, z: Tensor, actions: Tensor, z_target: Tensor, *, step: int, generator: torch.Generator
    ) -> Tensor:
        """Loss of windows z [R, C, D] and actions [R, C, A] whose next state was z_target [R, D]; a scalar."""
        c, found = self.config, self.guesses(z, actions)
        if self.training:
            gap = (found.z.detach() - z_target.unsqueeze(1)).norm(dim=-1).amin(-1).median()
            self.error.copy_(gap if step == 0 else self.error.lerp(gap, 0.02))
        if c.objective == "energy":
            return energy_score(found.z, found.log_probs, z_target).mean()
        errors = (found.z - z_target.unsqueeze(1)).square().mean(-1)  # [R, K]
        loss, winner = winner_take_all(errors, c.relaxation_at(step))
        total = loss.mean() + functional.nll_loss(found.log_probs, winner)
        if c.balance_weight:
            share = found.log_probs.exp().mean(0)
            total = total + c.balance_weight * (share * (share * len(share)).clamp_min(1e-12).log()).sum()
        return total


def merge_branches(found: Branches, distance: Tensor) -> Branches:
    """Gives the probability of guesses [R, K, D] closer than a distance to the more probable one of them."""
    order = found.log_probs.argsort(-1, descending=True)  # [R, K]
    z = found.z.gather(1, order[..., None].expand_as(found.z))
    probs = found.log_probs.exp().gather(1, order)
    near = torch.cdist(z, z) <= distance  # [R, K, K]
    owner = near.float().argmax(-1)  # [R, K], the most probable guess within reach, perhaps itself
    merged = torch.zeros_like(probs).scatter_add(1, owner.gather(1, owner), probs)
    return Branches(z, merged.log())


class MixtureHeads(nn.Module):
    """A mixture of K Gaussians with diagonal covariance (mixture density network)."""

    def __init__(self, config: FuturesConfig, embed_dim: int, action_dim: int, context_len: int = 1) -> None:
        super().__init__()
        self.config, self.context_len = config, context_len
        self.trunk = _trunk(context_len * (embed_dim + action_dim), config)
        self.heads = nn.Linear(config.hidden_dim, config.num_futures * (2 * embed_dim + 1))

    def components(self, z: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means [R, K, D], log standard deviations [R, K, D] in [-4, 1] and log probabilities [R, K]."""
        out = self.heads(self.trunk(_flat(z, actions))).unflatten(-1, (self.config.num_futures, -1))
        change, log_std = out[..., :-1].chunk(2, -1)
        return z[:, -1:].float() + change, log_std.clamp(-4, 1), functional.log_softmax(out[..., -1], -1)

    def branches(self, z: Tensor, actions: Tensor, noise: Tensor | None = None) -> Branches:
        """One draw of every component, by noise [K, D] that is shared by all rows; the means without noise."""
        means, log_stds, log_probs = self.components(z, actions)
        return Branches(means if noise is None else means + log_stds.exp() * noise, log_probs)

    def likely(self, z: Tensor, actions: Tensor) -> Tensor:
        """The mean of the most probable component [R, D]."""
        means, _, log_probs = self.components(z, actions)
        return means[torch.arange(len(z), device=z.device), log_probs.argmax(-1)]

    def objective(
        self, z: Tensor, actions: Tensor, z_target: Tensor, *, step: int, generator: torch.Generator
    ) -> Tensor:
        """Negative log-likelihood per dimension; see `BranchHeads.objective`."""
        return -mixture_log_likelihood(*self.components(z, actions), z_target).mean() / z_target.shape[-1]


class Ensemble(nn.Module):
    """K deterministic networks, each trained on its own share of the samples: disagreement is ignorance."""

    def __init__(self, config: FuturesConfig, embed_dim: int, action_dim: int, context_len: int = 1) -> None:
        super().__init__()
        self.config, self.context_len = config, context_len
        width = context_len * (embed_dim + action_dim)
        self.members = nn.ModuleList(
            nn.Sequential(_trunk(width, config), nn.Linear(config.hidden_dim, embed_dim))
            for _ in range(config.num_futures)
        )

    def branches(self, z: Tensor, actions: Tensor, noise: Tensor | None = None) -> Branches:
        """The guess of every member, all equally probable."""
        flat = _flat(z, actions)
        change = torch.stack([member(flat) for member in self.members], 1)  # [R, K, D]
        log_probs = change.new_full(change.shape[:2], 1 / change.shape[1]).log()
        return Branches(z[:, -1:].float() + change, log_probs)

    def likely(self, z: Tensor, actions: Tensor) -> Tensor:
        """The mean of the members [R, D]."""
        return self.branches(z, actions).z.mean(1)

    def objective(
        self, z: Tensor, actions: Tensor, z_target: Tensor, *, step: int, generator: torch.Generator
    ) -> Tensor:
        """Squared error of every member on the samples that it sees; see `BranchHeads.objective`."""
        errors = (self.branches(z, actions).z - z_target.unsqueeze(1)).square().mean(-1)  # [R, K]
        seen = to_device(torch.rand(errors.shape, generator=generator), errors) < self.config.keep_share
        return (errors * seen).sum() / seen.sum().clamp_min(1)


class VariationalHeads(nn.Module):
    """Conditional VAE: the next state from state, action and a `latent_var` whose prior is N(0, I)."""

    def __init__(self, config: FuturesConfig, embed_dim: int, action_dim: int, context_len: int = 1) -> None:
        super().__init__()
        self.config, self.context_len = config, context_len
        width = context_len * (embed_dim + action_dim)
        self.posterior = nn.Sequential(
            _trunk(width + embed_dim, config), nn.Linear(config.hidden_dim, 2 * config.latent_dim)
        )
        self.decoder = nn.Sequential(_trunk(width + config.latent_dim, config), nn.Linear(config.hidden_dim, embed_dim))

    def branches(self, z: Tensor, actions: Tensor, noise: Tensor | None = None) -> Branches:
        """The states that draws [K, latent_dim] of the prior lead to, all equally probable."""
        latent_var = z.new_zeros(1, self.config.latent_dim) if noise is None else noise
        flat = _flat(z, actions)[:, None].expand(-1, len(latent_var), -1)
        draws = to_device(latent_var, flat).expand(len(z), -1, -1)
        z_next = z[:, -1:].float() + self.decoder(torch.cat([flat, draws], -1))
        return Branches(z_next, z_next.new_full(z_next.shape[:2], 1 / len(latent_var)).log())

    def likely(self, z: Tensor, actions: Tensor) -> Tensor:
        """The state at the middle of the prior [R, D]."""
        return self.branches(z, actions).z[:, 0]

    def objective(
        self, z: Tensor, actions: Tensor, z_target: Tensor, *, step: int, generator: torch.Generator
    ) -> Tensor:
        """Squared error after the posterior, and its divergence from the prior; see `BranchHeads.objective`."""
        flat, change = _flat(z, actions), z_target - z[:, -1].float()
        mean, log_var = self.posterior(torch.cat([flat, change], -1)).chunk(2, -1)
        log_var = log_var.clamp(-6, 3)
        noise = to_device(torch.randn(mean.shape, generator=generator), mean)
        guess = self.decoder(torch.cat([flat, mean + (0.5 * log_var).exp() * noise], -1))
        divergence = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1).mean()
        return functional.mse_loss(guess, change) + self.config.kl_weight * divergence


FuturesNetwork = BranchHeads | MixtureHeads | Ensemble | VariationalHeads
KINDS: dict[str, Any] = {
    "heads": BranchHeads,
    "mixture": MixtureHeads,
    "ensemble": Ensemble,
    "variational": VariationalHeads,
}


def build_futures(config: FuturesConfig, embed_dim: int, action_dim: int, context_len: int = 1) -> FuturesNetwork:
    """Builds the network that `config.kind` names, for windows of `context_len` states [D] and actions [A]."""
    return KINDS[config.kind](config, embed_dim, action_dim, context_len)


def futures_loss(
    network: FuturesNetwork, z: Tensor, actions: Tensor, *, step: int, generator: torch.Generator
) -> Tensor:
    """The objective over all transitions of clips; gives no gradient to the states.

    Args:
        network: of any kind.
        z: [B, T, D] states.
        actions: [B, T - 1, A] as the network is to see them.
        step: of the training.
        generator: of everything drawn in this step.
    """
    z = z.detach().float()
    past, moves = windows(z[:, :-1], actions.float(), network.context_len)
    target = z[:, 1:].flatten(0, 1)
    with torch.autocast(z.device.type, enabled=False):
        return network.objective(past, moves, target, step=step, generator=generator)


def windows(z: Tensor, actions: Tensor, context_len: int) -> tuple[Tensor, Tensor]:
    """The last states and actions before every step: [B, T, D] and [B, T, A] to [B * T, C, D] and [B * T, C, A].

    At the beginning of a clip the first state and its action are repeated.
    """
    steps = torch.arange(z.shape[1], device=z.device)
    past = torch.arange(1 - context_len, 1, device=z.device)
    index = (steps[:, None] + past).clamp_min(0)  # [T, C]
    return z[:, index].flatten(0, 1), actions[:, index].flatten(0, 1)


def _trunk(width: int, config: FuturesConfig) -> nn.Sequential:
    layers = list[nn.Module]()
    for _ in range(config.depth):
        layers += [nn.Linear(width, config.hidden_dim), nn.ReLU()]
        width = config.hidden_dim
    return nn.Sequential(*layers)


def _flat(z: Tensor, actions: Tensor) -> Tensor:
    return torch.cat([z.float().flatten(1), actions.float().flatten(1)], -1)
