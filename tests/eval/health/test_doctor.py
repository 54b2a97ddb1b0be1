import math
from dataclasses import replace

import pytest
import torch

from openjepa.command_line.runs import check_up
from openjepa.data.data_use import data_use
from openjepa.eval.health.collapse import latent_diagnostics
from openjepa.eval.health.doctor import THRESHOLDS, degrees_of_freedom, diagnose
from openjepa.eval.health.foretelling import Foretelling, foretell, shown_action
from openjepa.eval.health.prediction import Prediction
from openjepa.eval.health.sight import SeenThing, Sight
from openjepa.eval.probing.probes import ProbeConfig
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.methods.vjepa2_ac import VJEPA2AC, VJEPA2ACConfig
from openjepa.models.action_predictor import PoseActionPredictorConfig
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.models.frozen_tokens import FrozenTokensConfig

E, T = 48, 30
GOOD = Prediction(copy_ratio=0.3, permutation_ratio=5.0, action_sensitivity=1.0)
QUICK = ProbeConfig(mlp_steps=60)


def a_thing(read, untrained=None, colour=(230, 80, 60), size=5.0):
    return SeenThing(colour, size, 2.0, 9.0, 0.3, foretold=0.97, read=read, untrained=untrained)


def a_sight(*things, freedom=2.0, stride=None, grid=None):
    return Sight(things, freedom, temporal_variance_ratio=0.3, grid_px=grid, stride_px=stride)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def walk():
    """A disc on the plane, in rooms that differ between episodes: actions [E, T - 1, 2], states [E, T, 4]."""
    actions = torch.randn(E, T - 1, 2, generator=generator()) * 0.5
    start = torch.randn(E, 1, 2, generator=generator(1)) * 4
    place = torch.cat([start, start + actions.cumsum(1)], 1)
    layout = torch.randn(E, 1, 2, generator=generator(2)).expand(E, T, 2)
    return actions, torch.cat([place, layout], -1)


def lift(x, width=16, seed=3):
    """A fixed random linear map into a wide latent of standard deviation 1."""
    z = x @ torch.randn(x.shape[-1], width, generator=generator(seed))
    return (z - z.mean((0, 1))) / z.std((0, 1)).clamp_min(1e-9)


def verdict(z, prediction=GOOD, **known):
    actions, states = walk()
    known = {"actions": actions, "states": states, **known}
    return diagnose(latent_diagnostics(z, prediction=prediction, probes=QUICK, **known))


def test_a_good_latent_of_a_plane_is_healthy_although_its_rank_is_two():
    _, states = walk()
    found = verdict(lift(states[..., :2]))
    assert found.kind == "healthy"
    assert found.healthy
    assert not found.remedies
    assert found.text().startswith("healthy: no sign of collapse")


def test_position_and_layout_together_are_healthy():
    _, states = walk()
    assert verdict(lift(states)).healthy


def test_a_small_scale_alone_is_not_collapse():
    _, states = walk()
    assert verdict(0.02 * lift(states[..., :2])).healthy


@pytest.mark.parametrize("scale", [0.0, 1e-4])
def test_a_constant_latent_is_complete_collapse(scale):
    _, states = walk()
    found = verdict(0.7 + scale * lift(states))
    assert found.kind == "complete collapse"
    assert "Every picture gets the same latent" in found.findings[0]
    assert any("SIGReg" in line for line in found.remedies)
    assert any("inverse dynamics" in line for line in found.remedies)


def test_a_shrunken_latent_that_tells_nothing_is_complete_collapse():
    noise = 0.01 * torch.randn(E, T, 16, generator=generator(7))
    assert verdict(noise).kind == "complete collapse"


def test_encoding_only_the_layout_is_slow_features():
    _, states = walk()
    noise = 0.01 * torch.randn(E, T, 16, generator=generator(7))
    found = verdict(lift(states[..., 2:]) + noise)
    assert found.kind == "slow features"
    assert "Only what never changes inside an episode is encoded" in found.findings[0]
    assert "Raise the weight of inverse dynamics" in found.remedies[0]
    assert "time similarity to 0" in found.remedies[1]


def test_slow_features_are_seen_without_states_too():
    _, states = walk()
    assert verdict(lift(states[..., 2:]), states=None).kind == "slow features"
    assert verdict(lift(states[..., :2]), states=None).healthy


def test_following_noise_is_nuisance():
    found = verdict(torch.randn(E, T, 16, generator=generator(9)))
    assert found.kind == "nuisance features"
    assert "like noise" in found.findings[0]


def test_one_direction_that_is_not_the_state_is_dimensional_collapse():
    other = torch.randn(E, T, 1, generator=generator(11)).cumsum(1)
    assert verdict(lift(other)).kind == "dimensional collapse"


