"""The web of medium and hard worlds: lab tests, outdated tests, data sheets, generations, forum threads, guides.

1. Lab tests and the brands' data sheets tell values that listings leave out; what they tell is noted in the rows, as found out.
2. Tests measure false listings. In hard worlds some have an older test beside them, of earlier makes: it repeats the false claim, gives
   the value of the generation that was sold then, or of a make that nobody sells any more. Its year and its text say that it is old;
   the newer test is right.
3. An overview says which generation took whose place and when. It gives no values.
4. A product's name and its values are sentences of their own, so that no snippet of a search shows both.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np

from prstack.types import Page
from prstack.world.generated.catalogue import CATEGORIES, Numeric
from prstack.world.generated.levels import Level
from prstack.world.generated.lines import line_of
from prstack.world.generated.pages import MEASURED, PRODUCTS_A_TEST, TESTED, THREADS, guide, month, slug
from prstack.world.generated.prose.grammar import expand, tidy
from prstack.world.generated.prose.owners import KIN, opinion_on
from prstack.world.generated.prose.words import PEOPLE, SEASONS, TOWNS, TRADES
from prstack.world.generated.shelf import Shelf
from prstack.world.statements import SELLER, TESTER, state
from prstack.world.units import number_text

PRODUCTS_A_SHEET, SHEET = 60, 6
"""Products of a category for each data sheet, and products on one."""
PRODUCTS_AN_OVERVIEW, OVERVIEW = 60, 8
"""Products of a category for each overview of generations, and products on one."""
INTRO = (
    "We bought {n} {goods} [in shops|over the counter|at full price] and [measured|tested] them [on our own bench|in {town}|with instruments that were checked in {town}]. Sellers had no say in it.",
    "[For|During] {season} our [bench|laboratory] in {town} was full of {goods}: {n} of them, [paid for by readers|none lent by a maker].",
    "{person}, [once a {trade}|our engineer], [spent|sat] [long days|two weeks] with {n} {goods} and [one|a single] question.",
)
OUTRO = ("Deviations of a few per cent are within the accuracy of the bench.", "Single pieces vary by a few per cent[; we took what the shop gave us|].", "[Questions|Doubts] about the method? {person} answers letters.")
OLD = (
    "This test is from our archive. The makes have changed since.",
    "[Archive copy|Old issue]: what is sold today under these names is built differently.",
    "We tested the makes of that time here. [A newer test replaces this one|Look for our newer test].",
)
THEN = ("Sold as the {before} then.", "Its place was held by the {before}.", "That was still the {before}.")
GENERATIONS = (
    "[Makers|Brands] rarely say what a new number stands for. [We kept a list|Here is our list].",
    "Which {goods} came after which? [Our archive|{person}, a {trade},] keeps count.",
    "[Old stock|What came before] is often sold beside the new one. Who replaced whom among {goods}:",
)
ADVICE = (
    "A higher number mostly is the better one, [not in everything|though not always]: compare the figures.",
    "[Nearly always something|Much] got better, [now and then|sometimes] something got worse. Look at the figures of both.",
    "Newer ones cost a little more. [Whether that pays|Whether you need it], only the figures tell.",
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
    yield from _lab_tests(seed, level, shelf, rng)
    yield from _sheets(shelf, rng)
    yield from _overviews(seed, shelf, rng)
    for n in range(THREADS):
        yield _thread(seed, shelf, rng, n)


def _say(templates: tuple[str, ...], rng: random.Random, **given: str) -> str:
    words = {"town": TOWNS, "person": PEOPLE, "trade": TRADES, "season": SEASONS, "kin": KIN}
    return tidy(expand(rng.choice(templates), rng, words | given))


def _lab_tests(seed: int, level: Level, shelf: Shelf, rng: random.Random) -> Iterator[Page]:
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
            published = month(rng, 2017, 2020)
            lines = [_say(OLD, rng), _say(INTRO, rng, **count), *(_mismeasured(seed, shelf, at, spec, published, rng) for at in sample)]
            yield Page("", f"https://bench.example/archive/{slug(c.name)}-{n + 1}", f"{title} (archive)", "\n".join(lines), "lab_test", published)


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


def _mismeasured(seed: int, shelf: Shelf, at: int, spec: Numeric, published: str, rng: random.Random) -> str:
    """What an old test says of a product: the claim where the listing is false, the value of the generation that was sold then, or a
    third more or less than is true."""
    row, then = shelf.rows[at], ""
    if row["false"] >= 0:
        spec = shelf.category.numeric[row["false"]]
        value = round(spec.low + int(row["steps"][row["false"]]) * spec.step, 6)
    else:
        j = shelf.category.numeric.index(spec)
        true, before = shelf.truth(at)[j].number, _sold_in(seed, shelf, at, int(published[:4]))
        value = shelf.truth(before)[j].number if before is not None else true
        if value == true:
            value = round(true * rng.choice((0.7, 1.35)), 1 if spec.step < 1 else 0)
        else:
            then = _say(THEN, rng, before=shelf.products[before].title) + " "
    return f"{_name(shelf, at)}. {then}We measured {number_text(value)} {spec.unit} for the {spec.name}."


def _sold_in(seed: int, shelf: Shelf, at: int, year: int) -> int | None:
    """The place of the generation that a product took over from, where that was the newest one in a year."""
    line, generation = line_of(seed, int(shelf.rows["head"][at]))
    if generation == 0 or not line.years[generation - 1] <= year < line.years[generation]:
        return None
    place = line.heads[generation - 1] // len(CATEGORIES)
    return place if place < len(shelf.rows) else None


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


def _overviews(seed: int, shelf: Shelf, rng: random.Random) -> Iterator[Page]:
    """Which generation took whose place, without a value."""
    c = shelf.category
    heads = np.flatnonzero((shelf.rows["head"] == shelf.rows["n"]) & (shelf.rows["line"] != shelf.rows["n"])).tolist()
    for n in range(min(len(heads), max(1, len(shelf.rows) // PRODUCTS_AN_OVERVIEW))):
        lines = [_say(GENERATIONS, rng, goods=c.name.lower())]
        for at in rng.sample(heads, min(len(heads), OVERVIEW)):
            line, generation = line_of(seed, int(shelf.rows["n"][at]))
            before, (then, now) = line.heads[generation - 1] // len(CATEGORIES), line.years[generation - 1 : generation + 1]
            if before < len(shelf.rows):
                lines.append(f"{_name(shelf, at)} came in {now}. Before it there was the {_name(shelf, before)}, of {then}.")
        title, text = f"{c.name}: which one came after which, part {n + 1}", "\n".join([*lines, _say(ADVICE, rng)])
        yield Page("", f"https://guides.example/generations/{slug(c.name)}-{n + 1}", title, text, "guide", month(rng, 2025, 2026))


def _thread(seed: int, shelf: Shelf, rng: random.Random, n: int) -> Page:
    c = shelf.category
    noun, use = c.noun.lower(), rng.choice(c.uses)
    lines, newest = [f"fern{rng.randrange(90)}: {_say(ASK, rng, noun=noun, use=use)}"], 2021
    for at in rng.sample(range(len(shelf.products)), min(3, len(shelf.products))):
        line, generation = line_of(seed, int(shelf.rows["head"][at]))
        newest = max(newest, line.years[generation])
        j = rng.randrange(len(c.numeric))
        fair = shelf.goodness(c.numeric[j], shelf.truth(at)[j].number) >= 0.5
        said = fair if rng.random() < 0.75 else not fair
        reply = _say(REPLY, rng, title=shelf.products[at].title)
        lines.append(f"user{rng.randrange(900)}: {reply} {opinion_on(c.numeric[j].name, said, noun, rng)}")
    lines.append(f"user{rng.randrange(900)}: {_say(CLOSE, rng)}")
    return Page("", f"https://forum.example/t/{slug(c.noun)}-{n + 1}", f"{c.noun} for {use}?", "\n".join(lines), "forum", month(rng, newest, 2026))
