import copy

import numpy as np
import pytest
import torch

from openjepa.nn.rope import GridRope, RotaryTable, rotary_table, rotate, segment_width


def turn(x, position, layout):
    """Rotates channels as if they were one time segment: three equal segments, of which the first is read."""
    table = rotary_table(torch.tensor([[float(position), 0.0, 0.0]]), 3 * len(x), layout)
    padded = torch.zeros(1, 1, 3 * len(x))
    padded[..., : len(x)] = torch.tensor(x)
    return rotate(padded, table)[0, 0, : len(x)]


@pytest.mark.parametrize(
    ("position", "layout", "expected"),
    [
        (1, "tiled", (-1.142640, 2.009900, -1.744977, 4.029800)),
        (1, "interleaved", (-1.142640, 1.922076, 2.959851, 4.029800)),
        (3, "tiled", (-1.272233, 2.029096, -3.534458, 4.088187)),
        (3, "interleaved", (-1.272233, -1.838865, 2.878668, 4.088187)),
    ],
)
def test_published_rotations(position, layout, expected):
    torch.testing.assert_close(turn((1.0, 2.0, 3.0, 4.0), position, layout), torch.tensor(expected), atol=2e-6, rtol=0)


def test_segments_of_published_heads():
    assert [segment_width(d) for d in (64, 80, 88, 32, 25, 16)] == [20, 26, 28, 10, 8, 4]


@pytest.mark.parametrize("layout", ["tiled", "interleaved"])
def test_table_against_numpy(layout):
    head_dim, segment = 20, 6
    positions = np.array([[0, 0, 0], [1, 2, 3], [5, 0.5, 7]], dtype=np.float32)
    x = np.random.default_rng(0).normal(size=(1, 3, 2, head_dim)).astype(np.float32)
    expected = x.copy()
    for token, position in enumerate(positions):
        for axis in range(3):
            for pair in range(segment // 2):
                first = axis * segment + 2 * pair
                lanes = (pair, pair) if layout == "interleaved" else ((2 * pair) % 3, (2 * pair + 1) % 3)
                angles = [position[axis] * 10000.0 ** (-lane / 3) for lane in lanes]
                a, b = x[0, token, :, first], x[0, token, :, first + 1]
                expected[0, token, :, first] = a * np.cos(angles[0]) - b * np.sin(angles[0])
                expected[0, token, :, first + 1] = b * np.cos(angles[1]) + a * np.sin(angles[1])
    table = rotary_table(torch.from_numpy(positions), head_dim, layout)
    np.testing.assert_allclose(rotate(torch.from_numpy(x), table).numpy(), expected, atol=2e-6)


def test_an_odd_head_leaves_its_rest_alone():
    x = torch.randn(1, 8, 2, 25)
    turned = rotate(x, GridRope(25, "tiled").table((2, 2, 2), x.device))
    assert torch.equal(turned[..., 24:], x[..., 24:])
    even = rotate(x[..., :24], GridRope(24, "tiled").table((2, 2, 2), x.device))
    torch.testing.assert_close(turned[..., :24], even)


def test_only_interleaved_is_a_rotation():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 12, 3, 16, generator=generator)
    rope = {layout: GridRope(16, layout) for layout in ("interleaved", "tiled")}
    turned = {k: rotate(x, r.table((3, 2, 2), x.device)) for k, r in rope.items()}
    torch.testing.assert_close(turned["interleaved"].norm(dim=-1), x.norm(dim=-1), atol=1e-5, rtol=1e-5)
    assert (turned["tiled"].norm(dim=-1) - x.norm(dim=-1)).abs().max() > 0.05


def test_interleaved_depends_on_offsets_only():
    q, k = torch.randn(2, 1, 1, 24, generator=torch.Generator().manual_seed(1))

    def score(start, layout):
        tables = [rotary_table(torch.tensor([[start + offset, start, 2.0]]), 24, layout) for offset in (0.0, 3.0)]
        return float((rotate(q, tables[0]) * rotate(k, tables[1])).sum())

    scores = {layout: [score(p, layout) for p in (0.0, 5.0, 9.0)] for layout in ("interleaved", "tiled")}
    assert np.ptp(scores["interleaved"]) < 1e-4
    assert np.ptp(scores["tiled"]) > 1e-2


def test_stretched_positions():
    rope = GridRope(24, "interleaved", pretrained_grid=16)
    positions = rope.positions((2, 3, 4), torch.device("cpu"))
    assert positions[-1].tolist() == [1.0, 15.0, 15.0]
    assert positions[1].tolist() == [0.0, 0.0, 5.0]
    assert rope.positions((1, 1, 1), torch.device("cpu")).tolist() == [[0.0, 0.0, 0.0]]


def test_prefix_tokens_are_not_rotated():
    rope = GridRope(16, "interleaved", num_prefix_tokens=2)
    table = rope.table((2, 2, 2), torch.device("cpu"))
    assert table.cos.shape == (10, 16)
    assert torch.equal(table.cos[:2], torch.ones(2, 16))
    assert torch.equal(table.sin[:2].abs(), torch.zeros(2, 16))


def test_tables_are_cached_and_trainable_after_inference():
    rope = GridRope(16, "tiled")
    with torch.inference_mode():
        first = rope.table((2, 2, 2), torch.device("cpu"))
    assert rope.table((2, 2, 2), torch.device("cpu")) is first
    assert copy.deepcopy(rope).table((2, 2, 2), torch.device("cpu")) is first
    x = torch.randn(1, 8, 1, 16, requires_grad=True)
    rotate(x, first).sum().backward()
    assert x.grad is not None


def test_gather_keeps_order():
    table = GridRope(16, "interleaved").table((2, 2, 2), torch.device("cpu"))
    ids = torch.tensor([[7, 0], [3, 5]])
    picked = table.gather(ids)
    assert isinstance(picked, RotaryTable)
    assert torch.equal(picked.cos[1, 1], table.cos[5])


def test_bfloat16_keeps_its_type_and_phases():
    x = torch.randn(1, 32, 1, 64, generator=torch.Generator().manual_seed(0))
    table = GridRope(64, "interleaved").table((32, 1, 1), x.device)
    low = rotate(x.bfloat16(), table)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), rotate(x, table), atol=0.04, rtol=0.02)
