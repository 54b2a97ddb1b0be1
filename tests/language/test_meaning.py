"""What texts mean: facts by hand, phrases that keep their splits, and a parser that understands all it was made of."""

import re

import numpy as np
import pytest
import torch

from openjepa.envs import make_world
from openjepa.envs.arm import HIGH, LOW
from openjepa.envs.arm_facts import arm_facts
from openjepa.envs.facts import Fact, spoken
from openjepa.errors import ConfigError, DataError
from openjepa.language.held_out_phrases import HELD_OUT, OTHER_VERBS, OTHER_WORDS, UNJOINED, UNJOINED_RELATIONS
from openjepa.language.meaning import FactMeaning, TaskMeaning, tasks_of
from openjepa.language.phrases import TRAINED
from openjepa.language.rivals import Parser
from openjepa.language.sayings import SPLITS, Saying, Sayings, truth

# agent at (20, 20) in the left room: the red disc touches it, the square lies to the right in the other room, the
# triangle below, the diamond above and a little to the left
STATE = np.array([[20, 20, 32, 24, 24, 20, 50, 22, 21, 45, 14, 8]], np.float32)
ARM = arm_facts(LOW, HIGH, ("x", "y", "z", "gripper", "scene"))
TRUE = {
    ("touching", "red disc"),
    ("near", "red disc"),
    ("nearest", "red disc"),
    ("left of", "red disc"),
    ("left of", "green square"),
    ("above", "blue triangle"),
    ("below", "yellow diamond"),
    ("same room", "red disc"),
    ("same room", "blue triangle"),
    ("same room", "yellow diamond"),
    ("behind wall", "green square"),
    ("left room",),
}


@pytest.fixture(scope="module")
def facts():
    return make_world("object-rooms").facts


def test_facts_of_a_state_by_hand(facts):
    holds = facts.holds(STATE)[:, 0]
    found = {(f.relation, *f.things) for f, is_true in zip(facts.all, holds, strict=True) if is_true}
    assert found == TRUE
    assert facts.things == ("red disc", "green square", "blue triangle", "yellow diamond")


def test_in_the_door_there_is_no_room_and_between_is_the_middle(facts):
    door, middle = STATE.copy(), STATE.copy()
    door[0, :2] = 32, 25
    middle[0, :2] = 37, 21
    holds = facts.holds(np.concatenate([door, middle]))
    assert holds[facts.index[Fact("doorway")]].tolist() == [True, False]
    assert holds[facts.index[Fact("left room")]].tolist() == [False, False]
    assert holds[facts.index[Fact("right room")]].tolist() == [False, True]
    assert holds[facts.index[Fact("between", ("red disc", "green square"))]].tolist() == [False, True]


def test_a_world_that_says_nothing_has_no_words(facts):
    with pytest.raises(ConfigError, match=r"`two-rooms` says none\. Take `object-rooms` or `arm`"):
        spoken(make_world("two-rooms"))
    with pytest.raises(ConfigError, match="`fork` says none"):
        spoken(make_world("fork"))
    with pytest.raises(DataError, match=r"must be \[S, 12\]; got \[1, 3\]"):
        facts.holds(np.zeros((1, 3)))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("world", ["rooms", "arm"])
def test_texts_keep_to_their_split(facts, world, split):
    facts = ARM if world == "arm" else facts
    sayings = Sayings(facts)
    drawn = sayings.draw(300, "goal", split, np.random.default_rng(0))
    assert drawn == sayings.draw(300, "goal", split, np.random.default_rng(0))
    new_words = [w for table in (HELD_OUT.colours, HELD_OUT.nouns) for words in table.values() for w in words]
    said_of = {fact.relation for fact in facts.all}
    new_words += [t.split("{")[0].strip() for name in said_of & set(OTHER_WORDS) for t in OTHER_WORDS[name]]
    new_words += ["travel ", "steer ", "navigate ", "walk ", "proceed ", "place yourself "]
    has_new = np.mean([any(re.search(rf"\b{word.strip()}\b", one.text) for word in new_words) for one in drawn])
    said = [[(facts.all[i].relation, *facts.all[i].things) for i in one.facts] for one in drawn]
    unjoined = [
        any(fact in UNJOINED for fact in one) or {relation for relation, *_ in one} in UNJOINED_RELATIONS
        for one in said
    ]
    if split == "words":
        assert has_new > 0.95
    elif split == "seen":
        assert has_new == 0
    assert any(unjoined) == (split == "composition")


