"""Reviews: an opinion on an attribute or two, said by someone to whom something happened.

What a review says of attributes is given; everything around it is free of words of praise and blame
(`prstack.world.opinions`), so that `hear_opinions` hears what was meant and nothing else.
"""

from __future__ import annotations

import random

from prstack.world.generated.catalogue import Category
from prstack.world.generated.prose.goods import GOODS
from prstack.world.generated.prose.grammar import expand, tidy
from prstack.world.generated.prose.words import COUNTS, PEOPLE, ROOMS, SEASONS, THINGS, TOWNS, TRADES
from prstack.world.opinions import OPINIONS, opinion

LENGTH = 250
"""Longest review, in characters; a product's page shows it whole."""
PRAISE = (
    "[Pleasantly|Really|Surprisingly|Wonderfully|Properly] {w}[, and I am hard to please|, says my {kin}|].",
    "I would call it {w}[, and so would my {kin}|, after {season}|].",
    "It is {w}, [just as I hoped|as the {trade} promised|thank goodness|and my {kin} agrees].",
    "{w}, [and I have tried a few|which was the point|more than {thing}].",
    "[Everyone at home|My {kin}|The {trade} next door|Half the street] [says|finds|swears] it is {w}.",
    "[What a|Such a] {w} {noun}[, my {kin} keeps saying|].",
    "So {w} that my {kin} [bought|ordered|wants] one[ too|].",
    "[Compared with|Next to|After] my old one it [feels|seems|is] {w}.",
    "[Came for the colour, stayed because it is|Bought on a whim, kept for being|Its best side: it is] {w}.",
    "[Truly|Honestly|In one word:] {w}[, full stop|, and I mean it|].",
    "[The box does not say it, but it is|I had doubts, yet it turned out] {w}.",
    "[For|In] {room} it is [exactly|plenty] {w} [as it should be|enough].",
)
BLAME = (
    "[Sadly|Annoyingly|Unfortunately|Alas,|In the end] {w}[, says my {kin}|, and I did give it time|].",
    "Far too {w} for [me|my {kin}|{room}|us].",
    "It is {w}, [whatever the page says|and that spoils it|I cannot recommend that|as my {kin} noticed at once].",
    "{w}, [and I expected better|which the advert forgot|what a pity|that is my whole complaint].",
    "[Turned out|Proved] {w}[ within a week|, to the horror of my {kin}|, like my last one|].",
    "[What a|Such a] {w} {noun}[, my {kin} groans|].",
    "So {w} that [my {kin} laughed|it went into {room}|I asked for my money].",
    "[Compared with|Next to|After] my old one it [feels|seems|is] {w}, [alas|sorry to say|a step back].",
    "[Nice colour, but|Fair price, though|The {trade} warned me:] {w}.",
    "[Honestly|To be frank|In one word:] {w}[, full stop|, I am cross|].",
    "[Nobody told me how|I had been warned how] {w} it is.",
    "[Even|Already] in {room} it [seems|comes across as] {w}.",
)
AROUND = (
    "[Arrived|Came|Landed here] [in|within|after] {count} days.",
    "[The|Its] box [was a little dented|had been opened|smelt of {thing2}], [contents fine|no harm done|the rest was untouched].",
    "[Bought|Got] it [as a present|for {room}|for my {kin}|from the outlet in {town}].",
    "I have had it [for a month now|since {season}|{count} weeks].",
    "[Setting it up|The start] was explained well[, by {person} of all people|].",
    "The colour is as in the pictures[, my {kin} says|].",
    "My {kin} has the same one[, in another colour|].",
    "[A|Some] {trade} [in|from] {town} [told me about|recommended] it.",
    "We [use|used] it for {use}[ and little else|, {count} times a month|].",
    "[Ordered|Paid for] {count}, [kept one|got one, then the rest].",
    "[Survived|Has seen] {season}[ with us|].",
    "The {part} [took some getting used to|is my favourite detail|squeaks now and then|could be nicer|is as described].",
    "[It|Ours] lives in {room}[ now|, next to {thing}|].",
    "[Delivery|The parcel] [took|needed] {count} days[, via {town}|].",
    "[Customer service|A certain {person}] [answered|wrote back] [the same day|after {count} days].",
    "[Writing this|Edited] after {season}.",
    "[My {kin}|The {trade}] [read|laughed at] the manual, I did not.",
    "[Not my first|My fourth|By now my tenth] order [here|of this kind].",
    "[Photographs|Pictures] to follow[ once {season} is over|].",
    "[Third|Second|First] {noun} in {count} years.",
)
KIN = (
    "sister", "brother-in-law", "flatmate", "mother", "uncle", "daughter", "neighbour", "landlady", "partner", "grandson", "colleague", "aunt", "boss", "godmother", "lodger", "cousin", "husband", "wife", "niece", "stepson",
)  # fmt: skip
_ROOMS = tuple(f"our {r}" for r in ROOMS)


def opinion_on(attribute: str, good: bool, noun: str, rng: random.Random) -> str:
    """A sentence that praises or blames an attribute."""
    words = OPINIONS.get(attribute)
    if words is None:
        return opinion(attribute, good, rng)
    given = _given(noun, rng) | {"w": words[0 if good else 1]}
    return tidy(expand(rng.choice(PRAISE if good else BLAME), rng, given))


def review(category: Category, opinions: list[tuple[str, bool]], statements: list[str], rng: random.Random) -> str:
    """A review that holds these opinions (attribute, good) and statements, and something around them where there is room."""
    noun = category.noun.lower()
    said = [*statements, *(opinion_on(a, good, noun, rng) for a, good in opinions)]
    rng.shuffle(said)
    given = _given(noun, rng) | {"use": category.uses, "part": GOODS[category.name].parts[rng.randrange(len(GOODS[category.name].parts))][0]}
    for template in rng.sample(AROUND, rng.choice((0, 1, 1, 2, 2, 3)) if said else 2):
        more = tidy(expand(template, rng, given))
        if len(" ".join([*said, more])) <= LENGTH:
            said.insert(rng.randrange(len(said) + 1), more)
    return " ".join(said)


def _given(noun: str, rng: random.Random) -> dict:
    return {"noun": noun, "kin": KIN, "season": SEASONS, "trade": TRADES, "thing": THINGS, "thing2": ("smoke", "oranges", "paint", "the van"), "room": _ROOMS, "town": TOWNS, "person": PEOPLE, "count": COUNTS}
