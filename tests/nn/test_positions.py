import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.nn.positions import resize_table, sincos_1d, sincos_2d, sincos_3d


def test_published_2d_rows():
    column = torch.tensor([0.841471, 0.01, 0.540302, 0.99995])
    row = torch.tensor([0.0, 0.0, 1.0, 1.0])
    table = sincos_2d(8, (1, 2, 2), "column_first")
    torch.testing.assert_close(table[1], torch.cat((column, row)), atol=1e-6, rtol=0)
    table = sincos_2d(8, (1, 2, 2), "row_first")
    torch.testing.assert_close(table[1], torch.cat((row, column)), atol=1e-6, rtol=0)


def test_published_3d_row():
    expected = [0.841471, 0.01, 0.540302, 0.99995, 0, 0, 1, 1, 0.909297, 0.019999, -0.416147, 0.9998]
    table = sincos_3d(12, (2, 3, 3))
    torch.testing.assert_close(table[9 + 2], torch.tensor(expected), atol=1e-6, rtol=0)


def test_3d_is_cut_to_the_width():
    assert sincos_3d(1024, (2, 2, 2)).shape == (8, 1024)
    with pytest.raises(ConfigError, match="must be even; got 5"):
        sincos_1d(torch.arange(3), 5)


def test_resizing_keeps_a_constant_and_a_ramp():
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    table = torch.stack((torch.ones(16), rows.flatten(), columns.flatten()), -1)[None]
    bigger = resize_table(table, (1, 4, 4), (1, 8, 6)).view(8, 6, 3)
    torch.testing.assert_close(bigger[..., 0], torch.ones(8, 6))
    assert (bigger[1:, :, 1] > bigger[:-1, :, 1]).all()
    assert (bigger[:, 1:, 2] > bigger[:, :-1, 2]).all()
    assert resize_table(table, (1, 4, 4), (1, 4, 4)) is table


def test_resizing_time():
    table = torch.arange(2.0)[:, None].repeat_interleave(3, 0)[None]  # 2 frames of 3 tokens
    longer = resize_table(table, (2, 1, 3), (4, 1, 3)).view(4, 3)
    torch.testing.assert_close(longer[:, 0], torch.tensor([0.0, 0.25, 0.75, 1.0]))
    with pytest.raises(ConfigError, match="6 tokens cannot belong"):
        resize_table(table, (2, 1, 4), (4, 1, 3))
