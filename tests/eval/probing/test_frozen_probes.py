import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from openjepa.errors import ConfigError, DataError
from openjepa.eval.probing.attentive_probe import AttentiveTrainConfig
from openjepa.eval.probing.frozen_encoder import FrozenEncoder, frozen
from openjepa.eval.probing.frozen_probes import FrozenProbeConfig, LabelledSet, probe_arrays, run_probe
from openjepa.models.vit import VisionTransformer, ViTConfig


def colours(x):
    return torch.nn.functional.avg_pool2d(x, 8).flatten(2).mT


def deaf(x):
    return torch.ones(len(x), 4, 3)


ENCODER = FrozenEncoder(colours, False, 8)
CONTROL = FrozenEncoder(deaf, False, 8)


@pytest.fixture
def folder(tmp_path):
    """Two classes that differ in colour."""
    rng = np.random.default_rng(0)
    for i in range(40):
        kind = i % 2
        picture = rng.integers(0, 80, (16, 16, 3)).astype(np.uint8)
        picture[..., kind] += 100
        path = tmp_path / "data" / f"class{kind}" / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return tmp_path / "data"


def test_every_number_stands_beside_its_control(folder):
    small = AttentiveTrainConfig((1e-2,), (0.01,), epochs=4, batch_size=8, depth=1, num_heads=1)
    config = FrozenProbeConfig(folder, size=16, probes=("knn", "linear", "attentive"), attentive=small)
    lines = []
    report = run_probe(ENCODER, config, control=CONTROL, progress=lines.append)
    assert (report.train_rows, report.test_rows, report.chance) == (32, 8, 0.5)
    assert [row.probe for row in report.rows] == ["knn", "linear", "attentive"]
    assert all(row.accuracy == 1.0 for row in report.rows[:2])
    assert all(row.control == 0.5 for row in report.rows)  # a constant feature names one class
    assert report.rows[0].best_on_test is None
    assert report.rows[1].best_on_test == 1.0
    assert "random init" in report.text()
    assert any("attentive probe" in line for line in lines)


def test_one_percent_and_few_shots(folder):
    report = run_probe(ENCODER, FrozenProbeConfig(folder, size=16, shots=2), control=CONTROL)
    assert report.train_rows == 4
    report = run_probe(ENCODER, FrozenProbeConfig(folder, size=16, share=0.25, probes=("knn",)), control=CONTROL)
    assert report.train_rows == 8


@pytest.mark.parametrize("choice", [{"shots": 0}, {"share": 0.0}, {"share": 2.0}, {"shots": 1, "share": 0.5}])
def test_no_labels_and_more_than_all_are_refused(folder, choice):
    with pytest.raises(ConfigError, match=r"`shots` must be >= 1|`share` must lie in"):
        FrozenProbeConfig(folder, size=16, **choice)


def test_the_only_file_of_a_class_is_trained_on(folder):
    lone = folder / "class2" / "0.png"
    lone.parent.mkdir()
    Image.fromarray(np.full((16, 16, 3), 250, np.uint8)).save(lone)
    report = run_probe(ENCODER, FrozenProbeConfig(folder, size=16, probes=("knn",)), control=CONTROL)
    assert (report.train_rows, report.test_rows, report.unseen) == (33, 8, 0)


def test_lists_and_damaged_files(folder, tmp_path):
    paths = sorted(folder.rglob("*.png"))
    paths[3].write_bytes(b"words")
    (tmp_path / "train.csv").write_text("".join(f"{p} {int(p.parent.name[-1])}\n" for p in paths))
    whole = [p for p in paths if p != paths[3]]
    (tmp_path / "test.csv").write_text("".join(f"{p} {int(p.parent.name[-1])}\n" for p in whole))
    config = FrozenProbeConfig(tmp_path / "train.csv", tmp_path / "test.csv", size=16, probes=("linear",))
    report = run_probe(ENCODER, config, control=CONTROL)
    assert list(report.damaged) == [str(paths[3])]
    assert (report.train_rows, report.test_rows) == (39, 39)
    for path in paths[:8]:
        path.write_bytes(b"")
    with pytest.raises(DataError, match="cannot be decoded, more than `max_damaged_share`"):
        run_probe(ENCODER, config, control=CONTROL)


def test_the_control_is_the_same_network_with_fresh_weights():
    config = ViTConfig((16, 16), 8, embed_dim=16, depth=1, num_heads=2)
    network = VisionTransformer(config)
    nn.init.constant_(network.norm.weight, 0.0)
    nn.init.constant_(network.norm.bias, 1.0)  # the "trained" network says 1 whatever it sees
    encoder = frozen(network)
    control = encoder.untrained(3)
    pictures = torch.randint(0, 256, (60, 3, 16, 16), dtype=torch.uint8)
    pictures[::2, 0] = 255
    data = LabelledSet(pictures, torch.arange(60) % 2)
    report = probe_arrays(encoder, data, data, FrozenProbeConfig(probes=("linear",)))
    assert report.rows[0].accuracy == 0.5
    assert report.rows[0].control > 0.9
    assert encoder.pooled(pictures).unique().item() == 1.0  # the original is untouched
    assert torch.equal(control.pooled(pictures), encoder.untrained(3).pooled(pictures))
    with pytest.raises(ConfigError, match="Hand the control in"):
        ENCODER.untrained()
