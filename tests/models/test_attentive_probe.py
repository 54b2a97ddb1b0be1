import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.models.attentive_probe import AttentiveProbe, AttentiveProbeConfig


def count(**options):
    with torch.device("meta"):
        probe = AttentiveProbe(AttentiveProbeConfig(**options))
    return sum(p.numel() for p in probe.parameters())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"embed_dim": 1024, "num_classes": (174,)}, 49_514_670),
        ({"embed_dim": 1408, "num_classes": (174,)}, 93_494_190),
        ({"embed_dim": 1024, "num_classes": (400,), "depth": 1}, 11_957_648),
        ({"embed_dim": 1280, "num_classes": (400,), "depth": 1}, 18_551_440),
    ],
)
def test_published_parameter_counts(options, expected):
    assert count(**options) == expected


def test_order_of_tokens_does_not_matter():
    probe = AttentiveProbe(AttentiveProbeConfig(embed_dim=32, num_heads=4, num_classes=(5,)))
    tokens = torch.randn(2, 9, 32)
    torch.testing.assert_close(probe(tokens)[0], probe(tokens[:, torch.randperm(9)])[0], atol=1e-5, rtol=1e-5)


def test_one_query_for_each_classifier():
    config = AttentiveProbeConfig(embed_dim=32, num_heads=4, num_classes=(4, 5, 6), num_queries=3)
    probe = AttentiveProbe(config, generator=torch.Generator().manual_seed(0))
    scores = probe(torch.randn(2, 7, 32))
    assert [s.shape for s in scores] == [(2, 4), (2, 5), (2, 6)]
    torch.nn.init.zeros_(probe.query_tokens)
    with pytest.raises(ConfigError, match="`num_queries` must be 1 or one for each of 2 classifiers; got 3"):
        AttentiveProbeConfig(embed_dim=32, num_heads=4, num_classes=(4, 5), num_queries=3)


def test_a_probe_learns_which_token_is_marked():
    generator = torch.Generator().manual_seed(0)
    probe = AttentiveProbe(
        AttentiveProbeConfig(embed_dim=16, num_heads=2, num_classes=(3,), depth=1), generator=generator
    )
    optimizer = torch.optim.AdamW(probe.parameters(), lr=5e-3)
    for _ in range(60):
        tokens = 0.1 * torch.randn(32, 6, 16, generator=generator)
        labels = torch.randint(3, (32,), generator=generator)
        tokens[torch.arange(32), torch.randint(6, (32,), generator=generator), labels] += 4.0
        loss = torch.nn.functional.cross_entropy(probe(tokens)[0], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2
