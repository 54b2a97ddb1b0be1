"""Words, templates and compositions that are never trained on: what does a reader make of what it has not met?"""

from openjepa.language.phrases import Stock, Words

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
        "left side": ("so that the left of the table is below", "on the side that is to the left of the base"),
        "middle": ("where left and right are equally far", "over the line that goes straight out from the base"),
        "right side": ("so that the right of the table is below", "on the side that is to the right of the base"),
        "close to the base": ("where the base is close", "with the hand drawn near the base"),
        "half out": ("neither drawn in nor stretched out", "half of the way between near and far"),
        "far out": ("where the base is far away", "with the arm reaching to the far edge"),
        "low": ("where the table is close below", "so that the table is right under it"),
        "half up": ("halfway between low and high", "neither raised nor lowered"),
        "high": ("where the table is far below", "so that there is a lot of room under it"),
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
    "left side": ("over the left wing of the table", "at the left extremity"),
    "middle": ("in the midst of the table", "medially"),
    "right side": ("over the right wing of the table", "at the right extremity"),
    "close to the base": ("contracted", "huddled at the base"),
    "half out": ("semi-extended", "at a middling distance"),
    "far out": ("outstretched", "at the periphery"),
    "low": ("at scant altitude", "hugging the table"),
    "half up": ("semi-raised", "at a middling height"),
    "high": ("skyward", "soaring over the table"),
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
UNJOINED_RELATIONS = (
    {"left of", "above"},
    {"right of", "same room"},
    {"below", "behind wall"},
    {"left side", "high"},
    {"right side", "low"},
    {"middle", "far out"},
    {"left side", "close to the base"},
    {"half out", "high"},
)
