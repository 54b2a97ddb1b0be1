"""Teaches a trained world model to remember: a recurrent state over frozen latents, for what pictures do not show.

Every window of the recorded episodes is read twice over: along what was seen, so that each of its moments remembers
those before, and from each of these moments ahead, in imagination. Poses must be foretold; what serves that is kept.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from openjepa.errors import ConfigError, check_shape
from openjepa.heads.fitting import check_episodes, fit, seeded
from openjepa.methods.lewm import LeWM
from openjepa.methods.refine import RefineConfig, Windows, measure_scale, unit_of
from openjepa.models.latent_memory import MemoryPredictor, carried_on

DROPPED = ("predictor.", "target_encoder.")  # parts of the model that are not taken over
CONTEXT = 12  # states of a window that are seen, and from each of which a rollout begins


def learn_memory(
    model: LeWM,
    latents: Tensor,
    actions: Tensor,
    config: RefineConfig,
    *,
    generator: torch.Generator,
    lengths: Tensor | None = None,
) -> LeWM:
    """Returns a copy of a model, in evaluation mode, whose states remember `config.memory_dim` numbers.

    Args:
        model: with pairs as states; it is left as it was.
        latents: [E, T, 1, 2 D] of whole training episodes.
        actions: [E, T - 1, A] in the environment's units.
        config: the options; `batch_size` counts rollouts, several of which begin in one window.
        generator: for initial weights and batches.
        lengths: [E] number of states of each episode, T by default.

    Raises:
        ConfigError: for other states than pairs.
    """
    sizes = check_shape(latents, "E T N=1 D", name="latents")
    check_shape(actions, f"E={sizes['E']} T={sizes['T'] - 1} A", name="actions")
    if model.config.state != "pair" or model.memory_dim or config.predictor is None:
        raise ConfigError("a memory is learned with a new `predictor`, by a model of `state` pair without one.")
    with seeded(generator):
        found = LeWM(replace(model.config, memory_dim=config.memory_dim, predictor=config.predictor, target="encoder"))
    kept = {name: value for name, value in model.state_dict().items() if not name.startswith(DROPPED)}
    found.load_state_dict(kept, strict=False)
    predictor, pose_dim = found.predictor, model.config.embed_dim
    assert isinstance(predictor, MemoryPredictor)
    known = check_episodes(latents, lengths)
    known, z, actions = known[known >= 2], latents.detach()[known >= 2], actions[known >= 2]
    if config.predictor.scaled:
        measure_scale(found, z, known)
    unit = unit_of(found, z[..., :pose_dim])
    moves = (actions - model.action_mean) / model.action_std
    windows = Windows(known, CONTEXT + config.rollout - 1)
    ahead = min(config.rollout, windows.length)
    starts = windows.length + 1 - ahead  # states of a window from which so many steps can be imagined
    rows = -(-config.batch_size // starts)

    def loss() -> Tensor:
        episode, first = windows.draw(rows, generator)
        steps = first[:, None] + torch.arange(windows.length + 1)
        inside = steps < windows.lengths[episode, None]  # [B, W]
        steps = steps.clamp(max=z.shape[1] - 1)
        action = moves[episode[:, None], steps[:, :-1].clamp(max=moves.shape[1] - 1)]
        pose = z[episode[:, None], steps, :, :pose_dim]  # [B, W, 1, D]
        way = torch.cat([torch.zeros_like(pose[:, :1]), pose.diff(dim=1)], 1)  # before a window nothing moved
        drawn = torch.randn(pose.shape, generator=generator)
        strayed = pose + config.noise * unit * drawn * torch.rand(len(pose), pose.shape[1], 1, 1, generator=generator)
        blank = pose.new_zeros(*pose.shape[:-1], config.memory_dim)
        seen = carried_on(torch.cat([strayed, way, blank], -1), action, found._carry)
        state, errors, counted = seen[:, :starts, 0], [], []
        for k in range(ahead):
            state = predictor(state, action[:, k : starts + k])
            off = (state[..., :pose_dim] - pose[:, 1 + k : starts + k + 1, 0]) / unit
            counts = inside[:, 1 + k : starts + k + 1]
            each = functional.smooth_l1_loss(off, torch.zeros_like(off), beta=0.1, reduction="none").mean(-1)
            errors.append((each * counts).sum())
            counted.append(counts.sum())
        return torch.stack(errors).sum() / torch.stack(counted).sum()

    fit(predictor, loss, steps=config.steps, lr=config.lr, weight_decay=config.weight_decay)
    return found.eval()
