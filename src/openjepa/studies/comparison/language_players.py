"""A language model beside the world model, on the same pairs: alone, with the world model as a tool, and without it.

    openjepa compare RUN --llm.url http://127.0.0.1:8080/v1 --llm.model NAME

Writes `language.json`. The three rows share manifest, budget of steps and judge; what the language model costs stands
beside what it reaches.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.agent.agent import Agent
from openjepa.agent.saved import AgentCard, find_agent, load_agent, read_card
from openjepa.baselines.chat_endpoint import ChatEndpoint, EndpointConfig
from openjepa.baselines.llm_player import LLMPlayer, LLMPlayerConfig
from openjepa.envs import default_policy, make_policy, make_world
from openjepa.errors import ConfigError, DataError, require
from openjepa.eval.acting.floors import PolicyPlayer, StateView
from openjepa.eval.acting.manifest import Manifest, draw_recorded_pairs
from openjepa.eval.acting.outcomes import SuccessReport
from openjepa.eval.acting.success_rate import JudgeConfig, Player, evaluate
from openjepa.files import read_json, replace_text, sealed_json
from openjepa.nn.random import keyed_seed
from openjepa.protocols import World
from openjepa.studies.comparison.language_options import LanguageConfig

ALONE, WITH_TOOLS, WORLD_MODEL, CHANCE = "LLM alone", "LLM with the world model", "world model alone", "random play"
PLAYERS = (CHANCE, WORLD_MODEL, ALONE, WITH_TOOLS)
FILE = "language.json"
EPISODE = 50  # steps of play that pairs are drawn from
FAR = 25  # steps between start and goal, at most


def endpoint_of(config: LanguageConfig) -> ChatEndpoint:
    """Where the model answers.

    Raises:
        ConfigError: without an address, or with a key that cannot be read.
    """
    if config.url is None:
        raise ConfigError("a language model must be named: --llm.url http://127.0.0.1:8080/v1 --llm.model NAME.")
    key = None
    if config.key_file is not None:
        try:
            key = config.key_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"`{config.key_file}` must be a file that holds the key; {error}.") from error
    options = EndpointConfig(
        config.url,
        config.model,
        key,
        config.timeout,
        max_tokens=config.max_tokens,
        prompt_price=config.prompt_price,
        completion_price=config.completion_price,
    )
    return ChatEndpoint(options)


def compare_run(run: Path, config: LanguageConfig, out: Path) -> dict[str, Any]:
    """Plays the pairs with a saved agent, a language model, and both together; writes `language.json`.

    Raises:
        ConfigError: for an agent whose world is unknown or cannot be put into a state.
        DataError: for an endpoint that is down or slow.
    """
    endpoint_of(config)  # what is wrong with it is said before anything is played
    folder = find_agent(run)
    agent, card = load_agent(folder), read_card(folder)
    if not card.world:
        raise ConfigError("this agent learned from recorded episodes of unknown origin, so nobody can play there.")

    def world(count: int) -> World:
        options = dict(card.world_options)
        return make_world(card.world, count, image_size=card.frame_shape[1:], env_options=options)

    pairs = Manifest.load(config.manifest) if config.manifest is not None else draw_pairs(world, config)
    rows = kept_rows(out / FILE, agent, card, world, pairs, config)
    print("\n".join(table(rows)), file=sys.stdout, flush=True)
    print(f"written to {out / FILE}", file=sys.stdout, flush=True)
    return {"world": card.world, "pairs": len(pairs), "rows": rows}


def kept_rows(
    path: Path,
    agent: Agent,
    card: AgentCard,
    make: Callable[[int], World],
    pairs: Manifest,
    config: LanguageConfig,
) -> list[dict[str, Any]]:
    """The rows of all players; each is written when it is finished, and is not played again.

    Raises:
        ConfigError: for a file that holds rows of other pairs or options.
        DataError: for an endpoint that is down or slow.
    """
    asked = {**asdict(config), "key_file": None, "manifest": pairs.sha256, "world": card.world}
    rows: list[dict[str, Any]] = []
    if path.exists():
        found = read_json(path, damaged=lambda why: DataError(f"`{path}` cannot be read ({why}). Remove it."))
        if found["asked"] != asked:
            raise ConfigError(f"`{path}` holds rows with other options. Choose another --out, or remove it.")
        rows = found["rows"]
    endpoint, known = endpoint_of(config), {row["name"] for row in rows}
    for name in PLAYERS:
        if name not in known:
            rows.append(play_row(name, agent, card, make, pairs, endpoint, config))
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(path, sealed_json({"asked": asked, "rows": rows}))
    return rows


def draw_pairs(make: Callable[[int], World], config: LanguageConfig) -> Manifest:
    """Pairs from fresh episodes of random play, up to `FAR` steps apart."""
    world = make(config.pairs)
    try:
        if not (world.can_reset_to and world.has_states):
            raise ConfigError(f"`{world.name}` cannot be put into a state, so no frozen pairs can be played.")
        seeds = [keyed_seed(config.pairs_seed, i) for i in range(config.pairs)]
        policy = make_policy(default_policy(world.bounds), world.bounds)
        policy.reset(seeds)
        world.reset(seeds)
        rows, alive = [world.states().copy()], np.ones(config.pairs, int)
        for step in range(EPISODE):
            world.step(policy.act(world.states()))
            rows.append(world.states().copy())
            alive = np.where(world.ended(), alive, step + 2)
        states = {i: np.stack(rows)[: alive[i], i] for i in range(config.pairs)}
        lengths = [len(one) - 1 for one in states.values()]
        offset = max(1, min(FAR, int(np.median(lengths)) // 2))
        shared: dict[str, Any] = {"offset": offset, "pairs_per_episode": 4, "seed": config.pairs_seed}
        return draw_recorded_pairs(world, states, config.pairs, task=world.name, **shared)
    finally:
        world.close()


def play_row(
    name: str,
    agent: Agent,
    card: AgentCard,
    make: Callable[[int], World],
    pairs: Manifest,
    endpoint: ChatEndpoint,
    config: LanguageConfig,
) -> dict[str, Any]:
    """What a player of `PLAYERS` reaches, and what it costs.

    Raises:
        DataError: for an endpoint that is down or slow.
    """
    judged = JudgeConfig(budget=config.budget, batch_size=len(pairs), latency_pairs=0)
    with ExitStack() as stack:
        player = _player(name, agent, card, make, endpoint, config, stack)
        sees_truth = isinstance(player, LLMPlayer) and config.sees == "text"

        def world(count: int) -> World:
            return StateView(make(count)) if sees_truth else make(count)

        return _row(name, evaluate(player, world, pairs, judged, name=name), player, endpoint.config)


def _player(
    name: str,
    agent: Agent,
    card: AgentCard,
    make: Callable[[int], World],
    endpoint: ChatEndpoint,
    config: LanguageConfig,
    stack: ExitStack,
) -> Player:
    if name == WORLD_MODEL:
        return agent
    if name == CHANCE:
        return PolicyPlayer(make_policy(default_policy(agent.bounds), agent.bounds), config.pairs_seed)
    made = make(1)
    names = made.state_names
    made.close()
    how = LLMPlayerConfig(config.sees, config.answers, config.actions, rounds=config.rounds)
    words = f"The world is called {card.world}. What an action means: {card.action_meaning}."
    tools = _toolkit(agent, card, stack).episode if name == WITH_TOOLS else None
    player = LLMPlayer(endpoint, agent.bounds, how, world=words, state_names=names, make_toolbox=tools)
    stack.callback(player.close)  # before the toolkit, which was entered earlier
    return player


def _toolkit(agent: Agent, card: AgentCard, stack: ExitStack) -> Any:
    """The world model as tools, over MCP."""
    try:
        from openjepa.serve.mcp.agent_tools import AgentTools
        from openjepa.serve.mcp.handles import Shelf
        from openjepa.serve.mcp.limits import Limits
        from openjepa.serve.mcp.server import make_server
        from openjepa.serve.mcp.toolbox import McpToolkit
    except ModuleNotFoundError as error:
        raise require("mcp", "mcp", "give the world model to a language model") from error
    limits = Limits(episodes=4096)  # two for each pair: its way, and its goal
    shelf = Shelf(limits.episodes, limits.states, limits.idle_seconds)
    server = make_server(AgentTools(agent, card, shelf, limits))
    return stack.enter_context(McpToolkit(server, agent.bounds, agent.config.frameskip))


def _row(name: str, report: SuccessReport, player: Player, prices: EndpointConfig) -> dict[str, Any]:
    rate = report.success
    row: dict[str, Any] = {
        "name": name,
        "success": rate.estimate,
        "ci95": [rate.low, rate.high],
        "by_group": {group: found.estimate for group, found in report.success_by_group.items()},
        "median_steps": report.steps_to_goal.get("0.5"),
        "outcomes": [int(outcome.success) for outcome in report.outcomes],
    }
    if isinstance(player, LLMPlayer):
        row["use"] = player.use.as_json(prices.prompt_price, prices.completion_price)
    return row


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The rows as lines for a terminal."""
    lines = []
    for row in rows:
        low, high = row["ci95"]
        line = f"{row['name']:<26} reached {row['success']:.0%} ({low:.0%} to {high:.0%})"
        if "use" in row:
            use = row["use"]
            failures = ", ".join(f"{count} {kind}" for kind, count in use["failures"].items()) or "none"
            line += (
                f"; {use['tokens_per_decision']:.0f} tokens and {use['seconds_per_decision']:.2f} s a decision, cost "
                f"{use['cost']:.4g}; failed of {use['decisions']}: {failures}"
            )
        lines.append(line)
    return lines
