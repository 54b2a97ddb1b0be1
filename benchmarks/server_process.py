"""A server in a process of its own, for the benchmarks that abuse one: its agent, its address, its memory."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def save_agent_of_noise(folder: Path, iterations: int, *, moves: float = 0.0) -> None:
    """A small agent with random weights.

    Args:
        folder: of the agent.
        iterations: of its search.
        moves: size of noise on all weights, without which its imagination stands still.
    """
    import torch

    from openjepa.agent.agent import Agent, AgentConfig
    from openjepa.agent.saved import AgentCard, save_agent
    from openjepa.envs import make_world
    from openjepa.methods.lewm import LeWM, LeWMConfig
    from openjepa.planning import CEM, CEMConfig, PathCost

    torch.manual_seed(0)
    bounds = make_world("two-rooms").bounds
    planner = CEM(bounds, CEMConfig(horizon=4, num_samples=16, num_elites=4, num_iterations=iterations))
    model = LeWM(LeWMConfig(embed_dim=16)).eval()
    for weight in model.parameters():
        weight.data += moves * torch.randn_like(weight)
    agent = Agent(model, planner, PathCost(), bounds, AgentConfig(), (3, 64, 64))
    save_agent(folder, agent, AgentCard(bounds, (3, 64, 64), world="two-rooms"))


def start(words: Sequence[str], scheme: str, log: Path) -> tuple[subprocess.Popen, str]:
    """Starts `openjepa` with these words, its errors in a log; returns the process and the address that it says."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "openjepa.cli", *words], stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    if scheme not in line:
        raise SystemExit(f"the server did not start: {line}{log.read_text()}")
    return process, line.split()[2]


def memory(process: subprocess.Popen) -> float:
    """Resident megabytes."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0
