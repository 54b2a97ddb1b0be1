"""One episode towards what words ask for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openjepa.agent import load_agent, read_card
from openjepa.errors import ConfigError
from openjepa.eval.pages.animation import Replay
from openjepa.language import load
from openjepa.recipes.play_to_picture import Played, place_of

SURE = 3  # steps in a row at which the text must hold for the agent to stop


@torch.no_grad()
def play_to_words(
    path: Path,
    text: str,
    *,
    world: str | None = None,
    env: Mapping[str, Any] | None = None,
    steps: int = 100,
    seed: int = 0,
) -> Played:
    """Reopens an agent and lets it do what a text says; it stops where it believes that the text holds.

    Args:
        path: of the run or of the agent's folder.
        text: the goal in words.
        world: name or id; None is where the agent learned.
        env: options of the world, by name; None are those of the agent.
        steps: that the agent has.
        seed: of the start.

    Raises:
        ConfigError: where the text makes no sense to the agent.
    """
    language, agent, card = load(path), load_agent(path), read_card(path)
    if reason := language.refuses(text):
        raise ConfigError(f"{reason}. Say it another way.")
    cost = language.cost(text)
    place = place_of(card, world, env, steps)
    try:
        frames = place.reset([seed])
        agent.pursue(cost, frames, proprio=place.proprio())
        seen, held, energy = [frames[0].copy()], 0, 0.0
        while len(seen) <= steps and held < SURE and not place.ended().any():
            frames = place.step(agent.act(frames, place.proprio()))
            seen.append(frames[0].copy())
            energy = float(cost.energy(agent.perception.goal(frames, place.proprio())))
            held = held + 1 if energy > 0 else 0
    finally:
        place.close()
    share = float(torch.sigmoid(torch.tensor(energy)))
    words = f"{'holds' if held else 'does not hold'} after {len(seen) - 1} steps (p = {share:.2f}): {text}"
    return Played(Replay(np.stack(seen), seen[-1], held > 0), words)
