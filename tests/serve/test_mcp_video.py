"""Passive video through the tools: a toy encoder whose embedding is the mean colour, a toy judge of flashes."""

import base64

import numpy as np
import pytest

from openjepa.cli import main
from openjepa.command_line.serving import McpOptions, video_tools
from openjepa.data.images import to_png
from openjepa.data.video_file import write_video
from openjepa.errors import DataError
from openjepa.eval.plausibility.conformal import Calibration
from openjepa.eval.plausibility.energy import ChangeEnergy
from openjepa.eval.probing.frozen_encoder import FrozenEncoder
from openjepa.interop.pretrained import save_pretrained
from openjepa.methods.vjepa2 import VJEPA2, VJEPA2Config
from openjepa.models.vit import VisionTransformer, ViTConfig
from openjepa.serve.mcp.handles import Shelf
from openjepa.serve.mcp.limits import Limits
from openjepa.serve.mcp.video_tools import Film, VideoTools
from openjepa.serve.mcp.work import Job
from openjepa.train.checkpoint import save_checkpoint

pytest.importorskip("av")
SIZE, HURRY = 16, -1.0  # a job whose time is over does one part
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255]], np.uint8)


def mean_colour(clips):
    """Clips [B, T, 3, H, W] in [0, 1] to one token [B, 1, 3]."""
    return clips.mean((1, 3, 4))[:, None]


@pytest.fixture
def tools(tmp_path):
    frames = COLOURS.repeat(10, 0)[:, :, None, None].repeat(SIZE, 2).repeat(SIZE, 3)  # five seconds, a colour each
    write_video(tmp_path / "colours.mp4", frames, fps=10)
    encoder = FrozenEncoder(mean_colour, True, SIZE, 16, mean=(0, 0, 0), std=(1, 1, 1))
    known = Calibration(tuple(np.linspace(1, 20, 39)), {"window": 2, "rows": ["1 ahead"], "length": 10})
    shelf, limits = Shelf(8, 64, 100), Limits()
    return VideoTools(
        shelf, limits, encoder=encoder, size=SIZE, judge=ChangeEnergy(size=SIZE), calibration=known, media=[tmp_path]
    )


def flat(colour):
    return base64.b64encode(to_png(np.array(colour, np.uint8)[:, None, None].repeat(20, 1).repeat(24, 2))).decode()


def test_a_long_video_is_embedded_in_parts_and_searched(tools):
    found = tools.embed(Job(until=HURRY), clip="colours.mp4", every=1.0).answer
    assert (found.moments, found.total, found.cursor) == (1, 5.0, found.embedding)
    calls = 1
    while found.cursor is not None:
        found = tools.embed(Job(until=HURRY), cursor=found.cursor).answer
        calls += 1
    assert (calls, found.moments, found.seconds) == (5, 5, 5.0)
    for colour, second in zip(COLOURS, range(5), strict=True):
        shown = tools.search_moments(Job(), [found.embedding], picture=flat(colour), k=2)
        assert shown.answer.hits[0].second == second
        assert shown.answer.hits[0].score > 0.95
        assert shown.picture.shape == (3, SIZE, 2 * SIZE + 2)
    own = tools.search_moments(Job(), [found.embedding], embedding=found.embedding, second=2.5, k=1).answer
    assert own.hits[0].second == 2
    assert own.hits[0].score == pytest.approx(1)
    assert tools.distance(Job(), found.embedding, found.embedding).answer.distance == pytest.approx(0, abs=1e-6)


def test_a_surprise_goes_on_with_a_cursor_and_counts_its_pieces(tools):
    found = tools.surprise(Job(until=HURRY), clip="colours.mp4").answer
    assert (found.pieces, found.surprising) == (1, False)  # one colour: nothing changes
    first = found.cursor
    found = tools.surprise(Job(), cursor=found.cursor).answer
    assert (found.pieces, found.cursor) == (5, None)
    with pytest.raises(DataError, match="has expired"):
        tools.surprise(Job(), cursor=first)
    flash = np.zeros((10, 3, SIZE, SIZE), np.uint8)
    flash[6] = 255
    pictures = [base64.b64encode(to_png(frame)).decode() for frame in flash]
    found = tools.surprise(Job(), pictures=pictures).answer
    assert (found.score, found.p_value, found.surprising) == (255, 1 / 40, True)
    assert found.at_second == 6


