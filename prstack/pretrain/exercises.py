"""Short documents of world text, each about one shelf of goods (`prstack.pretrain.goods`): recalling, comparing, reading pages.

    glance      one to three properties, and each of them again
    recall      properties of a few products, asked for again
    requests    needs in people's words, each followed by its short form
    order       numbers held against limits
    comparing   values held against limits, each with its verdict
    check       needs, what a few products have, and the verdict on each
    page        a product's page, and questions about it with their answers
    listing     a page of search results, and questions about it
    web         guides, lab tests, forum threads
    story       what owners say of what they bought
"""

from __future__ import annotations

import itertools
import random

from prstack.pretrain.goods import KINDS, UNITS, shelf_pages, stock
from prstack.pretrain.pieces import (
    KEPT,
    SEPARATOR,
    VERDICTS,
    Piece,
    held_against,
    in_short,
    listed,
    material,
    needs_of,
    note,
    price,
    properties,
    searched,
    stars,
)
from prstack.pretrain.wording import plain, request, word
from prstack.tools.aspects import count_aspects
from prstack.tools.results import format_product, format_search, format_web_page
from prstack.types import Attribute, Constraint, Product
from prstack.world.complaints import complain
from prstack.world.limits import WORDS, limit, verdict
from prstack.world.opinions import hear_opinions
from prstack.world.units import number_text


def glance(rng: random.Random) -> list[Piece]:
    """One to three properties, and each of them again: the shortest way to learn that what was said can be said again."""
    _, products, _ = stock(rng, 3)
    values = properties(products[0], rng)[: rng.randint(1, 3)]
    out = [material(f"{listed(values)}.\n", rng)]
    for name, value in rng.sample(values, len(values)):
        out += [material(f"{name}?", rng), (f" {value}\n", True)]
    return out


def web(rng: random.Random) -> list[Piece]:
    pages = shelf_pages(rng)
    return [(format_web_page(p) + SEPARATOR, True) for p in rng.sample(pages, min(2, len(pages)))]


def story(rng: random.Random) -> list[Piece]:
    """Complaints and praise of a shelf's owners, each about one of the things."""
    category, products, reviews = stock(rng, 4)
    said = [c for p in products for n in needs_of(category, products, rng) if (c := complain(p.attributes, n, rng, price=p.price))]
    lines = [f"Customer: {text}." for text in said] + [f"Review, {r.rating:g} stars: {r.text}" for r in reviews[:4]]
    rng.shuffle(lines)
    return [("\n".join(lines), True)]


def recall(rng: random.Random) -> list[Piece]:
    """Two rounds: what a few products have, and some of it again."""
    out: list[Piece] = []
    for _ in range(2):
        _, products, _ = stock(rng, rng.randint(1, 3))
        has = {p.id: properties(p, rng) for p in products}
        out.append(material("".join(f"{id} has {listed(values)}.\n" for id, values in has.items()), rng))
        asked = [(id, name, value) for id, values in has.items() for name, value in values]
        rng.shuffle(asked)
        for id, name, value in asked[:6]:
            out += [material(f"{name} of {id}?", rng), (f" {value}\n", True)]
        id = rng.choice(list(has))
        out += [material(f"Again, {id} has", rng), (f" {listed(has[id])}.{SEPARATOR}", True)]
    return out


def page(rng: random.Random) -> list[Piece]:
    category, products, reviews = stock(rng, 3)
    p = products[0]
    own = [r for r in reviews if r.product_id == p.id]
    shown, related = own[: rng.randint(0, 4)], products[1:] if rng.random() < 0.7 else []
    asked = [(f"What is the {a.name} of {p.id}?", a.value) for a in p.attributes]
    asked += [
        (f"What does {p.title} cost?", price(p)),
        (f"Who makes {p.id}?", p.brand),
        ("Which category is it?", category.name),
        ("What is its title?", p.title),
        ("Can it be bought?", "yes, in stock" if p.available else "no, out of stock"),
        ("How is it rated?", stars(p)),
        ("Which id does it have?", p.id),
    ]
    for a, said, good in [o for r in shown for o in hear_opinions(r.text)][:3]:
        asked.append((f"What do reviewers call the {a}?", f"{said}, which is {'praise' if good else 'blame'}"))
    for a, counts in count_aspects(shown, 3).items():
        asked.append((f"How many reviewers speak of the {a}?", ", ".join(f"{n} {word}" for n, word in zip(counts, ("good", "bad")) if n)))
    if related:
        asked.append((f"What is like {p.id}?", ", ".join(q.id for q in related)))
    rng.shuffle(asked)
    out = [material(format_product(p, shown, related=related) + SEPARATOR, rng)]
    for question, answer in asked[: rng.randint(6, 12)]:
        out += [material(question, rng), (f" {answer}\n", True)]
    return out


