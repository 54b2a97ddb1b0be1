"""Who computes does not change what is written: parts in any order, on any worker, on workers that die."""

import os
import pickle
import signal
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from openjepa.data.items import DatasetItems
from openjepa.data.shards import ShardItems
from openjepa.data.video_file import write_video
from openjepa.errors import ConfigError, DataError, MissingDependencyError
from openjepa.eval.embedding import ray_engine
from openjepa.eval.embedding.embed import EmbedConfig, run_embed
from openjepa.eval.embedding.embedding_store import read_embeddings
from openjepa.eval.embedding.excerpt import compute_excerpt, excerpt
from openjepa.eval.embedding.ray_engine import RayConfig, RayEngine
from openjepa.eval.probing.frozen_encoder import FrozenEncoder
from openjepa.eval.probing.frozen_probes import FrozenProbeConfig, run_probe
from openjepa.eval.probing.knn import KNNConfig
from openjepa.eval.probing.probe_in_parts import run_probe_in_parts


class Means(nn.Module):
    """Mean colour of each patch of 8 pixels; with `fatal`, the first process that gets there ends itself."""

    def __init__(self, fatal: Path | None = None) -> None:
        super().__init__()
        self.fatal = fatal

    def forward(self, x):
        if self.fatal is not None and x.mean() > 0 and not self.fatal.exists():
            self.fatal.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return nn.functional.avg_pool2d(x, 8).flatten(2).transpose(1, 2)

    def init_weights(self, generator=None):
        """There are none."""


def encoder(network=None):
    return FrozenEncoder(network or Means(), False, 8, mean=(0.0,) * 3, std=(1.0,) * 3)


def scattered(encoder, config, items, parts):
    """An engine that sends everything through pickle and gives parts in the reverse order."""
    for part in reversed(parts):
        sent = pickle.loads(pickle.dumps(excerpt(items, part)))
        yield compute_excerpt(encoder, config, *sent, part)


