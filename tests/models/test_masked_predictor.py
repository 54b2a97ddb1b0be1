import pytest
import torch

from openjepa.errors import ConfigError, ShapeError
from openjepa.models.masked_predictor import MaskedPredictor, MaskedPredictorConfig

SMALL = {"in_dim": 32, "out_dim": 32, "predictor_dim": 24, "depth": 2, "num_heads": 2, "grid": (2, 4, 4)}


def make(**options):
    config = MaskedPredictorConfig(**{**SMALL, **options})
    predictor = MaskedPredictor(config).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in predictor.parameters():  # large enough for positions to show
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return predictor


def count(**options):
    with torch.device("meta"):
        predictor = MaskedPredictor(MaskedPredictorConfig(**options))
    return sum(p.numel() for p in predictor.parameters())


V2 = {"predictor_dim": 384, "depth": 12, "num_heads": 12, "num_mask_tokens": 10}
V21 = {**V2, "num_mask_tokens": 8, "predict_context": True, "modality_embedding": True}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({**V2, "in_dim": 1024, "out_dim": 1024}, 22_086_016),
        ({**V2, "in_dim": 1280, "out_dim": 1280}, 22_282_880),
        ({**V2, "in_dim": 1408, "out_dim": 1408}, 22_381_312),
        ({**V21, "in_dim": 768, "out_dim": 1664}, 22_874_752),
        ({**V21, "in_dim": 1024, "out_dim": 1664}, 22_973_056),
        ({**V21, "in_dim": 1408, "out_dim": 1408, "depth": 24, "num_levels": 4}, 55_400_704),
        ({**V21, "in_dim": 1664, "out_dim": 1664, "depth": 24, "num_levels": 4}, 59_433_472),
        ({**V2, "in_dim": 1280, "out_dim": 1280, "num_mask_tokens": 1, "positions": "sincos"}, 22_279_424),
    ],
)
def test_published_parameter_counts(options, expected):
    assert count(**options) == expected


@pytest.mark.parametrize("positions", ["rope", "sincos"])
def test_order_of_tokens_does_not_matter(positions):
    predictor = make(positions=positions)
    z = torch.randn(2, 6, 32)
    context_idx = torch.stack([torch.randperm(16)[:6], torch.randperm(16)[:6]])
    target_idx = torch.stack([16 + torch.randperm(16)[:5], 16 + torch.randperm(16)[:5]])
    z_pred = predictor(z, context_idx, target_idx)
    order, targets = torch.randperm(6), torch.randperm(5)
    again = predictor(z[:, order], context_idx[:, order], target_idx[:, targets])
    torch.testing.assert_close(again, z_pred[:, targets], atol=1e-5, rtol=1e-5)


def test_target_blocks_do_not_see_each_other():
    predictor = make()
    z, context_idx = torch.randn(2, 4, 32), torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7]])
    target_idx = torch.arange(8, 20).view(1, 4, 3).repeat(2, 1, 1)
    z_pred = predictor(z, context_idx, target_idx)
    assert z_pred.shape == (2, 4, 3, 32)
    changed = target_idx.clone()
    changed[:, 1] += 12
    again = predictor(z, context_idx, changed)
    assert torch.equal(again[:, [0, 2, 3]], z_pred[:, [0, 2, 3]])
    assert (again[:, 1] - z_pred[:, 1]).abs().max() > 1e-3
    torch.testing.assert_close(z_pred[:, 2], predictor(z, context_idx, target_idx[:, 2]), atol=1e-5, rtol=1e-5)


def test_mask_tokens_differ():
    predictor = make(num_mask_tokens=2)
    z, context_idx, target_idx = torch.randn(1, 3, 32), torch.arange(3)[None], torch.arange(3, 9)[None]
    first = predictor(z, context_idx, target_idx)
    assert (predictor(z, context_idx, target_idx, mask_token=1) - first).abs().max() > 1e-2
    with pytest.raises(ConfigError, match="`mask_token` must be below 2; got 2"):
        predictor(z, context_idx, target_idx, mask_token=2)


def test_context_is_predicted_too():
    predictor = make(predict_context=True, modality_embedding=True, num_levels=3)
    z, context_idx, target_idx = torch.randn(2, 5, 96), torch.arange(5).expand(2, -1), torch.arange(5, 12)
    z_pred, z_context = predictor.predict_all(z, context_idx, target_idx.expand(2, -1))
    assert z_pred.shape == (2, 7, 96)
    assert z_context.shape == (2, 5, 96)
    torch.testing.assert_close(z_pred, predictor(z, context_idx, target_idx.expand(2, -1)))
    with pytest.raises(ConfigError, match="`predict_context` must be on"):
        make().predict_all(torch.randn(1, 2, 32), torch.tensor([[0, 1]]), torch.tensor([[2]]))


def test_grid_of_the_clip_decides_positions():
    predictor = make()
    z, context_idx, target_idx = torch.randn(1, 2, 32), torch.tensor([[0, 9]]), torch.tensor([[17]])
    native = predictor(z, context_idx, target_idx)
    # On a grid of 8 columns the same numbers lie elsewhere.
    assert (predictor(z, context_idx, target_idx, grid=(2, 2, 8)) - native).abs().max() > 1e-4


def test_features_and_numbers_must_agree():
    with pytest.raises(ShapeError, match=r"`context_idx` must be \[1, 3\]"):
        make()(torch.randn(1, 3, 32), torch.tensor([[0, 1]]), torch.tensor([[2]]))
