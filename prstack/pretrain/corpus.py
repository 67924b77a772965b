"""Documents of world text: pages and listings as the tools print them, exercises in recalling and comparing, buyers' diaries.

A document is drawn by its number alone, so that any range of a corpus can be made by itself. Each is about one shelf of goods
(`prstack.pretrain.goods`):

    glance      one to three properties, and each of them again
    recall      properties of a few products, asked for again
    requests    needs in people's words, each followed by its short form
    order       numbers held against limits
    comparing   values held against limits, each with its verdict
    check       needs, what a few products have, and the verdict on each
    page        a product's page, and questions about it with their answers
    listing     a page of search results, and questions about it
    diary       needs, a listing, pages one after the other, a note on each, and what is left in the end
    ask, talk   a request and the whole way of a diary, in turns of a conversation
    web         guides, lab tests, forum threads
    story       what owners say of what they bought

A document is pieces of text, each of which is learned or only read. What a model could only guess (which price, which wood?) is
mostly only read, so that the gradient goes to what can be worked out from the context.

The order is a curriculum of three stages (`STAGES`). First values beside limits and glances, in small steps, since comparing is learned
last (and is not yet learned by `world-9m`: docs/experiments/base-model.md). Then short documents, where the source of what is copied is
near and a batch holds many of them; then diaries and talks as well, which carry it over thousands of tokens.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prstack.dialogue.render import END_OF_TURN, START_OF_TURN
from prstack.pretrain.goods import KINDS, UNITS, shelf_pages, stock
from prstack.pretrain.wording import plain, request, word
from prstack.tools.results import format_product, format_search, format_web_page
from prstack.types import Attribute, Constraint, Product
from prstack.world.catalogue import Category
from prstack.world.complaints import complain
from prstack.world.holdout import held_out_combination
from prstack.world.limits import WORDS, limit, verdict
from prstack.world.match import satisfies
from prstack.world.opinions import hear_opinions
from prstack.world.units import money, number_text

VERDICTS = (("fits", "does not fit"), ("fits", "does not fit"), ("fits", "does not fit"), ("is fine", "is not"), ("yes", "no"))
KEPT = (("I keep it.", "I drop it."), ("I keep it.", "I drop it."), ("It stays on the list.", "It is out."), ("A candidate.", "Not for me."))
SEPARATOR = "\n\n"
LEARNED_MATERIAL = 0.08
"""Share of the material that is learned all the same, so that the model is one of this language too."""

Piece = tuple[str, bool]
"""Text, and whether it is learned."""


def documents(seed: int, first: int = 0) -> Iterator[list[Piece]]:
    """Documents without end, from number `first` on, all of the last stage."""
    for n in itertools.count(first):
        yield document(seed, n)


def document(seed: int, n: int, share: float = 1.0) -> list[Piece]:
    """Document `n` of a corpus of which `share` was read before; it decides the stage."""
    rng = random.Random(f"{seed}/document/{n}")
    kinds = stage(share).kinds
    return rng.choices(list(kinds), list(kinds.values()))[0](rng)


def stage(share: float) -> Stage:
    """The stage of a corpus of which `share` was read."""
    return next(s for s in STAGES if share < s.until or s is STAGES[-1])


# --- short documents -----------------------------------------------------------------------------------------------
def glance(rng: random.Random) -> list[Piece]:
    """One to three properties, and each of them again: the shortest way to learn that what was said can be said again."""
    _, products, _ = stock(rng, 3)
    values = _properties(products[0], rng)[: rng.randint(1, 3)]
    out = [_material(f"{_listed(values)}.\n", rng)]
    for name, value in rng.sample(values, len(values)):
        out += [_material(f"{name}?", rng), (f" {value}\n", True)]
    return out


def web(rng: random.Random) -> list[Piece]:
    pages = shelf_pages(rng)
    return [(format_web_page(p) + SEPARATOR, True) for p in rng.sample(pages, min(2, len(pages)))]


def story(rng: random.Random) -> list[Piece]:
    """Complaints and praise of a shelf's owners, each about one of the things."""
    category, products, reviews = stock(rng, 4)
    said = [c for p in products for n in _needs(category, products, rng) if (c := complain(p.attributes, n, rng, price=p.price))]
    lines = [f"Customer: {text}." for text in said] + [f"Review, {r.rating:g} stars: {r.text}" for r in reviews[:4]]
    rng.shuffle(lines)
    return [("\n".join(lines), True)]


