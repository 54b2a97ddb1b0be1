"""The official client lists, calls and cancels the tools; the world is one that can be solved on paper."""

import base64
import json
import threading

import anyio
import numpy as np
import pytest

from openjepa.errors import ConfigError, DataError
from openjepa.serve.server import ServerConfig

pytest.importorskip("mcp")
from mcp import Client

from openjepa.data.images import to_png
from openjepa.language import Description
from openjepa.planning.costs import PathCost, bind
from openjepa.serve.mcp.agent_tools import AgentTools
from openjepa.serve.mcp.handles import Closing, Shelf
from openjepa.serve.mcp.limits import Limits
from openjepa.serve.mcp.pictures import from_base64
from openjepa.serve.mcp.server import http_app, listen, make_server, run_resources
from openjepa.serve.mcp.work import Job, Worker

from .toy import SIZE, PixelWorld, drawn, make_agent, make_card

TOOLS = {"observe", "imagine", "compare_futures", "plan", "describe", "ask", "act", "surprise", "distance", "forget"}


def make_tools(agent=None, limits=None, **options):
    limits = limits or Limits()
    shelf = Shelf(limits.episodes, limits.states, limits.idle_seconds)
    options = {"make_world": PixelWorld, "may_act": True, "remembered": 32, **options}
    return AgentTools(agent or make_agent(), make_card(), shelf, limits, **options)


def encoded(x, y, scale=1):
    return base64.b64encode(to_png(drawn(x, y), scale)).decode()


def talk(main, tools=None, server=None, **options):
    """Runs `main(client)` against a server in this process and returns what it returns."""

    async def run():
        async with Client(server or make_server(tools or make_tools(**options))) as client:
            return await main(client)

    return anyio.run(run)


async def ok(client, name, **arguments):
    """The structured answer of a call that succeeds."""
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content[0].text
    assert json.loads(result.content[0].text) == result.structured_content
    return result.structured_content


async def refused(client, name, **arguments):
    """The one line of a call that fails."""
    result = await client.call_tool(name, arguments)
    assert result.is_error, result.structured_content
    assert "\n" not in result.content[0].text
    return result.content[0].text


def test_every_tool_is_listed_with_schemas_from_annotations():
    async def main(client):
        return (await client.list_tools()).tools, client.instructions

    tools, told = talk(main)
    assert {tool.name for tool in tools} == TOOLS
    assert all(tool.output_schema["properties"] and tool.description for tool in tools)
    by_name = {tool.name: tool for tool in tools}
    assert by_name["imagine"].input_schema["required"] == ["state", "actions"]
    assert by_name["act"].annotations.read_only_hint is False
    assert by_name["imagine"].annotations.read_only_hint is True
    assert "2 numbers from [-1.0, -1.0] to [1.0, 1.0]: pixels to the right and down" in told
    locked, told = talk(main, may_act=False)
    assert {tool.name for tool in locked} == TOOLS - {"act"}
    assert "does not act" in told


def test_what_is_imagined_is_what_the_world_then_does():
    async def main(client):
        seen = await ok(client, "observe", seed=7)  # at (3, 2)
        actions = [[1, 0], [0.5, 1], [0.5, 1]]
        dream = await ok(client, "imagine", state=seen["state"], actions=actions)
        assert dream["moved"] == pytest.approx(2**2 + 2**2, abs=0.1)  # squared, two right and two down
        assert len(dream["path"]) == 3
        done = await ok(client, "act", state=seen["state"], actions=actions)
        assert (done["step"], done["ended"]) == (3, False)
        found = await ok(client, "distance", first=dream["state"], second=done["state"])
        assert found["latent"] == pytest.approx(0, abs=0.05)
        found = await ok(client, "distance", first=seen["state"], second=done["state"])
        assert found == {
            "distance": pytest.approx(8, abs=0.1),
            "unit": "latent",
            "latent": pytest.approx(8**0.5, abs=0.05),
        }

    talk(main)


