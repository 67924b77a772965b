import json
import os
import statistics
import subprocess
import sys

import pytest

from prstack.errors import UserError
from prstack.settings import WorldConfig
from prstack.store.records import read_records
from prstack.tools.results import parse_search
from prstack.tools.toolbox import Toolbox
from prstack.types import Event, History, ToolCall
from prstack.world.generated.catalogue import CATEGORIES
from prstack.world.language import praise_words
from prstack.world.match import satisfies_all
from prstack.world.material import Contradiction, Latent
from prstack.world.opinions import hear_opinions
from prstack.world.world import World, build


def truth(folder, name, cls):
    return list(read_records(folder / "truth" / name, cls, pytest.fail, "truth"))


def test_the_same_seed_gives_the_same_world(generated, tmp_path):
    folder, counts = generated
    assert build(WorldConfig(products=420, users=42), tmp_path / "again") == counts
    assert build(WorldConfig(products=420, users=42, seed=1), tmp_path / "other")["content_hash"] != counts["content_hash"]
    first, second = World.open(folder), World.open(tmp_path / "again")
    for query in ("blender noise level", "quiet headphones for late films", "anything"):
        assert first.search.products(query) == second.search.products(query)


def test_the_hash_does_not_depend_on_the_process(tmp_path):
    code = "import sys; from prstack.settings import WorldConfig; from prstack.world.world import build; print(build(WorldConfig(products=84, users=14), sys.argv[1])['content_hash'])"
    runs = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / seed)], env=os.environ | {"PYTHONHASHSEED": seed}, stdout=subprocess.PIPE)
        for seed in ("1", "2")
    ]
    assert len({r.communicate(timeout=60)[0] for r in runs}) == 1 and all(r.returncode == 0 for r in runs)


def test_building_again_replaces_what_was_there(tmp_path):
    build(WorldConfig(products=140, users=14), tmp_path)
    counts = build(WorldConfig(products=70, users=7), tmp_path)
    world = World.open(tmp_path)
    assert len(list(world.products())) == counts["products"] == 70
    assert len(list(world.histories())) == counts["users"] == 7


def test_counts_and_records(generated, world):
    _, counts = generated
    assert counts["products"] == 420 and counts["users"] == 42 and counts["quarantined"] == 0
    assert len(world.categories()) == len(CATEGORIES) >= 12
    for p in world.products():
        assert world.get(p.id) == p
        reviews = world.reviews_of(p.id)
        assert p.n_reviews == len(reviews)
        assert (p.rating is None) == (not reviews)
    assert sum(len(world.by_category(c)) for c in world.categories()) == 420
    assert {p.kind for p in world.pages()} == {"guide", "lab_test", "forum", "brand"}
    page = next(world.pages())
    assert world.page(page.id) == page
    assert world.get("nothing") is None and world.page("W0") is None and world.reviews_of("nothing") == []


def test_titles_and_descriptions_do_not_give_the_attributes_away(world):
    titles = [p.title for p in world.products()]
    assert len(set(titles)) == len(titles)
    for p in world.products():
        shown = f"{p.title} {p.description}"
        assert not hear_opinions(shown), shown
        assert not any(a.value in shown for a in p.attributes if a.unit), shown


def test_price_follows_quality_but_does_not_decide(world):
    for category in CATEGORIES:
        products = world.by_category(category.name)
        for spec in category.numeric:
            r = statistics.correlation([p.price for p in products], [p.attribute(spec.name).number for p in products])
            assert 0.15 < (r if spec.better == "high" else -r) < 0.95, (category.name, spec.name)


def test_reviews_follow_the_truth_except_where_the_listing_is_false(generated, world):
    false = {(c.product_id, c.attribute) for c in truth(generated[0], "listings", Contradiction)}
    assert 0.05 < len(false) / 420 < 0.2
    said = [(r.product_id, a, good) for r in world.reviews() for a, _, good in hear_opinions(r.text)]
    assert len(said) > 500
    assert not any(good for p, a, good in said if (p, a) in false), "a false listing is praised"
    assert sum((p, a) in false for p, a, _ in said) >= len(false)
    measured = " ".join(p.text for p in world.pages() if p.kind == "lab_test")
    assert "the listing says" in measured


def test_every_need_can_be_met(generated, world):
    needs = truth(generated[0], "users", Latent)
    assert len(needs) == 42
    for need in needs:
        assert 3 <= len(need.constraints) <= 4 and need.constraints[-1].attribute == "price"
        met = [p.id for p in world.by_category(need.category) if satisfies_all(need.constraints, p)]
        assert sorted(met) == need.satisfying and len(met) >= 2


