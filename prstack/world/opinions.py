"""What reviewers call a product: words per attribute, said and heard.

A word belongs to one attribute and is praise or blame. `hear_opinions` reads words anywhere in a text; a negation
in the three words before one turns it round ("not exactly quiet"). Attributes without words of their own are praised and
blamed by name ("happy with the zipper").
"""

from __future__ import annotations

import random
import re

OPINIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "noise level": (("quiet", "hushed"), ("loud", "noisy")),
    "weight": (("lightweight", "featherlight"), ("heavy", "hefty")),
    "battery life": (("long-lasting", "tireless"), ("short-lived", "quickly drained")),
    "power": (("powerful", "muscular"), ("underpowered", "feeble")),
    "output power": (("potent", "high-output"), ("weakly-powered", "low-output")),
    "power use": (("frugal", "thrifty"), ("power-hungry", "wasteful")),
    "capacity": (("roomy", "spacious"), ("cramped", "undersized")),
    "battery capacity": (("high-capacity", "generous"), ("low-capacity", "stingy")),
    "tank capacity": (("large-tanked", "seldom refilled"), ("small-tanked", "always empty")),
    "charging time": (("fast-charging", "quick to charge"), ("slow-charging", "slow to charge")),
    "boiling time": (("fast-boiling", "speedy"), ("slow-boiling", "sluggish")),
    "brew time": (("fast-brewing", "prompt"), ("slow-brewing", "tardy")),
    "brightness": (("bright", "luminous"), ("dim", "gloomy")),
    "run time": (("enduring", "persistent"), ("quickly empty", "soon flat")),
    "suction": (("strong-sucking", "thorough"), ("weak-sucking", "superficial")),
    "noise reduction": (("isolating", "shielding"), ("leaky", "unshielded")),
    "load rating": (("sturdy", "rock-solid"), ("flimsy", "wobbly")),
    "warranty": (("well-covered", "long-guaranteed"), ("poorly covered", "barely guaranteed")),
    "assembly time": (("easy to assemble", "quickly built"), ("tedious to assemble", "slowly built")),
    "setup time": (("easy to pitch", "quick to set up"), ("awkward to pitch", "slow to set up")),
    "water resistance": (("watertight", "rainproof"), ("leaking", "soaked")),
    "floor area": (("airy", "palatial"), ("poky", "claustrophobic")),
    "cushioning": (("cushioned", "plush"), ("hard-soled", "jarring")),
    "durability": (("durable", "hard-wearing"), ("fragile", "worn out early")),
    "heel drop": (("flat-soled", "barefoot-like"), ("steep-soled", "high-heeled")),
    "pressure": (("crema-rich", "full-bodied"), ("watery", "thin-bodied")),
    "clean air rate": (("fast-clearing", "air-scrubbing"), ("slow-clearing", "stale")),
    "filter life": (("long-filtered", "low-upkeep"), ("filter-hungry", "high-upkeep")),
    "range": (("far-reaching", "steady-connected"), ("short-ranged", "dropout-prone")),
    "refresh rate": (("smooth", "fluid"), ("choppy", "juddery")),
    "response time": (("snappy", "crisp-moving"), ("smeary", "ghosting")),
    "reach": (("long-armed", "wide-reaching"), ("short-armed", "stubby")),
    "cord length": (("long-corded", "far-plugging"), ("short-corded", "tethered")),
    "seat height": (("tall-seated", "high-sitting"), ("low-seated", "low-sitting")),
}
"""Attribute → (praise, blame)."""

PRAISE = ("Pleasantly {w}.", "I would call it {w}.", "It is {w}, just as I hoped.", "{W}, and I have tried a few.", "Everyone at home says it is {w}.")
BLAME = ("Sadly {w}.", "Far too {w} for me.", "It is {w}, whatever the page says.", "{W}, and I expected better.", "Turned out {w}.")
_NAMED = {
    True: ("Very happy with the {a}.", "I am happy with the {a}.", "Could not be more happy with the {a}."),
    False: ("Quite disappointed by the {a}.", "I was disappointed by the {a}.", "Left disappointed by the {a}."),
}
_MEANS = {w: (a, good) for a, pair in OPINIONS.items() for good, words in zip((True, False), pair, strict=True) for w in words}
_WORD = re.compile(r"(?<![\w-])(" + "|".join(re.escape(w) for w in sorted(_MEANS, key=len, reverse=True)) + r")(?![\w-])", re.I)
_BY_NAME = re.compile(r"\b(happy with|disappointed by) the ([^.,;:!?\"]{1,60})", re.I)
_NEGATION = re.compile(r"\b(?:not|never|hardly|isn't|wasn't|aren't|no longer|far from|anything but)(?:\s+[\w-]+){0,2}\s*$", re.I)


def opinion(attribute: str, good: bool, rng: random.Random) -> str:
    """A sentence of a review that praises or blames an attribute."""
    words = OPINIONS.get(attribute.casefold())
    if words is None:
        return rng.choice(_NAMED[good]).format(a=attribute)
    word = rng.choice(words[0 if good else 1])
    return rng.choice(PRAISE if good else BLAME).format(w=word, W=word[0].upper() + word[1:])


def hear_opinions(text: str) -> list[tuple[str, str, bool]]:
    """(attribute, word, good) of every opinion in a text, in its order. For attributes praised by name, `word` is
    "happy with" or "disappointed by"."""
    text = text[:20_000].replace("’", "'")
    found = []
    for match in _WORD.finditer(text):
        attribute, good = _MEANS[match[1].lower()]
        if _NEGATION.search(text, max(0, match.start() - 40), match.start()):
            good = not good
        found.append((match.start(), (attribute, match[1].lower(), good)))
    for match in _BY_NAME.finditer(text):
        found.append((match.start(), (match[2].strip(), match[1].lower(), match[1].lower() == "happy with")))
    return [entry for _, entry in sorted(found)]


def opinion_of(word: str) -> tuple[str, bool] | None:
    """(attribute, good) that a single opinion word stands for, or None."""
    return _MEANS.get(word.strip().lower())


def praise_words(attribute: str) -> tuple[str, ...]:
    """The words that praise an attribute, the usual one first; empty for attributes praised by name."""
    return OPINIONS.get(attribute.casefold(), ((), ()))[0]


def leading_praise(text: str) -> str:
    """The word of praise with which a text begins, in lower case; empty when there is none."""
    match = _WORD.match(text)
    return match[1].lower() if match and _MEANS[match[1].lower()][1] else ""
