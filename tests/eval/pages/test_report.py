import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from openjepa.errors import ConfigError, ShapeError
from openjepa.eval.health.collapse import latent_diagnostics
from openjepa.eval.health.doctor import diagnose
from openjepa.eval.intervals import wilson
from openjepa.eval.pages import figures
from openjepa.eval.pages.animation import (
    Replay,
    draw_replay,
    encode_animation,
    enlarge,
    filmstrip,
    side_by_side,
    sprite_sheet,
    with_ghost,
    write_replay,
)
from openjepa.eval.pages.report import Report


def replay(steps=5, **more):
    frames = np.full((steps + 1, 3, 16, 16), 235, np.uint8)
    for t in range(steps + 1):
        frames[t, :, 4, t + 2] = 40
    goal = np.full((3, 16, 16), 235, np.uint8)
    goal[:, 12, 12] = 40
    return Replay(frames, goal, True, **more)


def pictures(count=7):
    return np.arange(count * 8 * 12 * 3, dtype=np.int64).reshape(count, 8, 12, 3).astype(np.uint8)


def test_enlarging_repeats_pixels():
    frame = np.zeros((1, 3, 2, 2), np.uint8)
    frame[0, :, 0, 1] = (1, 2, 3)
    large = enlarge(frame, 3)
    assert large.shape == (1, 6, 6, 3)
    assert (large[0, :3, 3:] == (1, 2, 3)).all()
    assert large.sum() == 9 * 6


def test_the_ghost_shows_the_goal_and_leaves_the_rest():
    episode = replay()
    mixed = with_ghost(episode.frames, episode.goal, share=0.5)
    assert (mixed[:, :, 12, 12] == round((235 + 40) / 2)).all()
    mixed[:, :, 12, 12] = 235
    assert (mixed == episode.frames).all()


def test_a_replay_shows_world_goal_and_imagination():
    plain = draw_replay(replay(), scale=2)
    full = draw_replay(replay(imagined=replay().frames), scale=2)
    assert plain.shape == (6, 32 + 24 + 8, 2 * 32 + 3 * 8, 3)
    assert full.shape[2] == 3 * 32 + 4 * 8
    trail = draw_replay(replay(positions=np.tile([8.0, 8.0], (6, 1)) + np.arange(6)[:, None]), scale=2)
    path = draw_replay(replay(paths=[np.array([[2.0, 2.0], [9.0, 9.0]])] * 6), scale=2)
    assert (trail[-1] == (220, 40, 40)).all(-1).any()
    assert (path[0] == (30, 130, 240)).all(-1).any()


def test_every_frame_needs_its_entry():
    with pytest.raises(ConfigError, match=r"`positions` must have one entry per frame \(6\); got 2"):
        replay(positions=np.zeros((2, 2)))


def test_a_shorter_panel_keeps_its_last_picture():
    canvas = side_by_side({"long": pictures(3), "short": pictures(1)})
    assert len(canvas) == 3
    assert (canvas[2, 24:32, 8 + 12 + 8 :][:, :12] == pictures(1)[0]).all()


@pytest.mark.parametrize(("suffix", "kind", "frames"), [("gif", "GIF", 6), ("webp", "WEBP", 6), ("png", "PNG", 1)])
def test_replays_are_written_in_the_wanted_format(tmp_path, suffix, kind, frames):
    with Image.open(write_replay(replay(), tmp_path / "new" / f"episode.{suffix}")) as image:
        assert (image.format, getattr(image, "n_frames", 1)) == (kind, frames)


def test_another_format_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"`out` must end in .gif, .webp or .png; got episode.avi"):
        write_replay(replay(), tmp_path / "episode.avi")


def test_an_animation_plays_at_its_speed():
    with Image.open(io.BytesIO(encode_animation(pictures(4), "gif", fps=20))) as image:
        assert image.info["duration"] == 50
        image.seek(3)
        assert image.info["duration"] == 1050


def test_a_sprite_sheet_holds_all_pictures_in_rows():
    flat = np.stack([np.full((16, 16, 3), 30 * t, np.uint8) for t in range(7)])
    data, columns = sprite_sheet(flat)
    with Image.open(io.BytesIO(data)) as image:
        sheet = np.asarray(image.convert("RGB")).astype(int)
    assert columns == 3
    assert sheet.shape == (48, 48, 3)
    for t in range(7):
        y, x = divmod(t, columns)
        assert abs(sheet[16 * y + 8, 16 * x + 8] - 30 * t).max() <= 6  # the encoding loses a little


