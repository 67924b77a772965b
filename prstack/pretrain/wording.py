"""Needs in many people's words: the breadth of wording that a base model learns before it is taught a task.

Each template says one constraint. None is a template of synthesis (`prstack.world.language.SAID`) or of evaluation
(`prstack.evaluation.phrasing.HELD_OUT`); tests hold it so. `plain` is the canonical short form that exercises translate to.
"""

from __future__ import annotations

import random
import re

from prstack.types import Constraint
from prstack.world.limits import amount, limit

WHO = ("I", "we", "my brother", "our office", "the two of us", "a neighbour", "the children", "my parents")
WISHES = ("would like", "could use", "must get", "might order", "will soon need", "thought of", "asked for", "went out for", "dreamed of", "ran out of", "had hoped for", "should replace the old")
TASKS = ("choose", "pick", "suggest", "list", "name", "order", "fetch", "get", "check", "compare", "go through", "look up", "look into", "have an eye on", "see about", "sort out")
# {a} attribute, {n} number with unit, {v} value, {m} money, {c} category
WORDINGS: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "<="): (
        "{a} up to {n}",
        "a {a} not above {n}",
        "not more than {n} of {a}",
        "its {a} may go up to {n}",
        "anything over {n} of {a} is too much",
        "{n} is the upper limit for the {a}",
        "a maximum {a} of {n}",
        "maximum {n} for its {a}",
        "with {n} of {a} at the very most",
        "keep the {a} within {n}",
        "the {a} cannot go past {n}",
        "if the {a} is higher than {n} it is not for us",
        "{a} max {n}",
        "less {a} is better, and {n} is as far as I go",
        "no higher than {n}, the {a}",
        "we stay under {n} where the {a} is concerned",
        "{n} of {a} and not a bit more",
        "{a} of {n} tops",
        "as for {a}, {n} is plenty",
        "{n} or lower, that is the {a} I can live with",
        "I refuse any {a} past {n}",
        "{a}? {n}, no further",
        "there is a limit of {n} on the {a}",
        "a {a} capped at {n}",
        "{a} <= {n}",
        "the {a} may reach {n} but not pass it",
        "over {n} the {a} would spoil it",
    ),
    ("", ">="): (
        "{a} from {n} up",
        "a {a} not below {n}",
        "not less than {n} of {a}",
        "its {a} should start at {n}",
        "anything under {n} of {a} is too little",
        "{n} is the lower limit for the {a}",
        "a minimum {a} of {n}",
        "minimum {n} for its {a}",
        "with {n} of {a} at the very least",
        "the {a} needs {n} or better",
        "the {a} cannot stay under {n}",
        "if the {a} is lower than {n} it is not for us",
        "{a} min {n}",
        "more {a} is better, and {n} is where I begin",
        "no lower than {n}, the {a}",
        "we need at least {n} where the {a} is concerned",
        "{n} of {a} and not a bit less",
        "{a} of {n} or beyond",
        "as for {a}, {n} is where it starts",
        "{n} or higher, that is the {a} I can live with",
        "I refuse any {a} short of {n}",
        "{a}? {n}, no shorter",
        "there is a floor of {n} on the {a}",
        "a {a} starting at {n}",
        "{a} >= {n}",
        "the {a} may pass {n} but has to get there",
        "below {n} the {a} would spoil it",
    ),
    ("", "="): (
        "with {v} as its {a}",
        "only {v} will do for the {a}",
        "{a}: {v} and nothing else",
        "when it comes to the {a}, we always choose {v}",
        "my preference for the {a} is {v}",
        "it needs {v} for its {a}",
        "we prefer {v} where the {a} is concerned",
        "I would like {v}, speaking of the {a}",
        "the right {a} for me is {v}",
        "in {a} I trust {v}",
        "its {a} of {v}",
        "{v} is the {a} for us",
        "go for {v} as its {a}",
        "the {a}, that is {v}",
        "I only look at {v} for its {a}",
    ),
    ("", "!="): (
        "anything but {v} for its {a}",
        "the {a} may be whatever it is except {v}",
        "when it comes to the {a}, no {v} please",
        "I cannot stand {v} as its {a}",
        "keep away from {v} for its {a}",
        "never {v} again where the {a} is concerned",
        "a {a} other than {v}",
        "we avoid {v}, speaking of the {a}",
        "{v} cannot be the {a}",
        "the wrong {a} for me is {v}",
        "no {a} of {v}",
        "{a} not {v}",
        "drop whatever has {v} for its {a}",
        "{v} as its {a} makes me ill",
        "{a}: all but {v}",
    ),
    ("price", "<="): (
        "not a cent above {m}",
        "{m} is all I have",
        "for {m} or less",
        "let it stay below {m}",
        "maximum price {m}",
        "at most {m} in all",
        "I have put {m} aside",
        "my limit is {m}",
        "we can go as far as {m}",
        "max {m}",
        "{m} tops",
        "{m}, that is it",
        "with {m} at hand",
        "capped at {m}",
        "spending more than {m} is out",
        "cheap enough means {m}",
        "{m} in my pocket",
        "the purse holds {m}",
    ),
    ("category", "="): (
        "any ideas for {c}?",
        "which {c} should one get?",
        "{c} wanted",
        "can you suggest {c}?",
        "I am after {c}",
        "time for {c}",
        "help with choosing {c}",
        "we talk about {c} today",
        "could someone name good {c}?",
        *(f"{who} {does} {{c}}" for who in WHO for does in WISHES),
        *(f"{please}{do} {{c}}{whom}" for please in ("", "please ", "kindly ") for do in TASKS for whom in ("", " for me", " for us")),
    ),
}
"""(attribute, op) → templates; the empty attribute is any other."""