def test_only_clips_of_the_shared_folder_can_be_named(tools, tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}-outside.mp4"
    outside.write_bytes((tmp_path / "colours.mp4").read_bytes())
    (tmp_path / "link.mp4").symlink_to(outside)
    for name in (f"../{outside.name}", str(outside), "link.mp4", "nothing.mp4", "a\0b"):
        with pytest.raises(DataError, match="must be the path of a clip inside the shared folder"):
            tools.embed(Job(), clip=name)
    assert tools.clips() == ["colours.mp4", "link.mp4"]
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"broken\.mp4"):
        tools.embed(Job(), clip="broken.mp4")


@pytest.mark.parametrize(
    ("said", "verb", "arguments"),
    [
        ("either `clip`", "embed", {}),
        ("either `clip`", "embed", {"clip": "colours.mp4", "pictures": [flat((0, 0, 0))]}),
        ("`every` must be 0.04 to 3600 seconds; got 0", "embed", {"clip": "colours.mp4", "every": 0.0}),
        ("`pictures` must be 1 to 64; got 0", "embed", {"pictures": []}),
        ("unknown or has expired", "embed", {"cursor": "embedding-0"}),
        ("either `picture` or `embedding`", "search_moments", {"embeddings": []}),
        ("must name 1 or more videos", "search_moments", {"embeddings": [], "picture": flat((0, 0, 0))}),
        ("must have at least 2 frames", "surprise", {"pictures": [flat((0, 0, 0))]}),
    ],
)
def test_what_is_wrong_is_one_line(tools, said, verb, arguments):
    with pytest.raises(DataError, match=said) as error:
        getattr(tools, verb)(Job(), **arguments)
    assert "\n" not in str(error.value)


def test_what_is_missing_is_said(tmp_path):
    bare = VideoTools(Shelf(8, 64, 100), Limits(), judge="the model must have a predictor", calibration="calibrate it")
    with pytest.raises(DataError, match="--video MODEL"):
        bare.embed(Job(), clip="a.mp4")
    with pytest.raises(DataError, match="must have a predictor"):
        bare.surprise(Job(), clip="a.mp4")
    bare.judge = ChangeEnergy()
    with pytest.raises(DataError, match="calibrate it"):
        bare.surprise(Job(), clip="a.mp4")
    bare.calibration = Calibration((1.0,))
    with pytest.raises(DataError, match="--media FOLDER"):
        bare.surprise(Job(), clip="a.mp4")


def test_any_vjepa_is_served_with_what_it_has(tmp_path):
    """A run with a predictor embeds and is surprised; an encoder alone embeds, and says what it lacks."""
    encoder = ViTConfig(
        img_size=(16, 16), patch_size=8, embed_dim=24, depth=1, num_heads=2, num_frames=8, tubelet_size=2
    )
    config = VJEPA2Config(encoder=encoder, predictor_dim=12, predictor_depth=1, predictor_heads=1)
    save_checkpoint(tmp_path / "run" / "checkpoints", 1, VJEPA2(config), training={})
    save_pretrained(VisionTransformer(encoder), tmp_path / "encoder")
    np.save(tmp_path / "possible.npy", np.random.default_rng(0).integers(0, 255, (20, 9, 3, 16, 16), np.uint8))
    np.save(tmp_path / "clip.npy", np.zeros((20, 3, 16, 16), np.uint8))
    words = ["surprise", str(tmp_path / "run"), "--calibrate", str(tmp_path / "possible.npy"), "--untrained", "0"]
    assert main(words) == 0

    def tools(name):
        limits = Limits()
        options = McpOptions(str(tmp_path / name), media=(tmp_path,), device="cpu", offline=True)
        return video_tools(options, options.run, Shelf(8, 64, 100), limits)

    whole, alone = tools("run"), tools("encoder")
    for some in (whole, alone):
        found = some.embed(Job(), clip="clip.npy", every=8).answer
        assert (found.moments, found.cursor) == (2, None)
        assert len(some.shelf.get(found.embedding, Film, "embedding").vectors[0]) == 24
    found = whole.surprise(Job(), clip="clip.npy").answer
    assert (found.calibrated_on, found.pieces) == (20, 2)
    assert 0 < found.p_value <= 1
    with pytest.raises(DataError, match="must have a predictor of coming frames to be surprised"):
        alone.surprise(Job(), clip="clip.npy")
