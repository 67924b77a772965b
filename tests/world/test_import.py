"""Imports of sources that are larger than memory: what is held, what is counted, and files that are broken."""

import gc
import gzip
import json
import random
import tracemalloc
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from prstack.errors import UserError
from prstack.settings import WorldConfig
from prstack.store.records import MAX_LINE
from prstack.world import ondisk, writing
from prstack.world import spool as spool_module
from prstack.world.adapters import fields
from prstack.world.adapters.mapping import Table
from prstack.world.adapters.rows import read_rows
from prstack.world.world import World, build

PRODUCT = {"parent_asin": "B1", "title": "Kettle", "categories": ["Kitchen"], "price": 9.5, "details": {"Color": "red"}}
REVIEW = {"rating": 5.0, "title": "", "text": "Fast.", "parent_asin": "B1", "user_id": "U1", "timestamp": 1588687728923, "verified_purchase": True}


def words(rng: random.Random, characters: int) -> str:
    return " ".join(f"{rng.getrandbits(40):x}" for _ in range(characters // 11))


def write_lines(path, rows):
    text = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return len(text)


def amazon(folder, meta, reviews, ending=""):
    folder.mkdir(exist_ok=True)
    size = write_lines(folder / f"meta_A.jsonl{ending}", meta) + write_lines(folder / f"A.jsonl{ending}", reviews)
    return WorldConfig(kind="amazon", path=str(folder)), size


def shop(folder, products: int):
    """Amazon files of so many products with three long reviews each; a user writes four."""
    rng = random.Random(products)
    meta = (PRODUCT | {"parent_asin": f"B{n}", "description": [words(rng, 2000)]} for n in range(products))
    reviews = (REVIEW | {"parent_asin": f"B{rng.randrange(products)}", "user_id": f"U{n % (products * 3 // 4)}", "timestamp": 10**12 + n, "text": words(rng, 1500)} for n in range(3 * products))
    return amazon(folder, meta, reviews, ".gz")


def tables(folder, products: int):
    """The same as tables, with events and pages."""
    rng = random.Random(products)
    folder.mkdir()
    size = write_lines(folder / "p.jsonl", ({"id": f"B{n}", "title": "Kettle", "text": words(rng, 2000)} for n in range(products)))
    size += write_lines(folder / "r.jsonl", ({"id": f"B{n % products}", "text": words(rng, 1500)} for n in range(2 * products)))
    size += write_lines(folder / "g.jsonl", ({"title": "Guide", "text": words(rng, 1500)} for n in range(products)))
    size += write_lines(folder / "e.jsonl", ({"id": f"B{n % products}", "who": n // 4, "what": "dialogue", "text": words(rng, 1000)} for n in range(2 * products)))
    mapping = {
        "products": {"file": "p.jsonl", "fields": {"id": "id", "title": "title", "description": "text"}},
        "reviews": {"file": "r.jsonl", "fields": {"product_id": "id", "text": "text"}},
        "pages": {"file": "g.jsonl", "fields": {"title": "title", "text": "text"}},
        "events": {"file": "e.jsonl", "fields": {"user_id": "who", "type": "what", "product_id": "id", "text": "text"}},
    }
    (folder / "map.yaml").write_text(yaml.safe_dump(mapping))
    return WorldConfig(kind="table", mapping=str(folder / "map.yaml")), size


def webshop(folder, products: int):
    rng = random.Random(products)
    folder.mkdir()
    items = [{"asin": f"B{n}", "name": "Ottoman", "full_description": words(rng, 3000)} for n in range(products)]
    short = {f"B{n}": {"attributes": [words(rng, 50)] * 20} for n in range(products)}
    texts = json.dumps(items), json.dumps(short)
    (folder / "items_shuffle.json").write_text(texts[0])
    (folder / "items_ins_v2.json").write_text(texts[1])
    return WorldConfig(kind="webshop", path=str(folder)), sum(map(len, texts))


@pytest.mark.parametrize("source", [shop, tables, webshop])
def test_memory_does_not_grow_with_the_text(tmp_path, monkeypatch, source):
    """Sixteen times the catalogue takes as much memory, but for the ids of products, when what is held back is small.

    Held whole, the text would take its own size and more; a quarter leaves room for what other threads of the test
    process allocate meanwhile."""
    for module, name in ((ondisk, "BUFFER"), (spool_module, "_BUFFER"), (writing, "_CHARACTERS")):
        monkeypatch.setattr(module, name, 100_000)
    monkeypatch.setattr("prstack.world.adapters.jsonfile.CHUNK", 50_000)
    monkeypatch.setattr(spool_module, "PART", 50)
    peaks, sizes = [], []
    for products in (5, 100, 1600):  # the first loads modules
        config, size = source(tmp_path / f"{products}", products)
        gc.collect()
        tracemalloc.start()
        counts = build(config, tmp_path / "w", processes=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        sizes.append(size)
        assert counts["products"] == products and counts["quarantined"] == 0
    assert peaks[2] - peaks[1] < 0.25 * (sizes[2] - sizes[1]), (peaks, sizes)


def test_a_group_of_rows_is_not_held_whole(tmp_path):
    rng = random.Random(0)
    table = pa.table({"id": [f"B{n}" for n in range(30_000)], "title": [rng.randbytes(500).hex() for _ in range(30_000)]})
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=30_000, compression="none")
    del table
    before, most, rows = pa.total_allocated_bytes(), 0, 0
    for rows, _ in read_rows(tmp_path / "p.parquet", Table("p.parquet", {"id": "id", "title": "title"}), pytest.fail):  # noqa: B007
        most = max(most, pa.total_allocated_bytes() - before)
    assert rows == 30_000 and most < (tmp_path / "p.parquet").stat().st_size / 3


# --- what is made ----------------------------------------------------------------------------------------------
def noisy(folder):
    """Reviews of two files, with the same again near and far, with other stars, malformed, and of products that are not listed."""
    rng = random.Random(1)
    reviews = [REVIEW | {"parent_asin": f"B{rng.randrange(12)}", "user_id": f"U{rng.randrange(9)}", "timestamp": 10**12 + n // 2, "text": f"Text {n}."} for n in range(80)]
    same, stars, unlisted = reviews[3:6] + reviews[70:72], [r | {"rating": 1.0} for r in reviews[20:24]], [REVIEW | {"parent_asin": "B99"}] * 2
    config, _ = amazon(folder, [PRODUCT | {"parent_asin": f"B{n}"} for n in (*range(12), 3)], [*reviews, reviews[79], *same, "{"])
    write_lines(folder / "B.jsonl", [*stars, *unlisted, REVIEW | {"rating": 9}, reviews[0]])
    return config


def test_the_world_does_not_depend_on_what_is_held_back(tmp_path, monkeypatch):
    config = noisy(tmp_path / "src")
    whole = build(config, tmp_path / "whole")
    told = []
    for module, name, value in ((ondisk, "BUFFER", 1), (ondisk, "_MOST_RUNS", 5), (spool_module, "_BUFFER", 1), (spool_module, "PART", 5), (fields, "TOLD", 40)):
        monkeypatch.setattr(module, name, value)
    assert build(config, tmp_path / "parts", lambda step, n: told.append((step, n)), processes=1) == whole
    assert [t for t in told if "read" in t[0]] == [("reviews read", 40), ("reviews read", 80)]
    one, other = World.open(tmp_path / "whole"), World.open(tmp_path / "parts")
    for name in ("products", "reviews", "histories"):
        assert list(getattr(one, name)()) == list(getattr(other, name)())
    assert build(config, tmp_path / "two", processes=2) == whole


def test_repeated_reviews_are_found_wherever_they_stand(tmp_path):
    counts = build(noisy(tmp_path / "src"), tmp_path / "w")
    bad = [json.loads(line) for line in (tmp_path / "w" / "quarantine.jsonl").read_text().splitlines()]
    where = Counter((b["file"].rpartition("/")[2], b["line"], b["field"]) for b in bad)
    assert where == Counter([("A.jsonl", 87, ""), ("B.jsonl", 7, "rating"), *(("B.jsonl", n, "id") for n in (1, 2, 3, 4))])
    assert (counts["products_read"], counts["products"], counts["products_merged"]) == (13, 12, 1)
    assert (counts["reviews"], counts["reviews_merged"], counts["reviews_unlisted"], counts["quarantined"]) == (80, 7, 2, 6)
    assert counts["reviews_read"] == counts["reviews"] + counts["reviews_merged"] + counts["reviews_unlisted"] + counts["quarantined"]
    world = World.open(tmp_path / "w")
    assert {r.id for r in world.reviews()} == {f"R{n}" for n in range(1, 81)}
    of_users = [h.user_id for h in world.histories()]
    assert of_users == sorted(of_users) and sum(e.type == "review" for h in world.histories() for e in h.events) == 80
    assert all([e.timestamp for e in h.events] == sorted(e.timestamp for e in h.events) for h in world.histories())
    for p in world.products():
        texts = [int(r.text.strip(".").split()[1]) for r in world.reviews_of(p.id)]
        assert texts == sorted(texts) and all(r.product_id == p.id for r in world.reviews_of(p.id)), "a product's reviews stand in the files' order"


def test_ratings_of_reviews_reach_products_in_every_part(tmp_path, monkeypatch):
    monkeypatch.setattr(spool_module, "PART", 2)
    write_lines(tmp_path / "p.jsonl", [{"id": f"A{n}", "t": "Cup"} for n in range(5)])
    write_lines(tmp_path / "r.jsonl", [{"id": f"A{n}", "s": s, "x": "Good."} for n, s in ((4, 5), (0, 2), (4, 4), (2, None), (0, None), (9, 1))])
    mapping = {"products": {"file": "p.jsonl", "fields": {"id": "id", "title": "t"}}, "reviews": {"file": "r.jsonl", "fields": {"product_id": "id", "rating": "s", "text": "x"}}}
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(mapping))
    counts = build(WorldConfig(kind="table", mapping=str(tmp_path / "map.yaml")), tmp_path / "w", processes=1)
    rated = [(p.id, p.rating, p.n_reviews) for p in World.open(tmp_path / "w").products()]
    assert rated == [("A0", 2.0, 2), ("A1", None, 0), ("A2", None, 1), ("A3", None, 0), ("A4", 4.5, 2)]
    assert counts["reviews_read"] == counts["reviews"] + counts["reviews_unlisted"] == 6


# --- broken files ----------------------------------------------------------------------------------------------
def cut_off(packed: bytes) -> bytes:
    return packed[: len(packed) // 2]


def damaged(packed: bytes) -> bytes:
    return packed[: len(packed) // 2] + b"\xff" * 40 + packed[len(packed) // 2 + 40 :]


def not_packed(packed: bytes) -> bytes:
    return gzip.decompress(packed)


@pytest.mark.parametrize("name", ["meta_A.jsonl.gz", "A.jsonl.gz"])
@pytest.mark.parametrize("breaks", [cut_off, damaged, not_packed])
def test_a_packed_file_that_is_broken_is_one_error(tmp_path, name, breaks):
    config, _ = amazon(tmp_path / "src", [PRODUCT | {"parent_asin": f"B{n}"} for n in range(300)], [REVIEW | {"timestamp": n} for n in range(300)], ".gz")
    file = tmp_path / "src" / name
    file.write_bytes(breaks(file.read_bytes()))
    with pytest.raises(UserError, match=rf"{name}: cannot be read to its end"):
        build(config, tmp_path / "w")


def test_a_packed_table_that_is_broken_is_one_error_before_anything_is_read(tmp_path):
    write_lines(tmp_path / "p.jsonl", [{"id": "A", "title": "Cup"}])
    (tmp_path / "e.jsonl.gz").write_bytes(b"not packed")
    (tmp_path / "map.yaml").write_text("products: {file: p.jsonl, fields: {id: id, title: title}}\nevents: {file: e.jsonl.gz, fields: {user_id: u, type: t}}")
    with pytest.raises(UserError, match=r"e\.jsonl\.gz: cannot be read to its end"):
        build(WorldConfig(kind="table", mapping=str(tmp_path / "map.yaml")), tmp_path / "w")
    assert not (tmp_path / "w" / "products").exists()


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "csv"])
def test_a_line_of_fifty_megabytes_is_put_aside(tmp_path, kind):
    long = "x" * (50 << 20)
    lines = {"csv": ["id,title", "A,Cup", f"B,{long}", "C,Jug"]}.get(kind, ['{"id": "A", "title": "Cup"}', json.dumps({"id": "B", "title": long}), '{"id": "C", "title": "Jug"}'])
    write_lines(tmp_path / f"p.{kind}", lines)
    (tmp_path / "map.yaml").write_text(yaml.safe_dump({"products": {"file": f"p.{kind}", "fields": {"id": "id", "title": "title"}}}))
    counts = build(WorldConfig(kind="table", mapping=str(tmp_path / "map.yaml")), tmp_path / "w")
    (bad,) = (json.loads(line) for line in (tmp_path / "w" / "quarantine.jsonl").read_text().splitlines())
    assert (bad["line"], len(bad["excerpt"])) == (lines.index("C,Jug") if kind == "csv" else 2, 200) and f"(limit {MAX_LINE})" in bad["reason"]
    assert (counts["products_read"], counts["products"], counts["quarantined"]) == (3, 2, 1)


def test_a_bad_line_after_a_long_one_has_its_own_number(tmp_path, monkeypatch):
    monkeypatch.setattr("prstack.world.adapters.rows.MAX_LINE", 30)
    (tmp_path / "p.csv").write_text("id,title\r\nA," + "x" * 80 + "\r\nB,Jug\r\nC\r\n", newline="")
    (tmp_path / "map.yaml").write_text(yaml.safe_dump({"products": {"file": "p.csv", "fields": {"id": "id", "title": "title"}}}))
    counts = build(WorldConfig(kind="table", mapping=str(tmp_path / "map.yaml")), tmp_path / "w")
    bad = [json.loads(line) for line in (tmp_path / "w" / "quarantine.jsonl").read_text().splitlines()]
    assert [(b["line"], b["reason"]) for b in bad] == [(2, "line of 84 characters (limit 30)"), (4, "expected 2 cells, found 1")] and counts["products"] == 1