@pytest.fixture
def pictures(tmp_path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(19):
        Image.new("RGB", (24, 20), (10 * i, 0, 255)).save(folder / f"{i:02d}.png")
    (folder / "07.png").write_bytes(b"words")
    return folder


def assert_equal_folders(one, other):
    a, b = read_embeddings(one), read_embeddings(other)
    assert a.paths == b.paths
    for name in ("index", "frame", "time", "vectors"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def embed_both_ways(config, items=None, engine=scattered):
    reports = [run_embed(encoder(), config, items=items)]
    reports += [run_embed(encoder(), replace(config, output=config.output / ".." / "far"), items=items, engine=engine)]
    assert_equal_folders(config.output, config.output / ".." / "far")
    a, b = (replace(r, seconds=0.0, output=Path()) for r in reports)
    assert a == b
    assert list(a.damaged) == list(b.damaged)
    return reports[1]


def test_files(pictures, tmp_path):
    config = EmbedConfig(pictures, tmp_path / "out", size=16, batch_size=3, part_size=4, max_damaged_share=0.1)
    report = embed_both_ways(config)
    assert (report.rows, [Path(n).name for n in report.damaged]) == (18, ["07.png"])


def test_moments_of_videos(tmp_path):
    pytest.importorskip("av")
    (tmp_path / "videos").mkdir()
    for i, length in enumerate((40, 8, 100)):  # the last has two stretches
        frames = (np.arange(length, dtype=np.uint8)[:, None, None, None] * 2 + i) * np.ones((1, 3, 16, 16), np.uint8)
        write_video(tmp_path / "videos" / f"{i}.mp4", frames.astype(np.uint8), fps=8)
    config = EmbedConfig(tmp_path / "videos", tmp_path / "out", size=16, num_frames=2, every=1.0, part_size=2)
    assert embed_both_ways(config).rows == 5 + 1 + 12


def test_rows_of_a_data_set(tmp_path):
    rows = [{"image": Image.new("RGB", (16, 16), (i, i, i))} for i in range(7)]
    embed_both_ways(EmbedConfig(output=tmp_path / "out", size=16, part_size=2), DatasetItems(rows))


def test_members_of_shards(pictures, tmp_path):
    for number, names in enumerate((range(5), range(8, 12))):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as tar:
            for i in names:
                tar.add(pictures / f"{i:02d}.png", f"{i:02d}.png")
    items = ShardItems([tmp_path / "0.tar", tmp_path / "1.tar"])
    part, first = excerpt(items, range(4, 6))
    assert first == 4
    assert [part.name(i) for i in range(len(part))] == [items.name(4), items.name(5)]
    assert part.content(1) == items.content(5)


def test_what_an_engine_left_is_gone_on_with(pictures, tmp_path):
    config = EmbedConfig(pictures, tmp_path / "out", size=16, part_size=4, max_damaged_share=0.1)

    def stopping(*args):
        for count, part in enumerate(scattered(*args)):
            if count == 2:
                raise KeyboardInterrupt
            yield part

    with pytest.raises(KeyboardInterrupt):
        run_embed(encoder(), config, engine=stopping)
    assert run_embed(encoder(), config).resumed == 3 + 4
    run_embed(encoder(), replace(config, output=tmp_path / "whole"))
    assert_equal_folders(tmp_path / "out", tmp_path / "whole")


def test_probes_in_parts_are_those_of_one_process(tmp_path):
    generator = np.random.default_rng(0)
    for name, shade in (("dark", (40, 60, 90)), ("light", (90, 60, 40))):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(10):
            noise = generator.integers(-20, 20, (16, 16, 3)) + generator.integers(-20, 20, 3)
            Image.fromarray((np.array(shade) + noise).astype(np.uint8)).save(tmp_path / "set" / name / f"{i}.png")
    (tmp_path / "set" / "dark" / "3.png").write_bytes(b"")
    config = FrozenProbeConfig(tmp_path / "set", probes=("knn",), size=16, batch_size=3, knn=KNNConfig(k=3))
    whole = run_probe(encoder(), config)
    parts = run_probe_in_parts(encoder(), config, scattered)
    assert parts == whole
    assert whole.rows[0].accuracy > 0.5
    with pytest.raises(ConfigError, match="must be of knn and linear"):
        run_probe_in_parts(encoder(), replace(config, probes=("attentive",)), scattered)


class FakeRay:
    """The part of Ray that the engine uses, in this process; `dead` workers answer with an error."""

    class exceptions:
        class RayTaskError(Exception):
            def __init__(self, cause):
                super().__init__("a traceback")
                self.cause = cause

        class RayActorError(Exception):
            pass

    def __init__(self, cpus=2.0, dead=()):
        self.cpus, self.dead, self.killed, self.started = cpus, set(dead), 0, []

    def is_initialized(self):
        return True

    def cluster_resources(self):
        return {"CPU": self.cpus}

    def put(self, value):
        return Ref((0, value))

    def get_runtime_context(self):
        return SimpleNamespace(was_current_actor_reconstructed=False)

    def remote(self, **options):
        self.options = options

        def wrap(kind):
            def make(*args):
                number, worker = len(self.started), kind(*args)
                self.started.append(worker)

                def compute(shared, items, first_file, part):
                    if part.start in self.dead:
                        return (number, self.exceptions.RayActorError("The actor died.\nMore words."))
                    try:
                        return (number, worker.compute(shared, items, first_file, part))
                    except Exception as error:
                        return (number, self.exceptions.RayTaskError(error))

                return SimpleNamespace(compute=SimpleNamespace(remote=lambda *a: Ref(compute(*a))))

            return SimpleNamespace(remote=make)

        return wrap

    def wait(self, refs):
        return [refs[-1]], refs[:-1]  # the last first

    def get(self, ref):
        if isinstance(ref.value[1], Exception):
            raise ref.value[1]
        return ref.value[1]

    def kill(self, worker):
        self.killed += 1


class Ref:
    def __init__(self, value):
        self.value = value


@pytest.fixture
def fake(monkeypatch):
    ray = FakeRay()
    monkeypatch.setattr(ray_engine, "_import_ray", lambda: ray)
    return ray


def test_the_ray_engine_hands_out_every_part_once(fake, pictures, tmp_path):
    config = EmbedConfig(pictures, tmp_path / "out", size=16, part_size=2, max_damaged_share=0.1)
    engine = RayEngine()
    embed_both_ways(config, engine=engine)
    assert len(fake.started) == fake.killed == 2
    assert fake.options == {"num_cpus": 1, "num_gpus": 0.0, "max_restarts": -1, "max_task_retries": 8}
    assert engine.replaced == 0


def test_errors_of_workers_are_those_of_one_process(fake, pictures, tmp_path):
    config = EmbedConfig(pictures, tmp_path / "out", size=16, max_damaged_share=0.1)
    broken = FrozenEncoder(lambda x: torch.full((len(x), 4, 3), torch.nan), False, 8)
    with pytest.raises(DataError) as here:
        run_embed(broken, config)
    with pytest.raises(DataError) as there:
        run_embed(broken, replace(config, output=tmp_path / "far"), engine=RayEngine())
    assert str(here.value) == str(there.value)
    assert fake.killed == 1


def test_a_part_that_kills_every_worker_is_named(fake, pictures, tmp_path):
    fake.dead = {4}
    config = EmbedConfig(pictures, tmp_path / "out", size=16, part_size=2)
    with pytest.raises(DataError, match=r"must not end its worker; that of `.*04.png` and 1 others ended every"):
        run_embed(encoder(), config, engine=RayEngine())


def test_workers_that_do_not_fit_are_refused(fake, pictures, tmp_path):
    config = EmbedConfig(pictures, tmp_path / "out", size=16)
    with pytest.raises(ConfigError, match="3 of 1 CPUs and 0 GPUs are wanted, 2 fit"):
        run_embed(encoder(), config, engine=RayEngine(RayConfig(workers=3)))
    with pytest.raises(ConfigError, match="1 of 1 CPUs and 1 GPUs are wanted, 0 fit"):
        run_embed(encoder(), config, engine=RayEngine(RayConfig(gpus_per_worker=1)))
    with pytest.raises(ConfigError, match="must be >= 1"):
        RayConfig(workers=0)


def test_machines_that_differ_are_refused(fake, tmp_path):
    for version, folder, rule in (
        ("0.0.0", os.getcwd(), "must have OpenJEPA 0.0.0"),
        (ray_engine.__version__, str(tmp_path / "no"), "must see `.*no`"),
    ):
        with pytest.raises(ConfigError, match=rule):
            ray_engine._Worker(version, folder, 1, False).compute([], None, 0, range(1))


def test_without_ray_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'openjepa\[ray\]'"):
        RayEngine()


@pytest.mark.slow  # a cluster takes a minute to start on a busy machine
def test_ray_itself_replaces_a_worker_that_dies(pictures, tmp_path):
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test
    config = EmbedConfig(pictures, tmp_path / "out", size=16, part_size=4, max_damaged_share=0.1)
    engine = RayEngine(RayConfig(workers=1))
    run_embed(encoder(Means(tmp_path / "died")), config, engine=engine)
    assert engine.replaced == 1
    (tmp_path / "died").touch()
    run_embed(encoder(Means(tmp_path / "died")), replace(config, output=tmp_path / "here"))
    assert_equal_folders(tmp_path / "out", tmp_path / "here")