def test_futures_are_ranked_and_a_plan_leads_there():
    async def main(client):
        seen = await ok(client, "observe", seed=0)  # at (1, 1)
        goal = {"goal_picture": encoded(4, 1, scale=4)}
        futures = [[[0, 1]] * 3, [[1, 0]] * 3, [[1, 0], [0, 0], [0, 0]]]
        found = await ok(client, "compare_futures", state=seen["state"], futures=futures, **goal)
        assert [future["number"] for future in found["futures"]] == [1, 2, 0]
        best = found["futures"][0]
        assert best["nearest"] == pytest.approx(0, abs=0.02)
        assert best["nearest_step"] == 3
        assert best["cost"] == pytest.approx((4 + 1 + 0) / 3, abs=0.05)  # squared distances along the way
        assert found["standing_still"] == pytest.approx(9, abs=0.1)
        assert found["apart"][0][1] == pytest.approx(18**0.5, abs=0.05)
        plan = await ok(client, "plan", state=seen["state"], **goal)
        assert plan["cost"] < plan["standing_still"] / 2
        assert plan["cut_short"] is False
        for _ in range(6):
            seen = await ok(client, "act", state=seen["state"], plan=plan["plan"])
            plan = await ok(client, "plan", state=seen["state"], **goal)
        assert plan["standing_still"] < 0.5
        by_state = await ok(client, "plan", state=seen["state"], goal_state=best["state"])
        assert by_state["standing_still"] < 0.5

    talk(main)


def test_pictures_stand_beside_results():
    async def main(client):
        result = await client.call_tool("observe", {"seed": 12})  # at (3, 3)
        kinds = [part.type for part in result.content]
        assert kinds == ["text", "text", "image"]
        back = from_base64(result.content[2].data, "picture", max_bytes=1 << 20, size=(SIZE, SIZE))
        np.testing.assert_array_equal(back, drawn(3, 3))
        state = result.structured_content["state"]
        dream = await client.call_tool("imagine", {"state": state, "actions": [[1, 0]]})
        assert dream.content[1].text == "Picture: the remembered picture most like the imagined end."
        assert dream.structured_content["remembered"] < 3
        assert dream.structured_content["spacing"] >= 0

    talk(main)


def test_a_client_may_send_the_pictures_of_a_world_of_its_own():
    async def main(client):
        assert "must be given" in await refused(client, "observe")
        seen = await ok(client, "observe", picture=encoded(2, 3))
        after = await ok(client, "observe", episode=seen["episode"], picture=encoded(3, 3), actions=[[1, 0]])
        assert after["step"] == 1
        found = await ok(client, "distance", first=seen["state"], second=after["state"])
        assert found["latent"] == pytest.approx(1, abs=0.02)
        assert "no world to take them in" in await refused(client, "surprise", state=after["state"])
        assert "8 x 8 px" in await refused(client, "observe", picture=wide_picture())
        assert "cannot be read" in await refused(client, "observe", picture="!!!!")
        return (await client.list_tools()).tools

    assert "act" not in {tool.name for tool in talk(main, make_world=None, may_act=False)}


def test_a_surprise_has_its_p_value():
    class Haunted(PixelWorld):
        """Moves the pixel by itself at the fourth step."""

        def reset(self, seeds):
            self.count = 0 if len(seeds) == 1 else -100
            return super().reset(seeds)

        def step(self, actions):
            self.count += 1
            return super().step(actions + (3 if self.count == 4 else 0))

    async def main(client):
        seen = await ok(client, "observe", seed=0)
        assert "nothing was expected" in await refused(client, "surprise", state=seen["state"])
        seen = await ok(client, "act", state=seen["state"], actions=[[0.3, 0.2]])
        calm = await ok(client, "surprise", state=seen["state"])
        assert calm["p_value"] > 0.05
        assert calm["calibrated_on"] == 199
        seen = await ok(client, "act", state=seen["state"], actions=[[0, 0], [0, 0], [0, 0]])
        strange = await ok(client, "surprise", state=seen["state"])
        assert strange["p_value"] <= 0.01
        assert strange["surprising"] is True
        assert strange["score"] == pytest.approx(18, abs=0.5)

    talk(main, make_world=Haunted)


