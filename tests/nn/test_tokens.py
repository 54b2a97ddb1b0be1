import torch

from openjepa.nn.tokens import (
    gather_tokens,
    grid_positions,
    nearest_distance,
    normalize_features,
    normalize_levels,
    num_tokens,
)


def test_gather_is_advanced_indexing_with_gradient():
    x = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    idx = torch.tensor([[4, 0], [1, 1], [2, 3]])
    kept = gather_tokens(x, idx)
    assert torch.equal(kept, x[torch.arange(3)[:, None], idx])
    kept.sum().backward()
    assert x.grad is not None
    assert x.grad[..., 0].tolist() == [[1, 0, 0, 0, 1], [0, 2, 0, 0, 0], [0, 0, 1, 1, 0]]


def test_gather_blocks():
    x = torch.arange(12.0).view(2, 6, 1)
    blocks = gather_tokens(x, torch.tensor([[[0, 1], [4, 5]], [[2, 3], [1, 0]]]))
    assert blocks[..., 0].tolist() == [[[0, 1], [4, 5]], [[8, 9], [7, 6]]]


def test_normalised_features_have_no_mean_and_unit_variance():
    x = torch.randn(4, 7, 32) * 3 + 1
    z = normalize_features(x)
    torch.testing.assert_close(z.mean(-1), torch.zeros(4, 7), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.var(-1, unbiased=False), torch.ones(4, 7), atol=1e-4, rtol=0)


def test_levels_are_normalised_on_their_own():
    x = torch.cat((torch.randn(2, 3, 8), 100 * torch.randn(2, 3, 8)), -1)
    expected = torch.cat([normalize_features(part) for part in x.chunk(2, -1)], -1)
    torch.testing.assert_close(normalize_levels(x, 2), expected)


def test_positions_are_time_major():
    assert num_tokens((2, 3, 4)) == 24
    assert grid_positions((2, 3, 4))[17].tolist() == [1.0, 1.0, 1.0]  # 17 = 1 * 12 + 1 * 4 + 1


def test_nearest_distance_by_hand():
    # A 2 x 2 x 3 grid: token 0 is (0, 0, 0), token 5 (0, 1, 2), token 6 (1, 0, 0), token 11 (1, 1, 2).
    found = nearest_distance(torch.tensor([[0, 6]]), torch.tensor([[5, 11]]), (2, 2, 3))
    torch.testing.assert_close(found, torch.tensor([[5.0**0.5, 5.0**0.5]]))
    found = nearest_distance(torch.tensor([[0]]), torch.tensor([[11, 1]]), (2, 2, 3))
    torch.testing.assert_close(found, torch.tensor([[1.0]]))
