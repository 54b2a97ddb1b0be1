import json

import pytest
import torch

import openjepa.interop.registry as registry
from openjepa.errors import CheckpointError, ConfigError
from openjepa.interop import convert, from_pretrained, load, save_pretrained
from openjepa.interop.networks import Networks, guess_traits, read_networks, write_meta
from openjepa.interop.registry import PUBLISHED, Published
from openjepa.interop.traits import Traits
from openjepa.methods.vjepa2 import VJEPA2, VJEPA2Config
from openjepa.models.vit import VisionTransformer, ViTConfig, vit_small
from openjepa.train.checkpoint import save_checkpoint

from .conftest import randomise
from .test_download import server  # noqa: F401


@pytest.fixture
def clip():
    return torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def saved(vjepa2, tmp_path):
    path = tmp_path / "tiny.pt"
    write_meta(Networks(vjepa2.context_encoder, vjepa2.target_encoder, vjepa2.predictor), path)
    return path


TINY = Traits("vjepa2", 2, (32, 32), 4, predictor_heads=2)


@pytest.fixture
def named(saved, monkeypatch, server):  # noqa: F811
    server["content"] = saved.read_bytes()
    entry = Published(server["url"], TINY, "MIT", num_bytes=saved.stat().st_size)
    monkeypatch.setitem(registry.PUBLISHED, "vjepa2-tiny", entry)
    return server


def test_by_name_fetches_once(named, tmp_path, vjepa2, clip):
    model = load("vjepa2-tiny", cache=tmp_path)
    assert not model.training
    assert torch.equal(model(clip), vjepa2.target_encoder(clip))
    assert len(named["requests"]) == 1
    context = load("vjepa2-tiny", part="context_encoder", cache=tmp_path, offline=True)
    assert torch.equal(context(clip), vjepa2.context_encoder(clip))
    predictor = load("vjepa2-tiny", part="predictor", cache=tmp_path)
    assert predictor.config == vjepa2.predictor.config
    assert len(named["requests"]) == 1


def test_by_name_and_path(named, saved, vjepa2, clip, tmp_path):
    assert torch.equal(load("vjepa2-tiny", path=saved)(clip), vjepa2.target_encoder(clip))
    assert named["requests"] == []
    with pytest.raises(CheckpointError, match="Give the path of the file of vjepa2-tiny"):
        load("vjepa2-tiny", path=tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="`offline` forbids"):
        load("vjepa2-tiny", cache=tmp_path / "empty", offline=True)


def test_unknown_names_and_parts(named, saved):
    with pytest.raises(ConfigError, match="did you mean `vjepa2-vit-large-256`"):
        load("vjepa2-vit-larg-256")
    with pytest.raises(ConfigError, match="has no `probe`; it has"):
        load("vjepa2-tiny", path=saved, part="probe")
    with pytest.raises(ConfigError, match="not on the Hub in the Hugging Face layout"):
        load("vjepa2.1-vit-base-384", source="huggingface")
    with pytest.raises(ConfigError, match="`path` goes with the name"):
        load("somewhere", path=saved)
    with pytest.raises(CheckpointError, match="does not exist"):
        load("/nowhere/at/all.pt")


def test_wrong_model_for_a_name(named, saved):
    with pytest.raises(CheckpointError, match="checkpoint of another model"):
        load("vjepa2.1-vit-base-384", path=saved)


@pytest.mark.parametrize(
    ("name", "folder", "message"),
    [
        ("vjepa2-vit-large-256", "ijepa_hf", "`embed_dim` must be 1024 for vjepa2-vit-large-256"),
        ("vjepa2-vit-large-256", "vjepa2_hf", "`embed_dim` must be 1024 for vjepa2-vit-large-256"),
        ("vjepa2-vit-large-256", "probe_v2/checkpoint.pt", "holds a probe; vjepa2-vit-large-256 is another model"),
        ("vjepa2-vit-large-256-ssv2", "vjepa2_hf", "holds no probe; vjepa2-vit-large-256-ssv2 is another model"),
        ("vjepa2-vit-large-256-ssv2", "probe_v2/checkpoint.pt", r"\[probe\]: `embed_dim` must be 1024"),
    ],
)
def test_a_file_of_another_model_is_refused_in_any_layout(golden, name, folder, message):
    with pytest.raises(CheckpointError, match=message):
        load(name, path=golden / folder)


def test_the_right_size_of_another_family_is_refused(tmp_path):
    large = {"depth": 24, "embed_dim": 1024, "num_heads": 16, "mlp_ratio": 1 / 1024, "img_size": (32, 32)}
    image = VisionTransformer(ViTConfig(positions="sincos", sincos_order="column_first", **large))
    save_pretrained(image, tmp_path / "image")
    with pytest.raises(CheckpointError, match="`positions` must be rope for vjepa2-vit-large-256; the file has sincos"):
        load("vjepa2-vit-large-256", path=tmp_path / "image")


