"""The web of medium and hard worlds: lab tests, outdated tests, data sheets, forum threads, guides.

1. Lab tests and the brands' data sheets tell values that listings leave out; what they tell is noted in the rows, as found out.
2. Tests measure false listings. In hard worlds some have an older test beside them, of an earlier make: it repeats the false claim, or
   measures an honest product wrongly. Its year and its text say that it is old; the newer test is right.
3. A product's name and its values are sentences of their own, so that no snippet of a search shows both.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np

from prstack.types import Page
from prstack.world.catalogue import Numeric
from prstack.world.levels import Level
from prstack.world.pages import MEASURED, PRODUCTS_A_TEST, TESTED, THREADS, guide, month, slug
from prstack.world.prose.grammar import expand, tidy
from prstack.world.prose.owners import KIN, opinion_on
from prstack.world.prose.words import PEOPLE, SEASONS, TOWNS, TRADES
from prstack.world.shelf import Shelf
from prstack.world.statements import SELLER, TESTER, state
from prstack.world.units import number_text

PRODUCTS_A_SHEET, SHEET = 60, 6
"""Products of a category for each data sheet, and products on one."""
INTRO = (
    "We bought {n} {goods} [in shops|over the counter|at full price] and [measured|tested] them [on our own bench|in {town}|with instruments that were checked in {town}]. Sellers had no say in it.",
    "[For|During] {season} our [bench|laboratory] in {town} was full of {goods}: {n} of them, [paid for by readers|none lent by a maker].",
    "{person}, [once a {trade}|our engineer], [spent|sat] [long days|two weeks] with {n} {goods} and [one|a single] question.",
)
OUTRO = ("Deviations of a few per cent are within the accuracy of the bench.", "Single pieces vary by a few per cent[; we took what the shop gave us|].", "[Questions|Doubts] about the method? {person} answers letters.")
OLD = (
    "This test is from our archive. The makes have changed since.",
    "[Archive copy|Old issue]: what is sold today under these names may be built differently.",
    "We tested early pieces here. [A newer test replaces this one|Look for our newer test].",
)
ASK = (
    "Which {noun} would you take for {use}? Money is tight this year.",
    "[Hello from {town}|New here]: I need a {noun} for {use}. [What do you use|Advice]?",
    "My {kin} wants a {noun} for {use} and I know [nothing|too little] about them.",
)
REPLY = ("I have the {title}.", "[At home|At my {kin}'s] there is the {title}.", "We [took|ended up with] the {title}[ after {season}|].", "{title} here[, bought in {town}|].")
CLOSE = ("Whatever you buy, keep the receipt.", "[Read|Look at] the tests, not at us.", "[I lurk|I only read here], but: [measure|ask to hear it|try it] before you pay.")


def shelf_pages(seed: int, level: Level, shelf: Shelf) -> Iterator[Page]:
    """The pages about a category, without numbers. Notes in the rows which values they tell."""
    rng = random.Random(f"{seed}/pages/{shelf.category.name}")
    yield guide(shelf, rng, outdated=False)
    yield guide(shelf, rng, outdated=True)
    yield from _lab_tests(level, shelf, rng)
    yield from _sheets(shelf, rng)
    for n in range(THREADS):
        yield _thread(shelf, rng, n)


def _say(templates: tuple[str, ...], rng: random.Random, **given: str) -> str:
    words = {"town": TOWNS, "person": PEOPLE, "trade": TRADES, "season": SEASONS, "kin": KIN}
    return tidy(expand(rng.choice(templates), rng, words | given))


def _lab_tests(level: Level, shelf: Shelf, rng: random.Random) -> Iterator[Page]:
    c = shelf.category
    false = np.flatnonzero(shelf.rows["false"] >= 0).tolist()
    hidden = np.flatnonzero(shelf.rows["unlisted"] & ((1 << len(c.numeric)) - 1) > 0).tolist()
    for n in range(max(1, len(shelf.products) // PRODUCTS_A_TEST)):
        quarter = TESTED // 4
        sample = rng.sample(false, min(len(false), quarter)) + rng.sample(hidden, min(len(hidden), quarter))
        sample = list(dict.fromkeys(sample + rng.sample(range(len(shelf.products)), min(len(shelf.products), TESTED - len(sample)))))
        rng.shuffle(sample)
        spec = c.numeric[n % len(c.numeric)]
        count, title = {"n": str(len(sample)), "goods": c.name.lower()}, f"{c.name} on the bench, part {n + 1}: {spec.name}"
        lines = [_say(INTRO, rng, **count), *(_measured(shelf, at, spec, rng) for at in sample), _say(OUTRO, rng)]
        yield Page("", f"https://bench.example/{slug(c.name)}-{n + 1}", title, "\n".join(lines), "lab_test", month(rng, 2024, 2026))
        if rng.random() < level.outdated:
            lines = [_say(OLD, rng), _say(INTRO, rng, **count), *(_mismeasured(shelf, at, spec, rng) for at in sample)]
            yield Page("", f"https://bench.example/archive/{slug(c.name)}-{n + 1}", f"{title} (archive)", "\n".join(lines), "lab_test", month(rng, 2017, 2020))


def _name(shelf: Shelf, at: int) -> str:
    p = shelf.products[at]
    return f"{p.title} ({p.id})"


def _measured(shelf: Shelf, at: int, spec: Numeric, rng: random.Random) -> str:
    """What a test says of a product: the false value, those that are not listed, or one that the listing states truly."""
    row, truth = shelf.rows[at], shelf.truth(at)
    numeric = range(len(shelf.category.numeric))
    found = [j for j in numeric if row["unlisted"] >> j & 1]
    if row["false"] >= 0:
        found.insert(0, int(row["false"]))
    _tell(shelf, at, found)
    said = [state(truth[j], rng, TESTER) for j in found]
    if not said:
        true = truth[shelf.category.numeric.index(spec)].number
        value = round(true * rng.uniform(1 - MEASURED, 1 + MEASURED), 1 if spec.step < 1 else 0)
        said = [f"We measured {number_text(value)} {spec.unit} for the {spec.name}."]
    return " ".join([f"{_name(shelf, at)}.", *said])


def _mismeasured(shelf: Shelf, at: int, spec: Numeric, rng: random.Random) -> str:
    """What an old test says of a product: the claim where the listing is false, otherwise a third more or less than is true."""
    row = shelf.rows[at]
    if row["false"] >= 0:
        spec = shelf.category.numeric[row["false"]]
        value = round(spec.low + int(row["steps"][row["false"]]) * spec.step, 6)
    else:
        value = round(shelf.truth(at)[shelf.category.numeric.index(spec)].number * rng.choice((0.7, 1.35)), 1 if spec.step < 1 else 0)
    return f"{_name(shelf, at)}. We measured {number_text(value)} {spec.unit} for the {spec.name}."


def _tell(shelf: Shelf, at: int, places: list[int]) -> None:
    """Notes that these attributes of a product can be found out."""
    shelf.rows["told"][at] |= sum(1 << j for j in places)


def _sheets(shelf: Shelf, rng: random.Random) -> Iterator[Page]:
    """Data sheets of brands: what their sellers leave out, of half the products at most."""
    for number, brand in enumerate(shelf.brands):
        silent = np.flatnonzero((shelf.rows["brand"] == number) & (shelf.rows["unlisted"] > 0)).tolist()
        for n in range(min(len(silent), max(1, int(np.count_nonzero(shelf.rows["brand"] == number)) // PRODUCTS_A_SHEET))):
            lines = [f"{brand} gives these figures for {shelf.category.name.lower()}; sellers do not always repeat them."]
            for at in rng.sample(silent, min(-(-len(silent) // 2), SHEET)):
                places = [j for j in range(8) if shelf.rows["unlisted"][at] >> j & 1]
                _tell(shelf, at, places)
                lines.append(" ".join([f"{_name(shelf, at)}.", *(state(shelf.truth(at)[j], rng, SELLER) for j in places)]))
            title = f"{brand} {shelf.category.name}: data sheet {n + 1}"
            yield Page("", f"https://{slug(brand)}.example/data/{slug(shelf.category.name)}-{n + 1}", title, "\n".join(lines), "brand", month(rng, 2024, 2026))


def _thread(shelf: Shelf, rng: random.Random, n: int) -> Page:
    c = shelf.category
    noun, use = c.noun.lower(), rng.choice(c.uses)
    lines = [f"fern{rng.randrange(90)}: {_say(ASK, rng, noun=noun, use=use)}"]
    for at in rng.sample(range(len(shelf.products)), min(3, len(shelf.products))):
        j = rng.randrange(len(c.numeric))
        fair = shelf.goodness(c.numeric[j], shelf.truth(at)[j].number) >= 0.5
        said = fair if rng.random() < 0.75 else not fair
        reply = _say(REPLY, rng, title=shelf.products[at].title)
        lines.append(f"user{rng.randrange(900)}: {reply} {opinion_on(c.numeric[j].name, said, noun, rng)}")
    lines.append(f"user{rng.randrange(900)}: {_say(CLOSE, rng)}")
    return Page("", f"https://forum.example/t/{slug(c.noun)}-{n + 1}", f"{c.noun} for {use}?", "\n".join(lines), "forum", month(rng, 2021, 2026))