OPENINGS = (
    "Hello everyone.",
    "Short question.",
    "Good evening.",
    "We have moved, and something is missing.",
    "The last one broke.",
    "I have read so much that I know nothing any more.",
    "My sister asked me, and I pass it on.",
    "It is for a present.",
    "Nothing fancy.",
    "Thanks in advance.",
    "We are five at home.",
    "Summer is coming.",
    "After long thought I have made up my mind.",
    "This is urgent.",
    "Is anybody here?",
    "",
    "",
    "",
    "",
)
LEADS = ("above all, ", "if possible, ", "most important: ", "also, ", "then, ", "for the rest, ", "one more thing: ", "by the way, ", "of course ", "and please, ", "to be clear: ")
LED = 0.2
"""Share of needs before which such words stand."""


def plain(c: Constraint) -> str:
    """The short form of a need: "noise level at most 60 dB"."""
    return f"{c.attribute} {limit(c)}"


def word(c: Constraint, rng: random.Random) -> str:
    """A need in somebody's words."""
    own = c.attribute if c.attribute in ("price", "category") else ""
    text = rng.choice(WORDINGS[own, c.op]).format(a=c.attribute, n=amount(c), v=c.value, m=amount(c), c=c.value)
    return re.sub(r"^a (?=[aeiou])", "an ", text)


def request(constraints: list[Constraint], rng: random.Random) -> str:
    """A request in running text: an opening, then the needs in their order, but for the category, which is first or last."""
    lead = [c for c in constraints if c.attribute == "category"]
    rest = [c for c in constraints if c.attribute != "category"]
    phrases = [(rng.choice(LEADS) if rng.random() < LED else "") + word(c, rng) for c in ([*lead, *rest] if rng.random() < 0.8 else [*rest, *lead])]
    sentences = [rng.choice(OPENINGS)]
    while phrases:
        size = rng.choice((1, 1, 1, 2))
        text = rng.choice((", ", " and ")).join(p.rstrip("?") for p in phrases[:size])
        end = "?" if size == 1 and phrases[0].endswith("?") else "."
        sentences.append(text[0].upper() + text[1:] + end)
        phrases = phrases[size:]
    return " ".join(s for s in sentences if s)
