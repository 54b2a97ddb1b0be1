"""Files as they come: any name the system allows, files that change between two starts, features that overflow."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from openjepa.cli import main
from openjepa.errors import ConfigError, DataError, ShapeError
from openjepa.eval.embedding.embed import EmbedConfig, run_embed
from openjepa.eval.embedding.embedding_store import EmbeddingStore, Rows, read_embeddings
from openjepa.eval.embedding.search import SearchConfig, run_search
from openjepa.eval.probing.frozen_encoder import FrozenEncoder, frozen
from openjepa.interop import save_pretrained
from openjepa.models.vit import VisionTransformer, vit_tiny

NAMES = [b"caf\xe9.png", b"two\nlines.png", b"-dash.png", b"[a]*?.png", b"tab\t.png", b"a:b.png", b" x .png"]
NAMES += ["nel\x85\u2028\x1c.png".encode(), b"'quote\".png", b"%d.png", b"\xff\xfe.png", "ü.png".encode(), b"$(x);.png"]


class Colours:
    """The mean colour of each picture as its one token; counts how many it has seen."""

    def __init__(self, scale=1.0):
        self.scale, self.seen = scale, 0

    def __call__(self, x):
        self.seen += len(x)
        return self.scale * x.mean((2, 3))[:, None]


def encoder(network=None):
    return FrozenEncoder(network or Colours(), False, 16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def picture(path, colour, size=16):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), colour).save(path)


@pytest.fixture
def odd_names(tmp_path):
    (tmp_path / "set").mkdir()
    for i, name in enumerate(NAMES):
        picture(tmp_path / "plain.png", (250, 20 * i, 0))
        os.rename(tmp_path / "plain.png", os.fsencode(tmp_path / "set") + b"/" + name)
    return tmp_path / "set"


@pytest.mark.parametrize("kind", ["numpy", "parquet"])
def test_any_name_is_embedded_and_found(odd_names, tmp_path, kind):
    config = EmbedConfig(odd_names, tmp_path / "out", size=16, format=kind, part_size=4)
    report = run_embed(encoder(), config)
    assert report.embedded == len(NAMES)
    rows = read_embeddings(tmp_path / "out")
    assert {os.fsencode(os.path.basename(name)) for name in rows.paths} == set(NAMES)
    for name, vector in zip(rows.paths, rows.vectors, strict=True):
        green = 20 * NAMES.index(os.fsencode(os.path.basename(name)))
        np.testing.assert_allclose(255 * vector, (250, green, 0), atol=1e-3)
    for name in rows.paths:
        hits = run_search(SearchConfig(tmp_path / "out", Path(name), k=len(NAMES))).hits
        assert {hit.path for hit in hits} == {*rows.paths} - {name}
    again = run_embed(encoder(), config)
    assert (again.resumed, again.changed) == (len(NAMES), 0)


def test_names_that_are_not_text_are_marked_in_parquet(odd_names, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    run_embed(encoder(), EmbedConfig(odd_names, tmp_path / "out", size=16))
    table = parquet.read_table(next((tmp_path / "out").glob("part-*.parquet")))
    pairs = zip(table["path"].to_pylist(), table["path_bytes"].to_pylist(), strict=True)
    assert all(raw.decode("utf-8", "replace") == shown for shown, raw in pairs)


def test_the_command_line_prints_one_line_for_each_name(odd_names, tmp_path, capsysbinary):
    network = VisionTransformer(vit_tiny(img_size=(16, 16), patch_size=8, depth=1))
    model = str(save_pretrained(network, tmp_path / "model"))
    assert main(["embed", str(odd_names), "--model", model, "--out", str(tmp_path / "out")]) == 0
    capsysbinary.readouterr()
    assert main(["search", str(tmp_path / "out"), os.path.join(odd_names, "-dash.png"), "--k", "99"]) == 0
    lines = capsysbinary.readouterr().out.split(b"\n")[:-1]
    assert len(lines) == len(NAMES) - 1
    shown = {line.rpartition(b"/")[2] for line in lines}
    assert {b"caf\xe9.png", b"\xff\xfe.png", b"[a]*?.png", "ü.png".encode()} <= shown
    assert {b"two\\nlines.png", b"tab\\t.png", b"nel\\x85\\u2028\\x1c.png"} <= shown


# ------------------------------------------------------------------------------------------------------------
# Files that change


@pytest.fixture
def work(tmp_path):
    for i in range(8):
        picture(tmp_path / "set" / f"{i}.png", (10 * i, 0, 0))
    return EmbedConfig(tmp_path / "set", tmp_path / "out", size=16, format="numpy", part_size=2)


def reds(config):
    return (255 * read_embeddings(config.output).vectors[:, 0]).round().astype(int).tolist()


def test_a_file_that_changed_is_embedded_anew_with_its_part_only(work):
    assert run_embed(encoder(), work).changed == 0
    path = work.path / "5.png"
    size = path.stat().st_size
    picture(path, (200, 0, 0))
    assert path.stat().st_size == size  # neither the name nor the size tells
    colours = Colours()
    report = run_embed(encoder(colours), work)
    assert (report.changed, report.resumed, report.embedded, report.rows) == (1, 6, 8, 8)
    assert colours.seen == 2
    assert reds(work) == [0, 10, 20, 30, 40, 200, 60, 70]
    assert "1 had changed and were embedded anew" in report.text()
    assert run_embed(encoder(Colours()), work).changed == 0


def test_files_that_changed_places_with_their_times_kept(work):
    run_embed(encoder(), work)
    first, second = work.path / "0.png", work.path / "7.png"
    times = {path: path.stat() for path in (first, second)}
    first.rename(work.path / "x")
    second.rename(first)
    (work.path / "x").rename(second)
    for path, status in times.items():
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert run_embed(encoder(), work).changed == 2
    assert reds(work) == [70, 10, 20, 30, 40, 50, 60, 0]


def test_a_damaged_file_that_was_mended_counts(work, tmp_path):
    (work.path / "3.png").write_bytes(b"words")
    config = EmbedConfig(**{**work.__dict__, "max_damaged_share": 0.2})
    assert list(run_embed(encoder(), config).damaged) == [str(work.path / "3.png")]
    picture(work.path / "3.png", (30, 0, 0))
    report = run_embed(encoder(), config)
    assert (report.damaged, report.embedded) == ({}, 8)
    assert reds(work) == [10 * i for i in range(8)]


def test_a_kill_between_removing_and_embedding_anew_loses_nothing_else(work, monkeypatch):
    run_embed(encoder(), work)
    picture(work.path / "5.png", (200, 0, 0))
    with monkeypatch.context() as patched:
        patched.setattr(EmbeddingStore, "add", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_embed(encoder(), work)
    assert reds(work) == [0, 10, 20, 30, 60, 70]
    run_embed(encoder(), work)
    assert reds(work) == [0, 10, 20, 30, 40, 200, 60, 70]


def test_folders_of_version_0_1_0_are_gone_on_with(work):
    run_embed(encoder(), work)
    log = work.output / "_commits.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text("".join(json.dumps({k: v for k, v in e.items() if k != "stamps"}) + "\n" for e in lines))
    picture(work.path / "5.png", (200, 0, 0))
    colours = Colours()
    assert run_embed(encoder(colours), work).resumed == 8
    assert colours.seen == 0
    assert run_search(SearchConfig(work.output, work.path / "5.png", k=1)).hits


def test_a_query_that_changed_is_encoded_anew(work):
    run_embed(encoder(), work)
    query = work.path / "5.png"
    before = run_search(SearchConfig(work.output, query, k=7)).hits
    picture(query, (0, 0, 250))
    with pytest.raises(ConfigError, match=r"5.png` has changed since it was embedded; the model is needed"):
        run_search(SearchConfig(work.output, query))
    after = run_search(SearchConfig(work.output, query, k=7), encoder()).hits
    assert {hit.path for hit in after} == {hit.path for hit in before}  # never its former self
    assert max(hit.score for hit in after) == 0  # blue is at right angles to red
    query.unlink()  # what was embedded can be asked for without the file
    assert run_search(SearchConfig(work.output, query, k=7)).hits == before


# ------------------------------------------------------------------------------------------------------------
# Numbers that are none


def test_features_that_are_not_finite_are_never_written(work):
    def broken(x):
        out = x.mean((2, 3))[:, None].clone()
        out[out[:, 0, 0] > 45 / 255] = float("nan")
        return out

    with pytest.raises(DataError, match="features must be finite; the encoder gives NaN or infinity for 1 of 2 inputs"):
        run_embed(encoder(broken), EmbedConfig(**{**work.__dict__, "batch_size": 2, "part_size": 4}))
    assert reds(work) == [0, 10, 20, 30]


def test_numbers_that_the_stored_type_cannot_hold(work):
    config = EmbedConfig(**{**work.__dict__, "dtype": "float16"})
    with pytest.raises(DataError, match=r"embeddings must fit float16; the largest is .*e\+05. Store float32"):
        run_embed(encoder(Colours(1e6)), config)


def test_stored_numbers_that_are_not_finite_are_not_searched(tmp_path):
    rows = Rows(["q", "a"], np.arange(2), np.zeros(2, np.int32), np.zeros(2, np.float32), np.array([[1.0], [np.nan]]))
    with EmbeddingStore(tmp_path / "out", "numpy", {"options": {"pooling": "mean"}}) as store:
        store.add(0, 2, rows, {})
    with pytest.raises(DataError, match=r"must hold finite embeddings; it holds NaN or infinity. Embed again"):
        run_search(SearchConfig(tmp_path / "out", Path("q")))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64])
def test_pixels_are_uint8(dtype):
    with pytest.raises(ShapeError, match=r"`pixels` must be uint8 on a scale of 0 to 255; got torch"):
        encoder().tokens(torch.zeros(1, 3, 16, 16, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_networks_of_any_floating_type_run(dtype):
    network = VisionTransformer(vit_tiny(img_size=(16, 16), patch_size=8, depth=1)).eval()
    pictures = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    wanted = frozen(network).tokens(pictures)
    found = frozen(network.to(dtype)).tokens(pictures)
    assert found.dtype == torch.float32
    assert (found - wanted).norm() < 0.05 * wanted.norm()
