import re

import numpy as np
import pytest
import torch
from PIL import Image

from openjepa.errors import ConfigError, DataError
from openjepa.eval.embedding.embed import EmbedConfig, run_embed
from openjepa.eval.embedding.embedding_store import EmbeddingStore, Rows
from openjepa.eval.embedding.search import SearchConfig, nearest, run_search
from openjepa.eval.probing.frozen_encoder import FrozenEncoder


def colour_encoder(scale=1.0):
    return FrozenEncoder(lambda x: scale * x.mean((2, 3))[:, None], False, 16, mean=(0.0, 0.0, 0.0), std=(scale,) * 3)


@pytest.fixture
def index(tmp_path):
    """Colours from red to blue in steps of a tenth of a right angle."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(10):
        angle = np.pi / 2 * i / 10
        colour = (round(250 * np.cos(angle)), 0, round(250 * np.sin(angle)))
        Image.new("RGB", (16, 16), colour).save(folder / f"{i}.png")
    run_embed(colour_encoder(), EmbedConfig(folder, tmp_path / "out", size=16, part_size=3))
    return tmp_path


def test_neighbours_of_an_embedded_file(index):
    report = run_search(SearchConfig(index / "out", index / "pictures" / "4.png", k=4))
    names = [hit.path[-5:] for hit in report.hits]
    assert set(names[:2]) == {"3.png", "5.png"}
    assert set(names[2:]) == {"2.png", "6.png"}
    assert report.hits[0].score == pytest.approx(np.cos(np.pi / 20), abs=1e-3)
    assert report.hits[3].score == pytest.approx(np.cos(np.pi / 10), abs=1e-3)
    assert "3.png" in report.text()


def test_a_new_file_needs_the_model_that_made_the_embeddings(index):
    Image.new("RGB", (30, 20), (250, 0, 0)).save(index / "red.png")
    config = SearchConfig(index / "out", index / "red.png", k=1)
    assert run_search(config, colour_encoder()).hits[0].path.endswith("0.png")
    with pytest.raises(ConfigError, match="is not among the embeddings; the model is needed"):
        run_search(config)
    with pytest.raises(ConfigError, match="the model must be the one that made"):
        run_search(config, colour_encoder(2.0))


def test_an_unknown_file_is_answered_by_the_nearest_name(index):
    with pytest.raises(DataError, match=r"unknown file `.*44.png`; did you mean `.*4.png`"):
        run_search(SearchConfig(index / "out", index / "pictures" / "44.png"))


def test_moments_of_one_file_compete_or_not(tmp_path):
    angle = np.array([0.0, 0.1, 0.2, 0.3, 1.5])
    rows = Rows(
        ["q", "a", "a", "b", "b"],
        np.array([0, 1, 1, 2, 2]),
        np.array([0, 0, 1, 0, 1], np.int32),
        np.array([0, 0, 1, 0, 1], np.float32),
        np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32),
    )
    with EmbeddingStore(tmp_path / "out", "numpy", {"options": {"pooling": "mean"}}) as store:
        store.add(0, 3, rows, {})
    files = run_search(SearchConfig(tmp_path / "out", "q", k=3)).hits
    assert [(h.path, h.time) for h in files] == [("a", 0.0), ("b", 0.0)]
    moments = run_search(SearchConfig(tmp_path / "out", "q", k=3, moments=True)).hits
    assert [(h.path, h.time) for h in moments] == [("a", 0.0), ("a", 1.0), ("b", 0.0)]


def test_dense_embeddings_cannot_be_searched(tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "x.png")
    config = EmbedConfig(tmp_path / "x.png", tmp_path / "out", size=16, pooling="dense")
    run_embed(colour_encoder(), config)
    with pytest.raises(DataError, match="must hold one vector per row; it is dense"):
        run_search(SearchConfig(tmp_path / "out", tmp_path / "x.png"))


def test_nearest_agrees_with_a_full_sort():
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(50, 6, generator=generator).numpy()
    queries = torch.randn(4, 6, generator=generator).numpy()
    near, scores = nearest(queries, vectors, 7)
    cosine = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ (
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    ).T
    np.testing.assert_array_equal(near, np.argsort(-cosine, 1)[:, :7])
    np.testing.assert_allclose(scores, -np.sort(-cosine, 1)[:, :7], rtol=1e-5)
    with pytest.raises(ConfigError, match=re.escape("`k` must be 1 to 50, the number of rows; got 51")):
        nearest(queries, vectors, 51)
