"""The world model with several futures, switched on by one option."""

import pytest
import torch

from openjepa.heads.futures import FuturesConfig
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.protocols import BranchingModel, TrajectoryBatch
from openjepa.train import load_method
from openjepa.train.checkpoint import save_checkpoint

KINDS = ("heads", "mixture", "ensemble", "variational")


def make(kind="heads", **options):
    futures = None if kind is None else FuturesConfig(kind, num_futures=3, hidden_dim=16)
    encoder = FrameEncoderConfig(image_size=16, width=4, hidden_dim=8)
    return LeWM(LeWMConfig(embed_dim=4, encoder=encoder, futures=futures, **options))


def windows():
    draws = torch.Generator().manual_seed(0)
    frames = torch.randint(256, (5, 4, 3, 16, 16), dtype=torch.uint8, generator=draws)
    return TrajectoryBatch(frames, torch.randn(5, 3, 2, generator=draws))


@pytest.mark.parametrize("kind", KINDS)
def test_the_encoder_learns_the_same_with_and_without(kind):
    plain, several = make(None), make(kind)
    several.load_state_dict({**several.state_dict(), **plain.state_dict()})
    for model in (plain, several):
        model.train().loss(windows(), 0).loss.backward()
    for (name, wanted), (_, found) in zip(
        plain.context_encoder.named_parameters(), several.context_encoder.named_parameters(), strict=True
    ):
        torch.testing.assert_close(found.grad, wanted.grad, msg=name)
    assert all(p.grad is not None for p in several.futures.parameters())


def test_the_weight_scales_the_term():
    model = make()
    found = model.train().loss(windows(), 0)
    rest = sum(float(model._weights(0)[n]) * float(t) for n, t in found.terms.items() if n != "futures")
    assert float(found.loss.detach()) == pytest.approx(rest + float(found.terms["futures"]), rel=1e-5)


def test_the_rollout_is_the_most_probable_future():
    model = make().eval()
    z = torch.randn(2, 1, 1, 4, generator=torch.Generator().manual_seed(1))
    actions = torch.randn(2, 1, 2, generator=torch.Generator().manual_seed(2))
    found = model.rollout_futures(z, actions, num_futures=3, generator=torch.Generator())
    best = found.log_weights.argmax(1)
    torch.testing.assert_close(model.rollout(z, actions), found.z[torch.arange(2), best])


def test_without_the_option_there_is_one_certain_future():
    model = make(None).eval()
    assert isinstance(model, BranchingModel)
    z, actions = torch.randn(2, 1, 1, 4), torch.randn(2, 3, 2)
    found = model.rollout_futures(z, actions, num_futures=8, generator=torch.Generator())
    torch.testing.assert_close(found.z.squeeze(1), model.rollout(z, actions))
    assert found.log_weights.tolist() == [[0.0], [0.0]]


def test_actions_are_standardised_in_futures_too():
    model, other = make().eval(), make().eval()
    model.set_action_statistics(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0]))
    z, actions = torch.randn(2, 1, 1, 4), torch.randn(2, 3, 2)
    scaled = (actions - model.action_mean) / model.action_std
    first = model.rollout_futures(z, actions, num_futures=4, generator=torch.Generator().manual_seed(0))
    second = other.rollout_futures(z, scaled, num_futures=4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(first.z, second.z)


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_reopens_with_its_futures(kind, tmp_path):
    model = make(kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train().loss(windows(), 0).loss.backward()
    optimizer.step()
    again = load_method(save_checkpoint(tmp_path / "checkpoints", 1, model)).eval()
    assert again.config == model.config
    z, actions = torch.randn(2, 1, 1, 4), torch.randn(2, 3, 2)
    torch.testing.assert_close(again.rollout(z, actions), model.eval().rollout(z, actions))
