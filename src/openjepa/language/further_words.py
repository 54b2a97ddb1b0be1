"""More words for `phrases`, and frames that hold a place; phrases are parted by `|`."""

COLOURS: dict[str, str] = {  # by colour
    "red": """
        bright red | dark red | deep red | fire-red | flame-red | rusty red | apple-red | strawberry-red | cardinal red
        | pure red | red-coloured | red-painted | pinkish-red | raspberry-red | lipstick-red | poppy-red | cherry |
        cherry-red | burgundy | fiery | rosy | tomato-coloured | chilli-red | red-hued | garnet | claret | coral-red |
        vivid red | brick-coloured
        """,
    "green": """
        bright green | dark green | deep green | light green | emerald-green | apple-green | jungle-green | olive-green
        | fern-green | pure green | green-coloured | green-painted | cucumber-green | spinach-green | avocado |
        clover-green | meadow-green | frog-green | mint-green | verdant | grassy | pistachio | basil-green | green-hued
        | viridian | jade-green | vivid green | pine
        """,
    "blue": """
        bright blue | dark blue | deep blue | light blue | cyan | navy-blue | cornflower-blue | pure blue |
        blue-coloured | blue-painted | cerulean | baby-blue | electric blue | water-blue | sky-coloured | midnight blue
        | ice-blue | azure-blue | sapphire-blue | blueberry-coloured | jeans-blue | lapis | blue-hued | turquoise-blue |
        vivid blue | aqua | police-blue
        """,
    "yellow": """
        bright yellow | dark yellow | pale yellow | light yellow | lemon | lemon-yellow | banana-yellow |
        banana-coloured | sunny | pure yellow | yellow-coloured | yellow-painted | custard-yellow | gold-coloured |
        golden-yellow | blond | wheat-coloured | sunflower-yellow | mustard-yellow | taxi-yellow | egg-yolk yellow |
        cheese-coloured | sulphur-yellow | flaxen | dandelion-yellow | yellow-hued | vivid yellow | honey-coloured |
        buttery
        """,
}

NOUNS: dict[str, str] = {  # by shape
    "disc": """
        bead | marble | puck | orb | globe | bubble | blob | spot | hoop | penny | saucer | lens | filled circle |
        pebble | circular thing | circular object | circular one | pill | medal | frisbee | moon | pearl | circular
        patch | pancake | pie | tablet | cookie | o-shape
        """,
    "square": """
        crate | window | panel | four-cornered shape | square one | square thing | square object | square patch | carton
        | parcel | dice | cuboid | stamp | card | slab | right-angled shape | square mark | boxy thing | boxy shape |
        square item | square tile | packet | quadratic thing | container | rectangular thing | thing with four sides |
        equilateral rectangle | frame | pane | cubic shape | shape with four right angles | chunk
        """,
    "triangle": """
        triangular one | triangular thing | triangular object | pointed shape | tent | spike | arrow | pennant | pointer
        | peak | mountain | trigon | sail | triangular patch | fin | shape with three corners | shape with three sides |
        thing with three corners | hat | pizza slice | triangle shape | triangular item | three-angled shape |
        three-cornered thing | hill | pointy thing | pointy shape | tip | prism | teepee
        """,
    "diamond": """
        tilted square | rotated square | square on its corner | square on its tip | gemstone | diamond-shaped thing |
        diamond-shaped object | diamond-shaped one | kite shape | diamond mark | diamond patch | brilliant | turned
        square | slanted square | rhombic thing | rhombic object | precious stone | leaning square | rhombus shape |
        four-pointed shape | diamond thing | diamond item | tipped square | oblique square | skewed square | square
        turned by 45 degrees | jewel shape | rhombic one
        """,
}

ANYTHING = """
    blob | spot | patch | marker | sign | symbol | landmark | target | stuff | obstacle | toy | geometric shape | part |
    coloured thing | little thing | small shape | little object | splotch | unit | artefact | tag | guy | something
    """  # for whatever has a colour

