import pytest

from openjepa.command_line.collecting import parse_image_size
from openjepa.command_line.env_options import literal, split_env_options
from openjepa.errors import ConfigError


def test_options_of_the_environment_are_taken_out_wherever_they_stand():
    words = [
        "--env.size",
        "-3",
        "World-v0",
        "--env.reward-type=a=b",
        "--out",
        "data/x",
        "--env.camera",
        '{"lookat": [0, 1]}',
    ]
    others, options = split_env_options(words)
    assert others == ["World-v0", "--out", "data/x"]
    assert options == {"size": -3, "reward_type": "a=b", "camera": {"lookat": [0, 1]}}
    assert split_env_options([]) == ([], {})
    assert split_env_options(["--environment", "x"]) == (["--environment", "x"], {})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-2.5e3", -2500.0),
        (".5", 0.5),
        ("2.", 2.0),
        ("TRUE", True),
        ("false", False),
        ("None", None),
        ("null", None),
        ("[1, [2]]", [1, [2]]),
        ('"7"', "7"),
        ("007", "007"),
        ("NaN", "NaN"),
        ("1_000", "1_000"),
        ("", ""),
        ("{broken", "{broken"),
        ("a, b", "a, b"),
    ],
)
def test_values_are_typed_by_what_they_look_like(text, value):
    found = literal(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--env.size"], "`--env.size` needs a value, as in `--env.size true`"),
        (["--env.size", "--seed", "1"], "`--env.size` needs a value"),
        (["--env.a.b", "1"], "`--env.a.b` must be `--env.NAME` with one plain name. Write nested values as JSON"),
        (["--env.", "1"], "`--env.` must be `--env.NAME`"),
        (["--env.x=1", "--env.x", "2"], "`--env.x` must be given once"),
    ],
)
def test_what_cannot_be_meant_is_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        split_env_options(words)


def test_image_sizes():
    assert parse_image_size("64") == (64, 64)
    assert parse_image_size("48x96") == (48, 96)
    for wrong in ("", "x", "64x", "0", "6x4x2", "-3", "64px"):
        with pytest.raises(ConfigError, match="`--image-size` must be a side in px, or HxW"):
            parse_image_size(wrong)
