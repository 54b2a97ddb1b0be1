"""`openjepa distill`: teaches a finished agent to act without a search."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from openjepa.command_line.command import OK


@dataclass(frozen=True)
class DistillOptions:
    """Options of `distill`."""

    run: tyro.conf.Positional[Path]  # folder of a finished run
    pairs: int = 8192  # of state and goal for which the agent plans at first
    rounds: int = 3  # in which the policy is corrected where its own plans lead
    corrected: int = 3072  # plans of each round
    hidden_dim: int = 128  # width of the policy
    steps: int = 2000  # of training in each round
    seed: int = 0  # of everything that is drawn


def distill(options: DistillOptions) -> int:
    """Distils the agent of a run; from then on its policy acts, and its search verifies."""
    from dataclasses import replace

    from openjepa.command_line.runs import open_run
    from openjepa.errors import ConfigError
    from openjepa.recipes.distill import DistillConfig, distill_run, playing

    run = open_run(options.run)
    config = playing(run.config)
    if config is None:
        raise ConfigError(
            f"`run` must have an agent that remembers its play; `{run.name}` makes none. Take `maze`, or another run "
            "that acts."
        )
    plain = DistillConfig()
    policy = replace(plain.policy, hidden_dim=options.hidden_dim, steps=options.steps)
    chosen = DistillConfig(
        policy, options.pairs, plain.near_share, options.rounds, options.corrected, seed=options.seed
    )
    distill_run(options.run, config, chosen, say=print)
    print(f"agent: {options.run / 'agent'} acts by reflex now, and searches where its world model does not believe it")
    return OK
