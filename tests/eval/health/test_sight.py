import pytest
import torch

from openjepa.eval.health.blind_map import blind_map
from openjepa.eval.health.collapse import measure
from openjepa.eval.health.doctor import diagnose, unread_things
from openjepa.eval.health.sight import foretell_places, look, whole_things
from openjepa.eval.probing.probes import ProbeConfig
from openjepa.protocols import TrajectoryBatch

QUICK = ProbeConfig(mlp_steps=100)


def nearest(sight, colour):
    return min(sight.things, key=lambda thing: sum(abs(a - b) for a, b in zip(thing.colour, colour, strict=True)))


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_complete_latent_holds_agent_and_block(drawn, noise):
    batch = drawn.pusher()
    sight = look(drawn.lift(batch.states, noise=noise), batch, probes=QUICK)
    assert nearest(sight, drawn.RED).read > 0.9
    assert nearest(sight, drawn.BLUE).read > 0.7
    assert 2.5 < sight.degrees_of_freedom < 5
    assert 0.05 < sight.temporal_variance_ratio < 0.5


def test_an_agent_only_latent_does_not_hold_the_block(drawn):
    batch = drawn.pusher()
    sight = look(drawn.lift(batch.states[..., :2]), batch, probes=QUICK)
    agent, block = nearest(sight, drawn.RED), nearest(sight, drawn.BLUE)
    assert agent.read > 0.9
    assert block.read < 0
    assert block.foretold > 0.8
    assert block.size_px == pytest.approx(7, abs=1)


def test_one_thing_has_two_degrees_of_freedom_and_its_edges_none(drawn):
    batch = drawn.dot()
    sight = look(drawn.lift(batch.states), batch, z_random=torch.randn(48, 30, 4), probes=QUICK)
    assert len(sight.things) == 1
    assert sight.degrees_of_freedom == pytest.approx(2, abs=0.3)
    assert sight.read > 0.95
    assert sight.untrained < 0.1


def test_what_pictures_cannot_foretell_may_be_ignored(drawn):
    batch = drawn.dot()
    frames = batch.frames.clone()
    frames[..., 20:, 20:] = torch.randint(0, 256, frames[..., 20:, 20:].shape, dtype=torch.uint8)  # a screen of noise
    sight = look(drawn.lift(batch.states), TrajectoryBatch(frames, batch.actions), probes=QUICK)
    assert all(thing.read > 0.5 for thing in sight.things)
    assert nearest(sight, drawn.RED).read > 0.8


def test_foretelling_places_by_hand():
    draws = torch.Generator().manual_seed(0)
    actions = torch.randn(20, 29, 2, generator=draws)
    steady = torch.cat([torch.zeros(20, 1, 2), actions.cumsum(1)], 1)
    noise = torch.randn(20, 30, 2, generator=draws)
    found = foretell_places(torch.stack([steady, noise], 2), actions, torch.ones(20, 30, dtype=torch.bool), QUICK)
    assert float(found[0]) > 0.999
    assert float(found[1]) < 0.1


def test_a_part_goes_with_its_whole():
    draws = torch.Generator().manual_seed(0)
    whole, other = torch.randn(2, 6, 20, 2, generator=draws).unbind(0)
    places = torch.stack([whole + 1 + 0.2 * torch.randn(6, 20, 2, generator=draws), whole, other], 2)
    valid = torch.ones(6, 20, dtype=torch.bool)
    kept = whole_things(places, torch.tensor([2.0, 8.0, 1.0]), valid, torch.tensor([0, 1, 2]))
    assert kept.tolist() == [1, 2]


def test_too_little_or_nothing_that_moves_tells_nothing(drawn):
    batch = drawn.dot()
    few = TrajectoryBatch(batch.frames[:7], batch.actions[:7])
    assert look(drawn.lift(batch.states)[:7], few, probes=QUICK) is None
    still = TrajectoryBatch(torch.full_like(batch.frames, 90), batch.actions)
    assert look(drawn.lift(batch.states), still, probes=QUICK) is None


# ----------------------------------------------------------------------------------------------------------
# The whole way: a model, its verdict, and the picture


def check(drawn, *colours, batch=None):
    batch = batch or drawn.pusher()
    found = measure(drawn.Onlooker(*colours), batch, probes=QUICK, closely=True)
    return found, diagnose(found), blind_map(batch, found.sight)


def blind_share(spots):
    """Share of the motion in the pictures that the latent does not hold, 0 to 1."""
    return float(spots.blind.sum() / spots.motion.sum())


def test_the_doctor_points_at_the_block_of_an_agent_only_latent(drawn):
    found, verdict, spots = check(drawn, drawn.RED)
    assert verdict.kind == "agent-only latent"
    (block,) = unread_things(found)
    assert sum(abs(a - b) for a, b in zip(block.colour, drawn.BLUE, strict=True)) < 40
    unseen = spots.unseen > 0.5
    blue = (spots.frame.float() - torch.tensor(drawn.BLUE)[:, None, None]).norm(dim=0) < 40
    assert unseen.any()
    assert blue[unseen].float().mean() > 0.9
    assert blind_share(spots) > 0.4
    assert (spots.blind <= spots.motion + 1e-6).all()


def test_it_points_at_nothing_on_a_healthy_latent(drawn):
    found, verdict, spots = check(drawn, drawn.RED, drawn.BLUE)
    assert verdict.healthy
    assert unread_things(found) == ()
    assert blind_share(spots) < 0.1
    assert float(spots.unseen.max()) < 0.3


def test_a_state_of_one_frame_misses_the_velocity_of_a_sliding_dot(drawn):
    _, verdict, _ = check(drawn, drawn.RED, batch=drawn.sliding_dot())
    assert verdict.kind == "no velocity"
    assert check(drawn, drawn.RED, batch=drawn.dot())[1].healthy


def test_ragged_episodes_are_judged_alike_and_padding_never_counts(drawn):
    batch = drawn.pusher()
    lengths = torch.randint(2, 31, (48,), generator=torch.Generator().manual_seed(4))
    pads = torch.arange(30) >= lengths[:, None]
    frames = torch.where(pads[:, :, None, None, None], 255 - batch.frames, batch.frames)
    dirty = TrajectoryBatch(frames, batch.actions, states=batch.states + 1e3 * pads[..., None], lengths=lengths)
    clean = TrajectoryBatch(batch.frames, batch.actions, states=batch.states, lengths=lengths)
    model = drawn.Onlooker(drawn.RED)
    found, wanted = (measure(model, one, probes=QUICK, closely=True) for one in (dirty, clean))
    for name, value in flat(wanted.as_json()).items():
        got = flat(found.as_json())[name]
        assert got == (pytest.approx(value, rel=1e-3, abs=1e-3) if isinstance(value, float) else value), name
    assert found.frames == int(lengths.sum())
    assert diagnose(found).kind == "agent-only latent"


def flat(values, prefix=""):
    """Numbers of nested dictionaries and lists by their path; fits on rounded sums may differ a little."""
    if isinstance(values, dict):
        values = list(values.items())
    elif isinstance(values, (list, tuple)):
        values = list(enumerate(values))
    else:
        return {prefix: values}
    return {name: leaf for key, value in values for name, leaf in flat(value, f"{prefix}.{key}").items()}