def recall(rng: random.Random) -> list[Piece]:
    """Two rounds: what a few products have, and some of it again."""
    out: list[Piece] = []
    for _ in range(2):
        _, products, _ = stock(rng, rng.randint(1, 3))
        has = {p.id: _properties(p, rng) for p in products}
        out.append(_material("".join(f"{id} has {_listed(values)}.\n" for id, values in has.items()), rng))
        asked = [(id, name, value) for id, values in has.items() for name, value in values]
        rng.shuffle(asked)
        for id, name, value in asked[:6]:
            out += [_material(f"{name} of {id}?", rng), (f" {value}\n", True)]
        id = rng.choice(list(has))
        out += [_material(f"Again, {id} has", rng), (f" {_listed(has[id])}.{SEPARATOR}", True)]
    return out


def page(rng: random.Random) -> list[Piece]:
    category, products, reviews = stock(rng, 3)
    p = products[0]
    own = [r for r in reviews if r.product_id == p.id]
    asked = [(f"What is the {a.name} of {p.id}?", a.value) for a in p.attributes]
    asked += [
        (f"What does {p.title} cost?", _price(p)),
        (f"Who makes {p.id}?", p.brand),
        ("Which category is it?", category.name),
        ("What is its title?", p.title),
        ("Can it be bought?", "yes, in stock" if p.available else "no, out of stock"),
        ("How is it rated?", _stars(p)),
        ("Which id does it have?", p.id),
    ]
    for a, said, good in [o for r in own for o in hear_opinions(r.text)][:3]:
        asked.append((f"What do reviewers call the {a}?", f"{said}, which is {'praise' if good else 'blame'}"))
    rng.shuffle(asked)
    out = [_material(format_product(p, own[: rng.randint(0, 4)]) + SEPARATOR, rng)]
    for question, answer in asked[: rng.randint(6, 12)]:
        out += [_material(question, rng), (f" {answer}\n", True)]
    return out


def listing(rng: random.Random) -> list[Piece]:
    category, products, _ = stock(rng, rng.randint(4, 10))
    asked = [("The ids in order:", ", ".join(p.id for p in products))]
    asked += [(f"After {a.id} comes", b.id) for a, b in itertools.pairwise(products)]
    asked += [(f"{p.id} is the", p.title) for p in products[:4]] + [(f"{p.id} costs", _price(p)) for p in products[:4]]
    asked += [(f"Number {n} is", p.id) for n, p in enumerate(products, 1)] + [(f"{p.title} has the id", p.id) for p in products[-3:]]
    rng.shuffle(asked)
    out = [_material(format_search(_searched(category, rng), products, 1) + SEPARATOR, rng)]
    for question, answer in asked[: rng.randint(6, 12)]:
        out += [_material(question, rng), (f" {answer}\n", True)]
    return out


def requests(rng: random.Random) -> list[Piece]:
    """Three requests with all their needs in short form, and some needs by themselves."""
    out: list[Piece] = []
    for _ in range(3):
        category, products, _ = stock(rng, 3)
        needs = _needs(category, products, rng)
        single = rng.choice([c for c in needs if c.attribute != "category"])
        out += [_material(f"{request(needs, rng)}\n", rng), (_in_short(needs, rng) + SEPARATOR, True)]
        out += [_material(f'"{word(single, rng)}" means:', rng), (f" {plain(single)}{SEPARATOR}", True)]
    return out


def order(rng: random.Random) -> list[Piece]:
    """Twenty values beside a limit, and where they stand: numbers, mostly near it, and words. The shortest way to learn that numbers
    have an order."""
    words = rng.choice(VERDICTS)
    unit, currency = rng.choice((("", ""), ("", "$"), *((f" {u}", "") for u in UNITS)))
    out: list[Piece] = []
    for _ in range(20):
        if rng.random() < 0.2:
            name, values = rng.choice(KINDS)
            value, wanted = rng.choice(values), rng.choice(values)
            need = Constraint(name, rng.choice(("=", "!=")), rng.choice((value, wanted)))
            held, thing = f"{value} ({limit(need)})", Product("", "", "", attributes=[Attribute(name, value)])
        else:
            top = rng.choice((12, 40, 120, 400, 999))
            number = rng.randint(1, top)
            at = min(max(number + rng.choice((0, 1, -1, 2, -2, 5, -5, rng.randint(-top, top))), 0), 999)
            need, thing = Constraint("price", rng.choice(("<=", ">=")), str(at), "USD"), Product("", "", "", price=float(number))
            held = f"{currency}{number}{unit} ({WORDS[need.op]} {currency}{at}{unit})"
        out += [_material(held, rng), (f" {verdict(need, thing, words)}\n", True)]
    return out


