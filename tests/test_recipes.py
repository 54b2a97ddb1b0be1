"""Every recipe joins by being in the table: it builds at toy size and takes two steps."""

import dataclasses

import pytest

from openjepa.config import from_dict, option_names, override, to_dict
from openjepa.errors import ConfigError
from openjepa.recipes import RECIPES, Experiment, Recipe
from openjepa.studies import experiments, load_experiment
from openjepa.train import TrainConfig, train

TWO_STEPS = {
    "train.steps": 2,
    "train.warmup_steps": 0,
    "train.log_every": 1,
    "train.checkpoint_every": 2,
    "train.device": "cpu",
    "train.precision": "fp32",
}


@pytest.fixture(params=sorted(experiments()))
def name(request):
    return request.param


def toy_config(recipe):
    return override(recipe.config, {**TWO_STEPS, **recipe.toy})


def test_a_recipe_has_what_the_command_line_needs(name):
    recipe = load_experiment(name)
    assert isinstance(recipe, Recipe)
    assert recipe.summary == experiments()[name].__doc__
    assert "\n" not in recipe.summary
    assert recipe.config.__dataclass_params__.frozen
    assert isinstance(recipe.config.train, TrainConfig)
    assert isinstance(recipe.config.seed, int)
    assert len(option_names(recipe.config)) == len(set(option_names(recipe.config)))


def test_a_config_survives_the_file(name):
    import json

    config = load_experiment(name).config
    assert from_dict(type(config), json.loads(json.dumps(to_dict(config)))) == config


def test_two_steps_at_toy_size(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = load_experiment(name)
    config = toy_config(recipe)
    experiment = recipe.build(config)
    assert isinstance(experiment, Experiment)
    result = train(
        experiment.method,
        experiment.source,
        config.train,
        tmp_path / "run",
        recipe_config={"recipe": name, **to_dict(config)},
        diagnostics=experiment.diagnostics,
    )
    assert result.step == 2
    assert result.metrics["loss"] == pytest.approx(result.metrics["loss"])  # finite
    if experiment.held_out is not None:
        held_out = experiment.held_out()
        assert len(held_out.frames) >= 2
        assert not experiment.state_names or held_out.states.shape[-1] == len(experiment.state_names)


def test_a_recipe_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe("x", None, lambda config: None).summary = "y"


def test_an_unknown_recipe_names_the_nearest(monkeypatch):
    monkeypatch.setitem(RECIPES, "two-rooms", lambda: None)
    with pytest.raises(ConfigError, match=r"unknown recipe `two-romms`; did you mean `two-rooms`\?"):
        load_experiment("two-romms")
