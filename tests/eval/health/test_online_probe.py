import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from openjepa.errors import ConfigError, DataError
from openjepa.eval.health.online_probe import OnlineProbe, OnlineProbeConfig
from openjepa.eval.health.read_out import ProbedSet, features_of, mean_r2, read_numbers
from openjepa.eval.probing.frozen_encoder import encoder_of


@dataclasses.dataclass(frozen=True)
class Shape:
    patch_size: int = 4
    tubelet_size: int = 1
    is_video: bool = False
    class_token: bool = False


class Brightness(nn.Module):
    """A network whose tokens say how bright a patch is; random weights say nothing."""

    def __init__(self, sees=True):
        super().__init__()
        self.config, self.weight = Shape(), nn.Parameter(torch.tensor([1.0 if sees else 0.0, 0.0]))

    def init_weights(self, generator=None):
        with torch.no_grad():
            self.weight.zero_()

    def forward(self, x):
        patches = x.mean(1).unfold(1, 4, 4).unfold(2, 4, 4).mean((-1, -2)).flatten(1)  # [B, N]
        return patches[..., None] * self.weight


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Brightness()


def spots(count, seed, classes=2):
    """Black pictures of 8 pixels with one patch lit: bright or dim is the class, the place is the target."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (count,), generator=generator)
    places = torch.randint(0, 2, (count, 2), generator=generator)
    pixels = torch.zeros(count, 3, 8, 8, dtype=torch.uint8)
    for i, (row, column) in enumerate(places.tolist()):
        pixels[i, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 100 + 100 * int(labels[i])
    return ProbedSet(pixels, labels, {"place": places.float()})


def test_what_the_network_knows_is_found_beside_random_weights():
    found = OnlineProbe(spots(80, 0), spots(60, 1), OnlineProbeConfig(controls=2))(Toy().eval(), 5)
    assert found["linear"] == 1.0
    assert found["place_r2"] > 0.5  # linear in the four patches, up to the brightness
    test = spots(60, 1)
    most = float(torch.bincount(test.labels).max() / 60)
    assert found["linear_untrained"] <= most
    assert found["place_r2_untrained"] <= 0.01
    assert found["effective_rank_untrained"] == pytest.approx(1.0, abs=1e-6) or found["feature_std_untrained"] == 0.0
    assert found["feature_std_untrained"] == 0.0
    assert found["effective_rank"] == pytest.approx(1.0)  # the second channel is always zero
    assert set(found) == {
        f"{n}{e}" for n in ("knn", "linear", "place_r2", "feature_std", "effective_rank") for e in ("", "_untrained")
    }


def test_feature_std_by_hand():
    test = spots(60, 1)
    brightness = np.array([(100 + 100 * int(label)) / 4 for label in test.labels])
    found = OnlineProbe(spots(20, 0), test, OnlineProbeConfig(controls=1)).measure(frozen_toy())
    # The mean over patches and channels after normalisation by ImageNet's deviations; the other channel is 0.
    scale = np.mean([1 / (255 * s) for s in (0.229, 0.224, 0.225)])
    assert found["feature_std"] == pytest.approx(np.sqrt(np.var(brightness * scale) / 2), rel=1e-4)


def frozen_toy():
    from openjepa.eval.probing.frozen_encoder import frozen

    return frozen(Brightness())


def test_the_network_is_left_as_it_was():
    method = Toy().eval()
    before = method.encoder.weight.clone()
    OnlineProbe(spots(20, 0), spots(20, 1), OnlineProbeConfig(controls=1, linear=False))(method, 0)
    assert torch.equal(method.encoder.weight, before)
    assert method.encoder.weight.requires_grad


def test_without_labels_collapse_is_still_measured():
    unlabelled = ProbedSet(spots(20, 0).pixels)
    found = OnlineProbe(unlabelled, unlabelled, OnlineProbeConfig(controls=1))(Toy().eval(), 0)
    assert set(found) == {"feature_std", "feature_std_untrained", "effective_rank", "effective_rank_untrained"}


def test_controls_are_measured_once(monkeypatch):
    probe = OnlineProbe(spots(20, 0), spots(20, 1), OnlineProbeConfig(controls=3))
    drawn = []
    monkeypatch.setattr(Brightness, "init_weights", lambda self, generator: drawn.append(generator.initial_seed()))
    probe(Toy().eval(), 0)
    probe(Toy().eval(), 1)
    assert drawn == [0, 1, 2]


def test_numbers_are_read_by_the_better_penalty():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 5, generator=generator)
    y = x @ torch.randn(5, 2, generator=generator)
    assert mean_r2(read_numbers(x[:150], y[:150], x[150:]), y[150:]) > 0.999
    assert mean_r2(torch.ones(4, 1), torch.ones(4, 1)) == 0.0


def test_cells_keep_the_place():
    features = features_of(frozen_toy(), spots(3, 0).pixels, cells=9)
    assert features.cells.shape == (3, 2 * 2 * 2)  # [D, rows, columns], never more cells than tokens
    assert features.summary.shape == (3, 2)


def test_errors():
    with pytest.raises(DataError, match="at least 2 training and 2 test samples; got 1 and 20"):
        OnlineProbe(spots(1, 0), spots(20, 0))
    with pytest.raises(ConfigError, match="`controls`"):
        OnlineProbeConfig(controls=0)
    with pytest.raises(ConfigError, match="Linear has none"):
        encoder_of(nn.Linear(1, 1))