GOALS = """
    please be {} | kindly go {} | kindly get {} | kindly come {} | kindly be {} | now go {} | now come {} | just go {} |
    just get {} | just come {} | just be {} | go {}, please | move {}, please | get {}, please | come {}, please | go {}
    now | move {} now | get {} now | could you please move {}? | could you please get {}? | could you please be {}? |
    could you please come {}? | could you move {}? | could you get {}? | could you be {}? | could you come {}? | can you
    go {}? | can you move {}? | can you get {}? | can you come {}? | would you please go {}? | would you please move {}?
    | would you please get {}? | would you kindly go {}? | would you kindly move {}? | would you kindly get {}? | would
    you go {}? | would you move {}? | would you get {}? | will you go {}? | will you move {}? | would you mind going {}?
    | would you mind moving {}? | would you mind being {}? | I would like you to go {} | I would like you to move {} | I
    would like you to be {} | I would like you to get {} | I'd like you to be {} | I'd like you {} | I'd love to see you
    {} | I want you to go {} | I want you to move {} | I want you to get {} | I want you to be {} | I want it to be {} |
    I want it {} | I want the agent to be {} | I want the agent to go {} | I want the agent {} | I need you to be {} | I
    need you to go {} | I need you to move {} | I need you {} | we need it to be {} | we need it {} | we need you {} |
    you need to go {} | you need to move {} | you need to be {} | you ought to move {} | you ought to get {} | you
    should go {} | you should move {} | you should get {} | you are to get {} | you are to be {} | it has to go {} | it
    has to move {} | it needs to go {} | it needs to move {} | it ought to move {} | it should move {} | it should get
    {} | it should end up {} | the agent must get {} | the agent has to go {} | the agent has to be {} | the agent needs
    to move {} | the agent needs to be {} | the agent should go {} | the agent should move {} | the agent should be {} |
    the violet disc must move {} | the violet disc must get {} | the violet disc has to go {} | the violet disc has to
    get {} | the violet disc should go {} | the violet disc should move {} | the violet disc should get {} | the violet
    disc should end up {} | the purple disc has to be {} | the purple disc should end up {} | make it go {} | make it be
    {} | make it move {} | make the agent go {} | make the agent be {} | make the agent get {} | make the agent move {}
    | make yourself go {} | make the violet disc go {} | make the violet disc get {} | get it {} | get the agent {} |
    get the violet disc {} | put it {} | place it {} | place the agent {} | take yourself {} | move it {} | move the
    agent {} | lead it {} | set the agent {} | set yourself {} | push it {} | drop it {} | put the violet one {} | bring
    the violet one {} | take the violet one {} | move the violet one {} | find a location {} | find some point {} | pick
    any point {} | pick any position {} | pick some position {} | take a place {} | take a point {} | seek any place {}
    | seek any location {} | seek some place {} | seek some location {} | reach a position {} | move to a spot {} | move
    to a position {} | move to any place {} | head to a point {} | head to a position {} | head to any point {} | head
    to any position {} | head to some location {} | come to any position {} | come to some point {} | run to a spot {} |
    run to any point {} | go somewhere {} | move somewhere {} | get somewhere {} | head over {} | head straight {} |
    head {} | go and be {} | go and stand {} | go and stay {} | go and wait {} | go on {} | go over {} | go right {} |
    go straight {} | go directly {} | go quickly {} | go slowly {} | try to be {} | try to get {} | try to go {} | try
    to move {} | attempt to be {} | attempt to get {} | attempt to go {} | attempt to move {} | do go {} | do get {} |
    do be {} | finish {} | wind up {} | wait {} | rest {} | stand {} | sit {} | lie {} | remain {} | halt {} | appear {}
    | pause {} | linger {} | hide {} | park {} | land {} | arrive {} | wander {} | shift {} | hop {} | jump {} | fly {}
    | swim {} | crawl {} | step {} | roll {} | destination: {} | goal: {} | wanted: {} | task: {} | instruction: {} |
    mission: {} | objective: {} | aim: {} | where to go: {} | final position: {} | final place: {} | your goal is to go
    {} | your goal is to get {} | your task is to move {} | your aim is to go {} | your aim is to move {} | your aim is
    to get {} | your mission is to go {} | your mission is to be {} | your mission is to end up {} | your job is to move
    {} | your destination is {} | your target is {} | your target lies {} | your target is a place {} | your destination
    lies {} | your destination is a place {} | your goal lies {} | your goal is a place {} | your place is {} | the task
    is to get {} | the task is to go {} | the aim is to be {} | the aim is to go {} | the objective is to be {} | the
    objective is to get {} | the objective is to go {} | the idea is to be {} | the idea is to go {} | the point is to
    be {} | the point is to get {} | the point is to go {} | the target lies {} | the target is {} | the destination
    lies {} | the destination is {} | the goal lies {} | the goal is to be {} | the goal is {} | the right place is {} |
    a good place would be {} | the place we want is {} | what we want is to be {} | what we want is you {} | what we
    want is it {} | what we want is the agent {} | what I want is to be {} | what I want is you {} | what I want is it
    {} | what I want is the agent {} | all I ask is that you are {} | all I ask is that you get {} | all I ask is that
    you go {} | I'm asking you to be {} | I'm asking you to go {} | I'm asking you to get {} | let's go {} | let's move
    {} | let's be {} | let's have it {} | let us go {} | let us move {} | let us be {} | let us have it {} | let it get
    {} | let it rest {} | let it stay {} | let the agent move {} | let the agent rest {} | let the agent stay {} | let
    the agent come {} | let the disc go {} | let the disc move {} | let the disc rest {} | let the disc stay {} | let
    the disc come {} | have it go {} | have it move {} | have it be {} | have it {} | have the agent go {} | have the
    agent move {} | have the agent be {} | have the agent {} | have the disc go {} | have the disc move {} | have the
    disc be {} | have the disc {} | see that it is {} | see that you are {} | see that you get {} | make sure you are {}
    | make sure that it is {} | make sure to be {} | make sure that the agent is {} | make sure you end {} | be sure to
    be {} | be sure to get {} | be sure to go {} | take care to be {} | take care to end {} | ensure that it is {} |
    ensure that you are {} | ensure that the agent is {} | it is your duty to be {} | how do you get {}? go there | the
    agent should be found {} | it should be brought {} | it is to be brought {} | it is to be moved {} | it is to be
    taken {} | it is to be placed {} | it is to be put {} | it is to be left {} | the agent is to be brought {} | the
    agent is to be moved {} | the agent is to be taken {} | the agent is to be placed {} | the agent is to be found {} |
    the disc has to be moved {} | the disc has to be brought {} | the disc has to be placed {} | you are to be found {}
    | you are expected {} | you are supposed to be {} | I expect you {} | I hope to find you {} | I hope to see it {} |
    someone waits for you {} | next, be {} | next, go {} | next, get {} | then be {} | then go {} | then get {} | from
    here, go {} | from here, move {} | from where you are, go {} | from where you are, move {} | from where you are, get
    {} | wherever you are, go {} | wherever you are, get {} | leave here and go {} | leave here and get {} | leave here
    and be {} | get going and be {} | off you go, {} | keep going until you are {} | keep going until it is {} | go on
    until you are {} | go on until it is {} | continue until you are {} | continue until it is {} | only stop when you
    are {} | stop once you are {} | do not stop before you are {} | we should be {} | I should be {} | we are done when
    it is {} | done when {} | success means to be {} | success is being {} | you win when you are {} | you get a reward
    for being {} | being {} is what counts | to be {} is the goal | to get {} is your task | {} is where you should be |
    {} is where I want you | {} is where it should end | {} is the place to be | {}, that is where to go | {}, please |
    {}, now | somewhere {} | a place {} | a spot {} | any place {} | some point {} | take up a position {} | take your
    place {} | take a seat {} | occupy a place {} | occupy a spot {} | occupy a position {} | adopt a position {} |
    assume a position {} | change your position so that you are {} | change places until you are {} | plant yourself {}
    | station yourself {} | bring yourself to be {} | aim for a place {} | aim for a spot {} | aim for a point {} | aim
    to be {} | target a spot {} | set course for a place {} | make for a place {} | make for a spot {} | make a move {}
    | make your way {} | find your way {} | find yourself {} | use your steps to get {} | take some steps to be {} | do
    what you can to be {} | solve this: be {} | hey, go {} | ok, go {} | okay, now be {} | well, get {} | so, go {} |
    robot, go {} | agent, go {} | agent: be {}
    """  # frames of an instruction

