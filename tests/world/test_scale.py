"""Worlds of any size: the same content whatever the number of processes and parts, and nothing that has to fit in memory."""

import json
import os
import random
import signal
import statistics
from bisect import bisect_left
from collections import Counter

import numpy as np
import pytest

from prstack.errors import UserError
from prstack.evaluation.tasks import latent_needs
from prstack.scoring.gate import check_query
from prstack.settings import WorldConfig
from prstack.store.records import encoded
from prstack.types import History, Persona
from prstack.world import index as index_module
from prstack.world import spool as spool_module
from prstack.world import world as world_module
from prstack.world import writing
from prstack.world.generated import source
from prstack.world.generated.catalogue import CATEGORIES
from prstack.world.generated.stock import make_shelf
from prstack.world.generated.users import MIN_SATISFYING, _Shop
from prstack.world.index import assemble
from prstack.world.match import satisfies_all
from prstack.world.material import Material
from prstack.world.search import SearchIndex, page_writer, product_fields, product_writer
from prstack.world.spool import Spool
from prstack.world.workers import Workers
from prstack.world.world import World, build

SMALL = {"products": 420, "users": 42}
HASH = "a1d282a580f409c35e89cd7208b5d9609a6baf6a13a76129c000498dc58ce6a4"
QUERIES = ("blender noise level", "quiet desk lamp for shared desks", "headphones", "aurel mira", "tent", "anything for weekend trips")


def hits(world: World, **filters) -> list[list[str]]:
    return [world.search.products(q, limit=25, offset=o, **filters) for q in QUERIES for o in (0, 25)]


# --- the same content ------------------------------------------------------------------------------------------
def test_the_content_of_a_small_world_stays_as_it_was(generated):
    assert generated[1]["content_hash"] == HASH


def test_two_processes_make_the_world_of_one(generated, tmp_path):
    assert build(WorldConfig(**SMALL), tmp_path, processes=2) == generated[1]
    assert hits(World.open(tmp_path)) == hits(World.open(generated[0]))


def test_content_and_hits_do_not_depend_on_parts_and_pieces(generated, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "PART", 60)
    monkeypatch.setattr(source, "USERS_A_PART", 5)
    monkeypatch.setattr(writing, "PIECES", 3)
    told = []
    assert build(WorldConfig(**SMALL), tmp_path, lambda step, n: told.append((step, n)), processes=1) == generated[1]
    assert told == [("products", 180), ("products", 360), ("products", 420), ("indexed products and pages", 528), ("users", 42)]
    many, one = World.open(tmp_path), World.open(generated[0])
    assert many.search._products.searcher.num_segments == 3
    for filters in ({}, {"max_price": 120}, {"category": "Blenders"}, {"min_rating": 3.5}):
        assert hits(many, **filters) == hits(one, **filters)
    for name in ("products", "histories"):
        assert list(getattr(many, name)()) == list(getattr(one, name)())
    assert latent_needs(many) == latent_needs(one)
    assert all(many.reviews_of(p.id) == one.reviews_of(p.id) for p in one.products())
    assert not (tmp_path / ".making").exists() and {p.name for p in (tmp_path / "index").iterdir()} == {"products", "pages"}


