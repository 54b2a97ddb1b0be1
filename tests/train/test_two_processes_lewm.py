"""Two gloo processes train LeWM like one with the double batch; run by torchrun, this file is what they do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from openjepa.data import EpisodeStore, WindowConfig, WindowSource
from openjepa.losses.sigreg import SIGRegConfig, sigreg_states
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.models.latent_predictor import LatentPredictorConfig
from openjepa.nn.distributed import rank, world_size
from openjepa.protocols import Episode
from openjepa.train import TrainConfig, train
from openjepa.train.distributed import join_group
from openjepa.train.log import read_metrics

BASE = {"embed_dim": 4, "encoder": FrameEncoderConfig(image_size=16, width=4, hidden_dim=16), "seed": 3}
METHODS = {
    # The published loss: SIGReg, a causal transformer with BatchNorm. Dropout draws its own mask on every process.
    "lewm": LeWMConfig(
        **BASE,
        predictor=LatentPredictorConfig("transformer", 16, depth=1, context_len=3, num_heads=1, dropout=0.0),
        rollout="one_step",
        sigreg_weight=0.09,
        sigreg=SIGRegConfig(32),
        variance_weight=0.0,
        covariance_weight=0.0,
        inverse_dynamics_weight=0.0,
    ),
    "vicreg": LeWMConfig(**BASE, predictor=LatentPredictorConfig(predictor_dim=16), target="ema", sigreg_weight=0.1),
}
TERMS = {
    "lewm": {"loss", "prediction", "sigreg", "grad_norm"},
    "vicreg": {"loss", "prediction", "sigreg", "variance", "covariance", "inverse_dynamics", "grad_norm"},
}
# The number of samples enters the value here, so a process that counted its own share alone would be found out.
COUNTING = SIGRegConfig(32, num_samples_ref=None)


def make_store(path: Path) -> None:
    """Six episodes of a white square of 4 px that random actions move."""
    generator = np.random.default_rng(0)
    with EpisodeStore.create(path) as store:
        for _ in range(6):
            actions = generator.uniform(-1, 1, (10, 2)).astype(np.float32)
            corners = np.concatenate([[[6.0, 6.0]], 6 + 3 * actions.cumsum(0)]).clip(0, 12).round().astype(int)
            frames = np.zeros((11, 3, 16, 16), np.uint8)
            for frame, (row, column) in zip(frames, corners, strict=True):
                frame[:, row : row + 4, column : column + 4] = 255
            store.append(Episode(frames, actions))


def source(root: Path) -> WindowSource:
    return WindowSource(EpisodeStore.open(root / "store"), None, WindowConfig(length=4, batch_size=16))


def run(root: Path, folder: Path, name: str) -> None:
    config = TrainConfig(steps=8, lr=3e-3, warmup_steps=2, precision="fp32", device="cpu", threads=1, log_every=1)
    train(LeWM(METHODS[name]), source(root), config, folder)


def sigreg_of_the_share(root: Path) -> list[float]:
    """SIGReg of the first batch's latents, and the norm of its gradient in the weights, averaged as DDP does."""
    method = LeWM(METHODS["lewm"])
    batch = source(root).batch(0, rank=rank(), world_size=world_size())
    value = sigreg_states(method.encode(batch.frames), COUNTING, seed=0, step=0)
    value.backward()
    grad = torch.cat([p.grad.flatten() for p in method.context_encoder.parameters()])
    if world_size() > 1:
        dist.all_reduce(grad)
    return [value.item(), (grad / world_size()).norm().item()]


def main(root: Path) -> None:
    join_group(torch.device("cpu"))
    values: list[list[float]] = [[]] * world_size()
    dist.all_gather_object(values, sigreg_of_the_share(root))
    if rank() == 0:
        (root / "sigreg.json").write_text(json.dumps(values))
    for name in METHODS:
        run(root, root / name, name)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    root = tmp_path_factory.mktemp("two_lewm")
    make_store(root / "store")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([*command, __file__, str(root)], capture_output=True, text=True, timeout=240, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    return root


def curve(path: Path, terms: set[str]) -> list[dict[str, float]]:
    return [{name: row[name] for name in terms} for row in read_metrics(path / "metrics.jsonl")]


def test_sigreg_is_that_of_the_global_batch(two):
    value, grad = sigreg_of_the_share(two)
    first, second = json.loads((two / "sigreg.json").read_text())
    assert first == second
    assert first == pytest.approx([value, grad], rel=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_same_curve_as_one_process_with_the_double_batch(two, name, tmp_path):
    run(two, tmp_path, name)
    expected = curve(tmp_path, TERMS[name])
    assert len(expected) == 8
    assert expected[-1] != expected[0]
    for got, wanted in zip(curve(two / name, TERMS[name]), expected, strict=True):
        assert got == pytest.approx(wanted, rel=1e-3)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
