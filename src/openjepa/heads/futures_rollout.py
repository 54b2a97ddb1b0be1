"""Rollouts with several futures: particles with log-weights that branch at every step.

As long as the tree of futures has no more leaves than there are places, it is enumerated and every weight is exact.
Beyond that, the least probable leaves are resampled with low variance and without duplicates (optimal resampling,
Fearnhead and Clifford 2003): leaves above a threshold keep their weight, of the others a few are kept with the
threshold as their weight, so that all expectations stay unbiased.

Every random number is drawn once per step and shared by all rows: equal rows get equal futures.
"""

import torch
from torch import Tensor

from openjepa.heads.futures import Ensemble, FuturesNetwork, MixtureHeads, VariationalHeads
from openjepa.nn.host import to_device


def roll_likely(network: FuturesNetwork, z: Tensor, actions: Tensor) -> Tensor:
    """The most probable next state at every step, [R, H, D]; arguments as in `roll_futures`.

    Greedy: the most probable path of a tree may differ from the path of the most probable steps.
    """
    past, moves, context = _start(network, z, actions)
    path = []
    for t in range(context - 1, actions.shape[1]):
        z_next = network.likely(past, moves(t))
        past = torch.cat([past[:, 1:], z_next[:, None]], 1)
        path.append(z_next)
    return torch.stack(path, 1)