def test_a_filmstrip_has_a_row_for_each_sequence():
    frames = replay(steps=9).frames
    assert filmstrip({"real": frames, "predicted": frames}, columns=4).shape[0] == 2 * (32 + 24 + 8)


def page():
    found = latent_diagnostics(np_to_latent())
    return (
        Report("A <title>", "Lead with `code`.")
        .cards({"goals reached": wilson(197, 200), "time": ("11 ms", "median")})
        .section("Success", "One.\n\nTwo & three.")
        .table(
            ["policy", "success", "steps"],
            [["ours", wilson(96, 100), 13], ["random", wilson(4, 100), None]],
            best=0,
        )
        .figure(figures.training_curves([{"step": i, "loss": 1.0 / i} for i in (1, 2)]), "Bars.")
        .image(pictures(1)[0], 'A "still".')
        .animation(pictures(), "Moves.")
        .gallery([(pictures(), "First."), (pictures(), "Second.")])
        .section("Health")
        .diagnosis(diagnose(found), found)
        .code("openjepa demo")
    )


def np_to_latent():
    import torch

    return torch.randn(20, 5, 4, generator=torch.Generator().manual_seed(0))


def test_the_page_loads_nothing_from_outside():
    text = page().html()
    addresses = re.findall(r"""(?:src|href)=["']([^"']*)["']""", text)
    assert addresses
    assert all(a.startswith(("data:", "#")) for a in addresses)
    assert not re.findall(r"url\(|@import|https?://(?!www\.w3\.org)", text)


def test_the_page_says_what_it_was_given():
    text = page().html()
    assert "<title>A &lt;title&gt;</title>" in text
    assert "Lead with <code>code</code>." in text
    assert "<p>Two &amp; three.</p>" in text
    assert "98.5 %" in text
    assert "95.7–99.5" in text
    assert text.count('class="player"') == 3
    assert "Healthy: no sign of collapse" in text
    assert '<a href="#part1">Health</a>' in text


def test_the_page_can_be_read_aloud():
    text = page().html()
    assert '<html lang="en">' in text
    assert len(re.findall(r"<img[^>]*>", text)) == len(re.findall(r'<img[^>]*alt="[^"]+"', text))
    assert text.count('role="img"') == text.count("<canvas")
    assert 'alt="A &quot;still&quot;."' in text
    assert '<th scope="row">ours</th>' in text
    assert "prefers-reduced-motion" in text
    assert "prefers-color-scheme: dark" in text


def test_the_same_page_has_the_same_bytes(tmp_path):
    assert page().write(tmp_path / "a" / "report.html").read_bytes() == page().write(tmp_path / "b.html").read_bytes()


def test_tags_are_balanced():
    from html.parser import HTMLParser

    class Balance(HTMLParser):
        void = frozenset({"meta", "link", "img", "input"})

        def __init__(self):
            super().__init__()
            self.open = []

        def handle_starttag(self, tag, attrs):
            if tag not in self.void:
                self.open.append(tag)

        def handle_startendtag(self, tag, attrs):
            pass

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    parser = Balance()
    parser.feed(page().html())
    assert parser.open == []


def test_rows_and_pictures_must_fit():
    with pytest.raises(ConfigError, match="every row must have 2 cells; got"):
        Report("x").table(["a", "b"], [["only one"]])
    with pytest.raises(ShapeError, match="`pictures` must be"):
        Report("x").animation(np.zeros((3, 8, 8), np.uint8), "")


def test_curves_leave_out_clocks_and_gaps():
    rows = [
        {"step": 1, "loss": 100.0, "lr": 0.1},
        {"step": 2, "loss": 1.0, "rank": None},
        {"step": 3, "rank": 2.0},
    ]
    figure = figures.training_curves(rows)
    titles = [ax.get_title(loc="left") for ax in figure.axes if ax.get_title(loc="left")]
    assert titles == ["loss", "rank"]
    assert figure.axes[0].get_yscale() == "log"
    assert figure.axes[1].get_lines()[0].get_xdata().tolist() == [3]


def test_figures_do_not_touch_pyplot():
    import matplotlib._pylab_helpers as helpers

    energy = np.ones((8, 8))
    energy[:, 4] = np.nan
    made = [
        figures.landscape(energy, np.zeros((3, 8, 8), np.uint8), (2, 3)),
        figures.lines({"ours": ([1, 2], [3, 4])}, x_label="steps", y_label="error"),
    ]
    assert all(isinstance(figure, Figure) for figure in made)
    assert not helpers.Gcf.figs
