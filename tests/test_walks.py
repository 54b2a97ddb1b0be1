"""Which files a frame, a goal and a video pass through, counted by watching the calls: `python tests/test_walks.py`.

A walk *enters* a file of ours when a function of it is called on the way. Two kinds do not count: the foundation that
every file stands on (floors 0 and 1), and the parts that an option exchanges and that compute one named thing
(`models`, `heads`, `losses`, `masking`): a reader opens them for what they are, not to know what happens next.
"""

import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import av
import numpy as np
import pytest
import torch

import openjepa
from openjepa.agent import Agent, AgentConfig, ProposalConfig, ProposeVerifyRepair
from openjepa.data import EpisodeStore, WindowConfig, WindowSource
from openjepa.eval.embedding.embed import EmbedConfig, embed_file
from openjepa.eval.probing.frozen_encoder import FrozenEncoder
from openjepa.heads.critic import TemporalDistanceHead
from openjepa.heads.goal_policy import GoalPolicy
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.models.latent_predictor import LatentPredictorConfig
from openjepa.planning import CEMConfig, PathCost
from openjepa.protocols import ActionBounds, Episode
from openjepa.train import TrainConfig, train

ROOT = Path(openjepa.__file__).parent
UNCOUNTED = ("errors", "version", "protocols", "config", "nn", "files", "models", "heads", "losses", "masking")
BOX = ActionBounds(np.array([-1.0, -1.0]), np.array([1.0, 1.0]))
CONFIG = LeWMConfig(embed_dim=8, predictor=LatentPredictorConfig("mlp", 16))


@contextmanager
def watched() -> Iterator[set[str]]:
    """Collects the files of ours that are entered."""
    entered: set[str] = set()

    def see(frame: FrameType, event: str, _: Any) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(str(ROOT)):
            entered.add(str(Path(name).relative_to(ROOT)))

    sys.setprofile(see)
    threading.setprofile(see)  # of threads that are started from now on
    try:
        yield entered
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def counted(entered: set[str]) -> list[str]:
    """Those that count."""
    return sorted(name for name in entered if name.removesuffix(".py").split("/")[0] not in UNCOUNTED)


def goal_to_action(_: Path, accept_gain: float = 0.0) -> set[str]:
    """A goal picture, and one decision of the default agent: by its proposals, or by the search after them."""
    torch.manual_seed(2)  # of the weights: with these a proposal is taken, with most a search must mend it
    policy, model = GoalPolicy(1, 8, BOX, 4).eval(), LeWM(CONFIG).eval()
    search = CEMConfig(horizon=4, num_samples=16, num_elites=4, num_iterations=2)
    actor = ProposeVerifyRepair(policy, BOX, ProposalConfig(accept_gain=accept_gain), repair=search)
    agent = Agent(model, actor, PathCost(TemporalDistanceHead(1, 8)), BOX, AgentConfig(), (3, 64, 64))
    frames = np.random.default_rng(0).integers(256, size=(2, 1, 3, 64, 64), dtype=np.uint8)
    with watched() as entered:
        agent.start(frames[0])
        agent.act(frames[1])
    return entered


class Watching(LeWM):
    """A method that is watched from its second loss to its third: one step, batch and optimiser included."""

    entered: set[str]

    def loss(self, batch: Any, step: int) -> Any:
        """As the method's."""
        if step == 1:
            self.watch = watched()
            self.entered = self.watch.__enter__()
        elif step == 2:
            self.watch.__exit__(None, None, None)
        return super().loss(batch, step)


def training_step(folder: Path) -> set[str]:
    """One step in the middle of a run."""
    rng = np.random.default_rng(0)
    with EpisodeStore.create(folder / "store") as store:
        for _ in range(6):
            frames = rng.integers(256, size=(13, 3, 64, 64), dtype=np.uint8)
            store.append(Episode(frames, rng.normal(size=(12, 2)).astype(np.float32)))
    source = WindowSource(EpisodeStore.open(folder / "store"), range(6), WindowConfig(5, 4))
    method = Watching(CONFIG)
    plain = TrainConfig(steps=4, warmup_steps=0, device="cpu", precision="fp32", log_every=100, checkpoint_every=100)
    train(method, source, plain, folder / "run")
    return method.entered


def video_to_row(folder: Path) -> set[str]:
    """A video, and its row of features."""
    (folder / "videos").mkdir(parents=True)
    with av.open(str(folder / "videos" / "a.mp4"), "w") as file:
        stream: Any = file.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for value in range(0, 240, 10):
            picture = np.full((32, 32, 3), value, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        file.mux(stream.encode())
    encoder = FrozenEncoder(lambda x: torch.nn.functional.avg_pool2d(x, 8).flatten(2).mT, False, 8)
    config = EmbedConfig(folder / "videos", folder / "rows", size=32, num_frames=2, format="numpy")
    with watched() as entered:
        embed_file(encoder, config, folder / "videos" / "a.mp4")
    return entered


WALKS: dict[str, Callable[[Path], set[str]]] = {
    "goal picture to action": goal_to_action,
    "goal picture to action, by search": partial(goal_to_action, accept_gain=1.0),
    "training step": training_step,
    "video to row": video_to_row,
}


LIMITS = {
    "goal picture to action": 7,
    "goal picture to action, by search": 8,
    "training step": 9,
    "video to row": 12,
}


@pytest.mark.parametrize("name", WALKS)
def test_a_walk_enters_few_files(name: str, tmp_path: Path) -> None:
    files = counted(WALKS[name](tmp_path))
    assert len(files) <= LIMITS[name], files


def main() -> None:
    """Prints each walk and its length."""
    torch.manual_seed(0)
    for name, walk in WALKS.items():
        with tempfile.TemporaryDirectory() as folder:
            entered = walk(Path(folder))
        files = counted(entered)
        print(f"{name}: {len(files)} files ({len(entered)} with foundation and exchangeable parts)")
        for file in files:
            print(f"    {file}")


if __name__ == "__main__":
    main()