def test_segments_stand_in_the_order_of_the_catalogue(tmp_path, monkeypatch):
    """Whatever their size; the engine itself lists the largest first."""
    pieces = []
    for numbers, segment in ((range(30), 10**9), (range(30, 530), 2000), (range(530, 730), 10**9)):
        monkeypatch.setattr(index_module, "SEGMENT", segment)
        pieces.append(tmp_path / f"piece-{numbers.start}")
        writer = product_writer(pieces[-1], numbers.start)
        for n in numbers:
            row = {"category": "Lamps", "title": f"Lamp {n}", "brand": "Aurel", "description": "A lamp.", "price": 5.0, "rating": None, "n_reviews": 0, "parent_id": ""}
            writer.add(f"L{n}", **product_fields(row, f'"{n}"', "[]"))
        writer.close()
    no_pages = page_writer(tmp_path / "no-pages")
    no_pages.close()
    assemble(tmp_path / "index" / "products", pieces)
    assemble(tmp_path / "index" / "pages", [tmp_path / "no-pages"])
    search = SearchIndex(tmp_path / "index")
    sizes = [s["max_doc"] for s in json.loads((tmp_path / "index" / "products" / "meta.json").read_text())["segments"]]
    assert sum(sizes) == 730 and len(sizes) > 5 and sizes != sorted(sizes, reverse=True)
    assert search.in_category("Lamps", 90) == sorted(f"L{n}" for n in range(90))
    assert set(search.products("lamp", limit=10)) <= {f"L{n}" for n in range(70)}
    assert all(search.products(f"lamp {n}")[0] == f"L{n}" and search.product(f"L{n}") == (f'"{n}"'.encode(), b"[]") for n in range(0, 730, 71))
    assert search.pages("lamp") == [] and search.page("W1") is None


# --- sources that are read in one go ---------------------------------------------------------------------------
def test_a_source_streams_in_any_order(generated, world, tmp_path, monkeypatch):
    monkeypatch.setattr(spool_module, "PART", 50)
    monkeypatch.setattr(spool_module, "_BUFFER", 10_000)
    scratch, folder = tmp_path / "scratch", tmp_path / "world"
    scratch.mkdir()
    reviews = list(world.reviews())
    random.Random(1).shuffle(reviews)
    material = Material((p for p in world.products()), (r for r in [*reviews[:700], type(reviews[0])("R0", "nothing", 1.0, "?"), *reviews[700:]]))
    parts = Spool(scratch, material)
    assert parts.products == 9 and material.counts == {"reviews_unlisted": 1}
    with Workers(1) as workers:
        made = list(writing.write_catalogue(parts, folder, workers))
        writing.write_pages(folder, iter(()))
    assert sum(t.counts["products"] for t in made) == 420 and sum(t.counts["reviews"] for t in made) == len(reviews)
    assert made[0].categories.keys() == {c.name for c in CATEGORIES}
    search = SearchIndex(folder / "index")
    for p in world.products():
        record, said = search.product(p.id)
        assert record.decode() == encoded(p)[1]
        assert Counter(r.id for r in world.reviews_of(p.id)) == Counter(r["id"] for r in json.loads(said))
    assert [search.products(q) for q in QUERIES] == [world.search.products(q) for q in QUERIES]


def test_a_source_without_products_is_an_error(tmp_path, monkeypatch):
    source = tmp_path / "empty"
    source.mkdir()
    (source / "products.json").write_text("{}")
    (source / "orders.json").write_text("{}")
    (source / "users.json").write_text("{}")
    with pytest.raises(UserError, match="no product could be read"):
        build(WorldConfig(kind="tau_retail", path=str(source)), tmp_path / "w")
    assert not (tmp_path / "w" / ".making").exists()


# --- questions about a whole category --------------------------------------------------------------------------
def test_rows_answer_as_the_products_do(world):
    shelf, _ = make_shelf(3, CATEGORIES[0], 90, ["Aurel", "Brisko", "Corvane"])
    for spec in shelf.category.numeric:
        values = sorted(p.attribute(spec.name).number for p in shelf.products)
        assert [shelf.value(spec, n) for n in range(90)] == values and shelf.value(spec, -1) == values[-1]
        for value in {*values, spec.low - 1, spec.high + 1}:
            rank = bisect_left(values, value) / 89
            assert shelf.goodness(spec, value) == (1 - rank if spec.better == "low" else rank)
    rng = random.Random(0)
    shop = _Shop(shelf, world, WorldConfig(seed=3))
    seen = set()
    for _ in range(200):
        constraints = shop._propose(rng)
        budget = [type(constraints[0])("price", "<=", str(rng.choice((40, 80.5, 120, 200))), "USD")]
        met = [satisfies_all([*constraints, *budget], p) for p in shelf.products]
        assert shelf.meet([*constraints, *budget]).tolist() == met
        places = np.array(rng.sample(range(90), 20))
        assert shelf.meet(constraints, places).tolist() == [satisfies_all(constraints, shelf.products[n]) for n in places]
        seen.add(any(met))
    assert seen == {True, False}


