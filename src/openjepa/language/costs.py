"""An instruction as a cost: where the nearest state is that it speaks of, in the scene that is seen.

    cost(path) = aggregate over t of  d(z_t, nearest matching state) * (1 - P(text | z_t))

d is the agent's own distance, so that words see around walls as goal pictures do. Matching states are looked for among
remembered places, put into the scene of the moment: an instruction names a set, and every place that fits is a goal.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from openjepa.errors import ConfigError, check_shape
from openjepa.heads.language import Reading, SetEnergy
from openjepa.planning.costs import PathCost
from openjepa.planning.set_cost import SetCost, nearest_of

NEAREST = 12  # matching places that a plan may head for
FITS = 0.8  # share of the best place's probability from which a place fits: not the edge of the set


@dataclass(frozen=True)
class Places:
    """Remembered states, as goals that words may mean.

    Attributes:
        z: [M, N, D].
        scene_dim: leading numbers of a state that are replaced by those of the moment.
    """

    z: Tensor
    scene_dim: int = 0

    def around(self, z: Tensor) -> Tensor:
        """The places in the scenes of states z [B, N, D]; [B, M, N, D]."""
        places = self.z.to(z).expand(len(z), -1, -1, -1)
        if not self.scene_dim:
            return places
        scene = z[:, None, :, : self.scene_dim].expand(-1, places.shape[1], -1, -1)
        return torch.cat([scene, places[..., self.scene_dim :]], -1)


@dataclass(frozen=True)
class TextMiss:
    """The improbability of texts, 0 where a state fits; see `planning.set_cost.Miss`.

    Attributes:
        head: the set energy.
        reading: of one text for each environment.
        dim: leading numbers of a state that the head reads.
    """

    head: SetEnergy
    reading: Reading
    dim: int | None = None

    def __call__(self, z: Tensor) -> Tensor:
        """States [B, P, N, D] to [B, P] in [0, 1]."""
        return torch.sigmoid(-self.head(self.reading, z[..., : self.dim]))

    def select(self, environments: Tensor) -> "TextMiss":
        """The same for some environments."""
        return replace(self, reading=self.reading[environments])


@dataclass(frozen=True)
class TextCost:
    """What words ask for, as a cost that finds its goals by itself (`planning.costs.SelfAimed`).

    `Agent.pursue(cost, frames)` acts on it; `planning.costs.bind(cost, z, z)` is what a planner takes.

    Attributes:
        head: the set energy.
        reading: of one text for all environments, or one for each.
        places: where goals are looked for.
        distance: the agent's cost of a goal.
    """

    head: SetEnergy
    reading: Reading
    places: Places
    distance: PathCost

    @torch.no_grad()
    def energy(self, z: Tensor) -> Tensor:
        """How well states [B, N, D] fit, above 0 where the text holds; [B]."""
        check_shape(z, "B N D", name="z")
        if len(self.reading.codes) == 1:
            return self.head(self.reading, self._read(z)[None])[0]
        return self.head(self.reading, self._read(z)[:, None])[:, 0]

    @torch.no_grad()
    def aim(self, z: Tensor) -> SetCost:
        """See `planning.costs.SelfAimed.aim`; z is [B, N, D]."""
        check_shape(z, "B N D", name="z")
        reading = self._for(len(z))
        places = self.places.around(z)
        fit = self.head(reading, self._read(places)).sigmoid()  # [B, M]
        fits = fit >= FITS * fit.amax(1, keepdim=True)
        goals, embedded = nearest_of(self.distance, z, places, fits, NEAREST)
        return SetCost(self.distance, goals, TextMiss(self.head, reading, self.distance.pose_dim), embedded)

    def select(self, environments: Tensor) -> "TextCost":
        """The same cost for some environments: their indices, or a mask [B]."""
        return self if len(self.reading.codes) == 1 else replace(self, reading=self.reading[environments])

    def _read(self, z: Tensor) -> Tensor:
        return z[..., : self.distance.pose_dim]

    def _for(self, count: int) -> Reading:
        texts = len(self.reading.codes)
        if texts not in (1, count):
            raise ConfigError(f"there must be one text, or one for each of {count} environments; got {texts}.")
        if texts == count:
            return self.reading
        return self.reading[torch.zeros(count, dtype=torch.long)]


def join(costs: Sequence[TextCost]) -> TextCost:
    """One cost with a text for each environment."""
    return replace(costs[0], reading=Reading.join([cost.reading for cost in costs]))
