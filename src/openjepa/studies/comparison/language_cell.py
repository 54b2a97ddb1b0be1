"""The rows of a language model in the whole comparison, beside the latent predictor of the clean world."""

from dataclasses import replace
from typing import Any

from openjepa.agent.saved import AgentCard
from openjepa.envs.two_rooms import STEP, TwoRooms
from openjepa.protocols import World
from openjepa.studies.comparison import rivals
from openjepa.studies.comparison.language_players import FILE, kept_rows
from openjepa.studies.comparison.scale import Cell, CompareConfig, Scale, world_of
from openjepa.studies.comparison.worlds import draw_pairs, reopen_agent

MEANING = f"how far the disc goes to the right and down in one step; 1 is {STEP:g} px"


def language_rows(scale: Scale, config: CompareConfig) -> list[dict[str, Any]]:
    """Plays the first pairs of the clean world with the language model, the latent predictor, and both together.

    Raises:
        DataError: for an endpoint that is down or slow; the other parts of the comparison are kept.
    """
    agent = reopen_agent(Cell("rival", rivals.LATENT, "clean", scale.seeds[0]), scale, config.out)
    options = world_of("clean")
    card = AgentCard(agent.bounds, (3, 64, 64), world="two-rooms", action_meaning=MEANING)

    def world(count: int) -> World:
        return TwoRooms(count, options)

    pairs = draw_pairs("clean", scale)
    pairs = replace(pairs, pairs=pairs.pairs[: config.llm.pairs])
    return kept_rows(config.out / FILE, agent, card, world, pairs, config.llm)