def test_what_is_wrong_is_one_line_and_the_server_goes_on():
    async def main(client):
        state = (await ok(client, "observe", seed=0))["state"]
        other = (await ok(client, "observe", seed=1))["state"]
        dream = (await ok(client, "imagine", state=state, actions=[[1, 0]]))["state"]
        plan = (await ok(client, "plan", state=other, goal_state=dream))["plan"]
        for said, name, arguments in [
            ("unknown tool `imagin`; did you mean `imagine`?", "imagin", {}),
            ("`imagine` has no argument `sate`; did you mean `state`?", "imagine", {"sate": state}),
            ("`state` of `imagine` is wrong: Field required", "imagine", {"actions": [[1, 0]]}),
            ("`actions.0.0` of `imagine` is wrong", "imagine", {"state": state, "actions": [["x"]]}),
            ("must be 1 to 256 lists", "imagine", {"state": state, "actions": []}),
            ("each action must be 2 numbers; got [1.0]", "imagine", {"state": state, "actions": [[1]]}),
            ("each action must lie between", "imagine", {"state": state, "actions": [[0, 2]]}),
            ("at most 256 items", "imagine", {"state": state, "actions": [[0, 0]] * 257}),
            ("unknown or has expired", "imagine", {"state": "state-0", "actions": [[0, 0]]}),
            ("must be a handle of another kind", "imagine", {"state": plan, "actions": [[0, 0]]}),
            ("exactly one of", "plan", {"state": state}),
            ("exactly one of", "plan", {"state": state, "goal": "x", "goal_state": dream}),
            ("openjepa train language RUN", "plan", {"state": state, "goal": "the left room"}),
            ("openjepa train language RUN", "describe", {"state": state}),
            ("openjepa train language RUN", "ask", {"state": state, "question": "where?"}),
            ("`goal_picture` must be 8 x 8 px", "plan", {"state": state, "goal_picture": wide_picture()}),
            ("must be the present one", "act", {"state": dream, "actions": [[0, 0]]}),
            ("must begin in the present state", "act", {"state": state, "plan": plan}),
            ("either `actions` or `plan`", "act", {"state": state}),
            ("exactly one of `state`, `clip`", "surprise", {}),
            ("no video model", "surprise", {"clip": "a.mp4"}),
        ]:
            assert said in await refused(client, name, **arguments), (said, name)
        await ok(client, "imagine", state=state, actions=[[1, 0]])

    talk(main, words="this agent has no words. Teach it: openjepa train language RUN")


class ToyWords:
    """Knows one instruction, and what to say of the pixel."""

    def refuses(self, text):
        return None if text == "go to the right edge" else f"`{text}` is unlike anything that was learned here"

    def describe(self, latents, top=None):
        return [Description(f"the pixel is at {latents[0, 0]:.0f}, {latents[0, 1]:.0f}", 0.9)]

    def ask(self, latents, question, choices=None):
        return [Description("yes" if latents[0, 0] > 3 else "no", 0.8)]

    def cost(self, text):
        return ToyCost()


class ToyCost:
    """The nearest state at the right edge is straight to the right."""

    def aim(self, z):
        goal = z.clone()
        goal[..., 0] = SIZE - 1
        return bind(PathCost(), goal)

    def energy(self, z):
        return 10 * (z[:, 0, 0] - (SIZE - 1.5))


def test_words_are_goals_and_answers():
    async def main(client):
        result = await client.call_tool("observe", {"seed": 7})
        seen = result.structured_content
        assert seen["words"] == "the pixel is at 3, 2"
        goal = {"goal": "go to the right edge"}
        found = await ok(client, "compare_futures", state=seen["state"], futures=[[[0, 1]] * 4, [[1, 0]] * 4], **goal)
        assert found["futures"][0]["number"] == 1
        assert found["futures"][0]["holds"] > 0.9
        assert found["futures"][1]["holds"] < 0.1
        for _ in range(6):
            plan = await ok(client, "plan", state=seen["state"], **goal)
            seen = await ok(client, "act", state=seen["state"], plan=plan["plan"])
        assert plan["holds"] > 0.9
        said = await ok(client, "ask", state=seen["state"], question="is it on the right?", choices=["yes", "no"])
        assert said == {"text": "yes", "said": [{"text": "yes", "probability": 0.8}], "about": "seen"}
        dream = await ok(client, "imagine", state=seen["state"], actions=[[-1, 0]] * 5)
        assert (await ok(client, "describe", state=dream["state"]))["about"] == "imagined"
        wrong = await refused(client, "plan", state=seen["state"], goal="geh nach links")
        assert wrong == "`geh nach links` is unlike anything that was learned here. Say it another way."

    talk(main, words=ToyWords())


def wide_picture():
    return base64.b64encode(to_png(np.zeros((3, 8, 12), np.uint8))).decode()


def test_a_fault_of_ours_is_told_without_its_words_and_survived():
    agent = make_agent()

    async def main(client):
        seen = await ok(client, "observe", seed=0)
        agent.model.rollout = lambda z, actions: 1 / 0
        assert await refused(client, "imagine", state=seen["state"], actions=[[1, 0]]) == "Error executing tool imagine"
        del agent.model.rollout
        await ok(client, "imagine", state=seen["state"], actions=[[1, 0]])

    talk(main, agent=agent)


