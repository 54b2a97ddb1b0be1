"""What an agent knows of the episode that it is in."""

import torch
from torch import Tensor

from openjepa.agent.agent_config import AgentConfig
from openjepa.agent.experience import Experience
from openjepa.agent.landmarks import Landmarks, StuckSteps
from openjepa.agent.memory import FailedPlans, Moves, ShortTermMemory
from openjepa.agent.pursuit import Pursuit
from openjepa.agent.routes import Routes
from openjepa.errors import ConfigError, check_shape
from openjepa.nn.host import to_host
from openjepa.planning.costs import SelfAimed
from openjepa.planning.hierarchical import Hierarchy


class Episode:
    """Goals, plans and memories of every environment, until the next `start`.

    Args:
        config: of the agent.
        z_goal: [B, N, D].
        env_ids: a number for each environment.
        intent: a cost that finds its goals by itself, or None.
        landmarks: the agent's map, or None.
        hierarchy: its upper levels, or None.
        stuck_map: its critic, where steps that led nowhere are remembered; or None.
        keeps: whether what is lived through will be asked for.
    """

    def __init__(
        self,
        config: AgentConfig,
        z_goal: Tensor,
        env_ids: list[int],
        intent: SelfAimed | None,
        landmarks: Landmarks | None,
        hierarchy: Hierarchy | None,
        stuck_map: Landmarks | None,
        *,
        keeps: bool,
    ) -> None:
        self.z_goal, self.env_ids = z_goal, env_ids
        self.intent = intent
        self.routes = None if landmarks is None else Routes(landmarks, z_goal, config.edge_patience)
        self.pursuit = None if hierarchy is None else Pursuit(hierarchy, z_goal)
        self.moves = None if config.configurator is None else Moves(len(z_goal))
        self._keeps = keeps
        self._lived: list[tuple[int, list[int], Tensor]] = []  # model step, environments, their states
        self.memory = ShortTermMemory(config.context_len)
        self.failed_plans: FailedPlans | StuckSteps | None = None
        if config.failed_plans is not None:
            self.failed_plans = FailedPlans(config.failed_plans)
        elif stuck_map is not None:
            self.failed_plans = StuckSteps(stuck_map)
        self.planned_at: Tensor | None = None  # [B, N, D], states at the last plan
        self.plan: Tensor | None = None  # [B, H, A]
        self.executed = 0  # model steps of the plan
        self.part = 0  # primitive actions of the present model action
        self.active = torch.ones(len(z_goal), dtype=torch.bool)

    def look(self, rows: Tensor, there: Tensor, step: int) -> list[float | None]:
        """Steps to the goals of some environments as far as a map knows them; notes what moves and comes nearer."""
        z = self.memory.now[there]
        if self._keeps:
            self._lived.append((step, rows.tolist(), to_host(z)))
        if self.moves is not None:
            self.moves.look(rows.tolist(), z)
        return [None] * len(rows) if self.routes is None else list(self.routes.look(rows.tolist(), z))

    def experiences(self) -> list[Experience]:
        """What every environment lived through, those that never acted left out."""
        found = []
        for row in range(len(self.env_ids)):
            moments = [(step, z[rows.index(row)]) for step, rows, z in self._lived if row in rows]
            if not moments or self.routes is None:
                continue
            places = self.routes.landmarks.places.cpu()
            failed = torch.tensor(self.routes.failed[row], dtype=torch.long).view(-1, 2)
            steps = torch.tensor([step for step, _ in moments])
            found.append(Experience(torch.stack([z for _, z in moments]), steps, places[failed]))
        return found

    def retire(self, active: Tensor) -> None:
        """Lets only these environments [B] go on."""
        check_shape(active, f"B={len(self.active)}", name="active")
        if bool((active & ~self.active).any()):
            raise ConfigError("`active` must not revive a finished environment. Call `start` for a new episode.")
        self.active = active
