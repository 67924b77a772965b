"""What can be told of each category: parts and what they do, what lies in the box, who reaches for it.

Nothing here speaks of a typed attribute (`prstack.world.generated.catalogue`), so that no text contradicts a listing or gives it away. Phrases
are templates (`prstack.world.generated.prose.grammar`); what a part does agrees with it in number.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Goods:
    """`parts`: (part, what it does); `box`: what comes along; `people`: who it is for."""

    parts: tuple[tuple[str, tuple[str, ...]], ...]
    box: tuple[str, ...]
    people: tuple[str, ...]


GOODS: dict[str, Goods] = {
    "Blenders": Goods(
        (
            ("blades", ("are ground in four planes and leave no [strawberry seed|bit of ginger] behind", "come out with a quarter turn [for washing|and rinse clean under the tap]", "sit low, so that even a single [egg white|handful of berries] gets caught")),
            ("rubber feet", ("[grip|cling to] the worktop while dates are being chopped", "can be pulled off and [boiled|scrubbed]", "swallow the shaking that [tiled|hollow] counters love to pass on")),
            ("filling cap", ("doubles as a measure for [oil|lemon juice|rum]", "lets you drip in [olive oil|syrup] without stopping", "clicks so that nobody repaints the ceiling in spinach")),
            ("pulse setting", ("answers to the [finger|thumb] and stops the moment you let go", "turns [hazelnuts|stale bread] into crumbs in five taps", "was tuned with a pastry cook from {town}")),
            ("spout", ("pours in a thin thread and keeps the table dry", "has a lip against [drips|late drops]", "points away from the hand, which [matters|helps] with hot broth")),
            ("base", ("hides its cord in a [groove|drawer] at the back", "has a seam that a [cloth|sponge] can follow all the way round", "tells you by a small lamp that the jug is seated")),
            ("scale", ("is engraved, so [the dishwasher|scouring] cannot rub it off", "counts in cups on one side and grandmother's ladles on the other", "starts at the very bottom, for [dressings|one portion]")),
        ),
        ("tamper", "travel beaker with lid", "brush for corners", "booklet of forty soups", "spare gasket", "sieve for almond milk"),
        ("people who freeze whatever the [garden|allotment] throws at them", "[parents|aunts] of picky eaters", "anyone who has burnt out two machines on chickpeas", "cooks who finish a sauce [at the last minute|with guests in the kitchen]"),
    ),
    "Headphones": Goods(
        (
            ("headband", ("was bent on two hundred heads before we settled [the curve|its curve]", "spreads the pressure [evenly|like a good hat]", "keeps its tension after a [winter|year] in the bag")),
            ("hinges", ("fold without that [cheap|plastic] click", "are screwed, never glued", "survived [ten thousand|a fortnight of] openings in a machine built for [doors|drawers]")),
            ("microphone", ("catches the voice and [drops|leaves] the street", "hears you at a bus stop in {town}", "mutes with a touch, [which|and that] saves marriages")),
            ("lower register", ("growls when a double bass [asks for it|comes in]", "stays tidy even on [old dub records|organ works]", "was voiced by {person}, who also tunes [pianos|church organs]")),
            ("voices", ("stand in the middle as if the singer had [a chair|a seat] there", "come forward, which helps with [audio plays|accents]", "keep their breath and [their|all] consonants")),
            ("cable", ("comes off at both ends and costs little to [replace|renew]", "is braided, so it does not [knot|tangle] in a coat pocket", "ends in the old round plug for [aeroplanes|organs and mixers]")),
            ("app", ("does three things and asks for no [account|birthday]", "remembers a curve for each [ear|listener]", "is optional; the [buttons|keys] do it all")),
        ),
        ("hard case", "adapter for aircraft seats", "cable in braided cotton", "spare set of cushions", "small bag for the cable", "card with care tips"),
        ("listeners who know the [second|slow] movement by heart", "[colleagues|neighbours] with different ideas of music", "anyone who edits [interviews|birdsong]", "commuters who change trains [twice|in {town}]"),
    ),
    "Office Chairs": Goods(
        (
            ("backrest", ("follows you when you [reach for the phone|lean aside]", "gives in the upper third and holds [lower down|where it counts]", "locks in five places or swings [freely|without a catch]")),
            ("castors", ("roll on [boards|parquet] without leaving a trace", "brake by themselves once nobody [sits|is] there", "come in two hardnesses, [marked by colour|grey and black]")),
            ("gas spring", ("lifts in one [stroke|breath] without hissing", "was tested in {town} for as long as a [civil servant|teacher] works", "answers to a lever that [left-handers|both hands] can find")),
            ("seat edge", ("falls away in front so that [the legs|calves] do not go numb", "is rounded like a [river stone|bread roll]", "moves forward by a hand's breadth")),
            ("frame", ("creaks [neither|not] in July nor in January, we listened", "is welded in {town} by people who [sit on it|own one] themselves", "comes in two pieces through any [door|stairwell]")),
            ("head support", ("turns away for those who wear [a bun|a ponytail]", "can stay in the box", "tilts when you [look at the ceiling|think]")),
            ("lever", ("is where the hand falls [anyway|by itself]", "shows by a groove what it [does|moves]", "needs [two fingers|no force]")),
        ),
        ("hex key with a proper handle", "set of hard castors", "cushion for the small of the back", "bag of spare bolts", "poster with six stretches", "sheet of felt pads"),
        ("translators, [coders|clerks] and other long sitters", "people whose last one squeaked through every [call|meeting]", "anyone who shares a desk with a [taller|shorter] person", "[tutors|editors] on deadline"),
    ),
    "Vacuum Cleaners": Goods(
        (
            ("hose", ("turns in its socket and does not [kink|strangle itself]", "reaches the [cobwebs|lampshade] from the floor", "is lined, so that [gravel|cat litter] rattles less")),
            ("wand", ("slides out with the [thumb|foot] and stays there", "stands by itself, against the [wall|door]", "was shaped for [tall|both tall and short] people")),
            ("crevice tool", ("rides along on the handle and is never [lost|mislaid]", "gets behind [radiators|drawers] and into [car seats|piano keys]", "has a brush that swings out")),
            ("front lamp", ("shows what [lives|gathers] under the bed", "finds lost [earrings|screws] before the motor does", "sees around corners, [nearly|almost]")),
            ("latch", ("opens over the [dustpan|rubbish] and not before", "works with [gloves|one hand full]", "shuts with a sound you will [know|trust]")),
            ("wheels", ("climb [thresholds|carpet edges] without being asked", "leave old [boards|tiles] in peace", "are as big as [saucers|biscuits] for a reason")),
            ("exhaust", ("blows upward and not into the [fluff|corner]", "passes [two more layers|a fleece] before it meets your nose", "smells of nothing, says {person}, who has [a nose|opinions]")),
        ),
        ("crevice tool", "upholstery brush", "second filter", "bracket for the wall", "comb for the brush", "holder for accessories"),
        ("owners of [moulting|shaggy] dogs", "homes with a [sandpit|stove]", "anyone who clears up after [carpenters|toddlers]", "people on the third floor without a lift"),
    ),
    "Electric Kettles": Goods(
        (
            ("handle", ("stays cool while the rest [sings|steams]", "balances a full pot over a small [cup|teapot]", "leaves room for [four fingers|a mitten]")),
            ("spout", ("pours [like a swan's neck|in a thin arc] and stops dead", "hits the filter paper and not the [tray|table]", "has a sieve that comes off for [lime|scale]")),
            ("switch", ("springs back with a small [bow|click]", "glows in the dark, no more than [a star|needed]", "can be read by touch")),
            ("water window", ("counts in mugs because that is how [people|we] drink", "is where you look [anyway|first]", "starts at one cup, for [the thrifty|late nights]")),
            ("base", ("takes the pot from any [side|direction]", "winds its lead beneath itself", "has feet that do not [wander|slide] on wet slate")),
            ("sensor", ("notices when there is [nothing|no water] inside and gives up", "cuts out at a rolling boil, [even|also] in the mountains", "was borrowed from [laboratory|brewery] equipment")),
            ("bottom", ("is flat, so lime comes off with [vinegar|lemon]", "hides its coil", "does not trap the last [drop|sip]")),
        ),
        ("lime filter", "descaling sachet", "silicone mat", "measuring spoon for tea", "card with steeping times", "spare filter"),
        ("households that drink [green|black] tea by the litre", "[nurses|bakers] who rise at four", "anyone with a {town} tap that leaves [scale|chalk]", "the aunt who [fills|refills] hot water bottles"),
    ),
    "Backpacks": Goods(
        (
            ("straps", ("are cut in a curve that spares the [collarbone|armpits]", "slide without [slipping|creeping] on a wool coat", "carry a loop for [sunglasses|a carabiner]")),
            ("back panel", ("lets air [through|pass] in two channels", "keeps a [thermos|laptop] from poking your spine", "dries before the [coffee|soup] is finished")),
            ("front pocket", ("swallows [keys, tickets and a plum|a map and gloves]", "has a hook for the [house key|headlamp]", "opens with the pack still [on|shouldered]")),
            ("sleeve inside", ("holds a [tablet|notebook] off the ground when you drop the bag", "is lined with something [soft|fleecy]", "doubles as a place for a [water bladder|folder]")),
            ("seams", ("are taped where rain [collects|runs]", "were sewn with [sail|tent] thread", "run away from the wear, says {person} of the workshop in {town}")),
            ("bottle holders", ("take a wide [flask|bottle] and give it back", "stretch and [forget|recover]", "can be reached while walking")),
            ("chest strap", ("has a whistle [nobody|hardly anyone] hopes to need", "moves up and down on a rail", "closes by [magnet|feel] in the dark")),
        ),
        ("rain hood", "key leash", "packing cube", "removable hip belt", "name tag", "laundry bag"),
        ("walkers who leave the [car park|station] before dawn", "students with a [cello lesson|lab] after school", "people who carry [bread|library books] home by bike", "anyone whose shoulders ache on Fridays"),
    ),
    "Desk Lamps": Goods(
        (
            ("arm", ("stays where [you put it|it was left], without a screw to tighten", "moves with [one finger|the back of a hand]", "has springs you can see, because [we like them|they are pretty]")),
            ("shade", ("throws no glare into the [neighbour's|other person's] eyes", "is spun from one sheet in {town}", "turns all the way round for [indirect|ceiling] light")),
            ("touch strip", ("dims in [a sweep|one long stroke]", "remembers the last evening", "forgives [inky|floury] fingers")),
            ("tone of light", ("shifts from [candle|amber] to [noon|north sky]", "shows [threads|watercolours] as they are", "flatters [wood|faces], which was not planned")),
            ("timer", ("goes out after you have [dozed off|left]", "counts twenty-five minutes for [the disciplined|studying]", "can be ignored")),
            ("joints", ("are [brass|turned] and meant to be oiled once in a [decade|while]", "click at useful angles", "hide the wire completely")),
            ("lead", ("leaves at the back, where [nobody|no one] looks", "is wrapped in cloth", "has its switch where the hand [rests|lies]")),
        ),
        ("cloth sleeve for the lead", "spare fuse", "felt underlay", "tool for the joints", "dust brush", "magnet for notes"),
        ("[engravers|knitters] and other near-sighted people", "readers who share a bedroom", "anyone who [solders|paints figures] after supper", "desks beneath a [sloping|low] roof"),
    ),
    "Portable Chargers": Goods(
        (
            ("gauge", ("counts in single per cent and not in [four|vague] dots", "wakes when you [lift|shake] it", "tells the truth in [frost|winter], we froze it")),
            ("cells", ("come from a batch that was cycled [for a year|six hundred times]", "carry the date on which they were [born|made]", "are the kind that [ambulances|cameras] use")),
            ("edges", ("are rounded for [trouser|coat] pockets", "took three [drawings|moulds] to get right", "do not quarrel with a phone in the same bag")),
            ("sockets", ("feed two devices at a time without [sulking|a quarrel]", "are numbered, so you know which is [first|quick]", "keep sand out behind a flap")),
            ("loop", ("takes a [carabiner|lanyard]", "was tested with a [toddler|dog]", "is sewn, not [clipped|glued]")),
            ("protection", ("stops at full and says [so|good night]", "shuts down when the sun has [cooked|warmed] it", "knows small loads such as [earbuds|watches] and stays awake")),
            ("torch", ("finds the [keyhole|tent peg]", "blinks for help, which {person} [insisted on|wanted]", "runs for nights")),
        ),
        ("short lead", "felt pouch", "wrist loop", "adapter", "sticker for the owner's name", "rubber cap"),
        ("cyclists who navigate by [phone|screen]", "delegates from {town} and elsewhere", "anyone who films [weddings|concerts] on a telephone", "grandparents on a [cruise|coach tour]"),
    ),
    "Running Shoes": Goods(
        (
            ("tongue", ("is sewn on one side and [stays|sits] put", "keeps grit out on [gravel|towpaths]", "is thin where the knot presses")),
            ("heel counter", ("holds without [rubbing|biting], even barefoot", "has a tab to pull with [wet|cold] hands", "was lowered after {person} complained of [blisters|tendons]")),
            ("tread", ("bites into [clay|leaves] and drops the mud", "runs out in little [arrows|chevrons]", "comes from a tyre maker in {town}")),
            ("toe box", ("gives five toes a [room|home] each, nearly", "swells with the foot in [August|the last hour]", "is stitched, so that roots do not [peel|open] it")),
            ("midsole", ("was poured in two [layers|halves] that do not part", "springs [forward|on] rather than up", "keeps its manners in [frost|February]")),
            ("reflectors", ("light up from all [sides|quarters] under a headlamp", "look like [a pattern|piping] by day", "survive the washing machine")),
            ("insole", ("comes out for [drying|orthotics]", "is perforated where [runners|feet] sweat", "smells of nothing, for [weeks|a month] at least")),
        ),
        ("second pair of fasteners", "shoe bag", "wear chart", "card on lacing", "pair of cork insoles", "mud brush"),
        ("runners coming back after [an injury|a long winter]", "people who run to [work|the bakery]", "clubs that meet at the {town} [track|bridge]", "those who count [lamp posts|breaths] rather than minutes"),
    ),
    "Coffee Makers": Goods(
        (
            ("drip stop", ("lets you [steal|take] a cup halfway through", "holds back the last [drop|tear]", "comes apart for rinsing")),
            ("shower head", ("wets the grounds [to the rim|all over] before it pours", "spreads like [rain|a watering can]", "was copied from a cafe in {town}")),
            ("tank", ("lifts off by a handle and fits under a low [tap|faucet]", "shows its level from [two|both] sides", "has no corners for [slime|limescale] to hide in")),
            ("warming plate", ("goes off before the brew turns [bitter|sour]", "is enamelled like a [bath|old stove]", "takes a cold milk jug too")),
            ("timer", ("starts before [you|the alarm] do", "forgets nothing in a power cut", "is set with a wheel, not by [riddles|menus]")),
            ("grounds drawer", ("empties with a [knock|tap]", "can go into the compost, [papers|lid] and all", "slides on rails")),
            ("programme for lime", ("asks for [citric acid|vinegar] after a hundred pots", "runs while you [shower|read]", "talks you through [it|everything] in plain words")),
        ),
        ("measuring spoon", "descaler", "cleaning brush", "card with four recipes", "bean jar", "spare seal"),
        ("[shops|garages] that keep a pot going all day", "people who will not [speak|move] before the second cup", "guest houses around {town}", "anyone who [grinds|roasts] their own"),
    ),
    "Air Purifiers": Goods(
        (
            ("inlet", ("draws from all round, so it may stand [close|near] to a wall", "has a fleece that catches [lint|hair] first", "comes off and goes under the [shower|tap]")),
            ("outlet", ("lifts the stream over the [cot|sofa]", "can be aimed like a [car vent|louvre]", "ruffles no [paper|curtains]")),
            ("display", ("goes dark at night, [all|entirely] dark", "shows particles as a number and [never|not] as a smiley", "can be read from the [bed|door]")),
            ("particle sensor", ("reacts to [toast|a match] within moments", "sits low, where children breathe", "was checked against a station in {town}")),
            ("filter door", ("opens without a tool and shows the [spare|order] number inside", "cannot be shut on a filter in the wrong way round", "seals with felt all [the way|around]")),
            ("base", ("rolls, brakes and [stays|stands]", "has a niche for the plug", "stands [firm|upright] when the dog leans on it")),
            ("night mode", ("breathes slowly and [watches|listens]", "learns when you [sleep|go to bed], without the internet", "can be set by a dial that [clicks|even guests understand]")),
        ),
        ("prefilter", "remote with a battery", "cover for the summer", "dust cloth", "sticker for the change date", "smoke test card"),
        ("[asthmatics|sneezers] and those who love them", "flats above a [bakery|busy road]", "people who fry [fish|chillies]", "those who dread the weeks when the [birches|grasses] bloom"),
    ),
    "Bluetooth Speakers": Goods(
        (
            ("grille", ("shrugs off [sun cream|beer]", "can be unscrewed and [washed|dyed]", "hides the driver like a [curtain|veil]")),
            ("handle", ("folds away and does not [rattle|buzz]", "hangs from a [branch|shower rail]", "is wide enough for a [winter glove|child's arm]")),
            ("passive radiators", ("move air at the [ends|sides] and make plates dance", "were weighed on a [letter|jeweller's] scale", "save the shape from being a [box|brick]")),
            ("keys", ("are raised, so [thumbs|blind people] find them", "do not beep", "skip, pause and [shut up|answer the phone]")),
            ("middle tones", ("carry a speaking voice across a [workshop|lawn]", "belong to [guitars|accordions]", "were set by ear in a kitchen in {town}")),
            ("pairing", ("takes [a moment|one press] and no code", "joins two of them into left and right", "lets a friend [in|take over] without a fuss")),
            ("stopper", ("keeps out [surf|flour]", "is tethered, so it cannot [vanish|roll away]", "opens with a coin")),
        ),
        ("strap", "round plug cable", "dry bag", "stand for shelves", "felt ring", "picture guide"),
        ("[bathers|rowers] and other wet people", "fitters who work to [polka|hard rock]", "aunts who [waltz|iron] to the radio", "terraces in {town} where the neighbours are kind"),
    ),
    "Tents": Goods(
        (
            ("guy lines", ("glow in the [torch|headlamp] beam", "tighten with a slider that [works|obeys] when wet", "are long enough for [sand|scree]")),
            ("vents", ("open from inside, [lying down|without leaving the bag]", "keep the morning [dry|dew off the socks]", "have nets too fine for [midges|gnats]")),
            ("groundsheet", ("rises at the sides like a [tub|tray]", "shrugs at [pine needles|thistles]", "can be hosed down")),
            ("porch", ("swallows two [rucksacks|pairs of boots] and a wet dog", "rolls up to the left or [right|not at all]", "makes a kitchen when it [pours|drizzles]")),
            ("clips", ("go on with mittens", "are coded so that [nobody|no one] argues", "snap [home|shut] and stay")),
            ("pockets", ("hang where [spectacles|glasses] want to be", "run along the [ridge|foot end]", "have a window for a [lamp|phone]")),
            ("sack", ("is cut generously, so everything goes back [in|inside] on a cold morning", "has [straps|webbing] that squeeze", "carries the instructions printed [inside|on itself]")),
        ),
        ("set of repair patches", "bag of pegs for hard ground", "tent lamp hook", "footprint", "spare guy line", "mallet"),
        ("couples who argue about [poles|corners]", "[scouts|anglers] and [botanists|beekeepers]", "people who [wake|rise] with the cranes near {town}", "those who would rather be out in [drizzle|November]"),
    ),
    "Monitors": Goods(
        (
            ("bezel", ("is no wider than a [pencil|shoelace]", "carries no [logo|lamp] in front", "lets two of them stand side by side like [one|a window]")),
            ("menu stick", ("sits at the back, where [one finger|the hand] finds it", "needs two moves for [anything|everything]", "can be locked against [cats|colleagues]")),
            ("coating", ("eats [reflections|window crosses] without making things grainy", "forgives [fingers|a sneeze]", "was tested in a glasshouse in {town}")),
            ("factory calibration", ("comes as a printed sheet with [a signature|{person}'s initials]", "agrees with [paper|proofs]", "holds for [years|a long time]")),
            ("back", ("is as tidy as the front, for [receptions|open rooms]", "guides leads through one [hole|hook]", "takes an arm of the usual pattern")),
            ("night setting", ("warms the white until it looks like [paper|a page]", "starts with the sunset", "is gone with one [press|key]")),
            ("hub", ("saves reaching [behind|beneath] the desk", "charges a [keyboard|headset] too", "switches between two computers with [a double tap|one key]")),
        ),
        ("calibration sheet", "second video lead", "screw set", "dust cover", "cable clip", "cloth"),
        ("retouchers who [argue|fight] about greys", "traders and [gamers|chess players]", "anyone with [eleven|forty] tabs", "students who share a table in {town}"),
    ),
}
