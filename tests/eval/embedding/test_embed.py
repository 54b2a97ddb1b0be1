import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from openjepa.data.items import DatasetItems
from openjepa.data.video_file import write_video
from openjepa.errors import ConfigError, DataError
from openjepa.eval.embedding.embed import EmbedConfig, run_embed
from openjepa.eval.embedding.embedding_store import EmbeddingStore, read_embeddings
from openjepa.eval.probing.frozen_encoder import FrozenEncoder, frozen
from openjepa.models.vit import VisionTransformer, ViTConfig

IDENTITY = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def patch_means(x, tubelet, patch):
    """Tokens that are the mean colour of each patch or tubelet: [B, T, C, H, W] to [B, N, C]."""
    b, t, c, h, w = x.shape
    x = x.reshape(b, t // tubelet, tubelet, c, h // patch, patch, w // patch, patch).mean((2, 5, 7))
    return x.permute(0, 1, 3, 4, 2).flatten(1, 3)


def picture_encoder():
    return FrozenEncoder(lambda x: patch_means(x[:, None], 1, 8), False, 8, **IDENTITY)


def clip_encoder():
    """Every token also holds the mean of the whole clip, as attention in both directions would."""

    def network(x):
        tokens = patch_means(x, 2, 8)
        return torch.cat([tokens, tokens.mean(1, keepdim=True).expand_as(tokens)], 2)

    return FrozenEncoder(network, True, 8, 2, **IDENTITY)


@pytest.fixture
def pictures(tmp_path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(20):
        Image.new("RGB", (24, 20), (10 * i, 0, 255)).save(folder / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    pytest.importorskip("av")
    folder = tmp_path_factory.mktemp("videos")
    for i in range(3):
        frames = np.full((16, 3, 32, 32), 40 * i, np.uint8)
        frames[8:] += 100  # the second half is brighter
        write_video(folder / f"{i}.mp4", frames, fps=8)
    return folder


@pytest.mark.parametrize("format", ["parquet", "numpy"])
def test_pictures_become_their_mean_colour(pictures, tmp_path, format):
    config = EmbedConfig(pictures, tmp_path / "out", size=16, batch_size=3, part_size=8, format=format)
    seen = []
    report = run_embed(picture_encoder(), config, progress=lambda done, total: seen.append((done, total)))
    assert (report.files, report.embedded, report.rows, report.damaged) == (20, 20, 20, {})
    assert seen == [(8, 20), (16, 20), (20, 20)]
    rows = read_embeddings(tmp_path / "out")
    assert [Path(p).name for p in rows.paths] == [f"{i:02d}.png" for i in range(20)]
    assert rows.index.tolist() == list(range(20))
    expected = np.stack([10 * np.arange(20), np.zeros(20), np.full(20, 255)], 1) / 255
    np.testing.assert_allclose(rows.vectors, expected, atol=1e-6)
    assert rows.vectors.dtype == np.float32


def test_the_folder_opens_as_one_parquet_data_set(pictures, tmp_path):
    dataset = pytest.importorskip("pyarrow.dataset")
    run_embed(picture_encoder(), EmbedConfig(pictures, tmp_path / "out", size=16, part_size=8))
    table = dataset.dataset(tmp_path / "out", format="parquet").to_table()
    assert table.num_rows == 20
    assert table.column_names == ["path", "index", "frame", "time", "embedding"]


def test_damaged_files_are_named_and_left_out(pictures, tmp_path):
    (pictures / "05.png").write_bytes(b"words")
    config = EmbedConfig(pictures, tmp_path / "out", size=16)
    report = run_embed(picture_encoder(), config)
    assert [Path(name).name for name in report.damaged] == ["05.png"]
    assert report.embedded == report.rows == 19
    assert "1 damaged" in report.text()
    assert json.loads((tmp_path / "out" / "_report.json").read_text())["damaged"] == report.damaged
    assert 5 not in read_embeddings(tmp_path / "out").index
    (pictures / "06.png").write_bytes(b"words")
    strict = EmbedConfig(pictures, tmp_path / "strict", size=16)
    with pytest.raises(DataError, match=r"2 of 20 files cannot be decoded, more than `max_damaged_share` 0.05"):
        run_embed(picture_encoder(), strict)


class Killed(BaseException):
    pass


def test_a_killed_run_goes_on_without_repeating_or_doubling(pictures, tmp_path):
    (pictures / "01.png").write_bytes(b"words")
    config = EmbedConfig(pictures, tmp_path / "out", size=16, batch_size=2, part_size=4, max_damaged_share=0.1)
    calls = []

    def dying(x):
        calls.append(len(x))
        if sum(calls) > 11:
            raise Killed
        return patch_means(x[:, None], 1, 8)

    encoder = picture_encoder()
    with pytest.raises(Killed):
        run_embed(FrozenEncoder(dying, False, 8, **IDENTITY), config)
    out = tmp_path / "out"
    # What a kill can leave: a part without its line, a half-written part, half a line.
    (out / "part-000000012.parquet").write_bytes(b"not committed")
    (out / "part-000000016.parquet.tmp").write_bytes(b"half")  # of version 0.1.0
    (out / ".part-000000016.parquet.writing").write_bytes(b"half")
    with (out / "_commits.jsonl").open("ab") as file:
        file.write(b'{"part": "part-0000')
    encoded = []

    def counting(x):
        encoded.append(len(x))
        return patch_means(x[:, None], 1, 8)

    report = run_embed(FrozenEncoder(counting, False, 8, **IDENTITY), config)
    assert report.resumed == 11  # three parts of four, one file damaged
    assert sum(encoded) == 8
    assert (report.embedded, report.rows) == (19, 19)
    assert [Path(n).name for n in report.damaged] == ["01.png"]
    rows = read_embeddings(out)
    assert rows.index.tolist() == [0, *range(2, 20)]
    whole = run_embed(encoder, EmbedConfig(**{**config.__dict__, "output": tmp_path / "whole"}))
    np.testing.assert_array_equal(rows.vectors, read_embeddings(whole.output).vectors)
    again = run_embed(FrozenEncoder(dying, False, 8, **IDENTITY), config)  # nothing is left to encode
    assert again.resumed == 19
    assert not [p.name for p in out.iterdir() if p.suffix in (".tmp", ".writing")]


@pytest.mark.parametrize("change", [lambda log: b"", lambda log: log[: len(log) // 2], None])
def test_a_log_that_was_cut_short_costs_no_part(pictures, tmp_path, change):
    config = EmbedConfig(pictures, tmp_path / "out", size=16, batch_size=2, part_size=4)
    run_embed(picture_encoder(), config)
    log, out = tmp_path / "out" / "_commits.jsonl", tmp_path / "out"
    log.write_bytes(change(log.read_bytes())) if change else log.unlink()
    parts = {p.name: p.read_bytes() for p in out.glob("part-*")}
    with pytest.raises(DataError, match=r"_commits.jsonl` must name every part; it leaves out [3-5], so it was cut"):
        run_embed(picture_encoder(), config)
    assert {p.name: p.read_bytes() for p in out.glob("part-*")} == parts


@pytest.mark.parametrize("form", ["parquet", "numpy"])
def test_a_changed_part_is_noticed_when_it_is_read(pictures, tmp_path, form):
    run_embed(picture_encoder(), EmbedConfig(pictures, tmp_path / "out", size=16, format=form))
    part = next((tmp_path / "out").glob("part-*"))
    data = part.read_bytes()
    part.write_bytes(data[:300] + bytes([data[300] ^ 1]) + data[301:])
    with pytest.raises(DataError, match="must be as it was committed; it is missing or changed"):
        read_embeddings(tmp_path / "out")


def test_other_work_in_the_folder_is_refused(pictures, tmp_path):
    config = EmbedConfig(pictures, tmp_path / "out", size=16)
    run_embed(picture_encoder(), config)
    with pytest.raises(ConfigError, match="with other options: `size` was 16 and is now 8"):
        run_embed(picture_encoder(), EmbedConfig(pictures, tmp_path / "out", size=8))
    with pytest.raises(ConfigError, match="with other model"):
        run_embed(FrozenEncoder(nn.Linear(2, 2), False, 8), config)
    (pictures / "zz.png").write_bytes(b"")
    with pytest.raises(ConfigError, match="with other files: `count` was 20 and is now 21"):
        run_embed(picture_encoder(), config)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with pytest.raises(ConfigError, match=r"must be an empty folder .* holds `thesis.txt`"):
        run_embed(picture_encoder(), EmbedConfig(pictures, tmp_path / "full", size=16))


def test_one_process_at_a_time(tmp_path):
    with (
        EmbeddingStore(tmp_path / "out", "numpy", {}),
        pytest.raises(ConfigError, match="another is at work"),
    ):
        EmbeddingStore(tmp_path / "out", "numpy", {})
    EmbeddingStore(tmp_path / "out", "numpy", {}).__exit__()


def test_a_damaged_store_is_an_error(pictures, tmp_path):
    config = EmbedConfig(pictures, tmp_path / "out", size=16)
    run_embed(picture_encoder(), config)
    next((tmp_path / "out").glob("part-*")).write_bytes(b"")
    with pytest.raises(DataError, match="must be as it was committed; it is missing or changed"):
        run_embed(picture_encoder(), config)


def test_dense_pictures_keep_their_grid(pictures, tmp_path):
    picture = np.zeros((16, 24, 3), np.uint8)
    picture[:8, 4:12, 0] = 255  # the upper left quarter of the centre square
    Image.fromarray(picture).save(pictures / "00.png")
    config = EmbedConfig(pictures / "00.png", tmp_path / "out", size=16, pooling="dense", dtype="float16")
    run_embed(picture_encoder(), config)
    rows = read_embeddings(tmp_path / "out")
    assert rows.vectors.shape == (1, 2, 2, 3)
    assert rows.vectors.dtype == np.float16
    np.testing.assert_allclose(rows.vectors[0, :, :, 0], [[1, 0], [0, 0]])


@pytest.mark.parametrize(("view", "steps"), [("clip", 1), ("per_frame", 8), ("prefix", 4)])
def test_views_of_videos(videos, tmp_path, view, steps):
    config = EmbedConfig(videos, tmp_path / view, size=16, num_frames=8, view=view)
    report = run_embed(clip_encoder(), config)
    assert report.rows == 3 * steps
    rows = read_embeddings(tmp_path / view)
    levels = 255 * rows.vectors[:, 0].reshape(3, steps)
    dark = 40 * np.arange(3)[:, None]
    expected = {
        "clip": [50.0],
        "per_frame": [0.0] * 4 + [100.0] * 4,
        "prefix": [0.0, 0.0, 100.0, 100.0],
    }[view]
    np.testing.assert_allclose(levels, dark + np.array([expected]), atol=3)
    last = {"clip": [15], "per_frame": range(1, 17, 2), "prefix": [3, 7, 11, 15]}[view]
    np.testing.assert_allclose(rows.time[:steps], np.array(last) / 8, atol=0.01)


def test_prefixes_cannot_see_the_future():
    encoder, clip = clip_encoder(), torch.randint(0, 256, (1, 8, 3, 16, 16), dtype=torch.uint8)
    changed = clip.clone()
    changed[:, 4:] = 255 - changed[:, 4:]
    torch.testing.assert_close(encoder.prefixes(clip)[:, :2], encoder.prefixes(changed)[:, :2], atol=0, rtol=0)
    torch.testing.assert_close(encoder.per_frame(clip)[:, :4], encoder.per_frame(changed)[:, :4])
    assert (encoder.tokens(clip)[:, :2] - encoder.tokens(changed)[:, :2]).abs().max() > 1e-3  # it would leak


def test_a_network_of_pictures_sees_every_frame_alone():
    encoder, clip = picture_encoder(), torch.randint(0, 256, (2, 5, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(encoder.prefixes(clip), encoder.per_frame(clip))
    assert torch.equal(encoder.tokens(clip), encoder.per_frame(clip))


def test_still_pictures_and_odd_clips_fill_a_tubelet():
    encoder = clip_encoder()
    picture = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    assert encoder.tokens(picture).shape == (2, 1, 2, 2, 6)
    odd = torch.randint(0, 256, (1, 3, 3, 16, 16), dtype=torch.uint8)
    padded = torch.cat([odd, odd[:, -1:]], 1)
    torch.testing.assert_close(encoder.tokens(odd), encoder.tokens(padded))


@pytest.mark.parametrize("class_token", [False, True])
def test_our_own_transformer_is_wrapped(class_token):
    config = ViTConfig((16, 16), 8, embed_dim=16, depth=1, num_heads=2, class_token=class_token)
    encoder = frozen(VisionTransformer(config))
    pictures = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    assert encoder.tokens(pictures).shape == (2, 1, 2, 2, 16)
    torch.testing.assert_close(encoder.pooled(pictures), encoder.tokens(pictures).flatten(1, 3).mean(1))
    if class_token:
        assert encoder.pooled(pictures, "class").shape == (2, 16)
    else:
        with pytest.raises(ConfigError, match="`pooling` must be mean for an encoder without a class token"):
            encoder.pooled(pictures, "class")
    other = frozen(VisionTransformer(config, generator=torch.Generator().manual_seed(1)))
    assert encoder.fingerprint() != other.fingerprint()


def test_the_fingerprint_is_the_same_in_every_process():
    assert picture_encoder().fingerprint() == "651055124dab574a"


def test_a_wrong_patch_size_is_an_error():
    encoder = FrozenEncoder(lambda x: patch_means(x[:, None], 1, 8), False, 4)
    message = "the encoder must give 16 tokens for 1x4x4 patches; got 4. Check `patch_size`"
    with pytest.raises(ConfigError, match=re.escape(message)):
        encoder.tokens(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))


def test_rows_of_a_data_set_can_be_embedded(tmp_path):
    rows = [{"image": np.full((9, 9, 3), 20 * i, np.uint8)} for i in range(5)]
    config = EmbedConfig(output=tmp_path / "out", size=8, format="numpy")
    run_embed(picture_encoder(), config, items=DatasetItems(rows, name="toy"))
    found = read_embeddings(tmp_path / "out")
    assert found.paths == [f"toy[{i}]" for i in range(5)]
    np.testing.assert_allclose(found.vectors[:, 0], 20 * np.arange(5) / 255, atol=1e-6)


def test_options_are_checked():
    with pytest.raises(ConfigError, match="`part_size` must be >= 1; got 0"):
        EmbedConfig(part_size=0)
    assert math.isclose(EmbedConfig().max_damaged_share, 0.05)


def test_a_start_that_finished_nothing_binds_no_later_one(tmp_path):
    picture = tmp_path / "pictures" / "0.png"
    picture.parent.mkdir()
    Image.new("RGB", (16, 16), (200, 10, 10)).save(picture)
    Image.new("RGB", (16, 16), (10, 200, 10)).save(picture.with_name("1.png"))
    wrong = EmbedConfig(picture.parent, tmp_path / "out", size=16, pooling="class")
    with pytest.raises(ConfigError, match="`pooling` must be mean"):
        run_embed(picture_encoder(), wrong)
    assert run_embed(picture_encoder(), replace(wrong, pooling="mean")).rows == 2
    with pytest.raises(ConfigError, match="other options: `size` was 16 and is now 8"):
        run_embed(picture_encoder(), replace(wrong, pooling="mean", size=8))


def test_a_single_damaged_file_says_so_and_leaves_nothing(tmp_path):
    (tmp_path / "words.png").write_text("These are words.")
    with pytest.raises(DataError, match=r"^`.*words\.png` must be a picture .*; it is of no known format"):
        run_embed(picture_encoder(), EmbedConfig(tmp_path / "words.png", tmp_path / "out", size=16))
    assert not (tmp_path / "out").exists()
