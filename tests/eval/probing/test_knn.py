import numpy as np
import pytest
import torch

from openjepa.errors import ConfigError, ShapeError
from openjepa.eval.probing.knn import KNNConfig, knn_accuracy, knn_predict


def reference(x, labels, queries, k, temperature):
    """The same vote, one query at a time."""
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    out = []
    for q in queries:
        cosine = x @ (q / np.linalg.norm(q))
        near = np.argsort(-cosine)[:k]
        votes = np.zeros(labels.max() + 1)
        for i in near:
            votes[labels[i]] += np.exp(cosine[i] / temperature)
        out.append(votes.argmax())
    return np.array(out)


@pytest.mark.parametrize("k", [1, 5, 20, 500])
def test_votes_agree_with_the_slow_way(k):
    rng = np.random.default_rng(0)
    x, queries, labels = rng.normal(size=(120, 8)), rng.normal(size=(40, 8)), rng.integers(0, 4, 120)
    found = knn_predict(torch.tensor(x), torch.tensor(labels), torch.tensor(queries), KNNConfig(k=k, temperature=0.2))
    np.testing.assert_array_equal(found.numpy(), reference(x, labels, queries, k, 0.2))


def test_length_does_not_matter_and_the_near_outweigh_the_many():
    x = torch.tensor([[1.0, 0.0], [0.0, 9.0], [0.1, 5.0], [0.2, 7.0]])
    labels = torch.tensor([0, 1, 1, 1])
    query = torch.tensor([[100.0, 1.0]])
    assert knn_predict(x, labels, query, KNNConfig(k=4)).item() == 0
    assert knn_accuracy(x, labels, query, torch.tensor([1]), KNNConfig(k=4)) == 0.0


def test_bad_input():
    with pytest.raises(ConfigError, match="`k` must be >= 1 and `temperature` > 0; got 0"):
        KNNConfig(k=0)
    with pytest.raises(ShapeError, match="`queries` must be"):
        knn_predict(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long), torch.zeros(3, 4))
