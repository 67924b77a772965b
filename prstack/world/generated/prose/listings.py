"""Descriptions of products: a few sentences of different kinds, in the voice of the brand.

A brand's voice is which kinds of sentences it likes and in which order, how it names its goods and how it addresses people; it
follows from the world's seed and the brand's name. A description takes three to six kinds and a template of each.
"""

from __future__ import annotations

import functools
import random

from prstack.types import Product
from prstack.world.generated.catalogue import Category
from prstack.world.generated.lines import Standing
from prstack.world.generated.prose.goods import GOODS
from prstack.world.generated.prose.grammar import expand, tidy
from prstack.world.generated.prose.words import (
    COUNTS,
    PEOPLE,
    ROOMS,
    SEASONS,
    THINGS,
    TOWNS,
    TRADES,
    VERDICTS,
)

OPENERS = (
    "[Meet|Here is|May we introduce] {it}[, our idea of a {verdict} companion|, made for {use}|, back after {season}|].",
    "{it} [began|started] as a [sketch|drawing] on a [napkin|train ticket|seed packet] [in|near] {town}.",
    "[If|Whenever|Should] {use} [fill|take up|eat] [a good part of|half] your [week|life], {it} [will not let you down|can help|might do].",
    "With {use} [in view|in mind], {person} [sat down|went back to the bench] and [drew|built] {it}.",
    "[Nobody|No one] [was waiting for|asked for] another {noun}[, we know|]; {people} [might|may] [think otherwise|be glad, though].",
    "{it}: {verdict}, {verdict2}, [made|meant] for {use}[ and {use2}|].",
    "[You will find|There are] [cleverer|showier|louder] things[ than this|]; {it} [simply|just] [works|gets on with it][, like {thing}|].",
    "What [would|do] {people} [want|ask for]? [Something like|Most likely|We think,] {it}.",
    "{use}, {use2}, [and now and then|sometimes even] {use3}: {it} [can cope|will do|takes all of it].",
    "[New hands|Other tools|A {trade} more], same [aim|idea]: a {verdict} {noun} {people} [would choose|can live with].",
    "[Designed|Assembled|Packed|Thought up] in {town}, [at work|loved|in use] [from there to {town}|in {count} countries].",
    "[A small|A {verdict}|A serious|An ordinary] {noun}[, you might say|, at first sight|], until you [get to|try it on|come to] {use}.",
    "The {series} [family|line|range] [has grown|was overdue for a change]: [this one|the {noun}] [leans towards|is about|turns to] {use}.",
    "{count} [winters|summers|years] of letters from {people} [went into|shaped|made] {it}.",
    "{person}, {trade} [in|from] {town}, [lent|gave] us [a hand|advice] with {it}.",
    "[Somewhere|Halfway] between {thing} and {thing} [stands|you will find] {it}.",
    "[Picture|Think of] {room}, {season}, and {it} [in the corner|within reach].",
    "[Once|Long ago], a {trade} [asked|begged] us for a {noun} that would [survive|endure] {use}.",
    "[Not|Hardly] [everybody|everyone] [needs|wants] {thing}. [But|Yet] {people}? [They|Those] [reach for|choose] {it}.",
    "[Tired of|Fed up with] [shouting adverts|empty promises|shiny toys]? {it} was [put together|made] by a {trade} and a {trade2}, [for {use}|no one else].",
    "[Forget|Never mind] {thing}: for {use} there is {it}.",
    "[Say hello to {it}|Welcome, {it}|Enter {it}][; goodbye, {thing}|].",
    "[Behind|Underneath] its {verdict} [looks|face|manner] {it} [hides|keeps] a {verdict2} [core|heart|mind].",
    "[One {noun}|Just one], {use}, {season}: [that was|there you have] the [brief|task|whole idea].",
    "[Sold|Offered|Known] since {season}, {it} [remains|is still|stays] {verdict}.",
)
USES = (
    "[Many|Some|Plenty] of [our customers|you] [write|tell us|report] that they [took|bought] it for {use} and [kept|ended up using] it for {use2}.",
    "It [goes well|gets along] with {use}[; {use2} will do as well|, less so with impatience|].",
    "[Take|Use] it for {use} [today|on weekdays] and {use2} [tomorrow|at the weekend].",
    "[Good|Fine|Right|{verdict}] for {use}[: {use2}, too|, in case you were wondering|, say {people}].",
    "[Whether|Be it] {use} or {use2}[, nothing has to be changed over|, the routine stays the same|, it does not sulk].",
    "{people} [praise|mention|like] it for {use}[ above all|, we hear|, and who are we to argue|].",
    "[Born|Bred|Drawn] for {use}, [not afraid of|happy with|tolerant of] {use2}.",
    "[Done with|After] {use}, it [vanishes|goes back|withdraws] into {room}.",
    "A {trade} [in|from] {town} [swears by it|uses hers|keeps two] for {use}.",
    "It [saw|got] [us|{person}|the {trade} next door] through {season}[ and {use}|].",
    "Put it in {room}[ for {use}|] and [forget|stop worrying] about it.",
    "[Suits|Fits] {room}, [suits|fits] {use}, [asks|begs] for {use2}.",
    "[During|Throughout] {season} {people} [used|borrowed|tried] it for {use}[, day after day|].",
    "[You could|One might] [keep|reserve] it for {use}. [Most|Few] [do|stop there].",
    "{use}[, says {person}|]; {use2}[, says the {trade}|]; [we agree|both are right].",
    "[Handed|Lent|Given] to a {trade} for {use}, it [came|found its way] home {verdict}.",
    "[Equally|Just as] {verdict} [in {room}|at {use}] [as|and] [in {town}|on {use2}].",
    "[Leave|Park] it in {room}; [fetch|grab] it for {use}.",
    "[Where|If] {thing} [fails|gives up], [{people} turn|turn] to it[, especially for {use}|].",
)
PARTS = (
    "The {part} {does}.",
    "Its {part} {does}.",
    "The {part} {does}[, and|, while|;] the {part2} {does2}.",
    "[We are fond of|Have a look at|Customers ask about|We redrew|Reviewers noticed|Do not overlook] the {part}, which {does}.",
    "[Small thing, but|Worth knowing:|We checked:|On top of that,|By the way,|As it should be,|According to a {trade},|After {season} we can say it:] the {part} {does}.",
    "[Two details|A pair of details|Two small things]: the {part} {does}, the {part2} {does2}.",
    "[Asked|Pressed] for a favourite, {person} [names|points at|picks] the {part}: {count} [tries|drafts|models], and now a {verdict} [solution|answer].",
    "A {trade} [told us how|explained why] the {part} [should|ought to] be {verdict}[, and so we did it|; we listened|].",
    "{count} prototypes of the {part} lie in {room} in {town}[; the last one {does}|].",
    "[Even|Also] the {part} [got|received|deserves] [attention|care|a paragraph]: [made|shaped] by a {trade}, {verdict} [to the end|throughout].",
    "[Why|How come] the {part} {does}? [Because|Since] {person} [would not let go|kept asking].",
    "[Before|Until] {season}, nobody [noticed|mentioned] that the {part} {does}.",
    "{part}, {part2}, [screws|seams|labels]: [everything|all] [chosen|checked] by [someone|people] who [would know|use it].",
    "[Turn it over|Look closer|Lift it up] and you [see|learn] how the {part} {does}.",
    "[Your {trade}|Any {trade}|Even {person}] [will notice|would confirm] that the {part} {does}.",
    "The {part}, {verdict} as {thing}, {does}.",
)
COLOURS = (
    "[Shown|Pictured|Photographed] in {colour}[, in {room} in {town}|].",
    "[This one|The listing here] is {colour}[, in soft evening light|, matt to the touch|, others are listed apart|].",
    "{colour} [suits|becomes] it[, we find|, opinions differ|, says {person}].",
    "[Comes|Ships|Leaves the works] in {colour}[; pictures on screens vary|, {verdict} next to {thing}|].",
    "The {colour} is [mixed|baked on|dyed] in {town}[ and does not fade in a shop window||].",
    "{colour}, a [shade|tone] that [reminds us of|goes with|was taken from] {thing}.",
    "{person} [picked|wanted|fought for] {colour}[ over {count} others|; nobody objected|].",
    "[Ordered|Wanted] most [often|of all] in {town}: {colour}.",
    "[Expect|You get] {colour}, [the {verdict} kind|not shiny|as on the photo].",
    "[In {colour} it|Being {colour}, it] [hides|forgives] [dust|fingerprints|{season}].",
    "[Finish|Surface|Colour card]: {colour}[, {verdict}|, {verdict} and {verdict2}|, number {count}].",
    "[Dressed|Clad|Painted] in {colour} [like|after] {thing}.",
    "[Think|Imagine] {thing}, [but|only] {colour}.",
)
BOXES = (
    "[In the box|You also get|Packed with it|Comes with]: {box} and {box2}.",
    "[Along with it|With it] you will find the {box}[, and the {box2}|].",
    "We [add|put in|throw in] a {box}[ because {people} asked|, free of charge|, an idea of {person}|].",
    "[No charger jungle|No plastic film|No foam|No ribbon], [just|only] [paper|card|straw], a {box} and a {box2}.",
    "[A|One] {box} lies [underneath|on top], [sometimes|mostly] with a {box2}.",
    "The box, {verdict} and {verdict2}, holds a {box}[ and, since {season}, a {box2}|].",
    "[Open|Unwrap] it and [find|there is|out comes] a {box}[; look deeper for the {box2}|].",
    "[Extras|Accessories|Included]: [one|a] {box}[, one {box2}|, nothing you would throw away|].",
    "[Do not|Never] [throw|toss] the [straw|paper] before you have [found|seen] the {box}.",
    "{person} [packs|folds in|tucks in] a {box}[ and a note|, on Fridays a {box2}|].",
    "[If|When] the {box} [gets lost|wears out], {brand} [sends|posts] [another|one] for [the stamp|nothing|{count} coins].",
    "The {box} [was|became] [part of it|standard] after {season}[, the {box2} later|].",
)
MAKERS = (
    "{brand} [answers|reads] [its own mail|every letter], [usually|mostly] within {count} days.",
    "[Spare parts|Screws, seals and such] [stay|are kept] in [stock|{town}|{room} in {town}] for {count} years[, promise|].",
    "[A repair|Mending it] [costs|comes to] less than a new one; ask for {person}.",
    "{brand} is {count} people [near|outside|in] {town}[, a cat|, {count2} apprentices|, and {thing}].",
    "[Returned|Second-hand] pieces are [overhauled|cleaned] in {town} and sold [as such|with a blue label|to schools].",
    "[The|Our] [manual|handbook] was written by {person}, who [has no patience for jargon|draws well|used to be a {trade}].",
    "[Questions|Doubts]? {person} [picks up|answers] the phone[ before noon|, even on Saturdays|, {season} excepted].",
    "[The works in|Our hall in] {town} [was once|used to be] {room2} of a {trade}.",
    "{person} [joined|left|came back to] {brand} as a {trade} and [checks|signs|packs] every [third|tenth|last] one.",
    "[Made|Built] where {thing} [means|counts for] something: {town}.",
    "[Guarantee cards|Receipts|Letters] go to {person}, {room} {count}, {town}.",
    "[Since|After] {season}, {brand} [employs|trains|listens to] a {trade}.",
    "[Visit|Drop by] the [works|factory shop] in {town}; [the {trade}|{person}] [makes coffee|shows you round|is glad of company].",
    "{brand} [measures|judges] itself by {thing}, [not|never] by [others|growth|awards].",
    "[No|Without] [hotline|chatbot|newsletter], [but|just] {person} and a {verdict} [manner|voice].",
    "[Profits|Offcuts|Old tools] go to [a school|the museum|apprentices] in {town}.",
)
CARE = (
    "[Wipe|Dust] it [now and then|once a month|after {season}] and [leave the rest to us|that is all].",
    "[Soap|Lukewarm water] [will do|is enough]; [solvents|scouring powder] would [not|spoil the surface].",
    "[Keep|Store] it [dry|upright|out of the sun|in {room}] [between seasons|when you travel], [to outlast|and it will outlast] [the fashion|your patience|{thing}].",
    "[A drop|One drop] of oil [each|every] [spring|autumn] [keeps|will keep] it [willing|young|{verdict}].",
    "[Children|Cats|Guests|Any {trade}] [may|can] [touch|handle] [everything|all of it][, within reason|].",
    "[Please|Do] [read|skim] page {count} [first|before you begin].",
    "Treat it like {thing}[: {count} minutes a month|, no better|] and it will stay {verdict}.",
    "[Avoid|Beware of] {thing}, {season} and [ammonia|steel wool]; [otherwise|apart from that] [relax|no rules].",
    "[Every|Once in] {count} [weeks|uses], [check|tighten|rinse] [what moves|the small parts][, as a {trade} would|].",
    "[It|This one] [asks for|needs] [little|almost nothing]: {room}, a [cloth|brush], {verdict} owners.",
    "[After|Following] {season}, [air|brush|shake] it [out|well].",
    "[Scratches|Marks] [tell|are] [stories|part of it]; {person} [sells|mixes] a paste [against|for] them.",
    "[Put|Write] your name [on|under] it: [{trade}s|{people}] [borrow|walk off with] [things|the good ones].",
)
TALES = (
    "[One|Ours] has [stood|lain|lived] in {room} [in|near] {town} since {season}.",
    "[A|The] {trade} [brought|sent] [hers|his] back after {count} years: {verdict}, [missing one screw|a little dusty|in need of nothing].",
    "{season} [taught us|showed|proved] what {people} [already knew|had told us]: {verdict} [lasts|wins|sells].",
    "[Opinions|Votes] at {brand} were split, {count} to {count2}; {thing} [decided it|tipped the scale].",
    "[In|From] {town} they call it [\"the {verdict} one\"|the {verdict} one]{tail}.",
    "[Compared with|Next to] {thing}, it [looks|seems] {verdict}; [next to|beside] {thing2}, {verdict2}.",
    "[Our|The] {trade} says {verdict}, {person} says {verdict2}[; we say both|. Judge for yourself|].",
    "[Rumour has it|They say] that {person} [swapped|traded] {thing} for one.",
    "{person} [dropped|forgot|left] [one|theirs] in {room}; {season} [later|passed], [it worked|all was well].",
    "[Ask|Write to] the {trade} [in|of] {town}, who [bought|owns] {count}.",
    "[A|One] {town} [newspaper|gazette|blog] [wrote|printed]: {verdict}, {verdict2}[, worth the wait|]. [We blushed|Thank you].",
    "[First|In] {town}, [then|later] {town}, now [your|every second] {room2}.",
    "[The prototype|Number one] [sits|is kept] beside {thing} in [the museum of {town}|{town}].",
    "[It|This] [lost|won] [a bet|a race|an argument] against {thing}[ in {town}|, narrowly|].",
)
SUCCESSORS = (
    "[It|This one] [replaces|follows|succeeds|takes over from] the {before}[, says the catalogue|, to the regret of a {trade}|, which {person} still uses|].",
    "[Successor|Heir|Younger sister] of the {before}[; {person} drew both|, out since {year}|].",
    "{year}: the {before} [leaves|makes room|retires], this one [comes|arrives|takes its peg].",
    "[In|Since] {year} it [stands|sits|hangs] where the {before} [stood|sat|hung][, in {room} in {town}|].",
    "[Owners|Friends] of the {before} [know the way around|will find their bearings][; {count} parts fit both|, ask for it|].",
    "[What|All that] the {before} [began|started], it [goes on with|continues][, {verdict} as ever|].",
)
PREDECESSORS = (
    "[There is|By now you also find|Ask {person} about] a [newer one|successor], the {after}.",
    "The {after} [has followed|came later|is its successor][; this one stays on sale|; {person} prefers this one|].",
    "[Replaced|Followed] by the {after}, [sold on|kept in the list] [for now|while it lasts|at the wish of a {trade}].",
)
_SUCCESSION = 0.7, 0.4
"""Share of the descriptions that name a product's predecessor, and its successor, where it has one."""
_ROOMS = tuple(f"{'an' if r[0] in 'aeiou' else 'a'} {r}" for r in ROOMS)
_KINDS = {"open": OPENERS, "use": USES, "part": PARTS, "part again": PARTS, "colour": COLOURS, "box": BOXES, "maker": MAKERS, "care": CARE, "tale": TALES}


