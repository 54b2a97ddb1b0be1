"""Pictures that show the last action, such as an arrow for a torque, and a critic that must not look at it.

In play that holds its actions for a while, two moments with the same arrow are often near in time. A distance that is
learned from time then reads the arrow instead of the way, and the picture of a goal shows no arrow. Where one latent
tells the action that led to it, the critic is therefore fitted on states that the world model imagines under other
actions: the same moments, each with an arrow of its own, which tells nothing.
"""

from dataclasses import replace

import torch
from torch import Tensor

from openjepa.data.whole_episodes import recorded
from openjepa.eval.health.foretelling import shown_action
from openjepa.heads.fitting import valid_states
from openjepa.methods.lewm import LeWM
from openjepa.recipes.remembered_play import Memory

COPIES = 3  # of every episode, each with other actions
AT_ONCE = 8192  # states that are imagined at once


def last_action_r2(model: LeWM, memory: Memory) -> float:
    """R2 of the best-told part of an action in the latent of the picture after it; 0 where actions are choices."""
    if model.config.categories:
        return 0.0
    poses = memory.latents[:, :, 0, : model.config.embed_dim]
    return shown_action(poses, memory.actions, recorded(memory.lengths, *poses.shape[:2])) or 0.0


@torch.no_grad()
def under_other_actions(model: LeWM, memory: Memory, generator: torch.Generator) -> Memory:
    """The same episodes with every state imagined from the one before under an action drawn from all; `COPIES` times.

    The first state of an episode is left as it was, and for a model with a velocity the second one too: nobody saw what
    led to them.

    Args:
        model: with a refined predictor.
        memory: the training episodes.
        generator: of the drawing.

    Returns:
        Poses [COPIES * E, T, 1, D] without velocities, with the actions and lengths of the episodes that they are of.
    """
    latents, first = memory.latents, 1 + model.states.memory
    played = valid_states(memory.actions.unsqueeze(2), memory.lengths - 1).squeeze(1)  # [S, A]
    before = latents[:, first - 1 : -1].flatten(0, 1)  # [E * (T - first), 1, D]
    copies: list[Tensor] = []
    for _ in range(COPIES):
        drawn = played[torch.randint(len(played), (len(before),), generator=generator)]
        parts = zip(before.split(AT_ONCE), drawn.split(AT_ONCE), strict=True)
        after = torch.cat([model.rollout(z.unsqueeze(1), a.unsqueeze(1))[:, 0] for z, a in parts])
        copies.append(torch.cat([latents[:, :first], after.view(len(latents), -1, *latents.shape[2:])], 1))
    poses = torch.cat(copies)[..., : model.config.embed_dim]
    return replace(
        memory,
        latents=poses,
        actions=memory.actions.repeat(COPIES, 1, 1),
        lengths=memory.lengths.repeat(COPIES),
        states=None,
    )