def test_of_a_large_category_the_first_products_are_shown(generated, world, monkeypatch):
    monkeypatch.setattr(world_module, "SHOWN", 5)
    few = World.open(generated[0])
    shown = few.by_category("Blenders")
    first = [p for p in world.products() if p.category == "Blenders"]
    assert shown == sorted(first[:5], key=lambda p: p.id)
    persona, history = Persona("", "Blenders", []), History("u", [])
    assert check_query("I want a blender that makes no noise", persona, history, few) == []
    problems = check_query(f"Is the {first[-1].title} any good for soup?", persona, history, few)
    assert first[-1] not in shown and first[-1].title in problems[0].text


# --- workers ---------------------------------------------------------------------------------------------------
def _double(shared, job):
    print("no answer")
    return shared * job


def _fail(shared, job):
    if job == 3:
        raise UserError("three is wrong")
    return job


def _die(shared, job):
    os._exit(7) if job == "exit" else os.kill(os.getpid(), signal.SIGKILL)


def test_workers_answer_in_order_and_say_what_went_wrong():
    with Workers(2) as workers:
        assert list(workers.map(_double, 3, range(20))) == [3 * n for n in range(20)]
        assert list(workers.map(_double, "ab", [2])) == ["abab"]
    with pytest.raises(UserError, match="three is wrong"), Workers(2) as workers:
        list(workers.map(_fail, None, range(8)))
    with pytest.raises(RuntimeError, match="ended with code 7"), Workers(2) as workers:
        list(workers.map(_die, None, ["exit"]))
    with pytest.raises(UserError, match="killed by signal 9; is there enough memory"), Workers(2) as workers:
        list(workers.map(_die, None, ["kill"]))


# --- 20,000 products -------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_world_of_twenty_thousand_products(tmp_path):
    """More products in a category than are looked at one by one, and more than one part."""
    config = WorldConfig(products=20_000, users=300)
    counts = build(config, tmp_path / "two", processes=2)
    assert counts == build(config, tmp_path / "one", processes=1)
    world = World.open(tmp_path / "two")
    ids, titles, categories, rated = set(), set(), Counter(), {}
    for p in world.products():
        ids.add(p.id)
        titles.add(p.title)
        categories[p.category] += 1
        rated[p.id] = p.n_reviews
    assert len(ids) == len(titles) == counts["products"] == 20_000 and len(categories) == counts["categories"] == 14
    said = Counter(r.product_id for r in world.reviews())
    assert said.total() == counts["reviews"] and all(said[id] == n for id, n in rated.items()) and said.keys() <= ids
    assert len({r.id for r in world.reviews()}) == counts["reviews"] and len({p.id for p in world.pages()}) == counts["pages"]
    needs = latent_needs(world)
    assert [h.user_id for h in world.histories()] == [n.user_id for n in needs] and len(needs) == counts["users"] == 300
    valid = set()
    for need in needs:
        assert need.satisfying == sorted(need.satisfying) and len(set(need.satisfying)) == len(need.satisfying)
        looked_at = random.Random(need.user_id).sample(need.satisfying, 12)
        assert all(satisfies_all(need.constraints, world.get(i)) and world.get(i).category == need.category for i in looked_at)
        available = sum(1 for i in need.satisfying if world.get(i).available) if len(valid) < 20 else MIN_SATISFYING
        assert available >= MIN_SATISFYING
        valid.add(len(need.satisfying))
    assert abs(statistics.mean(n.top_share for n in needs) - config.valid_share) < 0.1