def test_nothing_is_advised_that_only_trains_an_encoder_which_is_frozen(monkeypatch):
    other = torch.randn(E, T, 1, generator=generator(11)).cumsum(1)
    actions, states = walk()
    known = latent_diagnostics(lift(other), prediction=GOOD, probes=QUICK, actions=actions, states=states)
    assert any("covariance" in line for line in diagnose(known).remedies)
    (advice,) = diagnose(known, frozen=True).remedies
    assert advice.startswith("Take another encoder")
    assert diagnose(known, frozen=True).kind == diagnose(known).kind
    monkeypatch.setattr("openjepa.eval.health.collapse.measure", lambda *_, **__: known)
    cells = FrozenTokensConfig(frames=FrameEncoderConfig("context", image_size=16, width=2, hidden_dim=4), rows=2)
    hand = PoseActionPredictorConfig(embed_dim=4, predictor_dim=8, depth=1, num_heads=1, native_rows=2)
    assert check_up(VJEPA2AC(VJEPA2ACConfig(cells, hand)), None).verdict.remedies == (advice,)
    assert check_up(LeWM(LeWMConfig(embed_dim=4)), None).verdict.remedies != (advice,)


def test_a_predictor_that_ignores_actions_is_named():
    _, states = walk()
    deaf = Prediction(copy_ratio=1.0, permutation_ratio=1.0, action_sensitivity=0.01)
    found = verdict(lift(states[..., :2]), deaf)
    assert found.kind == "blind predictor"  # actions can be read from two latents, so there is something to hear
    assert "ignores actions" in found.findings[0]
    assert "Refine the predictor" in found.remedies[0]


def test_actions_that_do_nothing_are_dead_to_predictor_and_read_out_alike():
    actions, states = walk()
    deaf = Prediction(copy_ratio=1.0, permutation_ratio=1.0, action_sensitivity=0.01)
    mixed = actions.roll(7, 0)
    known = latent_diagnostics(lift(states[..., :2]), actions=mixed, prediction=deaf, probes=QUICK)
    valid = torch.ones(E, T, dtype=torch.bool)
    sight = a_sight(a_thing(0.9))  # what moves can be read; only its actions are those of another episode
    found = diagnose(replace(known, sight=sight, foretelling=foretell(lift(states[..., :2]), mixed, valid, QUICK)))
    assert found.kind == "dead actions"
    assert "Actions do nothing to this latent" in found.findings[0]
    assert "`actions[:, t]` leads from frame t to frame t + 1" in found.remedies[0]


def test_constant_actions_come_first():
    assert verdict(torch.zeros(E, T, 4), actions=torch.ones(E, T - 1, 2)).kind == "constant actions"


def test_pictures_without_actions_and_states():
    features = torch.randn(200, 1, 32, generator=generator())
    alone = {"actions": None, "states": None, "prediction": None}
    assert verdict(0.04 * features, **alone).healthy  # unit-norm features have a std near 1 / sqrt(D)
    assert verdict(features[..., :1].expand(-1, -1, 32), **alone).kind == "dimensional collapse"
    assert verdict(1e-5 * features, **alone).kind == "complete collapse"


def test_degrees_of_freedom_are_those_that_move_in_the_picture():
    found = latent_diagnostics(torch.randn(E, T, 3, generator=generator()))
    assert degrees_of_freedom(found) == 2
    assert degrees_of_freedom(replace(found, sight=a_sight(a_thing(0.9), freedom=4.2))) == 4.2
    assert degrees_of_freedom(replace(found, sight=a_sight(a_thing(0.9), freedom=0.5))) == 1


def written(angles, style):
    """One and the same pair of unwrapped angles [E, T, 2], as different simulators would write it down."""
    return {
        "radians": angles,
        "degrees": angles * 180 / math.pi,
        "wrapped": (angles + math.pi) % (2 * math.pi) - math.pi,
        "cosine and sine": torch.cat([angles.cos(), angles.sin()], -1),
        "scaled and shifted": 1e3 * angles - 7e4,
        "nothing": None,
    }[style]


@pytest.mark.parametrize("style", ["radians", "degrees", "wrapped", "cosine and sine", "scaled and shifted", "nothing"])
@pytest.mark.parametrize(("sees", "kind"), [(True, "healthy"), (False, "dimensional collapse")])
def test_the_verdict_does_not_depend_on_how_the_state_is_written_down(style, sees, kind):
    # Joints that turn many times: what a latent holds is their cosine and sine, and no probe reads the angle itself.
    push = torch.randn(E, T - 1, 2, generator=generator(5))
    angles = torch.cat([torch.zeros(E, 1, 2), push.cumsum(1)], 1) + 40 * torch.rand(E, 1, 2, generator=generator(6))
    actions = push.sin()  # the same torque for many turns: two angles do not tell it well
    truth = torch.cat([angles.cos(), angles.sin()], -1)
    other = torch.randn(E, T, 1, generator=generator(11)).cumsum(1)
    z = lift(truth if sees else other)
    sight = a_sight(a_thing(0.95 if sees else -0.2, untrained=0.0), freedom=4.0)
    known = latent_diagnostics(z, actions=actions, states=written(angles, style), prediction=GOOD, probes=QUICK)
    assert diagnose(replace(known, sight=sight)).kind == kind