STATEMENTS = """
    the agent stands {} | the agent sits {} | the agent rests {} | the agent stays {} | the agent waits {} | the agent
    can be found {} | the agent is now {} | the agent is located {} | the agent is placed {} | the agent is to be found
    {} | the agent is right now {} | it stands {} | it sits {} | it rests {} | it stays {} | it lies {} | it is located
    {} | it is now {} | it can be seen {} | it is found {} | it is currently {} | the violet disc lies {} | the violet
    one lies {} | the violet one stands {} | the violet thing stands {} | the violet dot is {} | the violet dot lies {}
    | the violet dot sits {} | the purple disc is now {} | the purple one is {} | the purple one lies {} | the purple
    dot lies {} | the purple dot can be seen {} | you are {} | you are now {} | you stand {} | you find yourself {} | we
    see it {} | we find it {} | we stand {} | we are now {} | we find ourselves {} | I see it {} | I see the agent {} |
    I find it {} | I am {} | there is the agent, {} | the agent has moved {} | the agent has come {} | the agent has
    arrived {} | the agent has stopped {} | it has moved {} | it has come {} | it has arrived {} | it has stopped {} |
    in the picture, it is {} | in this picture the agent is {} | on the screen it is {} | right now the agent is {} |
    currently it is {} | now it is {} | the disc is {} | the disc lies {} | the disc stands {} | the disc waits {} | the
    disc rests {} | its position is {} | its location is {} | the agent's position is {} | the agent's place is {} | the
    agent's location is {} | what moves is {} | the one that moves is {} | the mover is {} | the moving disc is {} | the
    moving thing is {} | it must be {} | it is clearly {} | it is true that the agent is {} | we observe it {} | the
    agent seems to be {} | one sees it {} | this shows it {} | here the agent is {} | there it stands {} | agent {} | {}
    | status: {} | state: {} | position: {} | the state is: {} | the picture has the agent {} | somebody moved it {}
    """  # of a description

