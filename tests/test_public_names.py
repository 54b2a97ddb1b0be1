"""What `import openjepa` offers, and what it costs."""

import subprocess
import sys
import types
from pathlib import Path

import pytest

import openjepa

PACKAGE = Path(openjepa.__file__).parent


def fresh(code):
    """Runs code in a new interpreter and fails with what it says."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", openjepa.__all__)
def test_every_name_is_there(name):
    assert getattr(openjepa, name) is getattr(openjepa, name)
    assert name in dir(openjepa)


def test_the_table_and_the_list_agree():
    eager = {name for name in openjepa.__all__ if name == "__version__" or name.endswith("Error")}
    assert set(openjepa._ROOMS) == set(openjepa.__all__) - eager
    for name, room in openjepa._ROOMS.items():
        assert name in room()
        assert set(room()) <= set(openjepa.__all__)


def test_names_do_not_change_with_the_order_of_imports():
    """A name that is also a room must be the room: importing the room sets it."""
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    for name in rooms & set(openjepa.__all__):
        assert isinstance(getattr(openjepa, name), types.ModuleType), name
    fresh(
        "import openjepa; assert callable(openjepa.train.train); import openjepa.train.loop as x; openjepa.train.train"
    )


def test_they_are_the_rooms_own():
    from openjepa.envs import TwoRooms
    from openjepa.interop import load
    from openjepa.train import TrainConfig

    assert openjepa.load is load
    assert openjepa.TwoRooms is TwoRooms
    assert openjepa.TrainConfig is TrainConfig
    assert issubclass(openjepa.ShapeError, openjepa.OpenJEPAError)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute `lewn`"):
        _ = openjepa.lewn
    with pytest.raises(ImportError):
        exec("from openjepa import lewn")


def test_importing_is_light():
    fresh(
        "import sys, openjepa; openjepa.__version__, openjepa.ConfigError, dir(openjepa)\n"
        "heavy = {'torch', 'numpy', 'PIL', 'gymnasium', 'tyro', 'safetensors', 'openjepa.train'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )


def test_a_star_brings_them_all():
    fresh("from openjepa import *\nassert LeWM and CEM and load and check_planner and __version__")
