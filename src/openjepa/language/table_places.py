"""Templates of places over a table for `phrases`, as an arm itself sees left and right; phrases are parted by `|`."""

SIDES = """
    on the LEFT | to the LEFT | over the LEFT side of the table | on the LEFT-hand side | at the LEFT of the table |
    above the LEFT part of the table | on your LEFT | to your LEFT | on the arm's LEFT | to the arm's LEFT | on the LEFT
    side of the table | far to the LEFT | well to the LEFT | over there at the LEFT | at the LEFT end of the table | at
    the LEFT edge | near the LEFT edge of the table | close to the LEFT border of the table | in the LEFT zone of the
    table | in the LEFT quarter | over the LEFT quarter of the table | turned to the LEFT | swung to the LEFT | swung
    LEFT | turned LEFT | reached out to the LEFT | with the arm turned LEFT | with the arm swung to the LEFT | LEFT of
    the middle | LEFT of the centre | away from the middle, to the LEFT | on the LEFT flank of the table | with most of
    the table to the OTHER | with most of the table on the OTHER | where the table's LEFT side is | as far LEFT as it
    gets | all the way to the LEFT | all the way LEFT | in the LEFTmost part of the table | by the LEFT rim of the table
    | LEFT over the table | over the table's LEFT | on the LEFT of the workspace | in the LEFT part of the workspace |
    at the LEFT of its reach | over there on the LEFT | somewhere on the LEFT | somewhere to the LEFT | at a place on
    the LEFT | near the table's LEFT border | above the LEFT of the table | far from the OTHER side of the table | on
    the side away from the OTHER | LEFT of straight ahead | off to the LEFT side
    """  # LEFT and OTHER are the two sides

