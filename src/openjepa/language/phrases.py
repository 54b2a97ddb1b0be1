"""A stock of paraphrases: what people may call a fact, ask of it, and want by it.

Everything here was written for this project. `held_out_phrases` has the words and templates that are never trained on.
In a block of text the phrases are parted by `|`; `further_places`, `further_words` and `table_places` are blocks alone.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from openjepa.language import further_places, further_words, table_places

Words = Mapping[str, Sequence[str]]
AGENT = re.compile(r"\b(agent|((violet|purple|moving) )?disc|(violet|purple|moving) (one|thing|dot))\b")


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

    def about(self, agent: Sequence[str]) -> "Stock":
        """The same phrases, with these names for what acts; without any they keep its own, a violet disc."""
        if not agent:
            return self
        goals, statements, questions = (_called(part, agent) for part in (self.goals, self.statements, self.questions))
        return replace(self, goals=goals, statements=statements, questions=questions)


def _phrases(text: str) -> tuple[str, ...]:
    """The phrases of a block of text."""
    return tuple(phrase.strip() for phrase in " ".join(text.split()).split("|"))


def _called(frames: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Frames with each of these names for the agent; those that do not name it stay as they are."""
    return tuple(dict.fromkeys(AGENT.sub(name, frame) for name in names for frame in frames))


def _with(words: Words, further: Mapping[str, str]) -> Words:
    """Words with further ones of each kind."""
    return {name: (*phrases, *_phrases(further[name])) for name, phrases in words.items()}


