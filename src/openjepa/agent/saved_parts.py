"""The parts of a saved agent: what describes each of them, and how it is opened again from its description."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from openjepa.agent.agent import Agent
from openjepa.agent.landmarks import Embedding, LandmarkConfig, Landmarks
from openjepa.config import from_dict, to_dict
from openjepa.errors import CheckpointError, ConfigError
from openjepa.heads.critic import TemporalDistanceConfig, TemporalDistanceHead
from openjepa.planning.costs import MovingDistance, PathCost, closest, discounted, final, l1, mean, squared_l2
from openjepa.train.checkpoint import describe_method, load_weights

FORMAT = 2  # of the description
CARD, CRITIC, MEMORY = "agent.json", "critic", "memory"
AGGREGATES = {"mean": mean, "closest": closest, "final": final, "discounted": discounted}
DISTANCES = {"squared_l2": squared_l2, "l1": l1}


def described_part(parts: dict[str, nn.Module], name: str, module: Any) -> dict[str, Any]:
    """Takes a module among the parts, and says how to build it."""
    if not isinstance(module, nn.Module):
        raise ConfigError(f"the {name.replace('_', ' ')} must be an `nn.Module` to be saved; got {type(module)}.")
    parts[name] = module
    return describe_method(module)


def describe_cost(cost: Any, parts: dict[str, nn.Module]) -> dict[str, Any]:
    """A cost in plain values; its learned distance becomes a part."""
    if not isinstance(cost, PathCost):
        raise ConfigError(f"the cost must be a `PathCost` to be saved; got {type(cost).__name__}.")
    aggregate = next((name for name, known in AGGREGATES.items() if known is cost.aggregate), None)
    if aggregate is None:
        raise ConfigError(f"the aggregate of a saved cost must be one of {', '.join(AGGREGATES)}.")
    described = {"aggregate": aggregate, "stride": cost.stride, "pose_dim": cost.pose_dim}
    if isinstance(cost.distance, Landmarks):
        parts[CRITIC] = cost.distance
        return {**described, "landmarks": _describe_landmarks(cost.distance)}
    if isinstance(cost.distance, TemporalDistanceHead):
        parts[CRITIC] = cost.distance
        read, width = cost.distance.read, len(cost.distance.standardize.mean)
        read_from, config = None if read is None else read.shape[1], to_dict(cost.distance.config)
        return {**described, "critic": {"width": width, "read_from": read_from, "config": config}}
    if isinstance(cost.distance, MovingDistance):
        return {**described, "moving": {"scene_dim": cost.distance.scene_dim}}
    distance = next((name for name, known in DISTANCES.items() if known is cost.distance), None)
    if distance is None:
        raise ConfigError(
            "the distance of a saved cost must be a `TemporalDistanceHead`, `Landmarks`, `MovingDistance`, `l1` or "
            "`squared_l2`."
        )
    return {**described, "distance": distance}


def open_cost(folder: Path, described: Mapping[str, Any], device: str) -> PathCost:
    """The cost that was described."""
    distance: Any = DISTANCES.get(described.get("distance", ""))
    if "critic" in described:
        critic = described["critic"]
        config = from_dict(TemporalDistanceConfig, critic["config"])
        head = TemporalDistanceHead(1, critic["width"], config, critic.get("read_from"))
        distance = load_part(folder, CRITIC, head).to(device)
    if "moving" in described:
        distance = MovingDistance(described["moving"]["scene_dim"])
    if "landmarks" in described:
        distance = _open_landmarks(folder, CRITIC, described["landmarks"]).to(device)
    if distance is None or described["aggregate"] not in AGGREGATES:
        raise CheckpointError(f"{folder / CARD}: the cost {dict(described)} is unknown to this version.")
    return PathCost(distance, AGGREGATES[described["aggregate"]], described["stride"], described.get("pose_dim"))


def describe_memory(agent: Agent, parts: dict[str, nn.Module]) -> dict[str, Any]:
    """A map in plain values; it becomes a part."""
    landmarks, cost = agent.landmarks, agent.cost
    assert landmarks is not None
    in_space = landmarks.embedding is not None
    critic = cost.distance if isinstance(cost, PathCost) else None
    if in_space and not (isinstance(critic, TemporalDistanceHead) and landmarks.embedding == critic.embedding):
        raise ConfigError("the map of a saved agent must be drawn in the space of its own critic, or in none.")
    parts[MEMORY] = landmarks
    return {**_describe_landmarks(landmarks), "in_space_of_critic": in_space}


def open_memory(folder: Path, described: Mapping[str, Any], cost: PathCost, device: str) -> Landmarks:
    """The map that was described, in the space of the critic where it was drawn there."""
    critic, embedding = cost.distance, None
    if described["in_space_of_critic"]:
        if not isinstance(critic, TemporalDistanceHead):
            raise CheckpointError(f"{folder / CARD}: the map needs a critic, and the agent has none.")
        embedding = critic.embedding
    return _open_landmarks(folder, MEMORY, described, embedding).to(device)


def _describe_landmarks(landmarks: Landmarks) -> dict[str, Any]:
    return {
        "count": len(landmarks),
        "edges": landmarks.edges.shape[1],
        "shape": list(landmarks.places.shape[1:]),
        "scenes": list(landmarks.num_scenes),
        "config": None if landmarks.config is None else to_dict(landmarks.config),
    }


def _open_landmarks(
    folder: Path, name: str, described: Mapping[str, Any], embedding: Embedding | None = None
) -> Landmarks:
    if "shape" not in described:
        raise CheckpointError(
            f"{folder / CARD} must hold a map of format {FORMAT}; it holds one of format 1, which is measured "
            "otherwise. Train again, or install the version that wrote it."
        )
    tokens, dim = described["shape"]
    scenes, width = described.get("scenes", (0, 0))
    landmarks = Landmarks(described["count"], described["edges"], (tokens, dim), embedding, (scenes, width))
    load_part(folder, name, landmarks)
    if described.get("config") is not None:
        landmarks.config = from_dict(LandmarkConfig, described["config"])
    return landmarks


def load_part(folder: Path, name: str, module: nn.Module) -> nn.Module:
    """Reads the weights of a part strictly, and sets it for use."""
    path = folder / f"{name}.safetensors"
    tensors: dict[str, Tensor] = load_weights(path)
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit its description: {str(error).splitlines()[-1].strip()}") from None
    return module.eval().requires_grad_(False)
