"""Classes are names, whatever their numbers and whichever of them a split has."""

import numpy as np
import pytest
import torch
from PIL import Image

from openjepa.errors import DataError
from openjepa.eval.probing.attentive_probe import AttentiveTrainConfig, attentive_probe
from openjepa.eval.probing.frozen_encoder import FrozenEncoder
from openjepa.eval.probing.frozen_probes import FrozenProbeConfig, read_sets, run_probe
from openjepa.eval.probing.knn import knn_accuracy, knn_predict
from openjepa.eval.probing.linear_probe import linear_probe

ENCODER = FrozenEncoder(lambda x: torch.nn.functional.avg_pool2d(x, 8).flatten(2).mT, False, 8)
CONTROL = FrozenEncoder(lambda x: torch.ones(len(x), 4, 3), False, 8)
COLOURS = {"a_red": (200, 20, 20), "b_green": (20, 200, 20), "c_blue": (20, 20, 200), "d_grey": (90, 90, 90)}


def draw(folder, names, count):
    rng = np.random.default_rng(len(names) + count)
    for name in names:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.clip(np.array(COLOURS[name]) + rng.integers(-15, 15, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def probed(train, test):
    return run_probe(ENCODER, FrozenProbeConfig(train, test, size=16), control=CONTROL)


@pytest.mark.parametrize("left", [("b_green", "c_blue"), ("a_red",), ("c_blue", "a_red")])
def test_a_test_set_without_a_class_does_not_shift_the_others(tmp_path, left):
    train = draw(tmp_path / "train", ("a_red", "b_green", "c_blue"), 8)
    report = probed(train, draw(tmp_path / "test", left, 4))
    assert [row.accuracy for row in report.rows] == [1.0, 1.0]
    assert (report.chance, report.unseen) == (1 / len(left), 0)


def test_a_training_set_without_a_class_neither(tmp_path):
    train = draw(tmp_path / "train", ("b_green", "c_blue"), 8)
    report = probed(train, draw(tmp_path / "test", ("a_red", "b_green", "c_blue", "d_grey"), 4))
    assert [row.accuracy for row in report.rows] == [0.5, 0.5]  # green and blue are right
    assert report.unseen == 8
    assert "8 test files are of classes without training files and count as wrong" in report.text()


def test_a_file_of_both_sets_is_none_or_is_told(tmp_path):
    train = draw(tmp_path / "train", ("a_red", "b_green"), 8)
    names = [(path, int(path.parent.name == "b_green")) for path in sorted(train.rglob("*.png"))]
    twice = tmp_path / "twice.csv"
    twice.write_text("".join(f"{path} {label}\n" for path, label in 2 * names))
    train_set, test_set, _ = read_sets(FrozenProbeConfig(twice, size=16))
    assert len(train_set.labels) + len(test_set.labels) == 16
    assert not (train_set.pixels[:, None] == test_set.pixels[None]).flatten(2).all(2).any()
    test = draw(tmp_path / "test", ("a_red", "b_green"), 2)
    (test / "a_red" / "again.png").symlink_to(train / "a_red" / "3.png")
    assert "1 test files are training files too" in probed(train, test).text()


def test_sets_without_a_class_in_common_are_refused(tmp_path):
    train, test = draw(tmp_path / "train", ("a_red", "b_green"), 4), draw(tmp_path / "test", ("c_blue", "d_grey"), 4)
    with pytest.raises(DataError, match=r"must have classes of .* a_red, b_green; it has c_blue, d_grey. Classes are"):
        probed(train, test)


@pytest.mark.parametrize("numbers", [(0, 1, 2), (-1, 0, 1), (5, 400, 1_000_000_000), (-(10**30), 7, 10**30)])
def test_numbers_of_lists_are_names_too(tmp_path, numbers):
    names = ("a_red", "b_green", "c_blue")
    folders = {split: draw(tmp_path / split, names, count) for split, count in (("train", 8), ("test", 4))}
    for split, folder in folders.items():
        own = names if split == "train" else names[1:]
        lines = [f"{p} {numbers[names.index(name)]}\n" for name in own for p in sorted((folder / name).iterdir())]
        (tmp_path / f"{split}.txt").write_text("".join(lines))
    report = probed(tmp_path / "train.txt", tmp_path / "test.txt")
    assert [row.accuracy for row in report.rows] == [1.0, 1.0]
    assert (report.train_rows, report.test_rows) == (24, 8)
    held_out = run_probe(ENCODER, FrozenProbeConfig(tmp_path / "train.txt", size=16), control=CONTROL)
    assert [row.accuracy for row in held_out.rows] == [1.0, 1.0]


def test_a_folder_and_a_list_agree_by_name(tmp_path):
    train = draw(tmp_path / "train", ("a_red", "b_green"), 6)
    (train / "a_red").rename(train / "10")
    (train / "b_green").rename(train / "9")
    test = draw(tmp_path / "test", ("a_red", "b_green"), 3)
    lines = [
        f"{p} {9 if name == 'b_green' else 10}\n" for name in ("a_red", "b_green") for p in (test / name).iterdir()
    ]
    (tmp_path / "test.txt").write_text("".join(lines))
    assert [row.accuracy for row in probed(train, tmp_path / "test.txt").rows] == [1.0, 1.0]
    fit, score, _ = read_sets(FrozenProbeConfig(train, tmp_path / "test.txt", size=16))
    assert fit.labels.bincount().tolist() == [6, 6]
    assert score.labels.bincount().tolist() == [3, 3]


def clouds(numbers, count, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor(numbers).repeat_interleave(count)
    centres = 4 * torch.eye(len(numbers)).repeat_interleave(count, 0)
    return centres + torch.randn(centres.shape, generator=generator), labels


@pytest.mark.parametrize("numbers", [(-7, -1, 3), (0, 10**12, 2**62)])
def test_every_probe_takes_any_numbers(numbers):
    dense, odd = (
        [*clouds(own, 30, 0), *clouds(own, 20, 1)] for own in ((0, 1, 2), numbers)
    )  # the same points under other numbers
    assert set(knn_predict(*odd[:3]).tolist()) == set(numbers)
    assert knn_accuracy(*odd) == knn_accuracy(*dense) > 0.9
    assert linear_probe(*odd) == linear_probe(*dense)
    config = AttentiveTrainConfig((1e-2,), (0.01,), epochs=2, batch_size=32, depth=1, num_heads=1)
    tokens = [[x[:, None] if x.ndim == 2 else x for x in rows] for rows in (odd, dense)]
    assert attentive_probe(*tokens[0], config).accuracy == attentive_probe(*tokens[1], config).accuracy


def test_a_class_that_only_the_test_set_has_is_wrong():
    x, labels = clouds((0, 1), 30, 0)
    test_x, test_labels = clouds((0, 1), 20, 1)
    test_labels[test_labels == 1] = 9
    assert linear_probe(x, labels, test_x, test_labels).accuracy <= 0.5
    assert knn_accuracy(x, labels, test_x, test_labels) <= 0.5
