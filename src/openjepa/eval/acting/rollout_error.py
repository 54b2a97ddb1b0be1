"""How far imagination strays: open-loop rollouts read out by a probe, in the units of the world.

Errors in a latent's own units do not compare between latents. So every predicted state is read out by the probe of
its latent and compared with the truth, beside three marks: the probe on the real frame at that time (its floor), the
state of the start kept (copying), and a rollout under shuffled actions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.data.whole_episodes import recorded
from openjepa.errors import ConfigError, check_shape
from openjepa.protocols import WorldModel


@dataclass(frozen=True)
class RolloutError:
    """Mean Euclidean error in the world's unit at each horizon 1 ... H.

    Attributes:
        predicted: of the rollout, read out by the probe.
        floor: of the probe on the real frame.
        copied: of the read-out of the first frame, kept.
        shuffled: of a rollout under the actions of other episodes.
    """

    predicted: tuple[float, ...]
    floor: tuple[float, ...]
    copied: tuple[float, ...]
    shuffled: tuple[float, ...]


@torch.no_grad()
def rollout_error(
    model: WorldModel,
    read: Callable[[Tensor], Tensor],
    z: Tensor,
    actions: Tensor,
    truth: Tensor,
    *,
    horizon: int = 16,
    starts: tuple[int, ...] = (0,),
    lengths: Tensor | None = None,
) -> RolloutError:
    """Rolls out from some states of held-out episodes.

    Args:
        model: a Markov world model.
        read: the probe, flattened states [B, N * D] to read-outs [B, P].
        z: [E, T, N, D] encoded episodes.
        actions: [E, T - 1, A].
        truth: [E, T, P], such as positions.
        horizon: steps H.
        starts: steps from which rollouts begin.
        lengths: [E] states of each episode that count; a shorter one is judged as far as it goes. All if None.
    """
    sizes = check_shape(z, "E T N D", name="z")
    valid = recorded(lengths, sizes["E"], sizes["T"])
    longest = int(valid.sum(1).max())
    if max(starts) + horizon >= longest:
        raise ConfigError(f"`horizon` must end within {longest} states; got {horizon} from step {max(starts)}.")

    def errors(states: Tensor, wanted: Tensor) -> Tensor:
        found = read(states.flatten(2).flatten(0, 1)).unflatten(0, states.shape[:2])
        return (found - wanted).norm(dim=-1)  # [E, H]

    parts: dict[str, list[Tensor]] = {"predicted": [], "floor": [], "copied": [], "shuffled": []}
    counts: list[Tensor] = []
    for start in starts:
        later = slice(start + 1, start + 1 + horizon)
        moves, wanted = actions[:, start : start + horizon], truth[:, later]
        first = z[:, start : start + 1]
        counts.append(valid[:, later])
        parts["predicted"].append(errors(model.rollout(first, moves), wanted))
        parts["shuffled"].append(errors(model.rollout(first, moves.roll(1, 0)), wanted))
        parts["floor"].append(errors(z[:, later], wanted))
        parts["copied"].append(errors(first.expand(-1, horizon, -1, -1), wanted))
    counted = torch.cat(counts)  # [E * starts, H]
    means = {
        name: tuple(torch.where(counted, torch.cat(rows), 0).sum(0).div(counted.sum(0)).tolist())
        for name, rows in parts.items()
    }
    return RolloutError(**means)