PLACES: dict[str, str] = {  # by relation
    "left side": SIDES.replace("LEFT", "left").replace("OTHER", "right"),
    "middle": """
        in the middle | in the middle of the table | over the middle of the table | straight ahead | straight in front
        of the base | straight ahead of the arm | over the centre line | on the centre line of the table | neither left
        nor right | between left and right | at the centre line | centred | centred between the left and the right |
        over the central strip of the table | in the middle strip | with the arm pointing straight ahead | with the arm
        pointing forwards | pointing straight ahead | not turned to any side | turned to neither side | facing forwards
        | right in front of the arm | directly ahead of the base | on the axis of the table | on the mid line | over the
        middle line | in the middle between both sides | equally far from the left and the right edge | as far from the
        left as from the right | halfway from left to right | halfway between left and right | in the middle sideways |
        central | at the middle of the width | in the middle of the table's width | in the middle as to left and right |
        in front, on neither side | away from both sides | dead ahead | in line with the base | in line with the arm's
        base | lined up with the base | without turning to a side | where the arm points forwards | on neither side of
        the table | not to the left and not to the right | in the central zone of the table | at the centre of the table
        sideways | with as much table on the left as on the right | in the strip straight ahead
        """,
    "right side": SIDES.replace("LEFT", "right").replace("OTHER", "left"),
    "close to the base": """
        close to the base | near the base | near the robot | close to the robot | close to the arm's foot | near the
        arm's foot | drawn in | pulled in | pulled back | drawn back | withdrawn | close in | near to the base | beside
        the base | by the base | next to the base | with the arm drawn in | with the arm folded | with the elbow bent
        tightly | folded up | back towards the base | back at the base | back by the robot | at the near side of the
        table | at the near edge of the table | on the near side | over the near part of the table | over the near
        quarter | in the near quarter of the table | a short way out from the base | not far from the base | at a small
        distance from the base | at close range of the base | close to where the arm stands | near where the arm stands
        | close to the robot's body | near the robot's body | near its own base | close to its own base | near the
        pedestal | close to the pedestal | tucked in | retracted | little stretched | hardly stretched | with the arm
        hardly stretched | with the arm pulled back | in front of the base, close by | as near to the base as it can |
        with little distance to the base | at the inner side of the table | in the inner part of the workspace
        """,
    "half out": """
        half out | halfway out | half stretched | with the arm half stretched | at half reach | at half the reach of the
        arm | at medium reach | at a medium distance from the base | neither near nor far | neither close to the base
        nor far out | between near and far | between the near and the far edge | halfway between the near and the far
        edge | at middle distance | at a middle distance from the base | at a moderate distance from the base |
        moderately far out | moderately stretched | half extended | with the arm half extended | with the elbow half
        bent | in the middle between near and far | half the way to the far edge | halfway to the far edge | in the
        middle of the table's depth | in the middle as to depth | at half depth | at medium depth | at a mean distance
        from the robot | at medium range | in the mid range of its reach | half its length out | not too close and not
        too far | not near, not far | partly stretched | with the arm partly stretched out | partly extended | at mid
        reach | in the strip between near and far | equally far from the near and the far edge | at an intermediate
        distance | at intermediate reach | half the way out | half of the way out | halfway along its reach | half away
        from the base | out to the half of its reach | at a medium distance from the robot | between inner and outer
        side
        """,
    "far out": """
        far out | far from the base | far away from the base | stretched out | with the arm stretched out | with the arm
        stretched | reaching far | reaching far out | far from the robot | far away from the robot | at the far side of
        the table | at the far edge of the table | on the far side | over the far part of the table | over the far
        quarter | in the far quarter of the table | at full reach | at full stretch | extended | fully extended | with
        the arm extended | with the elbow straight | with the elbow stretched | way out | all the way out | as far out
        as it gets | as far as it can reach | as far from the base as it can | at the end of its reach | at the limit of
        its reach | at the outer side of the table | in the outer part of the workspace | at the outer edge | a long way
        from the base | a long way out | at a great distance from the base | at great distance from the robot | well
        away from the base | well away from the robot | distant from the base | remote from the base | out at the far
        end | at the far end of the table | far in front | far ahead of the base | stretched far over the table | with
        the arm reaching out | away from where the arm stands | far from where the arm stands | far from its own base |
        at long range
        """,
    "low": """
        low | low over the table | close to the table | near the table | just above the table | right above the table |
        near the table top | close to the table top | close to the surface | near the surface of the table | at little
        height | at low height | lowered | lowered to the table | down near the table | down low at the table | down at
        the table | a little above the table | barely above the table | hardly above the table | a few centimetres above
        the table | almost on the table | almost touching the table | nearly on the table | down close to the board |
        deep down at the table | at the height of things on the table | bent down to the table | hovering just over the
        table | hovering low | skimming the table | with little room between it and the table | with the table right
        beneath | at the lower end of its reach | in the lower quarter of its reach | at the lower limit of its height |
        close over the table | closely above the table | close above the table top | at table level | at about table
        height | next to the table surface | dipped down | with the fingertips near the table | with the fingers close
        to the table | as low as the arm gets | all the way down at the table | not high at all | on the lowest level |
        with the arm lowered
        """,
    "half up": """
        half up | at half height | at medium height | at a medium height | halfway up | neither high nor low | between
        high and low | at middle height | at mid height | at a moderate height | moderately high | half raised | half
        lifted | with the arm half raised | halfway between the table and the top of its reach | in the middle between
        high and low | in the middle as to height | half the way up | half of the way up | half its height up | not too
        high and not too low | not high, not low | at an intermediate height | at a mean height | partly raised | partly
        lifted | some way above the table | at average height | in the mid range of its height | at the middle level |
        on the middle level | on the second of three levels | at half level | half lowered | lifted halfway | raised
        halfway | lowered halfway | a medium way above the table | in the layer between high and low | in the middle
        layer | in the middle of the height range | equally far from lowest and highest | elevated by half | with the
        arm partly raised | at half of its height | between the table and the top of its reach | raised by half | at
        medium level
        """,
    "high": """
        high | high up over the table | high above the table | high over the table | far above the table | well above
        the table | at a great height | at great height | at a large height | raised | raised up | raised high | lifted
        | lifted up | lifted high | with the arm raised | with the arm lifted | with the elbow raised | up in the air |
        high in the air | far off the table | far up over the table | a great way up | way above the table | a long way
        above the table | up high above the table | up above the table | as high as the arm gets | as high as it can |
        all the way up over the table | at the upper end of its reach | in the upper quarter of its reach | at the upper
        limit of its height | near the top of its reach | at the top of its reach | close to the top of the workspace |
        in the upper part of the workspace | with much room between it and the table | with a lot of air below |
        hovering high | floating high over the table | far from the table top | at the highest level | on the top level
        | on the third of three levels | elevated | held up | held high | pulled up off the table | reaching up |
        reached upwards | not low at all | at maximum height | high off the table
        """,
}