QUESTIONS = """
    is the agent now {}? | is the agent really {}? | is the agent currently {}? | is the agent found {}? | is the agent
    located {}? | is the agent standing {}? | is the agent placed {}? | was the agent now {}? | was the agent currently
    {}? | was the agent found {}? | was the agent standing {}? | was the agent placed {}? | is it now {}? | is it really
    {}? | is it currently {}? | is it located {}? | is it standing {}? | is it placed {}? | is it perhaps {}? | is the
    violet disc {}? | is the violet one {}? | is the violet thing {}? | is the purple disc {}? | is the purple one {}? |
    is the purple thing {}? | are you {}? | are you now {}? | does it stand {}? | does it sit {}? | does it rest {}? |
    does it stay {}? | does the agent stand {}? | does the agent sit {}? | does the agent lie {}? | does the agent stay
    {}? | does the disc lie {}? | does the disc sit {}? | does the disc stand {}? | is the disc {}? | can the agent be
    found {}? | can the agent be seen {}? | can it be seen {}? | can you see it {}? | do you see it {}? | do you see the
    agent {}? | would you say it is {}? | would you say that the agent is {}? | am I right that it is {}? | is it right
    that it is {}? | is it correct that it is {}? | is it the case that it is {}? | is it so that the agent is {}? | has
    the agent come {}? | has the agent arrived {}? | has the agent got {}? | has the agent moved {}? | has the agent
    stopped {}? | has it come {}? | has it arrived {}? | has it moved {}? | has it stopped {}? | has it ended up {}? |
    did it stop {}? | did it end {}? | did it end up {}? | did it arrive {}? | did the agent end {}? | tell me, is it
    {}? | please tell, is the agent {}? | is its position {}? | is its location {}? | is the thing that moves {}? | is
    what moves {}? | is the moving disc {}? | it is {}, right? | it is {}, isn't it? | the agent is {}, is it not? | the
    agent is {}? | it is {}? | {}? | true or false: it is {}? | are we now {}? | could it be {}? | could it be that it
    is {}? | might the agent be {}? | should we say it is {}? | here, is it {}?
    """  # of a question that yes or no answers

JOINTS = """
    {a} and simultaneously {b} | {a} and moreover {b} | {a} and additionally {b} | {a} and furthermore {b} | {a} and
    besides {b} | {a} and in addition {b} | {a} and yet {b} | {a} and still {b} | {a} and there {b} | {a}, {b} too |
    {a}, {b} as well | {a}, but {b} | {a}, yet {b} | {a}, while also {b} | {a}, also {b} | {a}, and {b} too | {a}, and
    {b} as well | {a}, and at once {b} | {a}, and on top of that {b} | {a}, but at the same time {b} | {a}, but in any
    case {b} | {a}, at the same time {b} | {a}, together with {b} | {a}, in a way that it is {b} | {a}, where it is {b}
    | {a}, being {b} | {a}, so as to be {b} | {a}, which must be {b} | {a} that is {b} | {a} which is {b} | {a},
    provided it is {b} | {a}, there {b} | {a}, then {b} as well | simultaneously {a} and {b} | first {a}, second {b} |
    one: {a}, two: {b} | {a}, secondly {b} | {a}, both that and {b} | {a}; furthermore, {b} | {a} when {b} | not just
    {a} but also {b} | not only {a} but also {b}
    """  # of two places at once
