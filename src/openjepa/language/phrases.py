"""A grammar of places and a stock of paraphrases: what people may call a fact, ask of it, and want by it.

Everything here was written for this project. Words and templates are kept apart: those of `HELD_OUT` are never trained
on and measure what a reader makes of phrasings and words that it has not met.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Words = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Stock:
    """Words and templates of one kind of text.

    Attributes:
        places: templates of each relation; `{o}` and `{p}` stand for things.
        colours: names of each colour.
        nouns: names of each shape.
        anything: nouns for whatever has a colour.
        goals: frames of an instruction; `{}` stands for the place.
        statements: frames of a description.
        questions: frames of a question that yes or no answers.
        joints: frames of two places at once; `{a}` and `{b}`.
    """

    places: Words
    colours: Words
    nouns: Words
    anything: Sequence[str]
    goals: Sequence[str]
    statements: Sequence[str]
    questions: Sequence[str]
    joints: Sequence[str]


TRAINED = Stock(
    places={
        "touching": ("touching {o}", "in contact with {o}", "on {o}", "up against {o}", "at {o}", "right at {o}"),
        "near": ("near {o}", "close to {o}", "beside {o}", "next to {o}", "in the vicinity of {o}"),
        "nearest": ("nearest to {o}", "closest to {o}", "nearer to {o} than to anything else"),
        "left of": (
            "left of {o}",
            "to the left of {o}",
            "on the left side of {o}",
            "on the left of {o}",
            "further left than {o}",
            "to the left-hand side of {o}",
        ),
        "right of": (
            "right of {o}",
            "to the right of {o}",
            "on the right side of {o}",
            "on the right of {o}",
            "east of {o}",
            "to the east of {o}",
            "further right than {o}",
        ),
        "above": (
            "above {o}",
            "over {o}",
            "north of {o}",
            "to the north of {o}",
            "higher than {o}",
            "higher up than {o}",
        ),
        "below": ("below {o}", "under {o}", "beneath {o}", "south of {o}", "to the south of {o}", "lower than {o}"),
        "same room": (
            "in the same room as {o}",
            "in the room of {o}",
            "in the room with {o}",
            "sharing a room with {o}",
            "on the same side of the wall as {o}",
            "in the chamber of {o}",
        ),
        "behind wall": (
            "behind the wall from {o}",
            "in the other room than {o}",
            "on the other side of the wall from {o}",
            "across the wall from {o}",
            "in the room without {o}",
            "in a different room than {o}",
        ),
        "between": ("between {o} and {p}", "halfway between {o} and {p}", "in the middle between {o} and {p}"),
        "left room": ("in the left room", "in the room on the left", "in the left half", "in the left chamber"),
        "right room": (
            "in the right room",
            "in the room on the right",
            "in the right half",
            "in the right chamber",
            "in the eastern room",
        ),
        "doorway": ("in the doorway", "in the door", "in the gap in the wall", "in the gate between the rooms"),
        "top": ("at the top", "near the upper edge", "in the upper part", "at the northern edge"),
        "bottom": ("at the bottom", "near the lower edge", "in the lower part", "at the southern edge"),
    },
    colours={
        "red": ("red", "scarlet", "crimson", "cherry-coloured"),
        "green": ("green", "emerald", "grass-green", "olive"),
        "blue": ("blue", "azure", "navy", "sky-blue"),
        "yellow": ("yellow", "golden", "lemon-coloured", "gold"),
    },
    nouns={
        "disc": ("disc", "disk", "circle", "dot"),
        "square": ("square", "box", "cube", "quadrangle"),
        "triangle": ("triangle", "pyramid", "three-cornered shape"),
        "diamond": ("diamond", "rhombus", "rhomb"),
    },
    anything=("thing", "object", "one", "shape", "item"),
    goals=(
        "go to a place {}",
        "go {}",
        "move {}",
        "get {}",
        "please go {}",
        "be {}",
        "drive to a spot {}",
        "find a place {}",
        "bring the agent {}",
        "put the violet disc {}",
        "stop {}",
        "stay {}",
        "you should end up {}",
        "your goal is to be {}",
        "{}",
        "head for a position {}",
        "come {}",
    ),
    statements=(
        "the agent is {}",
        "it is {}",
        "the violet disc is {}",
        "the agent lies {}",
        "we are {}",
        "you can see it {}",
    ),
    questions=("is it {}?", "is the agent {}?", "does it lie {}?", "is the violet disc {} now?"),
    joints=("{a} and {b}", "{a}, {b}", "both {a} and {b}", "{a} but also {b}"),
)

HELD_OUT = Stock(
    places={
        "touching": ("so close that it touches {o}", "in touch with {o}"),
        "near": ("in the neighbourhood of {o}", "a short way from {o}"),
        "nearest": ("with {o} as the nearest thing",),
        "left of": ("somewhere to the left as seen from {o}", "leftwards of {o}"),
        "right of": ("somewhere to the right as seen from {o}", "rightwards of {o}"),
        "above": ("somewhere higher in the picture than {o}", "upwards of {o}"),
        "below": ("somewhere lower in the picture than {o}", "downwards of {o}"),
        "same room": ("in the room that holds {o}", "in the room where {o} is"),
        "behind wall": ("with the wall between you and {o}", "in the room where {o} is not"),
        "between": ("midway between {o} and {p}", "at the middle of the line from {o} to {p}"),
        "left room": ("inside the left one of the two rooms", "on the left side of the wall"),
        "right room": ("inside the right one of the two rooms", "on the right side of the wall"),
        "doorway": ("in the opening of the wall", "where one room leads to the other"),
        "top": ("high up in the picture", "along the top edge"),
        "bottom": ("low down in the picture", "along the bottom edge"),
    },
    colours={
        "red": ("ruby", "blood-red"),
        "green": ("lime", "leaf-green"),
        "blue": ("cobalt", "ultramarine"),
        "yellow": ("amber", "canary-yellow"),
    },
    nouns={
        "disc": ("ball", "round thing"),
        "square": ("block", "four-sided shape"),
        "triangle": ("wedge", "three-sided shape"),
        "diamond": ("lozenge", "gem"),
    },
    anything=("piece", "figure"),
    goals=(
        "would you mind going to where you are {}?",
        "make sure that you finish {}",
        "the task: stand {}",
        "kindly place yourself {}",
        "wander about until you are {}",
        "I would like to see you {}",
    ),
    statements=("what one sees is the agent {}", "right now it rests {}"),
    questions=("would you say that it is {}?", "has it come to be {}?"),
    joints=("{a} as well as {b}", "{a} and at the same time {b}"),
)

# words for relations that no trained template has
OTHER_WORDS: Words = {
    "touching": ("bumping into {o}", "pressed onto {o}"),
    "near": ("adjacent to {o}", "by {o}"),
    "left of": ("west of {o}", "to the west of {o}"),
    "right of": ("off to the right from {o}",),
    "above": ("atop of {o}", "up from {o}"),
    "below": ("underneath {o}", "down from {o}"),
    "same room": ("in the hall with {o}", "in the compartment of {o}"),
    "behind wall": ("beyond the wall from {o}", "past the barrier from {o}"),
    "left room": ("in the western room", "in the left hall"),
    "right room": ("in the right hall", "in the right compartment"),
    "doorway": ("in the passage", "in the opening"),
    "top": ("at the ceiling", "at the uppermost edge"),
    "bottom": ("at the floor", "at the lowermost edge"),
}
OTHER_VERBS = ("travel {}", "steer {}", "navigate {}", "walk {}", "proceed {}", "place yourself {}")

# (relation, thing) that no trained text joins, though it has both, and pairs of relations that no trained text joins
UNJOINED = {
    ("touching", "yellow diamond"),
    ("near", "green square"),
    ("left of", "blue triangle"),
    ("right of", "red disc"),
    ("above", "yellow diamond"),
    ("below", "green square"),
    ("same room", "blue triangle"),
    ("behind wall", "red disc"),
}
UNJOINED_RELATIONS = ({"left of", "above"}, {"right of", "same room"}, {"below", "behind wall"})
CHOICES = {  # question: relations of things, or of rooms, that answer it
    "which room is it in?": ("left room", "right room", "doorway"),
    "what is it nearest to?": ("nearest",),
    "what does it touch?": ("touching",),
    "on which side of {o} is it?": ("left of", "right of", "above", "below"),
}
