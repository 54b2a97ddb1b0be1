import pytest
import torch

from openjepa.baselines.inverse_dynamics import InverseDynamics, InverseDynamicsConfig
from openjepa.baselines.pixel_prediction import PixelPrediction, PixelPredictionConfig
from openjepa.errors import ConfigError
from openjepa.eval.health.conformance import check_method, check_world_model
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.models.latent_predictor import LatentPredictorConfig
from openjepa.protocols import TrajectoryBatch

SEEING = FrameEncoderConfig(image_size=16, width=4, hidden_dim=8)
CAUSAL = LatentPredictorConfig("transformer", predictor_dim=8, depth=1, context_len=2, num_heads=1)


def batch(steps: int = 4) -> TrajectoryBatch:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(256, (3, steps, 3, 16, 16), generator=generator).to(torch.uint8)
    return TrajectoryBatch(frames, torch.randn(3, steps - 1, 2, generator=generator))


def small(**options) -> PixelPrediction:
    return PixelPrediction(PixelPredictionConfig(encoder=SEEING, decoder_width=8, decoder_hidden_dim=8, **options))


VARIANTS = {
    "plain": {},
    "with inverse dynamics": {"inverse_dynamics_weight": 1.0},
    "one step, all frames": {"rollout": "one_step", "decoded_frames": None, "predictor": CAUSAL},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_it_conforms_as_a_method_and_as_a_world_model(name):
    model = small(**VARIANTS[name])
    check_method(model, batch())
    with torch.no_grad():
        for parameter in model.predictor.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    check_world_model(model.eval(), batch().frames, batch().actions)
    check_world_model(model, batch().frames, batch().actions, context_len=2)


def test_the_loss_is_the_pixel_error_of_the_open_loop():
    """The equation, written out: paint z_0 and every rolled-out state, and compare with the frames."""
    model = small(decoded_frames=None, reconstruction_weight=3.0).train()
    with torch.no_grad():
        model.predictor.change[-1].bias.fill_(0.3)  # something moves
    data = batch()
    found = model.loss(data, 0)
    torch.manual_seed(0)
    z = model.norm(model.context_encoder(data.frames[:, 0]))
    expected = []
    for t in range(4):
        target = data.frames[:, t].float() / 127.5 - 1
        expected.append((model.decoder(z) - target).square().mean())
        if t < 3:
            z = model.predictor(z[:, None], data.actions[:, t, None])[:, 0]
    torch.testing.assert_close(found.terms["reconstruction"], torch.stack(expected).mean().detach())
    torch.testing.assert_close(found.loss, 3 * torch.stack(expected).mean())


def test_the_gradient_of_pixels_reaches_encoder_and_dynamics():
    model = small()
    with torch.no_grad():
        torch.nn.init.normal_(model.predictor.change[-1].weight, std=0.1)
    model.loss(batch(), 0).loss.backward()
    assert float(model.context_encoder.trunk.stem.weight.grad.abs().sum()) > 0
    assert float(model.predictor.change[0].weight.grad.abs().sum()) > 0


def test_few_steps_lower_the_error_and_the_latent_stays_alive():
    generator = torch.Generator().manual_seed(0)
    shade = torch.rand(32, 1, 3, 1, 1, generator=generator)
    frames = (255 * shade).expand(-1, 3, -1, 16, 16).to(torch.uint8)
    data = TrajectoryBatch(frames, torch.zeros(32, 2, 2))
    model = small()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    errors = []
    for step in range(150):
        optimizer.zero_grad()
        found = model.loss(data, step)
        found.loss.backward()
        optimizer.step()
        model.after_step(step)
        errors.append(float(found.terms["reconstruction"]))
    assert errors[-1] < 0.5 * errors[0]
    with torch.no_grad():
        z = model.eval().encode(frames)
    assert float(z.flatten(0, 2).std(0).mean()) > 0.3
    assert model.decode(z).shape == frames.shape


def test_surprise_is_the_error_of_the_next_picture():
    model = small().eval()
    data = batch(2)
    with torch.no_grad():
        z = model.norm(model.context_encoder(data.frames[:, 0]))  # the predictor starts as the identity
        expected = (model.decoder(z) - (data.frames[:, 1].float() / 127.5 - 1)).square().mean((1, 2, 3))
    torch.testing.assert_close(model.surprise(data.frames, data.actions), expected[:, None])


def test_inverse_dynamics_is_a_method_with_the_known_error():
    model = InverseDynamics(InverseDynamicsConfig(encoder=SEEING))
    check_method(model, batch())
    with torch.no_grad():
        model.action_readout.net[-1].weight.zero_()
        model.action_readout.net[-1].bias.zero_()
    torch.testing.assert_close(model.loss(batch(), 0).loss, batch().actions.square().mean())  # it always says 0


def test_errors_name_the_option():
    with pytest.raises(ConfigError, match=r"`decoded_frames` must be at least 2"):
        PixelPredictionConfig(decoded_frames=1)
    with pytest.raises(ConfigError, match="`reconstruction_weight` must be > 0"):
        PixelPredictionConfig(reconstruction_weight=0)
    with pytest.raises(ConfigError, match=r"`std` must be above 0"):
        small().set_action_statistics(torch.zeros(2), torch.zeros(2))