def roll_futures(
    network: FuturesNetwork, z: Tensor, actions: Tensor, *, num_futures: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Rolls particles through a network.

    Args:
        network: of any kind. A path of an ensemble belongs to one member; of a variational one, to one series of
            draws.
        z: [R, T, D] context states.
        actions: [R, T - 1 + H, A] as the network is to see them.
        num_futures: F, places for particles, >= 1.
        generator: on the CPU.

    Returns:
        Paths [R, F, H, D] and normalised log-weights [R, F]; minus infinity marks an empty place.
    """
    past, moves, context = _start(network, z, actions)
    past, log_weights = past[:, None], past.new_zeros(len(past), 1)  # [R, F, C, D], [R, F]
    states, parents = list[Tensor](), list[Tensor]()
    min_prob = network.config.min_prob if not isinstance(network, (Ensemble, VariationalHeads)) else 0.0
    for t in range(context - 1, actions.shape[1]):
        count = past.shape[1]
        action = moves(t)[:, None].expand(-1, count, -1, -1).flatten(0, 1)
        noise = _noise(network, z, num_futures, generator)
        found = network.branches(past.flatten(0, 1), action, noise)
        z_next = found.z.unflatten(0, (-1, count))  # [R, F, K, D]
        log_probs = _without_rare(found.log_probs, min_prob).unflatten(0, (-1, count))  # [R, F, K]
        own = _own_branch(network, min(num_futures, z_next.shape[2]) if t == context - 1 else count, z.device)
        if own is not None:  # every particle goes on along its own branch
            keep = own.expand(len(z), -1)
            weights = log_weights if t > context - 1 else log_probs[:, 0].gather(1, keep)
            log_weights = weights - torch.logsumexp(weights, 1, keepdim=True)
            parent = own.expand_as(keep) if t > context - 1 else torch.zeros_like(keep)
            chosen = z_next[torch.arange(len(z), device=z.device)[:, None], parent, keep]
        else:
            # Ordered by branch, so that systematic resampling takes each branch by its share.
            children = (log_weights[..., None] + log_probs).transpose(1, 2).flatten(1)  # [R, K * F]
            uniform = to_device(torch.rand((), generator=generator), children)
            index, log_weights = resample(children, num_futures, uniform)
            parent = index % count
            ordered = z_next.transpose(1, 2).flatten(1, 2)  # [R, K * F, D]
            chosen = ordered.gather(1, index[..., None].expand(-1, -1, z.shape[-1]))
        carried = past.gather(1, parent[..., None, None].expand(-1, -1, *past.shape[2:]))
        past = torch.cat([carried[:, :, 1:], chosen[:, :, None]], 2)
        states.append(chosen)
        parents.append(parent)
    return _trace(states, parents), log_weights


def resample(log_weights: Tensor, num_kept: int, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Keeps at most `num_kept` of the leaves of each row, unbiased and with low variance.

    Args:
        log_weights: [R, M], normalised.
        num_kept: F.
        uniform: one number in [0, 1), shared by all rows.

    Returns:
        Indices [R, min(F, M)] in rising order, and their log-weights, normalised; where fewer leaves are alive, empty
        places have minus infinity.
    """
    rows, leaves = log_weights.shape
    if leaves <= num_kept:
        return torch.arange(leaves, device=log_weights.device).expand(rows, -1), log_weights
    weights = log_weights.double().exp()
    threshold = _threshold(weights, num_kept)  # [R, 1]
    share = torch.where(weights > threshold, 1.0, weights / threshold.clamp_min(1e-300))  # chance to be kept
    small = torch.where(weights > threshold, 0.0, share)
    # Systematic: leaf i is kept where the running sum of the small ones passes uniform + an integer.
    high = (small.cumsum(1) - uniform.double() + 1 - 1e-9).floor()
    picked = torch.diff(high, dim=1, prepend=high.new_zeros(rows, 1)) > 0
    kept = torch.where((weights > threshold) | picked, torch.maximum(weights, threshold), 0.0)
    kept = torch.where(weights > 0, kept, 0.0)
    best, index = kept.topk(num_kept, dim=1)
    index, order = index.sort(1)
    best = best.gather(1, order)
    return index, (best / best.sum(1, keepdim=True)).log().to(log_weights)


def _threshold(weights: Tensor, num_kept: int) -> Tensor:
    """The c with sum_i min(w_i / c, 1) = F; 0 where no more than F leaves are alive. [R, M] to [R, 1]."""
    high = weights.sort(1, descending=True).values
    rest = high.sum(1, keepdim=True) - high.cumsum(1) + high  # [R, M], weight from the i-th on
    places = num_kept - torch.arange(weights.shape[1], device=weights.device)
    candidates = rest / places.clamp_min(1)
    # The first i leaves are kept for certain; c is right for the first i whose own weight does not exceed it.
    fits = (high <= candidates) & (places > 0)
    first = fits.double().argmax(1, keepdim=True)
    alive = (weights > 0).sum(1, keepdim=True)
    return torch.where(alive <= num_kept, 0.0, candidates.gather(1, first))


def _start(network: FuturesNetwork, z: Tensor, actions: Tensor):
    """The first window [R, C, D], and a function that returns the actions [R, C, A] before step t + 1."""
    context, seen = z.shape[1], network.context_len

    def index(t: int) -> Tensor:
        return torch.arange(t + 1 - seen, t + 1, device=z.device).clamp_min(0)

    return z[:, index(context - 1)].float(), lambda t: actions[:, index(t)], context


def _noise(network: FuturesNetwork, z: Tensor, draws: int, generator: torch.Generator) -> Tensor | None:
    if isinstance(network, MixtureHeads):
        return to_device(torch.randn(network.config.num_futures, z.shape[-1], generator=generator), z.device)
    if isinstance(network, VariationalHeads):
        return to_device(torch.randn(draws, network.config.latent_dim, generator=generator), z.device)
    return None


def _own_branch(network: FuturesNetwork, count: int, device: torch.device) -> Tensor | None:
    """The branch of each particle, where particles do not branch: members of an ensemble, draws of a prior."""
    if not isinstance(network, (Ensemble, VariationalHeads)):
        return None
    return torch.arange(count, device=device)


def _without_rare(log_probs: Tensor, min_prob: float) -> Tensor:
    kept = log_probs.masked_fill(log_probs.exp() < min_prob, -torch.inf)
    return kept - torch.logsumexp(kept, -1, keepdim=True)


def _trace(states: list[Tensor], parents: list[Tensor]) -> Tensor:
    """Follows every last particle back to its beginning: [R, F, H, D]."""
    path, index = [states[-1]], parents[-1]
    for t in range(len(states) - 2, -1, -1):
        path.append(states[t].gather(1, index[..., None].expand(-1, -1, states[t].shape[-1])))
        index = parents[t].gather(1, index)
    return torch.stack(path[::-1], 2)
