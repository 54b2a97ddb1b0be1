"""Push-T for `states.py`: where the block is read from the latent and from what is imagined, and goals reached.

Everything is the recipe `openjepa train push-t`, whose options follow as `--option NAME VALUE`, such as
`method.dense_weight 0`. `push-t-supervised` is its supervised twin: the same encoder taught the true states, and the
same agent on what it says. Read-outs are linear, fitted on the training play and judged on held-out episodes, in px of
the table's 512 and degrees, medians over moments in which the block is not where the episode began.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openjepa import load_agent
from openjepa.data import split
from openjepa.data.whole_episodes import read_episodes
from openjepa.envs import make_policy
from openjepa.eval.acting.floors import PolicyPlayer
from openjepa.eval.acting.success_rate import JudgeConfig, evaluate
from openjepa.eval.health.collapse import encode_episodes
from openjepa.eval.intervals import wilson
from openjepa.eval.probing.probes import RidgeProbe
from openjepa.heads.fitting import fit
from openjepa.methods.lewm import LeWM
from openjepa.nn.random import keyed_generator
from openjepa.recipes.acting import finish, fit_to_act, make_agent
from openjepa.recipes.push_t import TABLE, PushTConfig, block_moved, build_push_t, draw_pairs, world_of
from openjepa.recipes.remembered_play import remember
from openjepa.recipes.world_model import open_store, with_seed
from openjepa.train import train

MOVED = 20.0  # px of 512 from which a block counts as moved
STEM = 45.0  # px from the body's origin to the centroid, along the stem


def push_t_states(
    config: PushTConfig, work: Path, run_dir: Path, seed: int, supervised: bool = False
) -> dict[str, Any]:
    """Trains, reads out and judges; see the module."""
    play = replace(config.play, data=config.play.data or work / f"push-t-{config.play.episodes}-seed{seed}")
    config = with_seed(replace(config, play=play, seed=seed))
    open_store(config).close()  # play is not learning
    began = time.process_time()
    if supervised:
        model = taught(config)
        agent = make_agent(config, fit_to_act(model, remember(model, config), config))
    else:
        experiment = build_push_t(config)
        train(experiment.method, experiment.source, config.train, run_dir)
        finish(config, run_dir)
        agent = load_agent(run_dir)
    learned = time.process_time() - began
    assert isinstance(agent.model, LeWM)
    found = read_outs(agent.model, config)
    for name, value in found.items():
        print(f"  {name}: {value:.1f}")
    pairs, make = draw_pairs(config), world_of(config)
    moved = block_moved(pairs)
    judged = JudgeConfig(budget=config.act.budget, stop_at_goal=False, batch_size=100, latency_pairs=0)
    world = make(1)
    random = PolicyPlayer(make_policy(config.floor, world.bounds), seed)
    world.close()
    rates: dict[str, Any] = {}
    for name, player in (("", agent), ("floor_", random)):
        outcomes = evaluate(player, make, pairs, judged).outcomes
        hits = np.array([outcome.success for outcome in outcomes])
        last = np.array([bool(outcome.success_at_end) for outcome in outcomes])
        rates |= {f"{name}success": hits.mean(), f"{name}moving": hits[moved].mean(), f"{name}last_step": last.mean()}
        if not name:
            interval = wilson(int(hits.sum()), len(hits))
            rates |= {"ci95": [interval.low, interval.high], "moving_pairs": int(moved.sum())}
    print(f"  {rates}")
    return {**{k: v if isinstance(v, list) else float(v) for k, v in rates.items()}, **found, "cpu_seconds": learned}


def taught(config: PushTConfig) -> LeWM:
    """The recipe's encoder with one linear layer to six numbers of the true state, learned from as many frames."""
    store = open_store(config)
    ids, _ = split(store, config.play.held_out, config.seed)
    batch = read_episodes(store, ids)
    assert batch.states is not None
    frames, wanted = batch.frames.flatten(0, 1), pose(batch.states.flatten(0, 1))
    actions = batch.actions.flatten(0, 1)
    sizes: dict[str, Any] = {"embed_dim": wanted.shape[1], "action_dim": actions.shape[1], "agent_dim": 0}
    model = LeWM(replace(config.method, **sizes, dense_weight=0.0, inverse_dynamics_weight=0.0))
    model.set_action_statistics(actions.mean(0), actions.std(0))
    generator, options = keyed_generator(config.seed, 9), config.train

    def loss() -> Tensor:
        rows = torch.randint(len(frames), (3 * config.batch_size,), generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            found = model.context_encoder(frames[rows])
        return (found.float() - wanted[rows]).square().mean()

    fit(model.context_encoder, loss, steps=options.steps, lr=options.lr, weight_decay=options.weight_decay)
    return model.eval()


def pose(states: Tensor) -> Tensor:
    """Pusher and block in units of 100 px from the middle, cosine and sine of the block's angle: [S, 6]."""
    angle = states[:, 4:5]
    return torch.cat([(states[:, :4] - TABLE / 2) / 100, angle.cos(), angle.sin()], -1).float()


@torch.no_grad()
def read_outs(model: LeWM, config: PushTConfig) -> dict[str, float]:
    """Median errors of pusher, block, centroid and angle: as encoded, and after 5 and 25 imagined steps."""
    memory = remember(model, config)
    assert memory.states is not None
    store = open_store(config)
    _, held_out = split(store, config.play.held_out, config.seed)
    other = remember_episodes(model, config, held_out)
    probe = RidgeProbe(memory.latents.flatten(0, 2), quantities(memory.states.flatten(0, 1)), ridge=1e-4)
    z, actions, states = other
    found: dict[str, float] = {}
    for steps in (0, 5, 25):
        starts = range(0, z.shape[1] - steps, 5)
        first = torch.cat([z[:, t] for t in starts])
        if steps:
            ways = torch.cat([actions[:, t : t + steps] for t in starts])
            seen = model.rollout(first.unsqueeze(1), ways)[:, -1, 0]
        else:
            seen = first[:, 0]
        goal = torch.cat([states[:, t + steps] for t in starts])
        before = torch.cat([states[:, t] if steps else states[:, 0] for t in starts])
        moved = (goal[:, 2:4] - before[:, 2:4]).norm(dim=-1) > MOVED
        names = {
            name: f"{name}_{steps}" if steps else name for name in ("pusher_px", "block_px", "centroid_px", "block_deg")
        }
        off = errors(probe(seen), quantities(goal))
        found |= {names[name]: float(values[moved].median()) for name, values in off.items()}
        if steps:
            copied = errors(quantities(before), quantities(goal))
            found |= {
                f"copied_{names[name]}": float(copied[name][moved].median()) for name in ("block_px", "block_deg")
            }
    return found


def remember_episodes(model: LeWM, config: PushTConfig, episodes: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Latents [E, T, 1, D], actions and states of some episodes."""
    batch = read_episodes(open_store(config), episodes)
    assert batch.states is not None
    return encode_episodes(model, batch), batch.actions, batch.states.float()


def quantities(states: Tensor) -> Tensor:
    """Pusher, block and its centroid in px, cosine and sine of its angle: [S, 8] of states [S, P]."""
    angle = states[:, 4]
    stem = torch.stack([-angle.sin(), angle.cos()], -1)
    return torch.cat(
        [states[:, :4], states[:, 2:4] + STEM * stem, angle.cos()[:, None], angle.sin()[:, None]], -1
    ).float()


def errors(found: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Errors [S] of `quantities` in px and degrees."""
    turn = torch.atan2(found[:, 7], found[:, 6]) - torch.atan2(true[:, 7], true[:, 6])
    places = {"pusher_px": (0, 2), "block_px": (2, 4), "centroid_px": (4, 6)}
    off = {name: (found[:, a:b] - true[:, a:b]).norm(dim=-1) for name, (a, b) in places.items()}
    return off | {"block_deg": torch.atan2(turn.sin(), turn.cos()).abs().rad2deg()}
