import math

import numpy as np
import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.nn.transformer import (
    Attention,
    Block,
    frame_causal_mask,
    frame_mask,
    hidden_width,
    init_weights,
    rescale_residuals,
    run_blocks,
)


def test_attention_against_numpy():
    generator = torch.Generator().manual_seed(0)
    attention = Attention(8, 2)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    x = torch.randn(1, 5, 8, generator=generator)
    w, b = attention.qkv.weight.detach().numpy(), attention.qkv.bias.detach().numpy()
    q, k, v = np.split(x[0].numpy() @ w.T + b, 3, axis=1)
    heads = []
    for h in range(2):
        rows = slice(4 * h, 4 * h + 4)
        scores = q[:, rows] @ k[:, rows].T / math.sqrt(4)
        scores = np.exp(scores - scores.max(1, keepdims=True))
        heads.append(scores / scores.sum(1, keepdims=True) @ v[:, rows])
    expected = np.concatenate(heads, 1) @ attention.proj.weight.detach().numpy().T
    expected += attention.proj.bias.detach().numpy()
    np.testing.assert_allclose(attention(x)[0].detach().numpy(), expected, atol=2e-5)


def test_heads_must_divide_the_width():
    with pytest.raises(ConfigError, match="must divide the width 10; got 3"):
        Attention(10, 3)


def test_parameters_of_a_block():
    d, m = 24, 96
    assert sum(p.numel() for p in Block(d, 3).parameters()) == 4 * d * d + 2 * d * m + 9 * d + m


def test_published_hidden_widths():
    assert hidden_width(1408, 48 / 11) == 6144
    assert hidden_width(1664, 64 / 13) == 8192
    assert hidden_width(24, 1.5) == 36


def test_weights_that_keep_the_size_of_their_input():
    maps = torch.nn.Sequential(torch.nn.Linear(400, 300), torch.nn.Conv2d(3, 200, 8))
    init_weights(maps, torch.Generator().manual_seed(0), None)
    assert float(maps[0].weight.detach().std()) == pytest.approx(400**-0.5, rel=0.02)
    assert float(maps[1].weight.detach().std()) == pytest.approx(192**-0.5, rel=0.02)


def test_initial_weights():
    blocks = torch.nn.ModuleList(Block(64, 4) for _ in range(3))
    init_weights(blocks, torch.Generator().manual_seed(0))
    before = [b.mlp.fc2.weight.detach().clone() for b in blocks]
    assert abs(float(before[0].std()) - 0.02) < 1e-3
    assert float(blocks[1].attn.qkv.bias.detach().abs().max()) == 0.0
    rescale_residuals(blocks)
    for number, (block, old) in enumerate(zip(blocks, before, strict=True), start=1):
        torch.testing.assert_close(block.mlp.fc2.weight, old / math.sqrt(2 * number))
    again = torch.nn.ModuleList(Block(64, 4) for _ in range(3))
    init_weights(again, torch.Generator().manual_seed(0))
    assert torch.equal(again[2].mlp.fc2.weight, before[2])


def test_checkpointed_gradients_are_the_same():
    blocks = torch.nn.ModuleList(Block(16, 2) for _ in range(3))
    x = torch.randn(2, 4, 16)
    grads = []
    for checkpointing in (False, True):
        blocks.zero_grad()
        *_, out = run_blocks(blocks, x, checkpointing=checkpointing)
        out.square().sum().backward()
        grads.append(blocks[0].attn.qkv.weight.grad.clone())
    torch.testing.assert_close(grads[0], grads[1])


def test_frame_causal_mask_by_hand():
    mask = frame_causal_mask(2, 2, num_prefix_tokens=1)
    expected = [
        [1, 1, 1, 1, 1],  # the prefix sees everything
        [0, 1, 1, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 1, 1, 1, 1],
        [0, 1, 1, 1, 1],
    ]
    assert mask.int().tolist() == expected
    assert frame_mask(torch.tensor([[1, 0]])).int().tolist() == [[[1, 1], [0, 1]]]