def comparing(rng: random.Random) -> list[Piece]:
    """A dozen verdicts on values near their limits."""
    words = rng.choice(VERDICTS)
    out: list[Piece] = []
    for _ in range(2):
        category, products, _ = stock(rng, 5)
        for _ in range(6):
            need = rng.choice([c for c in _needs(category, products, rng) if c.attribute != "category"])
            claim, said = _held(rng.choice(products), need, words)
            out += [_material(claim, rng), (f" {said}\n", True)]
    return out


def check(rng: random.Random) -> list[Piece]:
    """Needs in people's words and in short, a few products with some of what they have, and the note on each."""
    category, products, _ = stock(rng, rng.randint(4, 6))
    needs = _needs(category, products, rng)
    out = [_material(f"{request(needs, rng)}\n", rng), (_in_short(needs, rng) + SEPARATOR, True)]
    words, kept = rng.choice(VERDICTS), rng.choice(KEPT)
    for p in products[: rng.randint(2, 4)]:
        shelf = "" if p.available else " It is out of stock."
        out += [_material(f"{p.id} has {_listed(_properties(p, rng, every=True))}.{shelf}\n", rng), (_note(p, needs, words, kept) + SEPARATOR, True)]
    return out


# --- diary ---------------------------------------------------------------------------------------------------------
def diary(rng: random.Random) -> list[Piece]:
    """A buyer's way through a shelf, from needs to what is left."""
    return [piece for read, written in _way(rng) for piece in (_material(read + SEPARATOR, rng), (written + SEPARATOR, True))]


def ask(rng: random.Random) -> list[Piece]:
    """Two requests as conversations of one turn, each answered with its needs."""
    turns = []
    for _ in range(2):
        category, products, _ = stock(rng, 3)
        needs = _needs(category, products, rng)
        turns.append(_turn(request(needs, rng), _thought(needs, rng), _in_short(needs, rng), rng))
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
    """What is read and what is written then: (request, needs), (listing, what to open), (page, note and what is next) …, the last
    with the list. From the second on, what is written is a line of thought and what follows from it."""
    category, products, reviews = stock(rng, 10)
    needs = _needs(category, products, rng)
    hits = rng.sample(products, rng.randint(6, 10))
    words, kept = rng.choice(VERDICTS), rng.choice(KEPT)
    opening = rng.choice(("Please show me", "Next:", "Open"))
    steps = [(request(needs, rng), _in_short(needs, rng))]
    steps.append((format_search(_searched(category, rng), hits, 1), f"{len(hits)} hits, the first is {hits[0].id}.\n{opening} {hits[0].id}"))
    opened = hits[: rng.randint(3, 5)]
    left: list[Product] = []
    for p, following in zip(opened, [*opened[1:], None]):
        own = [r for r in reviews if r.product_id == p.id]
        left += [p] if _good(p, needs) else []
        after = f"{opening} {following.id}" if following else _left(left, needs, rng)
        steps.append((format_product(p, own[: rng.randint(0, 4)]), f"{_note(p, needs, words, kept)}\n{after}"))
    return steps


def _left(left: list[Product], needs: list[Constraint], rng: random.Random) -> str:
    left = sorted(left, key=lambda p: (-(p.rating or 0), p.price, p.id))
    checked = [c.attribute for c in needs if c.attribute not in ("price", "category")]
    lines = [f"{n}. [{p.id}] {p.title} — {_price(p)}\n" + "\n".join(f"- {a}: {p.attribute(a).value}" for a in checked) for n, p in enumerate(left, 1)]
    return rng.choice(("What is left, best rated first:", "My list:", "These fit:")) + "\n" + ("\n".join(lines) or "nothing")


def _thought(needs: list[Constraint], rng: random.Random) -> str:
    return rng.choice((f"{len(needs)} things are asked for.", f"I write down all {len(needs)}.", ""))


def _turn(user: str, thought: str, said: str, rng: random.Random) -> list[Piece]:
    """A turn of a conversation, of which the assistant's part is learned."""
    thinking = f"<think>\n{thought}\n</think>\n\n" if thought else ""
    return [
        _material(f"{START_OF_TURN}user\n{user}{END_OF_TURN}\n{START_OF_TURN}assistant\n", rng),
        (f"{thinking}{said}{END_OF_TURN}", True),
        ("\n", False),
    ]


def _good(p: Product, needs: list[Constraint]) -> bool:
    return p.available and all(satisfies(c, p) for c in needs)