@functools.lru_cache(512)
def _voice(seed: int, brand: str) -> tuple[list[str], str]:
    """The kinds of sentences a brand likes, dearest first, and how it speaks of its goods."""
    rng = random.Random(f"{seed}/voice/{brand}")
    likes = ["use", "part", "part again", "colour", "box", "maker", "care", "tale"]
    rng.shuffle(likes)
    return likes, rng.choice(("the {series}", "this {noun}", "our {series}", "the {series} {noun}", "{series}", "the little {noun}", "the {brand}"))


def describe(seed: int, category: Category, p: Product, colour: str, rng: random.Random) -> list[str]:
    """The sentences of a product's description."""
    likes, it = _voice(seed, p.brand)
    kinds = likes[: rng.choice((3, 4, 4, 5))] if rng.random() < 0.75 else rng.sample(likes, 4)
    if rng.random() < 0.3:
        rng.shuffle(kinds)
    if rng.random() < 0.8:
        kinds = ["open", *kinds]
    goods = GOODS[category.name]
    parts = rng.sample(goods.parts, 4)
    use, use2, use3 = rng.sample(category.uses, 3)
    box, box2 = rng.sample(goods.box, 2)
    verdict, verdict2 = rng.sample(VERDICTS, 2)
    given = {
        "noun": category.noun.lower(), "series": p.title.split()[1], "brand": p.brand, "colour": colour, "town": TOWNS, "person": PEOPLE, "trade": TRADES, "trade2": TRADES, "season": SEASONS, "thing": THINGS, "thing2": THINGS, "count": COUNTS, "count2": COUNTS, "use": use, "use2": use2, "use3": use3,
        "box": box, "box2": box2, "room": _ROOMS, "room2": ROOMS, "verdict": verdict, "verdict2": verdict2, "tail": ("", ", fondly", ", we are told"),
    }  # fmt: skip
    given["it"] = expand(it, rng, given)
    given["it"] = it.format(**{k: v for k, v in given.items() if isinstance(v, str)})
    given["people"] = expand(rng.choice(goods.people), rng, given)
    given["people"] = given["people"][0].lower() + given["people"][1:]
    out = []
    for kind in kinds:
        if kind.startswith("part"):
            for n, (part, does) in enumerate(parts[2:] if kind == "part again" else parts[:2], 1):
                given[f"part{n if n > 1 else ''}"] = part
                told = expand(rng.choice(does), rng, given)
                given[f"does{n if n > 1 else ''}"] = told[0].lower() + told[1:]
        out.append(tidy(expand(rng.choice(_KINDS[kind]), rng, given)))
    return out


def succession(standing: Standing, rng: random.Random) -> list[str]:
    """What a description says of the generations before and after."""
    given = {"town": TOWNS, "person": PEOPLE, "trade": TRADES, "room": _ROOMS, "count": COUNTS, "verdict": VERDICTS}
    given |= {"before": standing.before, "after": standing.after, "year": str(standing.year)}
    told = ((standing.before, SUCCESSORS, _SUCCESSION[0]), (standing.after, PREDECESSORS, _SUCCESSION[1]))
    return [tidy(expand(rng.choice(templates), rng, given)) for name, templates, share in told if name and rng.random() < share]
