"""Long documents of world text: a buyer's whole way through a shelf, written down or as a conversation.

    diary       needs, a listing, pages one after the other, a note on each, and what is left in the end
    ask, talk   a request, with the search that follows from it, and the whole way of a diary, in turns of a conversation
"""

from __future__ import annotations

import random

from prstack.dialogue.render import END_OF_TURN, START_OF_TURN
from prstack.pretrain.goods import stock
from prstack.pretrain.pieces import (
    KEPT,
    SEPARATOR,
    VERDICTS,
    Piece,
    good,
    in_short,
    material,
    needs_of,
    note,
    price,
)
from prstack.pretrain.wording import request
from prstack.tools.results import format_product, format_search
from prstack.types import Constraint, Product
from prstack.world.asking import search_words
from prstack.world.limits import amount


def diary(rng: random.Random) -> list[Piece]:
    """A buyer's way through a shelf, from needs to what is left."""
    return [piece for read, written in _way(rng) for piece in (material(read + SEPARATOR, rng), (written + SEPARATOR, True))]


def ask(rng: random.Random) -> list[Piece]:
    """Two requests as conversations of one turn, each answered with its needs."""
    turns = []
    for _ in range(2):
        category, products, _ = stock(rng, 3)
        needs = needs_of(category, products, rng)
        said = in_short(needs, rng)
        if rng.random() < 0.5:
            said += f"\n{_search(search_words(needs), needs, rng)}"
        turns.append(_turn(request(needs, rng), _thought(needs, rng), said, rng))
    return [piece for turn in turns for piece in turn]


def talk(rng: random.Random) -> list[Piece]:
    """A buyer's way as a conversation: the user brings what is asked for, the assistant thinks and goes on."""
    out: list[Piece] = []
    shown = rng.random() < 0.5
    for n, (read, written) in enumerate(_way(rng)):
        thought, _, said = written.partition("\n")
        if shown and n:
            read = f"<tool_response>\n{read}\n</tool_response>"
        out += _turn(read, thought if n else "", said if n else written, rng)
    return out


def _way(rng: random.Random) -> list[tuple[str, str]]:
    """What is read and what is written then: (request, needs and search), (listing, what to open), (page, note and what is next) …, the last
    with the list. From the second on, what is written is a line of thought and what follows from it."""
    category, products, reviews = stock(rng, 10)
    needs = needs_of(category, products, rng)
    hits = rng.sample(products, rng.randint(6, 10))
    words, kept = rng.choice(VERDICTS), rng.choice(KEPT)
    opening = rng.choice(("Please show me", "Next:", "Open"))
    query = search_words(needs)
    steps = [(request(needs, rng), f"{in_short(needs, rng)}\n{_search(query, needs, rng)}")]
    steps.append((format_search(query, hits, 1), f"{len(hits)} hits, the first is {hits[0].id}.\n{opening} {hits[0].id}"))
    opened = hits[: rng.randint(3, 5)]
    left: list[Product] = []
    for p, following in zip(opened, [*opened[1:], None]):
        own = [r for r in reviews if r.product_id == p.id]
        left += [p] if good(p, needs) else []
        after = f"{opening} {following.id}" if following else _left(left, needs, rng)
        related = rng.sample([q for q in products if q is not p], 3)
        steps.append((format_product(p, own[: rng.randint(0, 4)], related=related), f"{note(p, needs, words, kept)}\n{after}"))
    return steps


def _search(query: str, needs: list[Constraint], rng: random.Random) -> str:
    """What is typed into a search, and the price that is set there."""
    budget = next((amount(c) for c in needs if c.attribute == "price"), "")
    return f"{rng.choice(('Search:', 'I search for', 'Typed into the search:'))} {query}" + (f", up to {budget}" if budget else "")


def _left(left: list[Product], needs: list[Constraint], rng: random.Random) -> str:
    left = sorted(left, key=lambda p: (-(p.rating or 0), p.price, p.id))
    checked = [c.attribute for c in needs if c.attribute not in ("price", "category")]
    lines = [f"{n}. [{p.id}] {p.title} — {price(p)}\n" + "\n".join(f"- {a}: {p.attribute(a).value}" for a in checked) for n, p in enumerate(left, 1)]
    return rng.choice(("What is left, best rated first:", "My list:", "These fit:")) + "\n" + ("\n".join(lines) or "nothing")


def _thought(needs: list[Constraint], rng: random.Random) -> str:
    return rng.choice((f"{len(needs)} things are asked for.", f"I write down all {len(needs)}.", ""))


def _turn(user: str, thought: str, said: str, rng: random.Random) -> list[Piece]:
    """A turn of a conversation, of which the assistant's part is learned."""
    thinking = f"<think>\n{thought}\n</think>\n\n" if thought else ""
    return [
        material(f"{START_OF_TURN}user\n{user}{END_OF_TURN}\n{START_OF_TURN}assistant\n", rng),
        (f"{thinking}{said}{END_OF_TURN}", True),
        ("\n", False),
    ]
