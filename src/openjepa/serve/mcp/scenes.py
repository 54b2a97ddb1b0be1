"""Episodes of clients: each has its own world, or its own stream of pictures, its own eyes, and a present moment."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from openjepa.agent.agent import Agent
from openjepa.errors import DataError
from openjepa.planning.costs import squared_l2
from openjepa.serve.mcp import moments
from openjepa.serve.mcp.handles import Shelf
from openjepa.serve.mcp.moments import Episode, MakeWorld, Moment


class Scenes:
    """Begins episodes, looks, and takes steps.

    Args:
        agent: that sees.
        shelf: where episodes and moments live.
        make_world: of so many environments; None where clients send pictures of a world of their own.
    """

    def __init__(self, agent: Agent, shelf: Shelf, make_world: MakeWorld | None) -> None:
        self.agent, self.shelf, self.make_world = agent, shelf, make_world
        self._begun = 0  # episodes, whose numbers are the seeds of those that bring none
        self._ordinary: np.ndarray | None = None

    def begin(self, frame: np.ndarray | None, proprio: Sequence[float] | None, seed: int | None) -> str:
        """Begins an episode, in the world of a seed or with a picture [3, H, W]; returns its handle."""
        seed = self._begun if seed is None else seed
        self._begun += 1
        world = None if self.make_world is None else self.make_world(1)
        try:
            if world is not None:
                frame = world.reset([seed])[0].copy()
            assert frame is not None
            episode = Episode(moments.perception_of(self.agent), world, seed)
            z = self._perceive(episode, frame, proprio)
            owner = self.shelf.open("episode", episode)
        except BaseException:
            if world is not None:
                world.close()
            raise
        width = self.agent.bounds.dim * self.agent.config.frameskip
        self._arrive(owner, episode, Moment(z[:, None], z.new_zeros(1, 0, width), 0, frame))
        return owner

    def see(self, owner: str, frame: np.ndarray, proprio: Sequence[float] | None, taken: np.ndarray | None) -> None:
        """The next picture of a client's own world, after actions [frameskip, A], or unknown ones."""
        episode, before = self.present(owner)
        skip = self.agent.config.frameskip
        if taken is None and self.agent.config.context_len > 1:
            raise DataError("`actions` must say what was done since the last picture: this model has a memory.")
        if taken is not None and len(taken) != skip:
            raise DataError(f"`actions` must be the {skip} since the last picture, one step of the model.")
        z = self._perceive(episode, frame, proprio)
        if taken is None:
            moment = Moment(z[:, None], before.actions[:, :0], before.step + 1, frame)
        else:
            moment = self._after(before, torch.from_numpy(taken), z, frame)
        self._arrive(owner, episode, moment)

    def take(self, owner: str, actions: np.ndarray) -> bool:
        """Takes one step of the model, actions [frameskip, A], in the world; False where the episode has ended."""
        episode, before = self.present(owner)
        assert episode.world is not None
        if episode.world.ended()[0]:
            return False
        for action in actions:
            frame = episode.world.step(action[None])[0].copy()
        moment = self._after(before, torch.from_numpy(actions), self._perceive(episode, frame, None), frame)
        self._arrive(owner, episode, moment)
        return True

    def present(self, owner: str) -> tuple[Episode, Moment]:
        """An episode and its present moment, whose handle is there again where it had expired."""
        episode = self.shelf.get(owner, Episode, "episode")
        assert episode.moment is not None
        if episode.now not in self.shelf:
            self._arrive(owner, episode, episode.moment)
        return episode, episode.moment

    def _arrive(self, owner: str, episode: Episode, moment: Moment) -> None:
        episode.now, episode.moment = self.shelf.keep("state", moment, owner), moment

    def p_value(self, moment: Moment) -> tuple[float, int]:
        """How often ordinary steps are at least as surprising as the one to a moment, and how many are known.

        Raises:
            DataError: for a moment before which nothing was expected, or without a world of ordinary steps.
        """
        if moment.surprise is None:
            raise DataError("`state` must be one that was seen after known actions; before it nothing was expected.")
        if self._ordinary is None:
            if self.make_world is None:
                raise DataError(
                    "a surprise needs ordinary steps to compare with, and this server has no world to take them in. "
                    "Start it with `--world NAME`."
                )
            self._ordinary = moments.ordinary_errors(self.agent, self.make_world)
        return moments.p_value(moment.surprise, self._ordinary), len(self._ordinary)

    def _after(self, before: Moment, taken: Tensor, z: Tensor, frame: np.ndarray) -> Moment:
        """What was seen after one step of the model with actions [frameskip, A], and how surprising that was."""
        block = taken.flatten()[None, None].to(before.z)  # [1, 1, frameskip * A]
        expected = self.agent.model.rollout(before.z, torch.cat([before.actions, block], 1))[:, -1]
        moment = before.follow(z[:, None], block, self.agent.config.context_len, len(taken), frame)
        return replace(moment, surprise=float(squared_l2(expected, z)[0]))

    def _perceive(self, episode: Episode, frame: np.ndarray, proprio: Sequence[float] | None) -> Tensor:
        own = np.array([proprio], np.float32) if proprio is not None else None
        if episode.world is not None:
            own = episode.world.proprio()
        episode.perception.remember(frame[None])
        return episode.perception.state(frame[None], own, torch.zeros(1, dtype=torch.long))