def listing(rng: random.Random) -> list[Piece]:
    category, products, _ = stock(rng, rng.randint(4, 10))
    asked = [("The ids in order:", ", ".join(p.id for p in products))]
    asked += [(f"After {a.id} comes", b.id) for a, b in itertools.pairwise(products)]
    asked += [(f"{p.id} is the", p.title) for p in products[:4]] + [(f"{p.id} costs", price(p)) for p in products[:4]]
    asked += [(f"Number {n} is", p.id) for n, p in enumerate(products, 1)] + [(f"{p.title} has the id", p.id) for p in products[-3:]]
    rng.shuffle(asked)
    out = [material(format_search(searched(category, rng), products, 1) + SEPARATOR, rng)]
    for question, answer in asked[: rng.randint(6, 12)]:
        out += [material(question, rng), (f" {answer}\n", True)]
    return out


def requests(rng: random.Random) -> list[Piece]:
    """Three requests with all their needs in short form, and some needs by themselves."""
    out: list[Piece] = []
    for _ in range(3):
        category, products, _ = stock(rng, 3)
        needs = needs_of(category, products, rng)
        single = rng.choice([c for c in needs if c.attribute != "category"])
        out += [material(f"{request(needs, rng)}\n", rng), (in_short(needs, rng) + SEPARATOR, True)]
        out += [material(f'"{word(single, rng)}" means:', rng), (f" {plain(single)}{SEPARATOR}", True)]
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
            top, scale = rng.choice((12, 40, 120, 400, 999)), rng.choice((1, 1, 1, 0.1, 10))
            steps = rng.randint(1, top)
            near = min(max(steps + rng.choice((0, 1, -1, 2, -2, 5, -5, rng.randint(-top, top))), 0), 999)
            number, at = number_text(round(steps * scale, 1)), number_text(round(near * scale, 1))
            need, thing = Constraint("price", rng.choice(("<=", ">=")), at, "USD"), Product("", "", "", price=float(number))
            held = f"{currency}{number}{unit} ({WORDS[need.op]} {currency}{at}{unit})"
        out += [material(held, rng), (f" {verdict(need, thing, words)}\n", True)]
    return out


def comparing(rng: random.Random) -> list[Piece]:
    """A dozen verdicts on values near their limits."""
    words = rng.choice(VERDICTS)
    out: list[Piece] = []
    for _ in range(2):
        category, products, _ = stock(rng, 5)
        for _ in range(6):
            need = rng.choice([c for c in needs_of(category, products, rng) if c.attribute != "category"])
            claim, said = held_against(rng.choice(products), need, words)
            out += [material(claim, rng), (f" {said}\n", True)]
    return out


def check(rng: random.Random) -> list[Piece]:
    """Needs in people's words and in short, a few products with some of what they have, and the note on each."""
    category, products, _ = stock(rng, rng.randint(4, 6))
    needs = needs_of(category, products, rng)
    out = [material(f"{request(needs, rng)}\n", rng), (in_short(needs, rng) + SEPARATOR, True)]
    words, kept = rng.choice(VERDICTS), rng.choice(KEPT)
    for p in products[: rng.randint(2, 4)]:
        shelf = "" if p.available else " It is out of stock."
        out += [material(f"{p.id} has {listed(properties(p, rng, every=True))}.{shelf}\n", rng), (note(p, needs, words, kept) + SEPARATOR, True)]
    return out
