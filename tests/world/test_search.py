import shutil
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prstack.errors import UserError
from prstack.world.search import SearchIndex
from prstack.world.world import World


def test_the_named_product_comes_first(world):
    for product in list(world.products())[:40]:
        assert world.search.products(product.title)[0] == product.id


def test_words_are_stemmed_and_cases_ignored(world):
    assert world.search.products("BLENDERS") and {world.get(i).category for i in world.search.products("blenders")} == {"Blenders"}


def test_filters(world):
    ids = world.search.products("blender", category="blenders", max_price=100, min_rating=3, limit=100)
    wanted = {p.id for p in world.by_category("Blenders") if p.price <= 100 and (p.rating or 0) >= 3}
    assert set(ids) == wanted and ids
    assert world.search.products("blender", min_price=1e6) == []
    assert world.search.products("blender", category="Spaceships") == []
    assert len(world.search.products("zzz", category="Blenders", limit=50)) == len(world.by_category("Blenders"))
    assert world.search.products("zzz", max_price=100) == []


def test_pages_of_results_do_not_overlap(world):
    pages = [world.search.products("blender", offset=n, limit=10) for n in (0, 10, 20)]
    assert len({i for page in pages for i in page}) == 30
    assert world.search.products("blender", limit=30) == [i for page in pages for i in page]


def test_equal_hits_differ_between_queries_but_not_between_calls(world):
    tops = {tuple(world.search.products(f"desk lamp {w}")) for w in ("brightness", "reach", "cord", "mounting")}
    assert len(tops) > 1
    assert world.search.products("desk lamp reach") == world.search.products("desk lamp reach")


def test_web_pages(world):
    kinds = [world.page(i).kind for i in world.search.pages("how to choose blenders")]
    assert "guide" in kinds
    page = world.page(world.search.pages("blenders bench noise level")[0])
    assert "noise level" in world.search.snippet("noise level", page.text).lower()


@given(st.one_of(st.text(max_size=200), st.text(alphabet='"()[]{}*?~^:+-!&|\\/<> AND', max_size=60)))
@settings(max_examples=150, deadline=None)
def test_any_query_text_is_answered(world, query):
    world.search.products(query), world.search.pages(query), world.search.products(query, category=query or None)


@pytest.mark.parametrize("query", ["\ud800", "\x00", "", "   ", "x" * 100_000, "blender " * 5000, "NOT AND OR", "title:blender^9", "🫙", "日本語"])
def test_hostile_queries(world, query):
    world.search.products(query), world.search.pages(query), world.get(query), world.page(query)


def test_several_processes_read_at_once(generated):
    code = "import sys; from prstack.world.world import World; w = World.open(sys.argv[1]); print([w.get(i).title for i in w.search.products('quiet desk lamp')])"
    readers = [subprocess.Popen([sys.executable, "-c", code, str(generated[0])], stdout=subprocess.PIPE) for _ in range(3)]
    outputs = {r.communicate(timeout=60)[0] for r in readers}
    assert len(outputs) == 1 and len(outputs.pop()) > 20 and all(r.returncode == 0 for r in readers)


def test_a_missing_or_broken_index_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match="no search index"):
        SearchIndex(tmp_path)
    (tmp_path / "products").mkdir()
    with pytest.raises(UserError, match="cannot be opened"):
        SearchIndex(tmp_path)


def test_opening_reads_no_records(generated, tmp_path):
    shutil.copytree(generated[0], tmp_path / "world")
    records = [f for kind in ("products", "reviews", "pages") for f in (tmp_path / "world" / kind).rglob("*") if f.is_file()]
    assert records
    for path in records:
        path.write_bytes(b"not a record")
    assert World.open(tmp_path / "world").search.products("lamp") is not None
