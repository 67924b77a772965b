"""Sorted searches and brands: what the index gives is what one gets by sorting all that matches."""

import itertools
import json
import random
from dataclasses import asdict

import pytest

from prstack.types import Product
from prstack.world.index import PieceWriter, assemble, schema
from prstack.world.search import (
    PRODUCT_BOOSTS,
    SORTS,
    SearchIndex,
    page_writer,
    product_fields,
    product_writer,
)
from prstack.world.world import World

NUMBER = {"price_low": lambda p: p.price, "price_high": lambda p: p.price, "rating": lambda p: p.rating, "reviews": lambda p: p.n_reviews}


def shop(n: int) -> list[Product]:
    """Products with many equal prices, ratings and counts of reviews, some without a price or rating."""
    rng, brands = random.Random(n), ["Aurel", "aurel", "Aurel  Sport", "Belmonte", "", "Café-Noir"]
    made = []
    for i in range(n):
        words = " ".join(rng.sample(["quiet", "blender", "glass", "steel", "travel"], 3))
        price, rating = rng.choice([None, 9.5, 9.5, 20.0, 31.0]), rng.choice([None, 3.0, 4.5])
        made.append(Product(f"P{i}", words, rng.choice(["Blenders", "Kitchen > Mixers"]), rng.choice(brands), price, rating=rating, n_reviews=rng.choice([0, 2, 7]), parent_id=rng.choice(["", "", "F1", "F2"])))
    return made


def written(folder, products: list[Product], pieces: int, writer=product_writer, fields=lambda f: f) -> SearchIndex:
    size = -(-len(products) // pieces)
    paths = [folder / f"piece-{start}" for start in range(0, len(products), size)]
    for start, path in zip(range(0, len(products), size), paths):
        piece = writer(path, start)
        for p in products[start : start + size]:
            row = asdict(p)
            piece.add(p.id, **fields(product_fields(row, json.dumps(row), "[]")))
        piece.close()
    assemble(folder / "index" / "products", paths)
    pages = page_writer(folder / "pages")
    pages.close()
    assemble(folder / "index" / "pages", [folder / "pages"])
    meta = {"kind": "table", "seed": 0, "categories": {"Blenders": 1, "Kitchen > Mixers": 1}}
    (folder / "world.json").write_text(json.dumps(meta))
    return SearchIndex(folder / "index")


@pytest.fixture(scope="module")
def products():
    return shop(300)


@pytest.fixture(scope="module")
def index(products, tmp_path_factory):
    return written(tmp_path_factory.mktemp("order"), products, 1)


FILTERS = [{}, {"category": "Mixers"}, {"max_price": 20.0, "brand": "AUREL"}, {"min_rating": 4.0}, {"brand": "café noir"}]


@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("sort", SORTS)
def test_a_sort_is_over_all_that_matches(index, products, sort, filters):
    by_id, field = {p.id: p for p in products}, NUMBER[sort]
    relevance = index.products("quiet blender", limit=1000, **filters)
    found = index.products("quiet blender", sort=sort, limit=1000, **filters)
    assert set(found) == set(relevance) and len(found) == len(relevance) > 10
    numbers = [field(by_id[i]) for i in found]
    known = [n for n in numbers if n is not None]
    assert numbers == sorted(known, reverse=SORTS[sort][1]) + [None] * (len(numbers) - len(known))
    held = [len({"quiet", "blender"} & set(by_id[i].title.split())) for i in found]
    for _, group in itertools.groupby(zip(numbers, held, found), key=lambda x: x[0]):
        group = list(group)
        assert [h for _, h, _ in group] == sorted((h for _, h, _ in group), reverse=True)  # both words before one


@pytest.mark.parametrize("sort", SORTS)
def test_its_pages_make_up_the_whole_and_pieces_change_nothing(index, products, tmp_path, sort):
    whole = index.products("quiet blender", sort=sort, limit=1000)
    pages = [index.products("quiet blender", sort=sort, limit=10, offset=n) for n in range(0, len(whole), 10)]
    assert [i for page in pages for i in page] == whole and index.products("quiet blender", sort=sort, offset=len(whole)) == []
    assert written(tmp_path, products, 4).products("quiet blender", sort=sort, limit=1000) == whole


def test_equal_in_number_and_relevance_is_by_id(tmp_path):
    ids = [f"P{n}" for n in (7, 1, 5, 3)]
    index = written(tmp_path, [Product(i, "tent", "Tents", price=1.0) for i in ids], 2)
    assert index.products("tent", sort="price_low") == index.products("tent", sort="price_high") == sorted(ids)


def test_without_a_usable_term_the_filters_are_sorted(index, products):
    cheap = [p.id for p in products if p.price is not None and p.price <= 10]
    assert sorted(index.products("the", max_price=10, sort="price_low", limit=1000)) == sorted(cheap)
    assert index.products("the", sort="price_low") == [] and index.products("zebra", sort="rating") == []


def test_a_brand_is_meant_as_a_whole_and_in_any_case(index, products):
    for name, spellings in {"aurel": {"Aurel", "aurel"}, "Aurel Sport": {"Aurel  Sport"}, "CAFÉ NOIR": {"Café-Noir"}}.items():
        assert set(index.products("quiet", brand=name, category="Blenders", limit=1000)) == {p.id for p in products if p.brand in spellings and p.category == "Blenders"}
        assert index.has_brand(name)
    assert not index.has_brand("Sport") and not index.has_brand("") and not index.has_brand("\x00\ud800")


def test_near_brands_come_as_products_spell_them(index):
    assert index.near_brands("belmont") == ["Belmonte"] and index.near_brands("aurell")[0].casefold() == "aurel" and index.near_brands("zzz") == []
    assert index.largest_brands(1)[0].casefold() == "aurel"


# --- an index of before brands, variants and counts of reviews ---------------------------------------------------
def test_an_older_index_is_read_as_before(products, tmp_path):
    older = schema(PRODUCT_BOOSTS, ("price", "rating"), ("record", "reviews"))
    new = written(tmp_path / "new", products, 2)

    def older_fields(fields: dict) -> dict:
        record = {k: v for k, v in json.loads(fields["record"]).items() if k != "shipping"}
        return {k: v for k, v in fields.items() if k not in ("parent", "brand_name", "n_reviews")} | {"record": json.dumps(record).encode()}

    old = written(tmp_path / "old", products, 2, lambda folder, first: PieceWriter(folder, older, first), older_fields)
    assert new.whole and not old.whole
    for arguments in ({}, {"category": "Mixers"}, {"max_price": 20.0}, {"sort": "price_low"}, {"sort": "rating"}):
        assert old.products("quiet blender", limit=50, **arguments) == new.products("quiet blender", limit=50, **arguments)
    world, product = World.open(tmp_path / "old"), next(p for p in products if p.parent_id)
    assert world.get(product.id) == product and world.variants_of(product) == [] and len(world.related_to(product)) == 3
