"""Lines of successive products in medium and hard worlds: what holds between a generation and the next, and how little it tells."""

import re
import statistics
from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from prstack.evaluation.tasks import latent_needs
from prstack.settings import WorldConfig
from prstack.store.records import read_records
from prstack.world.generated import families, generations
from prstack.world.generated.catalogue import CATEGORIES
from prstack.world.generated.lines import line_of, place_of, standing
from prstack.world.generated.shelf import id_of, model
from prstack.world.generated.source import Generated
from prstack.world.generated.users import natural_query
from prstack.world.material import Contradiction
from prstack.world.names import usual
from prstack.world.shape import shape
from prstack.world.world import World, build

SEED, PRODUCTS = 1000, 1200


@pytest.fixture(scope="module", params=["medium", "hard"])
def world(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    build(WorldConfig(seed=SEED, products=PRODUCTS, users=120, split="all", difficulty=request.param), folder)
    return World.open(folder)


def lines(products: int = 20_000):
    """Every line of a category, once, with the category's number."""
    for head in {place_of(SEED, n, products).head for n in range(products)}:
        line, at = line_of(SEED, head)
        if at == 0:
            yield head % len(CATEGORIES), line


def year(p) -> int:
    return next(int(a.number) for a in p.attributes if usual(a.name) == "launch year")


def goodness(category, attributes) -> list[float]:
    shares = [(a.number - s.low) / (s.high - s.low) for s, a in zip(category.numeric, attributes)]
    return [1 - x if s.better == "low" else x for s, x in zip(category.numeric, shares)]


# --- lines -------------------------------------------------------------------------------------------------------
def test_every_family_has_one_place_in_one_line():
    heads, sizes = Counter(), Counter()
    for k, line in lines():
        heads.update(line.heads)
        sizes[len(line.heads)] += 1
        assert {n % len(CATEGORIES) for n in line.heads} == {k} and all(line_of(SEED, n) == (line, at) for at, n in enumerate(line.heads))
        assert all(a < b for a, b in pairwise(line.years)) and 2005 < line.years[0] <= line.years[-1] < 2025 and line.oldest >= 1
    assert set(heads.values()) == {1} and set(sizes) == {1, 2, 3, 4}


def test_a_product_depends_on_its_number_alone():
    """Not on how many there are, but for what is said of neighbours that are not there."""
    of = Generated(WorldConfig(seed=SEED, difficulty="medium"))
    for n in range(0, 400, 7):
        few, many = (families.product(SEED, n, products, CATEGORIES[n % 14], of.brands[n % 14]) for products in (401, 10**6))
        few[0].parent_id = many[0].parent_id = ""
        assert few == many
    named = [s for n in range(400) if place_of(SEED, n, 400).head == n for s in (standing(SEED, n, 400, "Delta", 0),)]
    assert all(int(m[1]) < 1001 + 400 for s in named for m in re.finditer(r"P(\d+)", s.before + s.after))


def test_letters_tell_lines_of_a_series_apart():
    assert [model(mark, 2) for mark in (0, 1, 2, 25, 26, 27)] == ["2", "B2", "C2", "Z2", "AA2", "AB2"]
    assert len({model(mark, 1) for mark in range(2000)}) == 2000


# --- generations ---------------------------------------------------------------------------------------------------
def test_a_generation_is_mostly_better_and_a_little_dearer():
    of, turns, dearer, whole = Generated(WorldConfig(seed=SEED, difficulty="medium")), Counter(), [], []
    for k, line in lines(6000):
        category = CATEGORIES[k]
        made = [generations.product(SEED, head, category, of.brands[k]) for head in line.heads]
        assert len({(p.brand, p.title) for p in made}) == 1 and [p.id for p in made] == [id_of(n) for n in line.heads]
        for old, new in pairwise(made):
            change = [b - a for a, b in zip(goodness(category, old.attributes), goodness(category, new.attributes))]
            worse = sum(c < -1e-9 for c in change)
            assert worse <= 1 and max(map(abs, change)) < 0.26
            turns.update("worse" if c < -1e-9 else "better" if c > 1e-9 else "same" for c in change)
            whole.append(sum(change))
            dearer.append(new.price / old.price - 1)
    assert turns["better"] > 0.35 * turns.total() and 0.05 * turns.total() < turns["worse"] < 0.2 * turns.total()
    assert min(dearer) >= 0 and 0.02 < statistics.mean(dearer) < 0.06 and max(dearer) < 0.1
    assert 0.6 < sum(w > 0 for w in whole) / len(whole) < 0.9, "mostly better, never sure"


def test_titles_number_the_generations(world):
    heads = [p for p in world.products() if p.parent_id in ("", p.id)]
    titles = Counter(p.title.split(" - ")[0].casefold() for p in heads)
    assert max(titles.values()) == 1
    for p in heads:
        line, at = line_of(SEED, int(p.id[1:]) - 1001)
        assert re.search(rf" [A-Za-z]*{line.oldest + at} ", p.title) and year(p) == line.years[at]


def test_texts_name_the_true_neighbour(world):
    told, by_id = Counter(), {p.id: p for p in world.products()}
    for p in by_id.values():
        for name, id in re.findall(r"the (\w+ [A-Z]*\d+) \((P\d+)\)", p.description):
            other, (line, at) = by_id[id], line_of(SEED, place_of(SEED, int(p.id[1:]) - 1001, PRODUCTS).head)
            assert f" {name} ".casefold() in other.title.casefold() and other.brand == p.brand and other.category == p.category
            step = line.heads.index(int(id[1:]) - 1001) - at
            assert abs(step) == 1 and (year(other) > year(p)) == (step > 0)
            told[step] += 1
    assert min(told[1], told[-1]) > 80


def test_overviews_give_no_values(world):
    pages = [p for p in world.pages() if "/generations/" in p.url]
    assert {p.title.split(":")[0] for p in pages} == {c.name for c in CATEGORIES}
    for page in pages:
        for line in page.text.splitlines():
            if named := re.findall(r"(P\d+)\)", line):
                new, old = (world.get(i) for i in named)
                assert f"came in {year(new)}" in line and f"of {year(old)}." in line and year(old) < year(new)
        assert not re.search(r"\d ?(?:dB|W|kg|g|l|min|mm|cm|hours)\b", page.text)


def test_old_tests_measured_what_was_sold_then(world):
    """Where an archived test says so, it gives the true value of the generation before."""
    true = defaultdict(dict)
    for c in read_records(world.folder / "truth" / "listings", Contradiction, pytest.fail, "truth"):
        true[c.product_id][c.attribute] = c.measured
    of, seen = Generated(WorldConfig(seed=SEED, difficulty="hard")), 0
    titles = {p.title.split(" - ")[0].casefold(): p for p in world.products() if p.parent_id in ("", p.id)}
    archived = [p for p in world.pages() if "/archive/" in p.url]
    for page in archived:
        said = r"\((P\d+)\)\. .*?the ([A-Z]\w+ \w+ [A-Z]*\d+ [^.]+?)(?: then)?\. We measured (.+?) for the ([\w ]+)\."
        for id, then, value, name in re.findall(said, page.text):
            new, old = world.get(id), titles[then.casefold()]
            assert year(old) <= int(page.published[:4]) < year(new)
            n = int(old.id[1:]) - 1001
            drafted = {a.name: a.value for a in families.product(SEED, n, PRODUCTS, CATEGORIES[n % 14], of.brands[n % 14])[0].attributes}
            assert value == true[old.id].get(name, drafted[name])
            seen += 1
    assert bool(archived) == (seen > 0)


# --- how little it tells -------------------------------------------------------------------------------------------
def test_the_number_in_a_title_hardly_tells_what_is_valid(world):
    nouns = {c.name: c for c in CATEGORIES}
    right = pairs = 0.0
    for need in latent_needs(world):
        hits = [world.get(i) for i in world.search.products(natural_query(nouns[need.category], need.constraints), max_price=float(need.constraints[-1].value))]
        numbers = [(int(re.search(r"\d+", p.title)[0]), p.id in need.satisfying) for p in hits]
        for a in (n for n, ok in numbers if ok):
            for b in (n for n, ok in numbers if not ok):
                right, pairs = right + (a > b) + 0.5 * (a == b), pairs + 1
    assert pairs > 1000 and right / pairs < 0.6


def test_the_shape_of_a_world_is_what_its_level_says(world):
    found = shape(world)
    assert len(found.by_price) == 10 and found.by_price[-1] - found.by_price[0] > 0.2
    assert found.missing.total() == found.other_units.total() == found.years.total() == PRODUCTS and found.other_units[0] > PRODUCTS / 2
    assert found.turns["better"] + found.turns["the same"] > 4 * found.turns["worse"] > 0
    assert all(share < 0.1 for share in found.praise[:3]) and all(0.6 < share < 0.97 for share in found.praise[-3:])
    assert len(found.gains) == len(found.dearer) > 150 and statistics.mean(found.gains) > 0.015
