import numpy as np
import pytest
import torch
from PIL import Image

from openjepa.config import override
from openjepa.data.video_file import write_video
from openjepa.interop import load
from openjepa.methods import METHODS
from openjepa.models.vit import VisionTransformer, ViTConfig
from openjepa.recipes import load_recipe
from openjepa.recipes.clips import vjepa2_vit_large_24gb
from openjepa.recipes.pictures import TOY, ijepa_vit_large_24gb
from openjepa.recipes.pretraining import labelled_shapes, open_data
from openjepa.recipes.pretraining_memory import memory_of, tokens_of
from openjepa.train import train
from openjepa.train.memory import Stage, estimate_memory

SHORT = {"train.steps": 2, "train.warmup_steps": 0, "train.log_every": 1, "train.diagnose_every": 1}


def toy(name, **values):
    recipe = load_recipe(name)
    return recipe, override(recipe.config, {**TOY, **SHORT, **values})


@pytest.fixture
def pictures(tmp_path):
    """Twelve pictures in two folders of classes, and one file that is none."""
    draws = np.random.default_rng(0)
    for i in range(12):
        folder = tmp_path / "pictures" / ("left" if i % 2 else "right")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    (tmp_path / "pictures" / "left" / "notes.txt").write_text("no picture")
    return tmp_path / "pictures"


def test_pictures_of_ones_own(pictures, tmp_path):
    recipe, config = toy("ijepa", data=pictures, **{"probing.items": (6, 4), "probing.max_share": 0.6})
    experiment = recipe.build(config)
    result = train(
        experiment.method, experiment.source, config.train, tmp_path / "run", diagnostics=experiment.diagnostics
    )
    assert {"knn", "knn_untrained", "linear", "effective_rank"} <= set(result.metrics)
    assert "position_r2" not in result.metrics
    encoder = load(tmp_path / "run")
    assert isinstance(encoder, VisionTransformer)


def test_files_of_the_probes_are_never_trained_on(pictures):
    _, config = toy("ijepa", data=pictures, batch_size=5, **{"probing.items": (6, 4), "probing.max_share": 0.6})
    source, probe = open_data(config)
    trained = {image.numpy().tobytes() for image in source.batch(0).images}
    probed = {image.numpy().tobytes() for image in torch.cat((probe.train.pixels, probe.test.pixels))}
    assert len(trained) == 5  # 12 files, 7 of them kept for the probes
    assert len(probed) == 7
    assert not trained & probed


def test_pictures_without_classes_give_collapse_metrics(pictures, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in pictures.rglob("*.png"):
        path.rename(flat / path.name)
    recipe, config = toy("mae", data=flat, **{"probing.max_share": 0.4})
    experiment = recipe.build(config)
    found = experiment.diagnostics(experiment.method.eval(), 0)
    assert set(found) == {"feature_std", "feature_std_untrained", "effective_rank", "effective_rank_untrained"}


def test_videos_by_a_list(tmp_path):
    draws = np.random.default_rng(0)
    for i in range(10):
        write_video(
            tmp_path / f"{i}.mp4", draws.integers(0, 256, (12, 64, 64, 3), dtype=np.uint8).transpose(0, 3, 1, 2)
        )
    listing = tmp_path / "videos.csv"
    listing.write_text("".join(f"{i}.mp4 {i % 2}\n" for i in range(10)))
    recipe, config = toy("vjepa2", data=listing, **{"probing.max_share": 0.5})
    experiment = recipe.build(config)
    assert experiment.source.batch(0).clips.shape == (4, 8, 3, 48, 48)
    assert "knn" in experiment.diagnostics(experiment.method.eval(), 0)


def test_labelled_shapes_are_others_than_those_of_training():
    _, config = toy("vjepa2")
    shapes = config.draw.shapes(config.method.encoder, seed=3)
    fit, test = labelled_shapes(shapes, 6), labelled_shapes(shapes, 6, held_out=True)
    assert fit.pixels.shape == (6, 8, 3, 48, 48)
    assert not torch.equal(fit.pixels, test.pixels)
    assert fit.targets["position"].shape == fit.targets["velocity"].shape == (6, 2)
    source, _ = open_data(override(config, {"seed": 3}))
    trained = {clip.numpy().tobytes() for clip in torch.from_numpy(source.kept.frames)}
    assert not trained & {clip.numpy().tobytes() for clip in torch.cat((fit.pixels, test.pixels))}


# ------------------------------------------------------------------------------------------------------------ memory


def test_memory_by_hand():
    found = estimate_memory(1000, 500, [Stage(10, 8, 3), Stage(10, 8, 3, True)], samples=2, pixels=100, half=False)
    assert found.weights == 16 * 1000 + 4 * 500
    assert found.activations == 2 * 4 * (10 * 8 * 3 * 22 + 10 * 8 * (3 + 22))
    assert found.batch == 1000


@pytest.mark.parametrize("checkpointed", [False, True])
def test_activations_are_about_what_a_transformer_keeps(checkpointed):
    config = ViTConfig(
        img_size=(64, 64), patch_size=8, embed_dim=64, depth=6, num_heads=2, checkpoint_activations=checkpointed
    )
    network, images = VisionTransformer(config).train(), torch.randn(4, 3, 64, 64)
    kept = {}

    def keep(x):
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        network(images)
    counted = sum(size for pointer, size in kept.items() if pointer not in weights)
    stage = Stage(64, 64, 6, checkpointed=False)
    if not checkpointed:
        assert counted == pytest.approx(4 * 4 * stage.values(), rel=0.35)
    else:  # what is recomputed is not kept
        assert counted < 0.1 * 4 * 4 * stage.values()


def test_tokens_of_the_published_masks():
    seen, read = tokens_of(load_recipe("mae").config.method)
    assert (seen, read) == (9, 36)
    seen, _ = tokens_of(vjepa2_vit_large_24gb().method)
    assert 0.2 * 2048 < seen < 0.4 * 2048  # about 25 % beside short tubes and 7 % beside long ones


def test_the_large_presets_fit_one_card_of_24_gb():
    for config, kind in ((vjepa2_vit_large_24gb(), "vjepa2"), (ijepa_vit_large_24gb(), "ijepa")):
        recipe = load_recipe(f"{kind}-vit-large")
        assert recipe.config == config
        method_class = METHODS[kind]()[0]
        with torch.device("meta"):
            method = method_class(config.method)
        estimate = memory_of(config, method)
        assert 5e9 < estimate.total < 20e9  # room for fragmentation and the compiler's buffers
        assert config.method.encoder.checkpoint_activations
        assert config.train.precision == "bf16"
        assert config.batch_size % config.train.accumulate == 0
