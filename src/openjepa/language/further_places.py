"""More templates of places for `phrases`: `{o}` and `{p}` stand for things, phrases are parted by `|`."""

PLACES: dict[str, str] = {  # by relation
    "touching": """
        in physical contact with {o} | in physical contact to {o} | in bodily contact with {o} | in bodily contact to
        {o} | in direct contact with {o} | in direct contact to {o} | with physical contact with {o} | with physical
        contact to {o} | with bodily contact with {o} | with bodily contact to {o} | with direct contact with {o} | with
        direct contact to {o} | pushing against {o} | so close that it bumps {o} | so that it touches {o} | so that it
        bumps into {o} | so that it hits {o} | so that it meets {o} | so that you touch {o} | where you touch {o} |
        where it touches {o} | with its edge at {o} | with its edge against {o} | edge to edge with {o} | rim to rim
        with {o} | rubbing against {o} | knocking against {o} | pressing against {o} | without any gap to {o} | without
        any gap from {o} | without any space to {o} | without any space from {o} | without any distance to {o} | without
        any distance from {o} | with no space left between it and {o} | with no room left between it and {o} | with no
        air left between it and {o} | with zero distance to {o} | directly against {o} | flat against {o} | hard against
        {o} | right against {o} | right up against {o} | all the way up to {o} | overlapping {o} | grazing {o} | kissing
        {o} | nudging {o} | tapping {o} | contacting {o} | in collision with {o} | placed upon {o} | upon {o} | lying on
        {o} | sitting on {o} | on the very spot of {o} | at the very place of {o} | at the exact spot of {o} | in the
        same spot as {o} | at the same place as {o} | until it bumps into {o} | until it hits {o} | until it meets {o} |
        until it contacts {o} | until you touch {o} | until you hit {o} | until you feel {o} | into {o} | clinging to
        {o} | sticking to {o} | glued to {o} | fastened to {o} | fused with {o} | coinciding with {o} | with {o} right
        under it | so that both shapes meet, it and {o} | such that its border meets {o} | where its outline meets {o} |
        sharing a border with {o} | bordering on {o} | abutting {o} | directly adjoining {o} | in a hug with {o} | and
        touch {o} | to touch {o} | to {o} and touch it | to {o} until they touch | with contact to {o} | such that
        nothing lies between it and {o}
        """,
    "near": """
        in the neighborhood of {o} | in the environs of {o} | in the region of {o} | in the zone of {o} | quite near {o}
        | quite close to {o} | very near {o} | very close to {o} | fairly near {o} | fairly close to {o} | rather near
        {o} | rather close to {o} | pretty near {o} | pretty close to {o} | near to {o} | close by {o} | close at hand
        to {o} | a short distance from {o} | a short step from {o} | at a short distance from {o} | at a short distance
        to {o} | at a small distance from {o} | at a small distance to {o} | at a little distance from {o} | at a little
        distance to {o} | only a little way from {o} | just a little way from {o} | a stone's throw from {o} | a little
        way off {o} | right next to {o} | just beside {o} | at the side of {o} | around where {o} is | in the general
        area of {o} | near where {o} is | near where {o} lies | near where {o} sits | close to where {o} is | close to
        where {o} lies | close to where {o} sits | not too far from {o} | not too far away from {o} | not very far from
        {o} | not very far away from {o} | not all that far from {o} | not all that far away from {o} | not much
        distance from {o} | with {o} nearby | with {o} close by | with {o} near it | with {o} in the vicinity | having
        {o} nearby | having {o} close by | where {o} is near | where {o} is close | where {o} is close by | where {o} is
        nearby | so that {o} is near | so that {o} is close | so that {o} is nearby | so that {o} is close by | with
        little distance to {o} | with a small gap to {o} | a small gap from {o} | within a few pixels of {o} | within a
        few steps of {o} | within some pixels of {o} | within some steps of {o} | in easy reach of {o} | within arm's
        length of {o} | within touching distance of {o} | within sight of {o} | up close to {o} | almost at {o} | nearly
        at {o} | almost touching {o} | next door to {o} in the same room | in the company of {o} | neighbouring to {o} |
        as a neighbour of {o} | hanging around {o} | approaching {o} | nearing {o} | near and about {o} | hard by {o} |
        over by {o} | over near {o} | in the circle around {o} | in a small circle about {o} | in the close surroundings
        of {o} | anywhere near {o} | somewhere near {o} | somewhere close to {o} | somewhere beside {o} | somewhere by
        {o} | somewhere around {o}
        """,
    "nearest": """
        closer to {o} than to any other | closer to {o} than to anything else | closer to {o} than to the other things |
        closer to {o} than it is to any other | closer to {o} than it is to anything else | closer to {o} than it is to
        the other ones | nearer to {o} than to any other | nearer to {o} than to any other thing | nearer to {o} than to
        the other things | nearer to {o} than to everything else | nearer to {o} than it is to anything else | nearer to
        {o} than it is to any other thing | with {o} as the nearest neighbour | with {o} as the closest thing | with {o}
        as the closest object | with {o} as the closest one | with {o} as its nearest thing | with {o} as its nearest
        neighbour | with {o} as its nearest one | with {o} as its closest thing | with {o} as its closest shape | with
        {o} as its closest item | with {o} as its closest one | having {o} as its nearest thing | having {o} as its
        nearest neighbour | having {o} as its nearest object | having {o} as its closest thing | having {o} as its
        closest neighbour | having {o} as its closest object | having {o} as your nearest thing | having {o} as your
        nearest neighbour | having {o} as your nearest object | having {o} as your closest thing | having {o} as your
        closest neighbour | having {o} as your closest object | where {o} is the nearest shape | where {o} is the
        nearest one | where {o} is the closest thing | where {o} is the closest neighbour | where {o} is your nearest
        shape | where {o} is your nearest one | where {o} is your closest one | where {o} is its nearest object | where
        {o} is its nearest shape | where {o} is its nearest one | where {o} is its closest shape | where {o} is its
        closest neighbour | so that {o} is the nearest thing | so that {o} is the nearest one | so that {o} is the
        closest thing | so that {o} is the closest object | so that {o} is the closest one | so that {o} is your nearest
        thing | so that {o} is its nearest shape | so that {o} is its nearest neighbour | so that {o} is its nearest one
        | so that {o} is its closest thing | so that {o} is its closest shape | so that {o} is its closest neighbour |
        where {o} is nearer than all the others | where {o} is nearer than all the rest | where {o} is nearer than all
        the other things | where {o} is nearer than any of the others | where {o} is nearer than any of the rest | where
        {o} is nearer than any of the other things | where {o} is closer than all the others | where {o} is closer than
        all the rest | where {o} is closer than all the other things | where {o} is closer than any of the others |
        where {o} is closer than any of the rest | where {o} is closer than any of the other things | so that {o} is
        nearer than the rest | so that {o} is nearer than the others | so that {o} is nearer than anything else | so
        that {o} is nearer than any other | so that {o} is closer than the rest | so that {o} is closer than the others
        | so that {o} is closer than anything else | so that {o} is closer than any other | where of all things {o} is
        the nearest | where of all things {o} is the closest | with the nearest thing being {o} | with the nearest
        object being {o} | with the nearest shape being {o} | with the closest thing being {o} | with the closest object
        being {o} | with the closest shape being {o} | such that nothing is closer than {o} | such that nothing is
        nearer than {o} | with no thing closer than {o} | with no thing nearer than {o} | with no object closer than {o}
        | with no object nearer than {o} | with no shape closer than {o} | with no shape nearer than {o} | with no other
        closer than {o} | with no other nearer than {o} | where no other thing is as near as {o} | where no other thing
        is as close as {o} | where no other object is as near as {o} | where no other object is as close as {o} | where
        no other shape is as near as {o} | where no other shape is as close as {o} | closest to {o} of all things |
        closest to {o} of all objects | nearest to {o} of all things | nearest to {o} of all objects | with {o} in first
        place by distance | at the smallest distance from {o} of all | where {o} has the smallest distance | with a
        smaller distance to {o} than to the others | with a smaller distance to {o} than to the rest | less far from {o}
        than from the others | less far from {o} than from the rest | less far from {o} than from anything else | where
        the closest neighbour is {o} | where the nearest thing is {o} | with all others further off than {o} | nearest
        {o} | closest {o} | where everything else is further away than {o} | where everything else is further off than
        {o} | where everything else is farther away than {o} | where everything else is farther off than {o} | with {o}
        as the one that is closest | with {o} as the one that is nearest | where {o} beats all others in nearness | with
        {o} first among the near ones | in the zone where {o} is the closest
        """,
    "left of": """
        just left of {o} | directly left of {o} | straight left of {o} | straight to the left of {o} | well left of {o}
        | a bit left of {o} | slightly left of {o} | somewhat left of {o} | immediately left of {o} | immediately to the
        left of {o} | clearly left of {o} | clearly to the left of {o} | over to the left of {o} | off to the left of
        {o} | out to the left of {o} | on {o}'s left | to {o}'s left | at {o}'s left side | on the left-hand side of {o}
        | left side of {o} | on the left hand of {o} | to the left side of {o} | towards the left of {o} | toward the
        left side from {o} | leftwards from {o} | leftward of {o} | in the left direction from {o} | further to the left
        than {o} | farther left than {o} | more left than {o} | in the area left of {o} | in the area to the left of {o}
        | into the area left of {o} | into the area to the left of {o} | in the space to the left of {o} | in the region
        left of {o} | with {o} on the right side | with {o} on the right hand | with {o} on the right | with {o} on its
        right side | with {o} on its right hand | with {o} on its right | with {o} on your right side | with {o} on your
        right hand | with {o} on your right | with {o} at its right | with {o} at your right | with {o} right of it |
        with {o} right of you | with {o} to the right of it | with {o} to the right of you | having {o} to the right |
        having {o} to its right | having {o} on its right side | where {o} is to the right | where {o} is on your right
        | where {o} is to your right | where {o} is right of you | where {o} is right of it | so that {o} is on the
        right | so that {o} is to the right | so that {o} is right of it | so that {o} is right of you | so that {o} is
        on its right | so that it is left of {o} | so that you are to the left of {o} | before {o} when reading from
        left to right | preceding {o} in a row from left to right | where you must go right to reach {o} | where you
        must go right to get to {o} | where {o} is reached by going right | by the left side of {o} | beside {o}, on the
        left | next to {o}, on its left | aside of {o}, to the left | past {o} to the left | leaving {o} on the right |
        past the left edge of {o} | at a lower x than {o} | with a smaller x than {o} | at an x below that of {o} | to
        port of {o} | on the port side of {o} | a step left from {o} | some steps to the left of {o} | facing {o} from
        the left | on the side of {o} that is left | flanking {o} on the left | not right but left of {o} | at 9 o'clock
        from {o} | at nine o'clock of {o} | closer to the left edge than {o} | nearer to the left border than {o}
        """,
    "right of": """
        just right of {o} | just to the right of {o} | directly right of {o} | straight right of {o} | straight to the
        right of {o} | well to the right of {o} | far to the right of {o} | a bit right of {o} | slightly right of {o} |
        slightly to the right of {o} | clearly right of {o} | clearly to the right of {o} | over to the right of {o} |
        off to the right of {o} | out to the right of {o} | on {o}'s right | to {o}'s right | at {o}'s right side | on
        the right-hand side of {o} | right side of {o} | on the right hand of {o} | to the right side of {o} | towards
        the right of {o} | toward the right side from {o} | rightwards from {o} | rightward of {o} | in the right
        direction from {o} | further to the right than {o} | farther right than {o} | more right than {o} | in the area
        right of {o} | in the area to the right of {o} | into the area right of {o} | into the area to the right of {o}
        | in the space to the right of {o} | in the region right of {o} | with {o} on the left side | with {o} on the
        left hand | with {o} on the left | with {o} on its left side | with {o} on its left hand | with {o} on its left
        | with {o} on your left side | with {o} on your left hand | with {o} on your left | with {o} at its left | with
        {o} at your left | with {o} left of it | with {o} left of you | with {o} to the left of it | with {o} to the
        left of you | having {o} to the left | having {o} to its left | having {o} on its left side | where {o} is to
        the left | where {o} is on your left | where {o} is to your left | where {o} is left of you | where {o} is left
        of it | so that {o} is on the left | so that {o} is to the left | so that {o} is left of it | so that {o} is
        left of you | so that {o} is on its left | so that it is right of {o} | so that you are to the right of {o} |
        after {o} when reading from left to right | following {o} in a row from left to right | where you must go left
        to reach {o} | where you must go left to get to {o} | where {o} is reached by going left | by the right side of
        {o} | beside {o}, on the right | next to {o}, on its right | aside of {o}, to the right | past {o} to the right
        | leaving {o} on the left | past the right edge of {o} | at a higher x than {o} | with a larger x than {o} | at
        an x above that of {o} | to starboard of {o} | on the starboard side of {o} | a step right from {o} | some steps
        to the right of {o} | facing {o} from the right | on the side of {o} that is right | flanking {o} on the right |
        not left but right of {o} | at 3 o'clock from {o} | at three o'clock of {o} | closer to the right edge than {o}
        | nearer to the right border than {o} | eastward of {o} | eastward from {o} | on the east side of {o}
        """,
    "above": """
        just above {o} | just over {o} | straight over {o} | well above {o} | far above {o} | a bit over {o} | slightly
        over {o} | somewhat above {o} | somewhat over {o} | immediately over {o} | clearly above {o} | clearly over {o}
        | on the top side of {o} | at the top side of {o} | to the top side of {o} | upward of {o} | upward from {o} |
        northwards of {o} | due north of {o} | on the north side of {o} | farther up than {o} | farther north than {o} |
        more to the top than {o} | closer to the top than {o} | closer to the upper edge than {o} | nearer to the upper
        edge than {o} | nearer to the upper border than {o} | nearer to the upper wall than {o} | in the area above {o}
        | in the area over {o} | in the space above {o} | in the space over {o} | in the region above {o} | in the
        region over {o} | in the zone above {o} | in the zone over {o} | with {o} below it | with {o} below you | with
        {o} beneath it | with {o} beneath you | with {o} under you | having {o} below | having {o} under | where {o} is
        below | where {o} is beneath you | where {o} is under you | where {o} is below it | where {o} is down below |
        where {o} is further down | so that {o} is below | so that {o} is under it | so that {o} is below you | so that
        {o} is lower | so that it is above {o} | so that you are over {o} | where you must go down to reach {o} | where
        you must go down to get to {o} | where {o} is reached by going down | from where {o} is below | at a higher
        level than {o} | at a higher place than {o} | at a higher position than {o} | at a higher point than {o} | at a
        higher spot than {o} | in a higher place than {o} | in a higher position than {o} | up over {o} | up north of
        {o} | on the upside of {o} | on {o}'s upper side | on the far upper side of {o} | looking down at {o} | looking
        down to {o} | looking down upon {o} | leaving {o} below | past the upper edge of {o} | with a smaller y than {o}
        | at a lesser y than {o} | hanging over {o} | floating above {o} | towering over {o} | as a roof over {o} | not
        below but above {o} | at 12 o'clock from {o} | at twelve o'clock of {o} | some steps above {o} | facing {o} from
        above | elevated above {o} | vertically above {o} | uphill from {o} | aloft over {o} | topping {o}
        """,
    "below": """
        just below {o} | just under {o} | directly below {o} | directly beneath {o} | straight below {o} | well beneath
        {o} | far below {o} | far beneath {o} | slightly below {o} | slightly under {o} | somewhat under {o} |
        immediately beneath {o} | on the bottom side of {o} | at the bottom side of {o} | to the bottom side of {o} |
        downward of {o} | downward from {o} | southwards of {o} | due south of {o} | on the south side of {o} | farther
        down than {o} | farther south than {o} | more to the bottom than {o} | closer to the bottom than {o} | closer to
        the lower edge than {o} | nearer to the lower edge than {o} | nearer to the lower border than {o} | nearer to
        the lower wall than {o} | in the area below {o} | in the area under {o} | in the area beneath {o} | in the space
        below {o} | in the space under {o} | in the space beneath {o} | in the region below {o} | in the region under
        {o} | in the region beneath {o} | in the zone below {o} | in the zone under {o} | in the zone beneath {o} | with
        {o} above it | with {o} above you | with {o} over it | with {o} up above it | with {o} up above you | having {o}
        above | having {o} overhead | where {o} is above | where {o} is over you | where {o} is above it | where {o} is
        up above | where {o} is further up | where {o} is overhead | so that {o} is above | so that {o} is above it | so
        that {o} is above you | so that {o} is higher | so that {o} is over it | so that it is below {o} | so that you
        are under {o} | where you must go up to reach {o} | where you must go up to get to {o} | where {o} is reached by
        going up | at a lower level than {o} | at a lower place than {o} | at a lower position than {o} | at a lower
        point than {o} | at a lower spot than {o} | in a lower place than {o} | in a lower position than {o} | down
        under {o} | down south of {o} | on the underside of {o} | on {o}'s lower side | at the underside of {o} |
        looking up at {o} | looking up towards {o} | leaving {o} above | past the lower edge of {o} | with a larger y
        than {o} | at a greater y than {o} | hanging under {o} | crouching below {o} | with {o} towering over it | not
        above but below {o} | at 6 o'clock from {o} | at six o'clock of {o} | some steps below {o} | facing {o} from
        below | vertically below {o} | downhill from {o} | in the shadow below {o} | supporting {o} from below
        """,
    "same room": """
        in the same room with {o} | in the same chamber with {o} | in the same area with {o} | in the same space as {o}
        | in the same space with {o} | in the selfsame room with {o} | in the selfsame chamber as {o} | in the selfsame
        area as {o} | in the selfsame area with {o} | in the selfsame space as {o} | in the selfsame space with {o} |
        into the same room as {o} | into the room of {o} | into the room with {o} | inside the same room as {o} | inside
        the room of {o} | inside the room with {o} | within the same room as {o} | within the room of {o} | within the
        room with {o} | into the room where {o} is | into the room where {o} lies | into the room where {o} sits | in
        the room where {o} lies | in the room where {o} sits | in the room where {o} can be found | in the room
        containing {o} | in the room holding {o} | in the room housing {o} | in {o}'s room | in {o}'s half | in {o}'s
        chamber | on {o}'s side of the wall | inside {o}'s room | together with {o} on one side of the wall | on one
        side of the wall with {o} | on the same side as {o} | on the same side of the divider as {o} | on the same side
        of the partition as {o} | where {o} shares the room with it | sharing {o}'s room | sharing the chamber of {o} |
        sharing the chamber with {o} | sharing the half of {o} | sharing the half with {o} | sharing the space of {o} |
        sharing the space with {o} | with {o} in the same room | with {o} in the same half | with {o} in the same
        chamber | with {o} in one room | with {o} on the same side of the wall | with {o} on this side of the wall | so
        that it and {o} are in one room | so that {o} and it share a room | so that the wall is not between it and {o} |
        with no wall in between it and {o} | with no door in between it and {o} | with no divider in between it and {o}
        | not separated from {o} by the wall | in no other room than {o} | not across the wall from {o} | in the half of
        {o} | in the half with {o} | in the half where {o} | in the part of {o} | in the part with {o} | in the part
        where {o} | on the half of the picture where {o} is | in whatever room holds {o} | wherever in the room of {o} |
        anywhere in the room of {o} | anywhere in the room with {o} | anywhere in the room that has {o} | somewhere in
        the room of {o} | somewhere in the room with {o} | somewhere in the room where {o} | in the room that {o} is in
        | in the place that {o} is in | in company of {o} in its room | joining {o} in its room | visiting {o} in its
        room | under one roof with {o} | within the walls around {o} | in the home of {o} | where you can reach {o}
        without a door | where you can reach {o} without passing the door | where you can reach {o} without crossing the
        wall | in a room together with {o} | in the room that is home to {o} | in the enclosure with {o}
        """,
    "behind wall": """
        in the other room to {o} | in the other half from {o} | in the other chamber from {o} | in the other chamber to
        {o} | in the opposite half to {o} | in the opposite chamber from {o} | in the opposite chamber to {o} | in an
        other half to {o} | in the other half than {o} | in the other chamber than {o} | in the other area than {o} | in
        the other space than {o} | in another room than {o} | in another half than {o} | in another space than {o} | in
        a different half than {o} | in a different half from {o} | in a different chamber than {o} | in a different
        chamber from {o} | in a different space than {o} | in a different space from {o} | in the room that lacks {o} |
        in the room that misses {o} | in the room that does not have {o} | in the room that does not hold {o} | in the
        half that misses {o} | in the half that does not have {o} | in the half that does not hold {o} | in the chamber
        that lacks {o} | in the chamber that misses {o} | in the chamber that does not have {o} | in the chamber that
        does not hold {o} | not in {o}'s room | not in {o}'s half | not in {o}'s chamber | not on {o}'s side of the wall
        | not in the same room as {o} | not in the room with {o} | not in the room where {o} | not in the half with {o}
        | not in the half where {o} | outside {o}'s room | out of {o}'s room | out of the room of {o} | out of the room
        with {o} | on the other side of the wall to {o} | on the other side of the wall than {o} | on the opposite side
        of the wall from {o} | on the opposite side of the wall to {o} | on the opposite side of the wall than {o} | on
        the far side of the wall to {o} | on the far side of the wall than {o} | on the other side of the divider from
        {o} | on the other side of the partition from {o} | on the opposite side of the divider from {o} | on the
        opposite side of the partition from {o} | on the other side than {o} | across the divider from {o} | across the
        partition from {o} | over the wall from {o} | past the wall from {o} | with the wall between it and {o} | so
        that the wall is between it and {o} | with a wall in between it and {o} | so that a wall separates it from {o} |
        so that a wall parts it from {o} | so that a wall hides it from {o} | separated by the wall from {o} | parted by
        the wall from {o} | divided by the wall from {o} | cut off by the wall from {o} | shut off by the wall from {o}
        | hidden by the wall from {o} | shielded by the wall from {o} | with {o} across the wall | with {o} behind the
        wall | where {o} is behind the wall | where {o} is across the wall | so that {o} is behind the wall | so that
        {o} is across the wall | so that {o} is in the other room | so that {o} is in the opposite room | with {o} on
        the other side of the wall | with {o} on the other side | with {o} in another room | with {o} in a different
        room | with {o} in the opposite room | having {o} in the other room | in the room opposite {o} | in the room
        opposite the one of {o} | in the room away from {o} | where {o} cannot be reached without the door | leaving {o}
        in the other room | leaving the room of {o} | away from the room of {o} | one room away from {o} | one door away
        from {o} | in the half where {o} is not | through the door, away from {o} | in the room free of {o} | in the
        empty room as far as {o} is concerned | not sharing a room with {o} | on the wrong side of the wall from {o}
        """,
    "between": """
        right between {o} and {p} | exactly between {o} and {p} | somewhere between {o} and {p} | just between {o} and
        {p} | half way between {o} and {p} | precisely between {o} and {p} | right in between {o} and {p} | in the
        middle of {o} and {p} | in the center of {o} and {p} | in the midpoint of {o} and {p} | at the middle of {o} and
        {p} | at the centre of {o} and {p} | at the center of {o} and {p} | at the midpoint of {o} and {p} | in the
        centre between {o} and {p} | in the center between {o} and {p} | in the midpoint between {o} and {p} | at the
        center between {o} and {p} | at the midpoint between {o} and {p} | in the gap between {o} and {p} | in the room
        that lies between {o} and {p} | in the area that lies between {o} and {p} | in the zone that lies between {o}
        and {p} | with {o} and {p} on both sides | with {o} and {p} on either sides | with {o} and {p} on opposite sides
        | having {o} and {p} on both sides | having {o} and {p} on either sides | with {o} on the one side and {p} on
        the other side | with {o} before it and {p} behind it | where {o} is on one side and {p} on the other | so that
        {o} and {p} are on both sides | so that it is between {o} and {p} | so that you are in the middle of {o} and {p}
        | in the midst of {o} and {p} | mid of {o} and {p} | midway from {o} to {p} | halfway from {o} to {p} | on the
        way from {o} to {p}, at half | half of the distance from {o} to {p} | in the middle of the line from {o} to {p}
        | in the middle of the way from {o} to {p} | at the middle point of {o} and {p} | as far from {o} as from {p},
        in the middle | equidistant from {o} and {p} | equidistant between {o} and {p} | at equal distances from {o} and
        {p} | equally near to {o} and {p}, in the middle | splitting the distance between {o} and {p} | on the line that
        joins {o} and {p} | separating {o} from {p} | sandwiched between {o} and {p} | squeezed between {o} and {p} |
        caught between {o} and {p} | placed between {o} and {p} | centered between {o} and {p} | nestled between {o} and
        {p} | lodged between {o} and {p} | bracketed by {o} and {p} | framed by {o} and {p} | with {o} and {p} around it
        | in the company of both {o} and {p}, between them | in the middle, {o} on one hand and {p} on the other | to
        the point between {o} and {p} | {o} and {p}: the middle of them | at the halfway point of {o} and {p} | at the
        halfway mark between {o} and {p} | at the average of {o} and {p} | intermediate to {o} and {p} | balanced
        between {o} and {p}
        """,
    "left room": """
        in room on the left side | in chamber on the left side | in the room on the left-hand side | into the left room
        | into the left-hand room | into the left half | into the room on the left | inside the left room | inside the
        left-hand room | inside the left half | inside the room on the left | within the left room | within the
        left-hand room | within the left half | within the room on the left | in the left side | in the left hand side |
        in the left enclosure | in the left section | in the left zone | in the left region | on the left side of the
        divider | on the left side of the world | on the left side of the picture | on the left side | in the left one
        of the rooms | in the left one of the chambers | in the left one of the two rooms | in the one of the two rooms
        that is left | in the left half of the picture | in the left half of the world | in the left half of the screen
        | in the left half of the image | in the left half of the map | somewhere left of the wall | somewhere to the
        left of the wall | anywhere left of the wall | anywhere left of the divider | anywhere to the left of the wall |
        anywhere to the left of the divider | on the wall's left | on the left side of the partition | with the wall to
        the right | with the wall to its right | with the wall on your right | so that the wall is right of it | so that
        the wall is on the right | so that the wall is to the right | where the door is to the right | having the wall
        on the right side | not in the right room | out of the right room | not on the right but on the left of the wall
        | away from the right room | over in the left room | over on the left | over on the left side | the left room |
        left half | left side | to the left room | to the room on the left | in room one | in the first of the two rooms
        | in the first chamber | in the first half | in the room that comes first from the left | on the left side of
        the door | left of the door | before the wall, coming from the left | in the area left of the wall | in the
        space to the left of the wall | in the left part | in the left-hand part | in the left-hand space | in the
        left-hand area
        """,
    "right room": """
        in room on the right side | in chamber on the right side | in the room on the right-hand side | into the right
        room | into the right-hand room | into the right half | into the room on the right | inside the right room |
        inside the right-hand room | inside the right half | inside the room on the right | within the right room |
        within the right-hand room | within the right half | within the room on the right | in the right side | in the
        right hand side | in the right enclosure | in the right section | in the right zone | in the right region | on
        the right side of the divider | on the right side of the world | on the right side of the picture | on the right
        side | in the right one of the rooms | in the right one of the chambers | in the right one of the two rooms | in
        the one of the two rooms that is right | in the right half of the picture | in the right half of the world | in
        the right half of the screen | in the right half of the image | in the right half of the map | somewhere right
        of the wall | somewhere to the right of the wall | anywhere right of the wall | anywhere right of the divider |
        anywhere to the right of the wall | anywhere to the right of the divider | on the wall's right | on the right
        side of the partition | with the wall to the left | with the wall to its left | with the wall on your left | so
        that the wall is left of it | so that the wall is on the left | so that the wall is to the left | where the door
        is to the left | having the wall on the left side | not in the left room | out of the left room | not on the
        left but on the right of the wall | away from the left room | over in the right room | over on the right | over
        on the right side | the right room | right half | right side | to the right room | to the room on the right | in
        room two | in the second of the two rooms | in the second chamber | in the second half | in the room that comes
        second from the left | on the right side of the door | right of the door | behind the wall, coming from the left
        | in the area right of the wall | in the space to the right of the wall | in the right part | in the right-hand
        part | in the right-hand space | in the right-hand area | in the east room | in the east half
        """,
    "doorway": """
        inside the doorway | inside the door | inside the gap | inside the gate | within the doorway | within the door |
        under the door | under the gap | under the gate | into the door | into the gap | into the gate | in the doorway
        of the two rooms | in the doorway between the two rooms | in the door of the two rooms | in the door between the
        two rooms | in the gap of the two rooms | in the gap between the wall | in the gate of the rooms | in the gate
        of the two rooms | in the hole between the rooms | in the hole in the wall | in the breach in the wall | in the
        middle of the door | in the middle of the doorway | in the middle of the gap | between the chambers | between
        the two chambers | between the halves | between the two halves | on the doorstep | on the sill | on the door
        sill | at the doorway in the wall | at the doorway between the rooms | at the doorway | at the entrance in the
        wall | at the entrance between the rooms | at the entrance | at the gap in the wall | at the gap between the
        rooms | at the gap | where the door is | where the doorway is | where the gap is | where the gate is | where the
        wall is interrupted | where the wall is broken | where the wall is missing | where there is no wall | where the
        wall has its door | where the wall has a hole | where the wall has its hole | in the link between the rooms | in
        the joint between the rooms | in the corridor between the rooms | right in the door | right in the doorway |
        standing in the door | filling the door | filling the doorway | filling the gap | plugging the door | plugging
        the doorway | plugging the gap | as a stopper of the door | where one can go between the rooms | where one can
        cross through | where one can get through | where one can get between the rooms | where one can get from room to
        room | where you can go through | where you can cross from room to room | where you can get through | where you
        can get between the rooms | where the rooms meet | where the rooms connect | where the rooms touch | at the
        point where the rooms meet | half in the left room, half in the right room | neither in the left nor in the
        right room | in neither of the two rooms | with one foot in each room | halfway from room to room | on the way
        from one room to the other, in the door | on the border of both rooms, in the gap | to the door | to the doorway
        | to the gap in the wall | to the gate | door | doorway | the gap | between the two parts of the wall | between
        the upper and the lower part of the wall
        """,
    "top": """
        in the upper zone | in the upper portion | in the top region of the picture | in the top region of the room | in
        the top zone | at the top region | at the top section of the world | at the top section | at the top portion |
        into the upper area of the picture | into the top section of the world | at the top edge | at the top border |
        at the top wall | at the top end | at the top of the picture | at the top of the world | at the top of the
        screen | at the top of the room | at the top of the image | by the top edge | by the top border | by the top
        wall | by the upper edge | by the upper border | by the upper wall | near the top of the picture | close to the
        upper wall | close to the upper border | close to the top edge | close to the top of the picture | next to the
        top | next to the upper border | next to the top of the picture | beside the upper wall | beside the upper
        border | touching the upper wall | touching the top wall | against the upper wall | against the top wall |
        facing the upper wall | facing the top wall | right at the top | all the way at the top | way up | high up | up
        high | up there at the top | in the far north | at the north edge | at the north end | at the north side | at
        the north wall | in the north of the world | by the northern wall | on the northern edge | as far up as possible
        | as high up as possible | as far north as possible | as high as it goes | as high as it gets | as high as it
        can be | up against the upper wall | up against the upper edge | where there is nothing more above | with only
        the wall above | where y is smallest | at small y | at the smallest y | with little y | in the first rows | in
        the topmost part | in the topmost rows | in the topmost band | in the topmost strip | in the top strip | in the
        upper strip | in the upper third | on top | to the top | up to the top | up to the upper edge | to the upper
        wall | top of the picture | top | upper edge | upper part | not at the bottom but at the top | far from the
        bottom | with the bottom far away | at the top in either room | at the upper limit | at the upper boundary | at
        the highest place | at the highest point
        """,
    "bottom": """
        in the lower section of the room | in the bottom region of the world | in the bottom end of the world | in the
        bottom end of the room | at the lower zone of the world | at the bottom part of the room | at the bottom zone of
        the picture | into the lower zone of the world | into the lower zone | into the lower portion of the picture |
        into the bottom section of the picture | at the bottom edge | at the bottom border | at the bottom wall | at the
        bottom end | at the bottom of the picture | at the bottom of the world | at the bottom of the screen | at the
        bottom of the room | at the bottom of the image | by the bottom edge | by the bottom border | by the bottom wall
        | by the lower edge | by the lower border | by the lower wall | near the lower wall | near the lower border |
        close to the lower wall | close to the lower border | close to the bottom border | next to the lower border |
        next to the bottom edge | next to the bottom border | beside the bottom | beside the lower border | beside the
        bottom border | touching the lower wall | touching the bottom wall | against the lower wall | against the bottom
        wall | facing the lower wall | facing the bottom wall | right at the bottom | all the way at the bottom | way
        down | deep down | down low | down there at the bottom | in the far south | at the south edge | at the south end
        | at the south side | at the south wall | in the south of the world | by the southern wall | on the southern
        edge | as far down as possible | as low down as possible | as far south as possible | as low as it goes | as low
        as it gets | as low as it can be | down against the lower wall | down against the lower edge | where there is
        nothing more below | with only the wall below | where y is largest | at large y | at the largest y | with much y
        | in the last rows | in the bottommost part | in the bottommost rows | in the bottommost band | in the
        bottommost strip | in the bottom strip | in the lower strip | in the lower third | to the bottom | down to the
        bottom | down to the lower edge | to the lower wall | bottom of the picture | bottom | lower edge | lower part |
        not at the top but at the bottom | far from the top | with the top far away | at the bottom in either room | at
        the lower limit | at the lower boundary
        """,
}