def test_held_out_phrases_are_not_trained_on():
    for relation, templates in HELD_OUT.places.items():
        assert not set(TRAINED.places[relation]) & {*templates, *OTHER_WORDS.get(relation, ())}
    for part in ("goals", "statements", "questions", "joints", "anything"):
        assert not set(getattr(TRAINED, part)) & set(getattr(HELD_OUT, part)), part
    trained = {word for phrase in _all_phrases(TRAINED) for word in _words(phrase)}
    new = [w for table in (HELD_OUT.colours, HELD_OUT.nouns) for words in table.values() for w in words]
    new += [*OTHER_VERBS, *(phrase for phrases in OTHER_WORDS.values() for phrase in phrases)]
    every = [f" {' '.join(_words(phrase))} " for phrase in _all_phrases(TRAINED)]
    for phrase in new:  # a new word, or known words that are never said one after the other
        start = f" {' '.join(_words(phrase.split(' {')[0]))} "
        assert set(_words(phrase)) - trained or not any(start in known for known in every), "it is trained on"


def test_no_phrase_means_two_relations_or_stands_twice():
    for part in (TRAINED.places, TRAINED.colours, TRAINED.nouns):
        every = [phrase for phrases in part.values() for phrase in phrases]
        assert len(set(every)) == len(every)


def _all_phrases(stock):
    for part in (stock.places, stock.colours, stock.nouns):
        for phrases in part.values():
            yield from phrases
    for part in ("goals", "statements", "questions", "joints", "anything"):
        yield from getattr(stock, part)


def _words(phrase):
    return re.findall("[a-z0-9]+", phrase.lower())


def test_truth_of_pairs_and_denials():
    holds = np.array([[True, True, False], [True, False, False]])
    says = [Saying("both", (0, 1)), Saying("not the first", (0,), denied=True)]
    assert truth(says, holds).tolist() == [[True, False, False], [False, False, True]]


def test_an_arm_is_called_so_and_asked_about_its_own_places():
    sayings, rng = Sayings(ARM), np.random.default_rng(0)
    assert sayings.caption(ARM.index[Fact("far out")]) == "the gripper is far out"
    texts = [one.text for kind in ("goal", "statement") for one in sayings.draw(400, kind, "seen", rng)]
    assert not any(re.search("disc|agent|violet|purple", text) for text in texts)
    assert any("gripper" in text for text in texts)
    assert any("hand" in text for text in texts)
    asked = {sayings.choices(rng)[0]: sayings.choices(rng)[2] for _ in range(20)}
    assert set(asked) == {"over which side of the table is it?", "how high is it?", "how far out is it?"}


def test_all_that_is_said_of_an_arm_is_understood_by_a_parser():
    states = np.random.default_rng(1).uniform([*LOW, 0, 0], [*HIGH, 0, 1], (50, 5))
    meaning = FactMeaning(ARM, states, 400, np.random.default_rng(3))
    parser, holds = Parser(ARM), ARM.holds(states)
    found = meaning.truth(torch.arange(180), torch.arange(50)).numpy()  # the goals, which come first
    for text, row in zip(meaning.texts[:180], found, strict=True):
        parsed = parser.parse(text)
        assert (holds[list(parsed)].all(0) == row).all(), (text, parsed)


def test_the_meaning_of_a_grammar_agrees_with_the_truth_of_its_sayings(facts):
    world = make_world("object-rooms", 20)
    world.reset(range(20))
    meaning = FactMeaning(facts, world.states(), 60, np.random.default_rng(3))
    assert len(meaning.captions) == len(facts.all) == 47
    assert meaning.captions[facts.index[Fact("left of", ("red disc",))]] == "the agent is left of the red disc"
    assert meaning.captions_said.shape == (47, 1, 2)
    assert len(meaning.captions_said.unique(dim=0)) == 47
    parser, holds = Parser(facts), facts.holds(world.states())
    found = meaning.truth(torch.arange(27), torch.arange(20)).numpy()  # the goals, which come first
    for text, row in zip(meaning.texts[:27], found, strict=True):
        parsed = parser.parse(text)
        assert (holds[list(parsed)].all(0) == row).all(), (text, parsed)


def test_tasks_are_true_where_they_are_done():
    tasks = TaskMeaning(["pick", "pick", "place", ""], np.array([False, True, True, True]))
    assert tasks.texts == ("pick", "place")
    assert tasks.truth(torch.arange(2), torch.arange(4)).int().tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]
    with pytest.raises(DataError, match="at least 2 different tasks"):
        TaskMeaning(["pick"], np.array([True]))
    assert tasks_of({"task": "pick"}, 2, 3) == ["pick"] * 3
    assert tasks_of({"tasks": [[3, "a"], [2, "b"]]}, 2, 2) == ["a", "a", "b"]
    assert tasks_of({}, 1, 1) == ["", ""]
