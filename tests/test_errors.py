"""Messages stay short, whatever the tables and the words are."""

import pytest

from openjepa.errors import brief, did_you_mean, listing, nearest, unknown
from openjepa.interop.registry import PUBLISHED, published

TABLES = {
    "short": ["kiwi", "lemon", "lime"],
    "long": [f"vit-{size}-{px}" for size in ("tiny", "small", "base", "large") for px in range(100, 600, 50)],
    "huge": [f"folder/of/many/files/picture_{i:07d}.png" for i in range(50_000)],
    "wide": [f"{i}" * 400 for i in range(10)],
    "empty": [],
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("word", ["", "x", "vit-large", "picture_1.png", "two\nlines", "long " * 500])
def test_an_unknown_name_is_one_short_line(table, word):
    said = str(unknown("thing", word, TABLES[table], command="openjepa list"))
    assert len(said) < 300
    assert "\n" not in said


def test_a_slip_is_answered_by_the_name_and_a_guess_by_three():
    assert (
        str(unknown("size", "vit-lrge-200", TABLES["long"]))
        == "unknown size `vit-lrge-200`; did you mean `vit-large-200`?"
    )
    said = str(unknown("size", "resnet", TABLES["long"] * 2, command="openjepa list"))
    assert said.count("`vit-") == 3
    assert said.endswith(" `openjepa list` shows all 40.")
    assert str(unknown("fruit", "fig", TABLES["short"])) == "unknown fruit `fig`. Known: kiwi, lemon, lime."
    assert "picture_0012345.png" in str(unknown("file", "folder/of/many/files/picture_012345.png", TABLES["huge"]))


def test_an_unknown_model_names_three_and_the_command():
    with pytest.raises(ValueError, match="unknown model `foo`; the nearest are ") as caught:
        published("foo")
    said = str(caught.value)
    assert len(said) < 300
    assert sum(f"`{name}`" in said for name in PUBLISHED) == 3
    assert f"`openjepa list models` shows all {len(PUBLISHED)}." in said


def test_lists_are_cut_with_the_number_of_the_rest():
    assert listing(["a", "b"]) == "a, b"
    assert listing([]) == "nothing"
    assert listing(range(200)) == "0, 1, 2, 3 and 196 more"
    assert len(listing(TABLES["wide"])) < 160
    assert brief("a\n  b") == "a b"
    assert len(brief("x" * 500)) == 80


def test_the_nearest_name():
    assert nearest("trian", ["train", "eval"]) == "train"
    assert nearest("zzz", ["train", "eval"]) is None
    assert did_you_mean("zzz", ["train"]) == "."