def test_a_cancelled_search_ends_and_the_next_call_is_answered():
    agent, searching, cancelled = make_agent(iterations=1000), threading.Event(), threading.Event()
    rollout, count = agent.model.rollout, [0]

    def watched(z, actions):
        count[0] += 1
        searching.set()
        cancelled.wait()
        return rollout(z, actions)

    agent.model.rollout = watched

    async def main(client):
        seen = await ok(client, "observe", seed=0)
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "plan", {"state": seen["state"], "goal_picture": encoded(4, 4)})
            await anyio.to_thread.run_sync(searching.wait)
            group.cancel_scope.cancel()
        cancelled.set()
        return await ok(client, "imagine", state=seen["state"], actions=[[1, 0]])

    assert talk(main, agent=agent, limits=Limits(call_seconds=3600))["path"]
    assert count[0] <= 4  # of a thousand


def test_a_search_that_runs_out_of_time_gives_its_best_plan():
    tools = make_tools(make_agent(iterations=1000))
    seen = tools.observe(Job(), seed=0).answer
    job = Job(until=0.0)
    found = tools.plan(job, seen.state, goal_picture=encoded(4, 1)).answer
    assert found.cut_short
    assert found.cost < found.standing_still


def test_progress_is_told():
    told = []

    async def note(done, total, words):
        told.append((done, total, words))

    async def main(client):
        seen = await ok(client, "observe", seed=0)
        arguments = {"state": seen["state"], "futures": [[[1, 0]]] * 3, "goal_state": seen["state"]}
        await client.call_tool("compare_futures", arguments, progress_callback=note)

    talk(main)
    assert [(done, total) for done, total, _ in told] == [(0, 3), (1, 3), (2, 3)]


def test_clients_that_come_together_get_what_they_get_alone():
    async def play(client, seed, found):
        seen = await ok(client, "observe", seed=seed)
        for number in range(4):
            goal = encoded((seed + number) % 6, 5)
            plan = await ok(client, "plan", state=seen["state"], goal_picture=goal)
            seen = await ok(client, "act", state=seen["state"], plan=plan["plan"])
            found.setdefault(seed, []).append((plan["actions"], plan["cost"], seen["step"]))

    async def alone(client):
        found = {}
        for seed in range(6):
            await play(client, seed, found)
        return found

    async def together(server):
        found = {}
        async with anyio.create_task_group() as group:
            for seed in range(6):
                group.start_soon(one, server, seed, found)
        return found

    async def one(server, seed, found):
        async with Client(server) as client:
            await play(client, seed, found)

    assert anyio.run(together, make_server(make_tools())) == talk(alone)


def test_the_present_never_expires_however_much_is_imagined():
    async def main(client):
        first = await ok(client, "observe", seed=0)
        goal = await ok(client, "observe", seed=8)
        dream = await ok(client, "imagine", state=first["state"], actions=[[1, 0]] * 8)  # pushes itself out
        assert len(dream["path"]) == 8
        assert "has expired" in await refused(client, "imagine", state=dream["path"][0], actions=[[1, 0]])
        seen = await ok(client, "observe", episode=first["episode"])
        plan = await ok(client, "plan", state=seen["state"], goal_state=goal["state"])
        assert (await ok(client, "act", state=seen["state"], plan=plan["plan"]))["step"] == 1

    talk(main, limits=Limits(states=6))


def test_resources_tell_of_the_run():
    async def main(client):
        names = {str(resource.uri) for resource in (await client.list_resources()).resources}
        card = await client.read_resource("openjepa://card")
        doctor = await client.read_resource("openjepa://doctor")
        return names, json.loads(card.contents[0].text), doctor.contents[0].text

    server = make_server(make_tools(), resources={"doctor": lambda: "healthy"})
    names, card, doctor = talk(main, server=server)
    assert names == {"openjepa://card", "openjepa://doctor"}
    assert card["action_meaning"] == "pixels to the right and down"
    assert doctor == "healthy"


def test_a_report_is_read_as_words(tmp_path):
    found = run_resources(tmp_path / "agent")
    assert "openjepa doctor" in found["doctor"]()
    (tmp_path / "report.html").write_text("<style>x{}</style><h1>Run</h1><table><tr><td>reached</td><td>9</td></table>")
    assert found["report"]() == "Run\nreached 9"


# ------------------------------------------------------------------------------------------------------- parts


