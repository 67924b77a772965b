"""Faults that only show beside others: near-duplicates of other trajectories, and what evaluation asks."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from random import Random

from benchmarks.filters.edit import Kind, acts, report, reported, step_at
from prstack.types import Trajectory

WORDS = {"search": "look", "open": "visit", "check": "verify", "product": "item", "products": "items", "lower": "smaller", "higher": "larger", "Next": "Now"}


# --- near-duplicates: a second trajectory made of a first one --------------------------------------------------------
def _copy(t: Trajectory, rng: Random) -> Trajectory:
    return t


def _greeted(t: Trajectory, rng: Random) -> Trajectory:
    return replace(t, query="Hello, I have a question for you. " + t.query)


def _spaced(t: Trajectory, rng: Random) -> Trajectory:
    return _each(t, lambda s: s.replace(" ", "  ").upper())


def _reworded(t: Trajectory, rng: Random) -> Trajectory:
    return _each(t, lambda s: re.sub(r"\w+", lambda m: WORDS.get(m[0], m[0]) if rng.random() < 0.3 else m[0], s))


def _one_call_less(t: Trajectory, rng: Random) -> Trajectory | None:
    last = acts(t)[-1]
    return replace(t, steps=t.steps[:last] + t.steps[last + 2 :]) if len(acts(t)) > 5 else None


def _another_order(t: Trajectory, rng: Random) -> Trajectory | None:
    """The entries of the report in another order."""
    head, *entries = re.split(r"(?m)^(?=\d+\. \[)", report(t).removesuffix("</report>"))
    return reported(t, head + "".join(reversed(entries)) + "</report>") if len(entries) > 1 else None


def _each(t: Trajectory, say: Callable[[str], str]) -> Trajectory:
    """Other reasoning in every turn."""
    for n, s in enumerate(t.steps):
        if s.role == "research":
            t = step_at(t, n, reasoning=say(s.reasoning))
    return t


# --- contamination: a trajectory that asks, or is for, what another one (the reference) is ---------------------------
def _same_query(say: Callable[[str], str]) -> Callable[[Trajectory, Trajectory], Trajectory]:
    return lambda t, other: replace(t, query=say(other.query))


def _halves(query: str) -> str:
    sentences = query.split(". ")
    half = len(sentences) // 2
    return ". ".join([*sentences[half:], *sentences[:half]])


def _one_word(query: str) -> str:
    words = query.split()
    return " ".join([*words[:-4], "perhaps", *words[-4:]])


def _wide(query: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in query)


def _in_reasoning(t: Trajectory, other: Trajectory) -> Trajectory:
    return step_at(t, acts(t)[0], reasoning=f"An earlier shopper said: {other.query} I search first.")


def _same_user(t: Trajectory, other: Trajectory) -> Trajectory:
    return replace(t, user_id=other.user_id)


def _same_product(t: Trajectory, other: Trajectory) -> Trajectory:
    id = re.search(r"\[(P\d+)\]", other.reports[-1])
    body = report(t).replace("</report>", f"9. [{id[1]}] The same — $10\n</report>") if id else report(t)
    return reported(t, body) or t


DUPLICATES = [
    Kind("a copy", "near_duplicates", _copy),
    Kind("with a greeting", "near_duplicates", _greeted),
    Kind("other spaces, capitals", "near_duplicates", _spaced),
    Kind("some words exchanged", "near_duplicates", _reworded),
    Kind("one call less", "near_duplicates", _one_call_less),
    Kind("the report in another order", "near_duplicates", _another_order),
]
CONTAMINATIONS: list[tuple[str, Callable[[Trajectory, Trajectory], Trajectory]]] = [
    ("the same query", _same_query(lambda q: q)),
    ("capitals and punctuation", _same_query(lambda q: q.upper().replace(".", " !! "))),
    ("greeting before, thanks behind", _same_query(lambda q: f"Good morning, I hope that you can help me today. {q} Thank you so much in advance for it.")),
    ("one more word", _same_query(_one_word)),
    ("its halves exchanged", _same_query(_halves)),
    ("full-width letters", _same_query(_wide)),
    ("zero-width spaces", _same_query(lambda q: q.replace(" ", "\u200b \u200b").replace("e", "e\u200b"))),
    ("in the reasoning", _in_reasoning),
    ("the same user", _same_user),
    ("a product of the answers", _same_product),
]