FIRST = Stock(
    places={
        "touching": _phrases("""
            touching {o} | in contact with {o} | on {o} | up against {o} | at {o} | right at {o} | against {o} |
            meeting {o} | on top of {o} | where it hits {o} | directly at {o} | with no gap to {o} | hitting {o} |
            such that it makes contact with {o} | stuck to {o} | where it overlaps {o} | making contact with {o} |
            brushing {o} | resting on {o} | pushed into {o} | with its rim on {o} | covering {o} |
            colliding with {o} | where you and {o} collide | exactly where {o} is | attached to {o} | leaning on {o}
            | so that you feel {o} | standing on {o} | tight to {o} | joined to {o}
            """),
        "near": _phrases("""
            near {o} | close to {o} | beside {o} | next to {o} | in the vicinity of {o} | not far from {o} |
            around {o} | within a small distance of {o} | in the surroundings of {o} | a little away from {o} |
            within reach of {o} | by {o} | somewhere about {o} | so that {o} is not far | in proximity to {o} |
            nearby {o} | at a small remove from {o} | a few steps from {o} | hardly any distance from {o} |
            at close range of {o} | in the area of {o} | by the side of {o} | no great distance from {o} |
            about where {o} is | keeping near {o} | flanking {o} | a bit away from {o} | some pixels from {o}
            """),
        "nearest": _phrases("""
            nearest to {o} | closest to {o} | nearer to {o} than to anything else | with nothing closer than {o} |
            having {o} as the closest object | such that {o} is nearer than all others |
            where {o} is the closest of all | so that no object is nearer than {o} | closer to {o} than to the rest
            | with {o} closest to it | at the least distance from {o} | where nothing else is as near as {o} |
            with all other things farther away than {o} | nearest of all to {o} |
            so that among the objects {o} is closest | with {o} nearer than any other |
            where {o} is your closest neighbour | having nothing nearer than {o} | closest of all to {o} |
            where the distance to {o} is smallest | so that everything but {o} is further away |
            where {o} comes first by distance | with the rest farther away than {o}
            """),
        "left of": _phrases("""
            left of {o} | to the left of {o} | on the left side of {o} | on the left of {o} | further left than {o}
            | to the left-hand side of {o} | left from {o} | with {o} to the right | where {o} is on the right |
            at the left of {o} | so that {o} lies to the right | more to the left than {o} |
            at the left-hand side of {o} | having {o} on the right | past {o} on the left |
            on the left, with {o} on your right hand | at a place left of where {o} is |
            so that you find {o} on your right | on the left flank of {o} | with {o} to your right |
            left relative to {o} | to the left when compared with {o} | somewhere left of {o} |
            at smaller x than {o} | where going right leads to {o} | keeping {o} on the right | left-hand of {o} |
            looking right to {o}
            """),
        "right of": _phrases("""
            right of {o} | to the right of {o} | on the right side of {o} | on the right of {o} | east of {o} |
            to the east of {o} | further right than {o} | with {o} to the left | where {o} is on the left |
            at the right of {o} | so that {o} lies to the left | more to the right than {o} |
            at the right-hand side of {o} | having {o} on the left | past {o} on the right |
            on the right, with {o} on your left hand | at a place right of where {o} is |
            so that you find {o} on your left | on the right flank of {o} | with {o} to your left |
            right relative to {o} | to the right when compared with {o} | somewhere right of {o} |
            at larger x than {o} | where going left leads to {o} | keeping {o} on the left | right-hand of {o} |
            looking left to {o} | on the eastern side of {o} | further east than {o}
            """),
        "above": _phrases("""
            above {o} | over {o} | north of {o} | to the north of {o} | higher than {o} | higher up than {o} |
            further up than {o} | on the upper side of {o} | with {o} below | at a greater height than {o} |
            so that {o} lies below | further north than {o} | at the upper side of {o} | having {o} beneath it |
            up above {o} | somewhere over {o} | with {o} under it | where {o} is lower | towards the top from {o} |
            hovering over {o} | at a level above {o} | on the northern side of {o} | so that {o} is beneath |
            higher on the screen than {o} | nearer to the top than {o} | at smaller y than {o} |
            where going down leads to {o} | keeping {o} below | looking down on {o} | raised over {o} |
            high above {o} | over the head of {o}
            """),
        "below": _phrases("""
            below {o} | under {o} | beneath {o} | south of {o} | to the south of {o} | lower than {o} |
            further down than {o} | on the lower side of {o} | with {o} above | at a smaller height than {o} |
            so that {o} lies above | further south than {o} | at the lower side of {o} | having {o} over it |
            down below {o} | somewhere under {o} | with {o} over you | where {o} is higher |
            towards the bottom from {o} | at a level below {o} | on the southern side of {o} |
            so that {o} is overhead | lower on the screen than {o} | nearer to the bottom than {o} |
            at larger y than {o} | where going up leads to {o} | keeping {o} above | looking up to {o} |
            deep below {o} | at the foot of {o} | sunk under {o}
            """),
        "same room": _phrases("""
            in the same room as {o} | in the room of {o} | in the room with {o} | sharing a room with {o} |
            on the same side of the wall as {o} | in the chamber of {o} | together with {o} in one room |
            inside the room that contains {o} | in the half that has {o} | with no wall between it and {o} |
            where {o} is in the same room | on the side of the wall that {o} is on | in the very room that {o} is in
            | with {o} in its own room | in one room with {o} | as a roommate of {o} | on the side where {o} is |
            in the part of the world that has {o} in it | in the chamber that has {o} | in the chamber with {o} |
            reaching {o} without using the door | in the same chamber as {o} | in the same half as {o} |
            with {o} not behind the wall | not in another room than {o} | inside the same four walls as {o} |
            where no wall separates you from {o} | in whichever room {o} is | in the room that {o} occupies |
            at home with {o}
            """),
        "behind wall": _phrases("""
            behind the wall from {o} | in the other room than {o} | on the other side of the wall from {o} |
            across the wall from {o} | in the room without {o} | in a different room than {o} |
            separated from {o} by the wall | in the opposite room from {o} | outside of the room of {o} |
            in the room that does not contain {o} | in the half that lacks {o} | where {o} is in the other room |
            on the side of the wall that {o} is not on | cut off from {o} by the wall | with {o} in the other room |
            in the room next door to {o} | in the chamber without {o} | on the far side of the wall from {o} |
            not in the room of {o} | away from {o} in the other chamber | through the door from {o} |
            in another chamber than {o} | in the half without {o} | opposite {o}, across the wall |
            in whichever room {o} is absent from | where a wall hides {o} | with {o} shut away behind the wall |
            on the side that lacks {o} | where the wall separates you from {o} |
            in the room that {o} does not occupy | sharing no room with {o} | in a room other than the one of {o}
            """),
        "between": _phrases("""
            between {o} and {p} | halfway between {o} and {p} | in the middle between {o} and {p} |
            in between {o} and {p} | half the way from {o} to {p} | at the centre between {o} and {p} |
            with {o} on one side and {p} on the other | centred between {o} and {p} |
            equally far from {o} and {p}, between them | with {o} and {p} at either side |
            in the space between {o} and {p} | flanked by {o} and {p} | amid {o} and {p} |
            in the centre of {o} and {p} | half of the way from {o} to {p} | at the mean of {o} and {p} |
            enclosed by {o} and {p} | at the point in the middle of {o} and {p} |
            where {o} and {p} are on opposite sides | at equal distance from {o} and from {p}, in their middle
            """),
        "left room": _phrases("""
            in the left room | in the room on the left | in the left half | in the left chamber | left of the wall |
            somewhere in the left-hand room | in the room to the left | in the half on the left |
            anywhere in the left room | on the left of the wall | within the left chamber | in the left-hand chamber
            | in the left part of the world | in the room at the left | somewhere in the left half |
            in the first room from the left | inside the left chamber | to the left of the wall |
            at the left of the divider | with the wall on the right | where the wall is to the right |
            in the left area | in the left-hand half | anywhere on the left | in the leftmost room |
            in the left space
            """),
        "right room": _phrases("""
            in the right room | in the room on the right | in the right half | in the right chamber |
            in the eastern room | right of the wall | somewhere in the right-hand room | in the room to the right |
            in the half on the right | anywhere in the right room | on the right of the wall |
            within the right chamber | in the right-hand chamber | in the right part of the world |
            in the room at the right | somewhere in the right half | in the second room from the left |
            inside the right chamber | to the right of the wall | at the right of the divider |
            with the wall on the left | where the wall is to the left | in the right area | in the right-hand half |
            anywhere on the right | in the rightmost room | in the right space | in the eastern half
            """),
        "doorway": _phrases("""
            in the doorway | in the door | in the gap in the wall | in the gate between the rooms |
            inside the door of the wall | on the threshold | between the two rooms | at the hole in the wall |
            in the door frame | at the door | where the wall has its gap | in the gateway | right in the gap |
            in the entrance | in the entry between both chambers | between left and right room |
            in the break of the wall | where the wall ends and goes on again | in the connection of the rooms |
            at the gate | halfway through the door | in the crossing from room to room | just in the door |
            where you can go through the wall | at the portal | where the rooms are joined |
            in neither room but in the door | in the way through | in the spot that has no wall between the rooms
            """),
        "top": _phrases("""
            at the top | near the upper edge | in the upper part | at the northern edge | close to the top wall |
            far up | in the top part of the picture | up at the top | in the northern part | as far up as it goes |
            next to the upper wall | at the upper border | at the upper end | in the top area | near the top |
            close to the upper edge | against the northern wall | at the very top | at the head of the picture |
            in the upper band | in the north | all the way up | as high as possible | at maximal height |
            by the upper side of the frame | in the upper region | at the top side | in the top rows
            """),
        "bottom": _phrases("""
            at the bottom | near the lower edge | in the lower part | at the southern edge |
            close to the bottom wall | far down | in the bottom part of the picture | down at the bottom |
            in the southern part | as far down as it goes | next to the lower wall | at the lower border |
            at the lower end | in the bottom area | near the bottom | close to the lower edge |
            against the southern wall | at the very bottom | at the foot of the picture | in the lower band |
            in the south | all the way down | as low as possible | at minimal height |
            by the lower side of the frame | in the lower region | at the bottom side | in the bottom rows
            """),
    },
    colours={
        "red": _phrases("""
            red | scarlet | crimson | cherry-coloured | brick-red | vermilion | maroon | rose-red | tomato-red |
            carmine | wine-red | reddish | signal-red
            """),
        "green": _phrases("""
            green | emerald | grass-green | olive | mint | jade | forest-green | moss-green | pine-green | sea-green
            | greenish | pea-green | bottle-green
            """),
        "blue": _phrases("""
            blue | azure | navy | sky-blue | sapphire | indigo | royal-blue | ocean-blue | denim-blue | bluish |
            steel-blue | ink-blue | sea-blue
            """),
        "yellow": _phrases("""
            yellow | golden | lemon-coloured | gold | mustard | saffron | straw-coloured | sun-yellow | honey-yellow
            | yellowish | corn-yellow | butter-yellow | sand-coloured
            """),
    },
    nouns={
        "disc": _phrases("""
            disc | disk | circle | dot | circular shape | coin | bullet | roundel | ring | sphere | wheel | plate |
            button
            """),
        "square": _phrases("""
            square | box | cube | quadrangle | tile | rectangle | square shape | brick | quadratic shape | quad |
            chest | rectangular shape | die
            """),
        "triangle": _phrases("""
            triangle | pyramid | three-cornered shape | triangular shape | arrowhead | delta | three-pointed shape |
            triangular mark | cone | roof | tri
            """),
        "diamond": _phrases("""
            diamond | rhombus | rhomb | rhombic shape | kite | rhomboid | diamond shape | rhomb-like shape | crystal
            | jewel | rhombic tile
            """),
    },
    anything=_phrases("""
        thing | object | one | shape | item | mark | body | entity | token | element
        """),
    goals=_phrases("""
        go to a place {} | go {} | move {} | get {} | please go {} | be {} | drive to a spot {} | find a place {} |
        bring the agent {} | put the violet disc {} | stop {} | stay {} | you should end up {} |
        your goal is to be {} | {} | head for a position {} | come {} | could you go {}? | try to reach a point {} |
        make your way to somewhere {} | I need the agent {} | let it be {} | the goal is a position {} |
        we want the disc to be {} | see to it that the agent is {} | target: {} | it should be {} |
        take the agent to a location {} | I want you {} | can you be {} at the end? | your job is to arrive {} |
        choose any point {} and go there | when you are done you must be {} | it would be good to have you {} |
        what we ask for is a place {} | keep moving until it is {} | look for somewhere {} | our wish: {} |
        run to any spot {} | turn up {} | leave for a place {} | you will have done well once you are {} |
        we expect the disc {} | relocate to a point {} | position the agent {} | do as follows: be {} |
        approach a location {} | the aim is that you get {} | transfer the disc to somewhere {} | settle {} |
        roll on until you come to be {} | show me that you can get {} | do whatever it takes to be {} |
        the mission is to reach some place {} | a good end is {} | you are wanted {} | why not go {}? |
        do not rest before you are {} | how about being {}? | it is time to be {} | aim for being {} |
        the plan is to get {} | hurry to somewhere {} | make it so that you are {} | ensure being {} |
        bring yourself {} | arrange to be {} | end {} | finally be {} | do not stop until you are {} | slide {} |
        glide to a place {} | float {} | return {} | advance {} | creep {} | rush {} | set out and get {} |
        my request: be {} | order: {} | new goal: {} | we would be glad to have it {} | may it be {} |
        guide the disc {} | let us get {} | get yourself {} | help the agent to be {} | it must lie {} | carry it {}
        | I ask you to be {} | your instructions are to be {} | nothing matters but to be {}
        """),
    statements=_phrases("""
        the agent is {} | it is {} | the violet disc is {} | the agent lies {} | we are {} | you can see it {} |
        one finds it {} | at this moment it is {} | here it lies {} | as one can see, the disc is {} |
        the thing that moves is {} | its place is {} | in this scene the agent stays {} |
        the picture shows the agent {} | there it is {} | by now the agent has got {} | the disc sits {} |
        its present position is {} | the agent remains {}
        """),
    questions=_phrases("""
        is it {}? | is the agent {}? | does it lie {}? | is the violet disc {} now? | is it true that it is {}? |
        can it be found {}? | could one say it is {}? | has it got {}? | is its place {}? | are we {}? |
        do we see it {}? | might it be {}? | do you find it {}? | is the disc standing {}? | does the agent rest {}?
        """),
    joints=_phrases("""
        {a} and {b} | {a}, {b} | both {a} and {b} | {a} but also {b} | {a} and also {b} | {a}; besides, {b} |
        {a}, and also {b} | {a} while {b} | {a}, and what is more, {b} | first of all {a}, secondly {b} |
        {a} plus {b} | {a}, moreover {b} | {a}, in addition {b} | on the one hand {a}, on the other hand {b} |
        {a} and, likewise, {b} | at once {a} and {b} | not only {a} but {b} | {a} and then, too, {b}
        """),
)

TRAINED = Stock(
    places={
        **_with(FIRST.places, further_places.PLACES),
        **{relation: _phrases(text) for relation, text in table_places.PLACES.items()},
    },
    colours=_with(FIRST.colours, further_words.COLOURS),
    nouns=_with(FIRST.nouns, further_words.NOUNS),
    anything=(*FIRST.anything, *_phrases(further_words.ANYTHING)),
    goals=(*FIRST.goals, *_phrases(further_words.GOALS)),
    statements=(*FIRST.statements, *_phrases(further_words.STATEMENTS)),
    questions=(*FIRST.questions, *_phrases(further_words.QUESTIONS)),
    joints=(*FIRST.joints, *_phrases(further_words.JOINTS)),
)

CHOICES = {  # question: relations of things, or of rooms, that answer it
    "which room is it in?": ("left room", "right room", "doorway"),
    "what is it nearest to?": ("nearest",),
    "what does it touch?": ("touching",),
    "on which side of {o} is it?": ("left of", "right of", "above", "below"),
    "over which side of the table is it?": ("left side", "middle", "right side"),
    "how high is it?": ("low", "half up", "high"),
    "how far out is it?": ("close to the base", "half out", "far out"),
}