def test_handles_cannot_be_guessed_and_expire():
    now = [0.0]
    shelf = Shelf(owners=2, per_owner=2, idle_seconds=100, clock=lambda: now[0])
    closed = []

    class Thing(Closing):
        def close(self):
            closed.append(self)

    first = shelf.open("episode", Thing())
    assert len(first) >= len("episode-") + 24
    states = [shelf.keep("state", number, first) for number in range(3)]
    with pytest.raises(DataError, match=r"`state` must be a handle of this server; .* 2 others in use"):
        shelf.get(states[0], int, "state")
    assert shelf.get(states[2], int, "state") == 2
    with pytest.raises(DataError, match=r"another kind; .* is a state"):
        shelf.get(states[2], Thing, "episode")
    shelf.open("episode", Thing())
    with pytest.raises(DataError, match="at most 2 episodes and embeddings"):
        shelf.open("episode", Thing())
    now[0] = 61  # the first has rested, and gives way
    shelf.open("episode", Thing())
    assert len(closed) == 1
    with pytest.raises(DataError, match="has expired"):
        shelf.get(states[2], int, "state")
    now[0] = 300
    with pytest.raises(DataError, match="has expired"):
        shelf.get(first, Thing, "episode")
    assert len(shelf) == 0
    assert len(closed) == 3


def test_the_worker_takes_turns_and_drops_what_nobody_waits_for():
    worker, order, gate = Worker(waiting=1, call_seconds=1), [], threading.Event()

    async def nothing(done, total, words):
        pass

    async def main():
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run, lambda job: gate.wait() and order.append("first"), nothing)
            await anyio.sleep(0)
            with anyio.move_on_after(0.01):
                await worker.run(lambda job: order.append("given up"), nothing)
            group.start_soon(worker.run, lambda job: order.append("second"), nothing)
            await anyio.sleep(0)
            with pytest.raises(DataError, match="the server is busy"):
                await worker.run(lambda job: order.append("too many"), nothing)
            gate.set()

    anyio.run(main)
    worker.close()
    assert order == ["first", "second"]


@pytest.mark.parametrize("text", ["", "a", "data:image/png;base64,AAAA", base64.b64encode(b"GIF89a").decode()])
def test_what_is_no_picture_is_refused(text):
    with pytest.raises(DataError, match=r"`p` must be a picture .* cannot be read"):
        from_base64(text, "p", max_bytes=100)


def test_large_pictures_are_refused_before_they_are_decoded():
    with pytest.raises(DataError, match="at most 100 bytes"):
        from_base64("A" * 400, "p", max_bytes=100)


def test_limits_are_positive():
    with pytest.raises(ConfigError, match="`futures` must be at least 1; got 0"):
        Limits(futures=0)


# -------------------------------------------------------------------------------------------------------- HTTP


@pytest.fixture
def address():
    """A server on a free port with a token; yields its address."""
    import uvicorn

    config = ServerConfig(port=0, token="a secret of some length")
    taken = listen(config)
    limits = Limits(message_bytes=20_000)
    app = http_app(make_server(make_tools(limits=limits)), config, limits)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
    thread.start()
    yield f"http://127.0.0.1:{taken.getsockname()[1]}/mcp"
    server.should_exit = True
    thread.join()
    taken.close()


def test_the_tools_over_http(address):
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    words = {"Authorization": "Bearer a secret of some length"}

    async def main():
        async with httpx2.AsyncClient(headers=words) as http:
            for mode in ("auto", "legacy"):
                transport = streamable_http_client(address, http_client=http)
                async with Client(transport, mode=mode) as client:
                    assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS
                    seen = await ok(client, "observe", seed=7)
                    dream = await ok(client, "imagine", state=seen["state"], actions=[[1, 0]])
                    assert dream["moved"] == pytest.approx(1, abs=0.05)
        async with httpx2.AsyncClient() as http:
            assert (await http.post(address, json={})).status_code == 401
            wrong = {"Authorization": "Bearer a secret of other length"}
            assert (await http.post(address, json={}, headers=wrong)).status_code == 401
            assert (await http.post(address, content=b"x" * 30_000, headers=words)).status_code == 413
            foreign = {**words, "Host": "evil.example", "Accept": "application/json, text/event-stream"}
            assert (await http.post(address, json={}, headers=foreign)).status_code in (403, 421)

    anyio.run(main)


def test_beyond_loopback_needs_the_flag_and_a_token():
    with pytest.raises(ConfigError, match="loopback"):
        ServerConfig(host="0.0.0.0")
    taken = listen(ServerConfig(port=0))
    with pytest.raises(ConfigError, match="must be free to listen at"):
        listen(ServerConfig(port=taken.getsockname()[1]))
    taken.close()
