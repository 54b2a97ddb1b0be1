"""A language on disk and in use: a one-dimensional world in which texts speak of left and right."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from openjepa import cli
from openjepa.agent import Agent, AgentCard, AgentConfig, save_agent
from openjepa.errors import CheckpointError, ConfigError, MissingDependencyError, ShapeError
from openjepa.heads.language import PointHead, SetEnergy, TextHeadConfig
from openjepa.heads.language_fitting import EncodedTexts, Lesson, TextFitConfig, fit_point_head, fit_set_energy
from openjepa.language import Language, load, save
from openjepa.language.costs import Places
from openjepa.language.encoders import TextEncoder, check_text
from openjepa.language.language import Refusal
from openjepa.language.stream import calibrate_change, evenly, held, kept, moments
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.planning import CEM, CEMConfig, PathCost
from openjepa.planning.costs import squared_l2
from openjepa.protocols import ActionBounds

TEXTS = ("go left", "be on the left", "go right", "be on the right")
SHAPE = TextHeadConfig(width=16, clauses=1, directions=2, code_dim=4, hidden_dim=16, dropout=0.0, out_of_context=0.0)
LINE = torch.linspace(-1, 1, 81).view(-1, 1, 1)


def sides(texts, states):
    is_left = LINE[states, 0, 0] < 0
    return torch.where(texts[:, None] < 2, is_left, ~is_left)


def lesson():
    return Lesson(EncodedTexts(*TextEncoder("hashed")(TEXTS)), LINE, sides)


@pytest.fixture(scope="module")
def language():
    fit = TextFitConfig(steps=120, num_texts=4, num_states=32, lr=1e-2)
    head = fit_set_energy(lesson(), SHAPE, fit, generator=torch.Generator().manual_seed(0))
    encoder = TextEncoder("hashed")
    refusal = Refusal(torch.linspace(0.5, 1, 99), torch.linspace(1, 9, 99))
    cost = PathCost(squared_l2)
    return Language(head, encoder, Places(LINE), cost, TEXTS[1::2], encoder.pooled(TEXTS), refusal)


def test_a_set_is_learned_and_a_point_is_its_middle(language):
    said = language.scores(language.read(["go left", "go right"]), LINE[[4, 76]])
    assert (said > 0.5).tolist() == [[True, False], [False, True]]
    fit = TextFitConfig(steps=120, num_texts=4, num_states=32, lr=1e-2)
    point = fit_point_head(lesson(), SHAPE, fit, generator=torch.Generator().manual_seed(0))
    assert isinstance(point, PointHead)
    goals = point(*TextEncoder("hashed")(["go left", "go right"]), torch.zeros(2, 1, 1))
    assert goals.flatten().tolist() == pytest.approx([-0.5, 0.5], abs=0.1)


def test_choices_are_told_where_it_is_known_what_texts_say():
    told = replace(lesson(), said=torch.tensor([[[3, i // 2]] for i in range(4)]), denied=torch.zeros(4) > 0)
    fit = TextFitConfig(steps=200, num_texts=4, num_states=32, lr=1e-2, said_steps=200)
    head = fit_set_energy(told, SHAPE, fit, generator=torch.Generator().manual_seed(0))
    choice = head.choose(*TextEncoder("hashed")(TEXTS))
    assert choice.subjects.argmax(-1).flatten().tolist() == [3, 3, 3, 3]
    assert choice.predicates.argmax(-1).flatten().tolist() == [0, 0, 1, 1]
    assert (choice.sign > 0).all()
    energy = head(head.told(told.said[::2]), LINE[None, [4, 76]])  # what is said was learned without the texts
    assert (energy > 0).tolist() == [[True, False], [False, True]]
    with pytest.raises(ShapeError, match=r"`said` must be \[K=4 C 2\]"):
        replace(told, said=torch.zeros(2, 1, 2))
    with pytest.raises(ConfigError, match="`said` must have texts that say one thing alone"):
        replace(told, denied=torch.ones(4) > 0)


def test_clauses_that_say_the_same_say_it_no_less():
    head = SetEnergy(4, 1, replace(SHAPE, clauses=2)).eval()
    once, twice = (head(head.told(torch.tensor([[[1, 2]] * count])), LINE[None]) for count in (1, 2))
    torch.testing.assert_close(once, twice)


def test_what_is_hardly_said_is_no_evidence():
    """Of two things all is said alike but one predicate of one: that pair is scarce, and no mistake of other texts."""
    pairs = [(thing, said) for thing in (0, 1) for said in range(4) for _ in range(6) if (thing, said) != (1, 3)]
    pairs += [(2, 4)] * 6  # a subject of another kind: what is said of it is never said of the others
    said = torch.tensor(pairs)[:, None].expand(-1, 2, -1)
    texts = EncodedTexts(torch.zeros(len(pairs), 1, 3), torch.ones(len(pairs), 1, dtype=torch.bool))
    told = Lesson(texts, LINE, sides, said, torch.zeros(len(pairs)) > 0)
    things, beside = told.scarce
    assert things.nonzero().tolist() == [[1, 3]]
    assert not beside.diagonal().any()


def test_a_state_is_described_asked_about_and_found(language):
    (best,) = language.describe(LINE[5])
    assert best.text == "be on the left"
    assert best.score > 0.9
    assert len(language.describe(LINE[40], top=1)) == 1  # at least one, however improbable
    assert [a.text for a in language.ask(LINE[5:6], "go", ["right", "left"])] == ["left", "right"]
    assert sum(a.score for a in language.ask(LINE[5], "go", ["right", "left"])) == pytest.approx(1)
    assert {i for i, _ in language.find("go right", LINE, top=3)} <= set(range(41, 81))
    assert language.stream(torch.cat([LINE[5].expand(9, 1, 1), LINE[75].expand(9, 1, 1)]), 0.5) == [0, 9]


def test_what_makes_no_sense_is_refused_with_a_reason(language):
    assert language.refuses("") == "`text` must be words; got ``."
    assert language.refuses("go left") is None
    assert language.refuses("Kaninchen hoppeln").startswith("`Kaninchen hoppeln` is unlike anything that was learned")
    stubborn = replace(language, refusal=Refusal(torch.zeros(99) - 2, torch.linspace(1e3, 2e3, 99)))
    assert stubborn.refuses("go left").startswith("nothing that was ever seen fits `go left` (p = 0.01)")


def test_sound_texts_are_refused_at_the_level():
    known, fitting = torch.randn(2, 3000, generator=torch.Generator().manual_seed(0))
    refusal = Refusal(known[:2000], fitting[:2000].sign(), 0.05)  # a score with many ties among them
    p = [refusal.p_value(*pair)[0] for pair in zip(known[2000:].tolist(), fitting[2000:].sign().tolist(), strict=True)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.015)
    assert refusal.p_value(-9, 9) == (1 / 2001, True)


@pytest.mark.parametrize("text", ["", "  ", "?!", "goal.png", "a/b/GOAL.JPG", 7, None, np.zeros((3, 8, 8))])
def test_anything_but_words_is_an_error_of_one_line(language, text):
    with pytest.raises(ConfigError, match="`text` must be words; got"):
        check_text(text)
    if isinstance(text, str):
        with pytest.raises(ConfigError, match="must be words"):
            language.cost(text)
        with pytest.raises(ConfigError, match="`question` must be words"):
            language.ask(LINE[0], text)


def test_answers_must_be_a_choice(language):
    with pytest.raises(ConfigError, match="at least two to choose from; got 1"):
        language.ask(LINE[0], "go", ["left"])
    with pytest.raises(ConfigError, match="at least one text; got none"):
        language.cost([])


def test_texts_are_read_once_and_padding_is_no_word():
    class Counting:
        dim, read = 2, 0

        def tokens(self, texts):
            self.read += len(texts)
            return [np.full((len(text.split()), 2), len(text), np.float32) for text in texts]

    counting = Counting()
    encoder = TextEncoder("counting", counting)
    tokens, mask = encoder(["one  Two", "three", "one two"])
    assert tokens.shape == (3, 2, 4)
    assert mask.tolist() == [[True, True], [True, False], [True, True]]
    assert tokens[0].tolist() == [[7, 7, 3, 3], [7, 7, 3, 3]]  # in the text, and by itself
    assert counting.read == 2 + 3
    encoder(["three", "two one"])
    assert counting.read == 2 + 3 + 1
    torch.testing.assert_close(encoder.pooled(["three"]), torch.full((1, 2), 0.5**0.5))


def test_words_by_themselves_lie_under_their_pieces_between_the_marks():
    class Marking:
        dim = 1

        def tokens(self, texts):
            return [np.array([[0.0], *([float(len(text))] for _ in text.replace(" ", "")), [0.0]]) for text in texts]

    tokens, mask = TextEncoder("marking", Marking())(["ab c", "abcd"])
    assert tokens[0, :5].tolist() == [[0, 0], [4, 2], [4, 2], [4, 1], [0, 0]]
    assert mask.sum(1).tolist() == [5, 6]


def test_a_missing_encoder_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    with pytest.raises(MissingDependencyError, match=r"openjepa\[sentences\]"):
        TextEncoder("all-mpnet-base-v2")
    with pytest.raises(ConfigError, match="must be minilm, wordllama, hashed or"):
        TextEncoder("")


def test_streams_by_hand():
    said = torch.tensor([[0.0], [0.0], [1.0], [1.0], [0.0], [0.0]])
    assert moments(said, 0.5) == [0, 2, 4]
    assert moments(torch.tensor([[0.9], [0.6], [0.4], [0.1]]), 0.5) == [0, 3]  # less sure is not otherwise, nor 0.4
    assert evenly(6, 3) == [0, 2, 4]
    assert evenly(6, 2) == [0, 3]
    assert held([0, 3], 6).tolist() == [0, 0, 0, 3, 3, 3]
    is_true = said > 0.5
    assert kept(is_true, is_true, [0, 2, 4]) == 1
    assert kept(is_true, is_true, [0, 3]) == pytest.approx(3 / 6)
    assert 0.5 < calibrate_change([said]) < 1  # below the size of a whole flip
    with pytest.raises(ConfigError, match="`change` must be above 0"):
        moments(said, 0)


# ----------------------------------------------------------------------------------------------------------
# On disk


def agent(seed=3):
    bounds = ActionBounds([-1.0], [1.0])
    model = LeWM(LeWMConfig(action_dim=1, embed_dim=1, seed=seed)).eval()
    planner = CEM(bounds, CEMConfig(horizon=2, num_samples=8, num_elites=2, num_iterations=1))
    return Agent(model, planner, PathCost(squared_l2), bounds, AgentConfig(), (3, 64, 64))


def saved(run, language):
    one = agent()
    save_agent(run / "agent", one, AgentCard(one.bounds, (3, 64, 64), "two-rooms"))
    save(run, language)
    return one


def test_a_reopened_language_says_the_same(tmp_path, language):
    saved(tmp_path, language)
    again = load(tmp_path)
    assert again.captions == language.captions
    assert again.describe(LINE[5]) == language.describe(LINE[5])
    torch.testing.assert_close(again.cost("go left").energy(LINE), language.cost("go left").energy(LINE))
    assert load(tmp_path / "agent").change == language.change


def test_captions_whose_meaning_is_known_are_not_read(tmp_path, language):
    said = torch.tensor([[[0, 1]], [[2, 3]]])
    told = replace(language, said=said)
    expected = language.head(language.head.told(said), LINE[None]).sigmoid().T
    torch.testing.assert_close(told.probabilities(LINE), expected)
    saved(tmp_path, told)
    torch.testing.assert_close(load(tmp_path).probabilities(LINE), expected)


def test_an_agent_pursues_words(tmp_path, language):
    one = saved(tmp_path, language)
    frames = np.random.default_rng(0).integers(256, size=(2, 3, 64, 64), dtype=np.uint8)
    one.pursue(load(tmp_path).cost(["go left", "go right"]), frames)
    actions = one.act(frames)
    assert actions.shape == (2, 1)
    one.pursue(load(tmp_path).cost("go left"), frames[:1])
    assert np.isfinite(one.act(frames[:1])).all()


def test_what_is_not_whole_is_named(tmp_path, language):
    one = agent()
    save_agent(tmp_path / "agent", one, AgentCard(one.bounds, (3, 64, 64)))
    with pytest.raises(CheckpointError, match=r"has no words yet .* Run: openjepa train language"):
        load(tmp_path)
    save(tmp_path, language)
    other = agent(seed=4)
    save_agent(tmp_path / "agent", other, AgentCard(other.bounds, (3, 64, 64)))
    with pytest.raises(CheckpointError, match="was trained for another agent"):
        load(tmp_path)
    saved(tmp_path, language)
    card = tmp_path / "language" / "language.json"
    content = json.loads(card.read_text())
    card.write_text(json.dumps({**content, "weights": "0" * 64}))
    with pytest.raises(CheckpointError, match="is damaged"):
        load(tmp_path)
    card.write_text("{")
    with pytest.raises(CheckpointError, match="is damaged"):
        load(tmp_path)


# ----------------------------------------------------------------------------------------------------------
# On the command line


def says(capsys, *words):
    status = cli.main([str(word) for word in words])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return status, said.out, said.err.removeprefix("openjepa: ").strip()


@pytest.fixture
def run(tmp_path, language, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # `main` sets defaults; the fixture puts them back
    monkeypatch.setenv("GOMP_SPINCOUNT", "0")
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, language)
    frames = np.random.default_rng(0).integers(256, size=(5, 3, 64, 64), dtype=np.uint8)
    Image.fromarray(frames[0].transpose(1, 2, 0)).save(tmp_path / "frame.png")
    Image.fromarray(frames[0, :, :32, :32].transpose(1, 2, 0)).save(tmp_path / "small.png")
    np.save(tmp_path / "clip.npy", frames)
    return tmp_path


def test_pictures_and_clips_are_described(capsys, run):
    status, out, _ = says(capsys, "describe", run, "frame.png")
    assert status == 0
    assert out.splitlines()[0].endswith(("  be on the left", "  be on the right"))
    status, out, _ = says(capsys, "describe", run, "clip.npy", "--json")
    assert status == 0
    assert "0" in json.loads(out)
    status, out, _ = says(capsys, "ask", run, "clip.npy", "go", "--answers", "left", "right", "--json")
    assert status == 0
    assert {one["text"] for one in json.loads(out)} == {"left", "right"}


def test_a_goal_in_words_is_played(capsys, run):
    status, out, _ = says(capsys, "plan", run, "--goal", "go left", "--world", "two-rooms", "--steps", 3)
    assert (status, "steps (p = " in out, "go left" in out) == (2, False, False)  # a line is no plane: another action
    status, _, err = says(capsys, "plan", run, "--goal", "Kaninchen hoppeln")
    assert status == 2
    assert err.startswith("`Kaninchen hoppeln` is unlike anything that was learned here (p = 0.01)")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("plan", ".", "--goal", ""), "`text` must be words; got ``"),
        (("plan", ".", "--goal", "17"), "`text` must be words; got `17`"),
        (("describe", ".", "missing.png"), "`missing.png` must be a picture or a clip; it does not exist"),
        (("describe", ".", "small.png"), "`small.png` must be 64 x 64 px like the pictures"),
        (("describe", ".", "frame.png", "--top", "0"), "`--top` must be at least 1; got 0"),
        (("describe", "nowhere", "frame.png"), "nowhere does not exist"),
        (("ask", ".", "frame.png", ""), "`question` must be words; got ``"),
        (("ask", ".", "frame.png", "frame.png"), "`question` must be words; got the name of a picture"),
        (("ask", ".", "frame.png", "where?", "--answers", "left"), "`answers` must be at least two"),
        (("train", "language"), "`train language` needs a finished run"),
        (("train", "language", "nowhere"), "`nowhere` must be a finished run; it does not exist"),
        (("train", "language", "."), "must be a run directory with a config.json"),
    ],
)
def test_what_cannot_be_done_is_one_line(capsys, run, words, complaint):
    status, out, err = says(capsys, *words)
    assert (status, out) == (2, "")
    assert complaint in err
    assert "\n" not in err
