"""Needs in many people's words: the breadth of wording that a base model learns before it is taught a task.

Each template says one constraint. None is a template of synthesis (`prstack.world.language.SAID`) or of evaluation
(`prstack.evaluation.phrasing.HELD_OUT`); tests hold it so. `plain` is the canonical short form that exercises translate to.
"""

from __future__ import annotations

import random

from prstack.types import Constraint
from prstack.world.limits import amount, limit

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
    "",
    "",
)


def plain(c: Constraint) -> str:
    """The short form of a need: "noise level at most 60 dB"."""
    return f"{c.attribute} {limit(c)}"


def word(c: Constraint, rng: random.Random) -> str:
    """A need in somebody's words."""
    own = c.attribute if c.attribute in ("price", "category") else ""
    text = rng.choice(WORDINGS[own, c.op])
    return text.format(a=c.attribute, n=amount(c), v=c.value, m=amount(c), c=c.value)


def request(constraints: list[Constraint], rng: random.Random) -> str:
    """A request in running text: an opening, then the needs in their order, but for the category, which is first or last."""
    lead = [c for c in constraints if c.attribute == "category"]
    rest = [c for c in constraints if c.attribute != "category"]
    phrases = [word(c, rng) for c in ([*lead, *rest] if rng.random() < 0.8 else [*rest, *lead])]
    sentences = [rng.choice(OPENINGS)]
    while phrases:
        size = rng.choice((1, 1, 1, 2))
        text = rng.choice((", ", " and ")).join(p.rstrip("?") for p in phrases[:size])
        end = "?" if size == 1 and phrases[0].endswith("?") else "."
        sentences.append(text[0].upper() + text[1:] + end)
        phrases = phrases[size:]
    return " ".join(s for s in sentences if s)
