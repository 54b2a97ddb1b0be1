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
        "touching": (
            "touching {o}",
            "in contact with {o}",
            "on {o}",
            "up against {o}",
            "at {o}",
            "right at {o}",
            "against {o}",
            "meeting {o}",
            "on top of {o}",
            "where it hits {o}",
            "directly at {o}",
        ),
        "near": (
            "near {o}",
            "close to {o}",
            "beside {o}",
            "next to {o}",
            "in the vicinity of {o}",
            "not far from {o}",
            "around {o}",
            "within a small distance of {o}",
            "in the surroundings of {o}",
        ),
        "nearest": (
            "nearest to {o}",
            "closest to {o}",
            "nearer to {o} than to anything else",
            "with nothing closer than {o}",
            "having {o} as the closest object",
            "such that {o} is nearer than all others",
        ),
        "left of": (
            "left of {o}",
            "to the left of {o}",
            "on the left side of {o}",
            "on the left of {o}",
            "further left than {o}",
            "to the left-hand side of {o}",
            "left from {o}",
            "with {o} to the right",
            "where {o} is on the right",
            "at the left of {o}",
        ),
        "right of": (
            "right of {o}",
            "to the right of {o}",
            "on the right side of {o}",
            "on the right of {o}",
            "east of {o}",
            "to the east of {o}",
            "further right than {o}",
            "with {o} to the left",
            "where {o} is on the left",
            "at the right of {o}",
        ),
        "above": (
            "above {o}",
            "over {o}",
            "north of {o}",
            "to the north of {o}",
            "higher than {o}",
            "higher up than {o}",
            "further up than {o}",
            "on the upper side of {o}",
            "with {o} below",
            "at a greater height than {o}",
        ),
        "below": (
            "below {o}",
            "under {o}",
            "beneath {o}",
            "south of {o}",
            "to the south of {o}",
            "lower than {o}",
            "further down than {o}",
            "on the lower side of {o}",
            "with {o} above",
            "at a smaller height than {o}",
        ),
        "same room": (
            "in the same room as {o}",
            "in the room of {o}",
            "in the room with {o}",
            "sharing a room with {o}",
            "on the same side of the wall as {o}",
            "in the chamber of {o}",
            "together with {o} in one room",
            "inside the room that contains {o}",
            "in the half that has {o}",
            "with no wall between it and {o}",
        ),
        "behind wall": (
            "behind the wall from {o}",
            "in the other room than {o}",
            "on the other side of the wall from {o}",
            "across the wall from {o}",
            "in the room without {o}",
            "in a different room than {o}",
            "separated from {o} by the wall",
            "in the opposite room from {o}",
            "outside of the room of {o}",
            "in the room that does not contain {o}",
            "in the half that lacks {o}",
        ),
        "between": (
            "between {o} and {p}",
            "halfway between {o} and {p}",
            "in the middle between {o} and {p}",
            "in between {o} and {p}",
            "half the way from {o} to {p}",
            "at the centre between {o} and {p}",
        ),
        "left room": (
            "in the left room",
            "in the room on the left",
            "in the left half",
            "in the left chamber",
            "left of the wall",
            "somewhere in the left-hand room",
            "in the room to the left",
        ),
        "right room": (
            "in the right room",
            "in the room on the right",
            "in the right half",
            "in the right chamber",
            "in the eastern room",
            "right of the wall",
            "somewhere in the right-hand room",
            "in the room to the right",
        ),
        "doorway": (
            "in the doorway",
            "in the door",
            "in the gap in the wall",
            "in the gate between the rooms",
            "inside the door of the wall",
            "on the threshold",
            "between the two rooms",
            "at the hole in the wall",
        ),
        "top": (
            "at the top",
            "near the upper edge",
            "in the upper part",
            "at the northern edge",
            "close to the top wall",
            "far up",
            "in the top part of the picture",
        ),
        "bottom": (
            "at the bottom",
            "near the lower edge",
            "in the lower part",
            "at the southern edge",
            "close to the bottom wall",
            "far down",
            "in the bottom part of the picture",
        ),
    },
    colours={
        "red": ("red", "scarlet", "crimson", "cherry-coloured", "brick-red"),
        "green": ("green", "emerald", "grass-green", "olive", "mint"),
        "blue": ("blue", "azure", "navy", "sky-blue", "sapphire"),
        "yellow": ("yellow", "golden", "lemon-coloured", "gold", "mustard"),
    },
    nouns={
        "disc": ("disc", "disk", "circle", "dot", "circular shape"),
        "square": ("square", "box", "cube", "quadrangle", "tile"),
        "triangle": ("triangle", "pyramid", "three-cornered shape", "triangular shape"),
        "diamond": ("diamond", "rhombus", "rhomb", "rhombic shape"),
    },
    anything=("thing", "object", "one", "shape", "item", "mark"),
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
        "could you go {}?",
        "try to reach a point {}",
        "make your way to somewhere {}",
        "I need the agent {}",
        "let it be {}",
        "the goal is a position {}",
        "we want the disc to be {}",
        "see to it that the agent is {}",
        "target: {}",
        "it should be {}",
        "do not rest before you are {}",
    ),
    statements=(
        "the agent is {}",
        "it is {}",
        "the violet disc is {}",
        "the agent lies {}",
        "we are {}",
        "you can see it {}",
        "one finds it {}",
        "at this moment it is {}",
        "the picture shows the agent {}",
    ),
    questions=(
        "is it {}?",
        "is the agent {}?",
        "does it lie {}?",
        "is the violet disc {} now?",
        "is it true that it is {}?",
        "can it be found {}?",
        "do we see it {}?",
    ),
    joints=("{a} and {b}", "{a}, {b}", "both {a} and {b}", "{a} but also {b}", "{a} and also {b}", "{a}; besides, {b}"),
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
    "near": ("adjacent to {o}", "alongside {o}"),
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