@pytest.mark.parametrize("form", ["attributes", "noun", "praise", "category"])
def test_about_a_third_of_the_first_hits_is_right(generated, world, form):
    """Over several ways to ask, the first hits of product_search satisfy all constraints as often as configured."""
    box, shares = Toolbox(generated[0]), []
    nouns = {c.name: c.noun for c in CATEGORIES}
    for need in truth(generated[0], "users", Latent):
        wanted = [c.attribute for c in need.constraints[:-1]]
        words = {"attributes": wanted, "noun": [], "praise": [w for a in wanted for w in praise_words(a)[:1]], "category": wanted}[form]
        arguments = {"query": " ".join([nouns[need.category], *words]), "max_price": float(need.constraints[-1].value)}
        if form == "category":
            arguments |= {"category": need.category, "query": " ".join(words)}
        hits = parse_search(box.call(ToolCall("c", "product_search", json.dumps(arguments))).text)
        shares.append(sum(h.id in need.satisfying for h in hits) / len(hits))
    assert abs(statistics.mean(shares) - WorldConfig().valid_share) < 0.1


def test_valid_share_is_a_setting(tmp_path):
    build(WorldConfig(products=420, users=28, valid_share=0.15), tmp_path)
    assert statistics.mean(n.top_share for n in truth(tmp_path, "users", Latent)) < 0.25


def test_histories_are_ordered_and_name_real_products(world):
    for history in world.histories():
        ids = [e.id for e in history.events]
        stamps = [e.timestamp for e in history.events]
        assert len(set(ids)) == len(ids) and stamps == sorted(stamps)
        assert all(world.get(e.product_id) for e in history.events if e.type != "search")
        assert {"purchase", "search"} <= {e.type for e in history.events}


def test_a_tiny_world_works(tmp_path):
    counts = build(WorldConfig(products=1, users=5), tmp_path)
    assert (counts["products"], counts["users"]) == (1, 0)


def test_no_world_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match="prstack world"):
        World.open(tmp_path)
    (tmp_path / "world.json").write_text("{")
    with pytest.raises(UserError, match="not a world"):
        World.open(tmp_path)


# --- own histories ---------------------------------------------------------------------------------------------
def event(n: int) -> dict:
    return {"id": f"e{n}", "type": "purchase", "product_id": "P1001", "text": "Bought one."}


def test_own_histories_replace_the_worlds(tmp_path):
    lines = [
        json.dumps({"user_id": "a", "events": [event(1)]}),
        "{broken",
        json.dumps({"user_id": "b", "events": [event(1) | {"type": "dance"}]}),
        "",
        json.dumps({"user_id": "a", "events": [event(2)]}),
        json.dumps({"user_id": "c", "events": []}),
        json.dumps({"user_id": "d", "events": [event(1)], "extra": 1}),
        json.dumps({"user_id": "e", "events": [event(1), event(2)]}),
    ]
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(lines) + "\n")
    counts = build(WorldConfig(products=56, users=5, histories=str(file)), tmp_path / "w")
    assert [h.user_id for h in World.open(tmp_path / "w").histories()] == ["a", "e"]
    assert counts["users"] == 2 and counts["quarantined"] == 5
    assert counts["histories_read"] == counts["users"] + counts["quarantined"]
    bad = [json.loads(line) for line in (tmp_path / "w" / "quarantine.jsonl").read_text().splitlines()]
    assert [(b["line"], b["field"]) for b in bad] == [(2, ""), (3, "events.0.type"), (5, "user_id"), (6, "events"), (7, "extra")]
    assert all(b["file"] == str(file) and b["reason"] for b in bad)
    assert not (tmp_path / "w" / "truth" / "users").exists()


def test_own_histories_from_parquet(tmp_path):
    build(WorldConfig(products=56, users=6), tmp_path / "one")
    counts = build(WorldConfig(products=56, users=1, histories=str(tmp_path / "one" / "histories")), tmp_path / "two")
    histories = list(World.open(tmp_path / "two").histories())
    assert histories == list(World.open(tmp_path / "one").histories()) and counts["users"] == 6
    assert isinstance(histories[0], History) and isinstance(histories[0].events[0], Event)


@pytest.mark.parametrize(("text", "message"), [("[]\n", "expected a JSON object"), ("", "no history could be read")])
def test_own_histories_without_a_good_line(tmp_path, text, message):
    (tmp_path / "h.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        build(WorldConfig(products=28, users=1, histories=str(tmp_path / "h.jsonl")), tmp_path / "w")


def test_own_histories_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match=r"world\.histories: no such file"):
        build(WorldConfig(products=28, users=1, histories=str(tmp_path / "none")), tmp_path / "w")