def _note(p: Product, needs: list[Constraint], words: tuple[str, str], kept: tuple[str, str]) -> str:
    said = [" ".join(_held(p, c, words)) for c in needs if c.attribute != "category"]
    return f"{p.id}: {'; '.join(said)}.{'' if p.available else ' It is out of stock.'} {kept[0] if _good(p, needs) else kept[1]}"


def _held(p: Product, c: Constraint, words: tuple[str, str]) -> tuple[str, str]:
    """A value beside its limit, and the verdict: ("noise level 57 dB (at most 60 dB)", "is lower, fits")."""
    value = f"price {_price(p)}" if c.attribute == "price" else f"{c.attribute} {p.attribute(c.attribute).value}"
    return f"{value} ({limit(c)})", verdict(c, p, words)


def _properties(p: Product, rng: random.Random, every: bool = False) -> list[tuple[str, str]]:
    """(name, value) of a product's price and attributes in some order: all of them, or two to four."""
    all_ = [("price", _price(p)), *((a.name, a.value) for a in p.attributes)]
    rng.shuffle(all_)
    return all_ if every else all_[: rng.randint(2, 4)]


def _listed(values: list[tuple[str, str]]) -> str:
    return "; ".join(f"{name} {value}" for name, value in values)


def _material(text: str, rng: random.Random) -> Piece:
    return text, rng.random() < LEARNED_MATERIAL


# --- parts ---------------------------------------------------------------------------------------------------------
def _needs(category: Category, products: list[Product], rng: random.Random) -> list[Constraint]:
    """The category, one to three needs with limits from among the products' own values or near them, and mostly a budget.

    Combinations that are held out are not drawn; directions are mostly the usual one.
    """
    while True:
        size = rng.choice((1, 2, 2, 3))
        names = rng.sample([*category.numeric, *category.kinds], size)
        if not held_out_combination(category.name, [n.name for n in names]):
            break
    out = [Constraint("category", "=", category.name)]
    for spec in names:
        values = [p.attribute(spec.name) for p in products]
        if values[0].number is None:
            out.append(Constraint(spec.name, rng.choice(("=", "!=")), rng.choice(values).value))
            continue
        at = rng.choice(values).number + rng.choice((0, 0, 1, -1, 2, -2, 4, -4)) * spec.step
        usual = "<=" if spec.better == "low" else ">="
        op = usual if rng.random() < 0.85 else {"<=": ">=", ">=": "<="}[usual]
        out.append(Constraint(spec.name, op, number_text(round(min(max(at, spec.low), spec.high), 4)), values[0].unit))
    if rng.random() < 0.85:
        limit = 5 * -(-rng.choice(products).price * rng.uniform(0.9, 1.3) // 5)
        out.append(Constraint("price", "<=", number_text(limit), "USD"))
    rng.shuffle(out)
    return out


def _in_short(needs: list[Constraint], rng: random.Random) -> str:
    """All needs in short form, the category first: in a line, or one below the other."""
    category = [f"looking for {c.value}" for c in needs if c.attribute == "category"]
    items = [*category, *(plain(c) for c in needs if c.attribute != "category")]
    if rng.random() < 0.4:
        return f"In short: {'; '.join(items)}."
    return rng.choice(("Needs:", "Wanted:", "What counts:")) + "\n" + "\n".join(f"- {item}" for item in items)


def _searched(category: Category, rng: random.Random) -> str:
    named = rng.sample([*category.numeric, *category.kinds], rng.randint(0, 2))
    return " ".join([rng.choice((category.noun.lower(), category.name)), *(n.name for n in named)])


def _price(p: Product) -> str:
    return money(p.price, p.currency)


def _stars(p: Product) -> str:
    return f"{p.rating:.1f} stars" if p.rating is not None else "not yet"


Kinds = dict[Callable[[random.Random], list[Piece]], float]
SHORT: Kinds = {recall: 14, requests: 14, ask: 14, order: 14, comparing: 14, check: 22, page: 10, listing: 6, web: 2, story: 2}
ALL: Kinds = SHORT | {glance: 8, diary: 6, talk: 7}


@dataclass(frozen=True)
class Stage:
    until: float
    """Share of the corpus, in tokens, up to which it goes."""
    packs: int
    """Packs that the context is divided into: the shorter they are, the more steps the same text makes."""
    kinds: Kinds
    """Kinds of documents with their weight in number."""


STAGES = (
    Stage(0.15, 4, {order: 55, glance: 20, recall: 8, ask: 10, comparing: 7}),
    Stage(0.45, 2, SHORT | {glance: 16}),
    Stage(1.0, 1, ALL),
)
"""A diary or a talk is some eight times as long as the short documents, so that they hold half of the tokens of the last stage."""