def test_a_thing_that_pictures_foretell_and_the_latent_ignores_is_named():
    _, states = walk()
    block = a_thing(-0.4, colour=(88, 184, 248), size=11.0)
    known = latent_diagnostics(lift(states[..., :2]), actions=walk()[0], prediction=GOOD, probes=QUICK)
    found = diagnose(replace(known, sight=a_sight(a_thing(0.95), block)))
    assert (found.kind, found.healthy) == ("agent-only latent", False)
    assert "blind to a thing of 11 px in rgb(88, 184, 248)" in found.findings[0]
    assert any("Collect more contact" in line for line in found.remedies)
    assert diagnose(replace(known, sight=a_sight(a_thing(0.95), a_thing(0.8)))).healthy


def test_a_state_without_velocity_is_named_and_comes_before_the_block():
    actions, states = walk()
    known = latent_diagnostics(lift(states[..., :2]), actions=actions, prediction=GOOD, probes=QUICK)
    gap = replace(known, foretelling=Foretelling(0.24, 0.85, 1.4), sight=a_sight(a_thing(0.9), a_thing(-1.0)))
    found = diagnose(gap)
    assert (found.kind, found.also) == ("no velocity", ("agent-only latent",))
    assert "with both, 85 % of the next change can be foretold, with one 24 %" in found.findings[0]
    assert found.text().startswith("sick: no velocity, agent-only latent\n")
    assert "more than one frame" in found.remedies[0]
    assert diagnose(replace(known, foretelling=Foretelling(0.9, 0.93, 6.0))).healthy
    assert diagnose(
        replace(known, foretelling=Foretelling(0.3, 0.47, 6.0))
    ).healthy  # noise: little is foretold by both


def test_a_picture_that_shows_the_last_action_is_named():
    actions, states = walk()
    valid = torch.ones(states.shape[:2], dtype=torch.bool)
    arrow = torch.cat([torch.zeros_like(actions[:, :1]), actions], 1)
    z = lift(torch.cat([states[..., :2], arrow], -1))
    told, hidden = (shown_action(seen, actions, valid) for seen in (z, lift(states[..., :2])))
    assert told is not None
    assert hidden is not None
    assert told > 0.99
    assert hidden < 0.3
    known = latent_diagnostics(z, actions=actions, prediction=GOOD, probes=QUICK)
    facts = [diagnose(replace(known, shown_action=score)).text() for score in (told, hidden, None)]
    assert ["shows the action that led to it" in text for text in facts] == [True, False, False]


def test_data_that_no_window_holds_are_lost():
    actions, states = walk()
    known = latent_diagnostics(lift(states[..., :2]), actions=actions, prediction=GOOD, probes=QUICK)
    mostly_short = data_use([8] * 30 + [40] * 10, window_steps=10)
    found = diagnose(known, data=mostly_short)
    assert (found.kind, found.healthy) == ("lost data", False)
    assert "37.5 % of the recorded steps" in found.findings[0]  # 240 of 640
    assert "Shorten the window" in found.remedies[0]
    few_short = data_use([3] * 5 + [40] * 95, window_steps=10)  # a few stubs hold next to no steps
    assert diagnose(known, data=few_short).healthy
    assert any("5 episodes are too short for one" in line for line in diagnose(known, data=few_short).findings)


def test_patches_that_do_not_fit_what_moves_are_a_remedy_only_for_the_sick():
    actions, states = walk()
    known = latent_diagnostics(lift(states[..., :2]), actions=actions, prediction=GOOD, probes=QUICK)

    def remedies(thing, **sight):
        return diagnose(replace(known, sight=a_sight(a_thing(0.9), thing, **sight))).remedies

    assert "at most 3 px wide" in remedies(a_thing(-0.1, size=3.0), stride=16)[-1]
    assert "patches 5 px wide, so that they fit the cells" in remedies(a_thing(-0.1), stride=4, grid=5)[-1]
    assert "patches" not in remedies(a_thing(-0.1), stride=4)[-1]
    assert remedies(a_thing(0.9, size=3.0), stride=16) == ()


def test_a_run_halfway_to_collapse_must_beat_an_untrained_encoder():
    _, states = walk()
    z = 0.02 * lift(states[..., :2])
    assert verdict(z, z_random=z).kind == "complete collapse"
    assert verdict(z, z_random=torch.zeros_like(z)).healthy


def test_thresholds_keep_their_distance_from_the_measured_runs():
    # Largest reading of a run made sick on purpose, smallest of a healthy one (Two-Rooms, see `Thresholds`).
    assert 2e-4 < THRESHOLDS.dead_std < 0.11
    assert 0.05 < THRESHOLDS.informed < 0.34
    assert 0.004 < THRESHOLDS.slow_ratio < 1.3
    assert 0.0 < THRESHOLDS.blind < 0.56