def test_a_mistyped_path_is_never_asked_for_on_the_hub(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub, "snapshot_download", lambda *a, **k: pytest.fail("the Hub was asked"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "first-run").mkdir(parents=True)
    for open_it in (load, from_pretrained):
        with pytest.raises(CheckpointError, match=r"`mine/frst-run` does not exist; did you mean `mine/first-run`\?"):
            open_it("mine/frst-run")
        for name in ("runs/typo", "./typo", "owner/weights.pt", "a/b/c", "mine/x"):
            with pytest.raises(CheckpointError, match=f"`{name}` does not exist"):
                open_it(name)


def test_published_table():
    assert PUBLISHED["vjepa2-vit-large-256"].url == "https://dl.fbaipublicfiles.com/vjepa2/vitl.pt"
    assert PUBLISHED["vjepa2-vit-giant-384"].traits.num_heads == 22
    assert PUBLISHED["ijepa-vit-giant16-224-in22k"].traits.num_heads == 16
    assert PUBLISHED["vjepa-vit-huge-384-k400"].kind == "probe"
    assert {entry.licence for entry in PUBLISHED.values()} == {"MIT", "CC-BY-NC-4.0"}
    urls = [entry.url for entry in PUBLISHED.values()]
    assert len(set(urls)) == len(urls)
    assert all(url.startswith("https://dl.fbaipublicfiles.com/") for url in urls)


def test_sizes_that_can_be_told():
    def content(config):
        network = VisionTransformer(config)
        from openjepa.interop.meta_files import encoder_to_meta, traits_of

        return {"target_encoder": encoder_to_meta(network, traits_of(network))}

    with torch.device("meta"):
        video = content(vit_small(num_frames=4, tubelet_size=2, rope_layout="tiled"))
        image = content(vit_small(positions="sincos", sincos_order="column_first"))
    assert guess_traits(video, "x") == Traits("vjepa2", 6, (256, 256), 64)
    assert guess_traits(image, "x") == Traits("ijepa", 6, (224, 224), predictor_heads=6)
    video["target_encoder"]["pos_embed"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match="V-JEPA 1 or an old V-JEPA 2"):
        guess_traits(video, "x")


def test_size_that_cannot_be_told(saved):
    with pytest.raises(CheckpointError, match="width 48 and depth 3 is no published size"):
        load(saved)


@pytest.mark.parametrize("layout", ["meta", "openjepa"])
def test_round_trip_of_all_networks(layout, vjepa2, saved, tmp_path, monkeypatch):
    monkeypatch.setitem(registry.PUBLISHED, "vjepa2-tiny", Published(None, TINY, "MIT"))
    first = convert(saved, tmp_path / "ours", "openjepa", name="vjepa2-tiny")
    out = convert(first, tmp_path / "again", layout)
    found = read_networks(out, TINY if layout == "meta" else None)
    for part, network in found.parts().items():
        wanted = getattr(vjepa2, part).state_dict()
        assert network.state_dict().keys() == wanted.keys()
        assert all(torch.equal(t, wanted[n]) for n, t in network.state_dict().items())
    assert set(found.parts()) == {"context_encoder", "target_encoder", "predictor"}
    with pytest.raises(ConfigError, match="exists"):
        convert(first, out, layout)


def test_round_trip_of_other_families(ijepa, vjepa21, tmp_path):
    traits = {
        "ijepa": Traits("ijepa", 2, (32, 32), predictor_heads=2),
        "vjepa21": Traits("vjepa2_1", 2, (32, 32), 4, predictor_heads=2, level_layers=(0, 1, 2)),
    }
    for name, method in (("ijepa", ijepa), ("vjepa21", vjepa21)):
        path = tmp_path / f"{name}.pt"
        write_meta(Networks(method.context_encoder, method.target_encoder, method.predictor), path)
        found = read_networks(path, traits[name])
        for part, network in found.parts().items():
            own = getattr(method, part)
            assert network.config == own.config
            assert all(torch.equal(t, own.state_dict()[n]) for n, t in network.state_dict().items())


def test_round_trip_of_vjepa1(tmp_path):
    encoder = ViTConfig(
        img_size=(32, 32),
        patch_size=8,
        num_frames=4,
        tubelet_size=2,
        embed_dim=48,
        depth=2,
        num_heads=2,
        positions="sincos",
        rescale_residual_init=False,
    )
    method = randomise(
        VJEPA2(VJEPA2Config(encoder=encoder, num_mask_tokens=2, predictor_dim=24, predictor_heads=2))
    ).eval()
    path = tmp_path / "vjepa.pt"
    write_meta(Networks(method.context_encoder, method.target_encoder, method.predictor), path)
    content = torch.load(path, weights_only=True)
    assert content["encoder"]["module.backbone.pos_embed"].shape == (1, 32, 48)
    assert content["predictor"]["module.backbone.predictor_pos_embed"].shape == (1, 32, 24)
    found = read_networks(path, Traits("vjepa", 2, (32, 32), 4, predictor_heads=2))
    pixels, ids = torch.randn(1, 4, 3, 32, 32), torch.arange(32)[None]
    assert torch.equal(found.target_encoder(pixels), method.target_encoder(pixels))
    z = found.context_encoder(pixels, ids[:, :9])
    for token in (0, 1):
        ours = method.predictor(z, ids[:, :9], ids[:, 9:], mask_token=token)
        assert torch.equal(found.predictor(z, ids[:, :9], ids[:, 9:], mask_token=token), ours)


def test_metas_code_would_misread_new_models(tmp_path):
    encoder = VisionTransformer(vit_small(depth=1, num_frames=4, tubelet_size=2, img_size=(32, 32)))
    with pytest.raises(ConfigError, match="would read other positions"):
        write_meta(Networks(encoder), tmp_path / "x.pt")


def test_own_networks(vjepa2, clip, tmp_path):
    folder = save_pretrained(vjepa2.target_encoder, tmp_path / "mine")
    for model in (from_pretrained(folder), load(folder)):
        assert torch.equal(model(clip), vjepa2.target_encoder(clip))
        assert model.config == vjepa2.target_encoder.config
    description = json.loads((folder / "openjepa.json").read_text())
    description["config"]["embed_dimm"] = 3
    (folder / "openjepa.json").write_text(json.dumps(description))
    with pytest.raises(CheckpointError, match="unknown option `embed_dimm`"):
        from_pretrained(folder)
    with pytest.raises(ConfigError, match="must be one of vision_transformer"):
        save_pretrained(torch.nn.Linear(2, 2), tmp_path / "other")


def test_a_training_run_of_version_0_1_with_its_counter(vjepa2, clip, tmp_path):
    state = {**vjepa2.state_dict(), "step": torch.tensor(7)}
    save_checkpoint(tmp_path / "run" / "checkpoints", 7, vjepa2, state=state)
    torch.testing.assert_close(load(tmp_path / "run")(clip), vjepa2.target_encoder(clip))


def test_a_training_run(vjepa2, clip, tmp_path):
    save_checkpoint(tmp_path / "run" / "checkpoints", 7, vjepa2)
    model = load(tmp_path / "run")
    assert torch.equal(model(clip), vjepa2.target_encoder(clip))
    convert(tmp_path / "run", tmp_path / "hf", "huggingface")
    assert torch.equal(load(tmp_path / "hf")(clip), vjepa2.target_encoder(clip))


def test_push_to_hub_uploads_what_reopens(vjepa2, clip, tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    calls = []
    monkeypatch.setattr(hub, "create_repo", lambda *a, **k: calls.append(("create", a, k)))
    monkeypatch.setattr(hub, "upload_folder", lambda **k: calls.append(("upload", (), k)) or "https://hub/commit/1")
    from openjepa.interop import push_to_hub

    url = push_to_hub(vjepa2.target_encoder, "me/tiny", tmp_path / "up")
    assert url == "https://hub/commit/1"
    assert calls[0][2]["private"] is True
    assert 'openjepa.load("me/tiny")' in (tmp_path / "up" / "README.md").read_text()
    monkeypatch.setattr(hub, "snapshot_download", lambda *a, **k: str(tmp_path / "up"))
    assert torch.equal(from_pretrained("me/tiny")(clip), vjepa2.target_encoder(clip))
    assert torch.equal(load("me/tiny")(clip), vjepa2.target_encoder(clip))


def test_a_hub_that_fails(monkeypatch):
    hub = pytest.importorskip("huggingface_hub")

    def refuse(*args, **options):
        raise OSError("no network")

    monkeypatch.setattr(hub, "snapshot_download", refuse)
    with pytest.raises(CheckpointError, match=r"`me/tiny` cannot be fetched .* \(no network\). Check the name"):
        load("me/tiny")


def test_probe_files(golden, tmp_path):
    probe = load(golden / "probe_v2" / "checkpoint.pt")  # 16 heads, as all published ones
    assert probe.config.num_heads == 16
    save_pretrained(probe, tmp_path / "probe")
    tokens = torch.randn(2, 5, 32)
    assert torch.equal(load(tmp_path / "probe")(tokens)[0], probe(tokens)[0])
