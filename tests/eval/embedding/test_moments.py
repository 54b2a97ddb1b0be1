"""A row for every so many seconds of a video, and moments that are found again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("av")

from openjepa.data.video_file import write_video
from openjepa.errors import ConfigError
from openjepa.eval.embedding.embed import EmbedConfig, embed_file, run_embed
from openjepa.eval.embedding.embedding_store import read_embeddings
from openjepa.eval.embedding.search import SearchConfig, run_search
from openjepa.eval.probing.frozen_encoder import FrozenEncoder

SECONDS, FPS = 20, 4


def encoder() -> FrozenEncoder:
    """Clips [B, T, 3, H, W] become cosine and sine of their mean grey level, in hundredths."""

    def encode(x):
        angle = 2.55 * x.mean((1, 2, 3, 4))
        return torch.stack([angle.cos(), angle.sin()], 1)[:, None]

    return FrozenEncoder(encode, True, 16, tubelet_size=4, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def write(path: Path, seconds: int, first: int = 0) -> None:
    grey = np.repeat(first + 5 * np.arange(seconds, dtype=np.uint8), FPS)[:, None, None, None]
    write_video(path, np.broadcast_to(grey, (seconds * FPS, 3, 16, 16)), fps=FPS)


@pytest.fixture
def films(tmp_path) -> Path:
    (tmp_path / "films").mkdir()
    write(tmp_path / "films" / "a.mp4", SECONDS)
    write(tmp_path / "films" / "b.mp4", 3, 200)
    return tmp_path / "films"


def config(films: Path, **options) -> EmbedConfig:
    return EmbedConfig(films, films.parent / "out", size=16, num_frames=4, every=1.0, part_size=2, **options)


def test_a_row_for_every_second(films):
    report = run_embed(encoder(), config(films))
    assert (report.files, report.embedded, report.rows) == (2, 2, SECONDS + 3)
    rows = read_embeddings(films.parent / "out")
    assert rows.index.tolist() == [0] * SECONDS + [1] * 3
    assert rows.frame.tolist() == [*range(SECONDS), *range(3)]
    assert [Path(p).name for p in rows.paths] == ["a.mp4"] * SECONDS + ["b.mp4"] * 3
    np.testing.assert_allclose(rows.time[:SECONDS], np.arange(SECONDS) + 3.5 / 4)  # the last frame that is seen
    angle = np.arctan2(rows.vectors[:, 1], rows.vectors[:, 0]) * 100
    wanted = np.concatenate([5 * np.arange(SECONDS), 200 + 5 * np.arange(3)])
    assert np.abs(angle - wanted).max() < 1.5  # each sees its own second


def test_a_killed_run_goes_on_within_a_video(films):
    class Killed(BaseException):
        pass

    whole, calls = encoder(), []

    def dying(x):
        calls.append(len(x))
        if len(calls) == 3:
            raise Killed
        return whole.network(x)

    options = config(films)
    with pytest.raises(Killed):
        run_embed(FrozenEncoder(dying, True, 16, tubelet_size=4, mean=whole.mean, std=whole.std), options)
    calls.clear()
    calls += [0] * 10
    report = run_embed(FrozenEncoder(dying, True, 16, tubelet_size=4, mean=whole.mean, std=whole.std), options)
    assert sum(calls) == SECONDS + 3 - 16  # a part is two stretches of eight moments
    assert (report.resumed, report.embedded, report.rows) == (0, 2, SECONDS + 3)


@pytest.mark.parametrize("seconds", [2, SECONDS - 3, SECONDS, SECONDS + 3, 45])
@pytest.mark.parametrize("name", ["a.mp4", "b.mp4", "c.mp4"])
def test_a_video_that_changed_is_embedded_anew_however_long_it_is_now(films, name, seconds):
    write(films / "c.mp4", 13, 100)
    run_embed(encoder(), config(films))
    write(films / name, seconds, 7)
    report = run_embed(encoder(), config(films))
    fresh = run_embed(encoder(), replace(config(films), output=films.parent / "fresh"))
    assert (report.changed, report.rows, report.files) == (1, fresh.rows, 3)
    found, wanted = (read_embeddings(films.parent / folder) for folder in ("out", "fresh"))
    assert (found.paths, found.frame.tolist()) == (wanted.paths, wanted.frame.tolist())
    assert (found.vectors == wanted.vectors).all()
    assert run_embed(encoder(), config(films)).resumed == 3


def test_a_start_that_was_killed_knows_what_has_moved(films):
    write(films / "c.mp4", 13, 100)
    run_embed(encoder(), config(films))
    write(films / "a.mp4", 5, 7)
    whole = encoder()
    with pytest.raises(ZeroDivisionError):
        run_embed(replace(whole, network=lambda x: 1 / 0), config(films))
    write(films / "a.mp4", SECONDS, 7)  # as many moments as in the beginning, but other ones
    run_embed(encoder(), config(films))
    run_embed(encoder(), replace(config(films), output=films.parent / "fresh"))
    found, wanted = (read_embeddings(films.parent / folder) for folder in ("out", "fresh"))
    assert (found.vectors == wanted.vectors).all()


def test_a_damaged_video_is_named_once(films):
    (films / "c.mp4").write_text("no video")
    report = run_embed(encoder(), config(films, max_damaged_share=0.5))
    assert [Path(name).name for name in report.damaged] == ["c.mp4"]
    assert (report.files, report.embedded, report.rows) == (3, 2, SECONDS + 3)


def test_moments_are_found_again(films):
    run_embed(encoder(), config(films))
    found = run_search(SearchConfig(films.parent / "out", films / "a.mp4", k=2, moments=True, at=10.2))
    assert {(Path(h.path).name, round(h.time - 0.875)) for h in found.hits} == {("a.mp4", 9), ("a.mp4", 11)}
    elsewhere = run_search(SearchConfig(films.parent / "out", films / "a.mp4", k=1, at=10.2)).hits
    assert [Path(h.path).name for h in elsewhere] == ["b.mp4"]
    write(films.parent / "new.mp4", 1, 35)
    found = run_search(SearchConfig(films.parent / "out", films.parent / "new.mp4", k=1, moments=True), encoder())
    assert found.hits[0].time == pytest.approx(7.875)
    with pytest.raises(ConfigError, match="`at` must name a moment of an embedded file"):
        run_search(SearchConfig(films.parent / "out", films.parent / "new.mp4", at=0.0), encoder())


def test_moments_of_the_only_video_are_compared_with_all_of_it(films):
    (films / "b.mp4").unlink()
    run_embed(encoder(), config(films))
    hits = run_search(SearchConfig(films.parent / "out", films / "a.mp4", k=4, moments=True)).hits
    assert {round(h.time - 0.875) for h in hits} <= {8, 9, 10, 11}


def test_every_is_for_clips(films):
    with pytest.raises(ConfigError, match=r"`every` must be > 0, with `view` clip; got 1.0 and per_frame"):
        config(films, view="per_frame")
    assert len(embed_file(encoder(), config(films), films / "b.mp4").paths) == 3
