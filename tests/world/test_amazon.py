"""The two releases of Amazon Reviews, in files written here after their documentation."""

import gzip
import json

import pytest

from prstack.errors import UserError
from prstack.settings import WorldConfig
from prstack.world.world import World, build


def meta23(**changes) -> dict:
    return {
        "main_category": "All Beauty", "title": "Quiet Hair Dryer &amp; Brush", "average_rating": 4.3, "rating_number": 12, "features": ["<b>1200 W</b> motor", "Foldable"],
        "description": ["For travel."], "price": 24.99, "images": [], "videos": [], "store": "Howard", "categories": ["Beauty", "Hair Care", "Dryers"],
        "details": {"Wattage": "1200 watts", "Color": "red", "Best Sellers Rank": {"Beauty": 1}, "Date First Available": "May 1, 2020", "Is Foldable": True, "Item Weight": "0.9 Pounds", "Brand": "Howard"},
        "parent_asin": "B000000001", "bought_together": None,
    } | changes  # fmt: skip


def review23(**changes) -> dict:
    return {
        "rating": 5.0, "title": "Great", "text": "Dries fast.<br />Very quiet.", "images": [], "asin": "B0VARIANT1", "parent_asin": "B000000001", "user_id": "AEUSER1",
        "timestamp": 1588687728923, "helpful_vote": 0, "verified_purchase": True,
    } | changes  # fmt: skip


def write(path, rows):
    text = "\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")


def world_of(tmp_path, meta, reviews, names=("meta_All_Beauty.jsonl", "All_Beauty.jsonl"), **settings):
    source = tmp_path / "amazon"
    source.mkdir(exist_ok=True)
    write(source / names[0], meta)
    write(source / names[1], reviews)
    counts = build(WorldConfig(kind="amazon", path=str(source), **settings), tmp_path / "w")
    bad = [json.loads(line) for line in (tmp_path / "w" / "quarantine.jsonl").read_text().splitlines()]
    return World.open(tmp_path / "w"), counts, bad


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_2023(tmp_path, ending):
    reviews = [review23(), review23(timestamp=1500000000000, title="Broke", text="Broke after a week.", rating=1.0, verified_purchase=False), review23(user_id="AEUSER2"), review23(parent_asin="B00OTHER01")]
    world, counts, bad = world_of(tmp_path, [meta23()], reviews, ("meta_All_Beauty.jsonl" + ending, "All_Beauty.jsonl" + ending))
    assert not bad and (counts["products"], counts["reviews"], counts["reviews_read"], counts["reviews_unlisted"], counts["users"], counts["users_skipped"]) == (1, 3, 4, 1, 1, 1)
    product = world.get("B000000001")
    assert (product.title, product.category, product.brand, product.price, product.rating, product.n_reviews) == ("Quiet Hair Dryer & Brush", "Beauty > Hair Care > Dryers", "Howard", 24.99, 4.3, 12)
    assert product.description == "1200 W motor Foldable For travel."
    assert [(a.name, a.number, a.unit, a.value) for a in product.attributes] == [("wattage", 1200, "watts", "1200 watts"), ("color", None, "", "red"), ("is foldable", None, "", "yes"), ("item weight", 0.9, "Pounds", "0.9 Pounds")]
    assert world.reviews_of("B000000001")[0].text == "Great. Dries fast. Very quiet."
    (history,) = world.histories()
    assert [(e.type, e.timestamp, e.rating) for e in history.events] == [("review", "2017-07-14", 1.0), ("purchase", "2020-05-05", None), ("review", "2020-05-05", 5.0)]
    assert history.events[0].text == "Broke after a week." and history.events[1].title == product.title and history.events[1].attributes == product.attributes


def test_2018(tmp_path):
    meta = {
        "category": ["Beauty", "Hair Care"], "tech1": "", "description": ["A brush."], "title": "Brush", "also_buy": [], "brand": "Generic", "feature": ["Soft"], "rank": "1 in Beauty", "main_cat": "Luxury Beauty",
        "price": "$12.99 - $24.99", "asin": "B0018BRUSH", "details": {"\n Item Weight: \n ": "2 ounces", "ASIN:": "B0018BRUSH"},
    }  # fmt: skip
    old = {"overall": 4.0, "verified": True, "reviewTime": "09 1, 2013", "reviewerID": "A1", "asin": "B0018BRUSH", "reviewText": "Soft enough.", "summary": "Four Stars", "unixReviewTime": 1377993600}
    world, counts, bad = world_of(tmp_path, [meta, meta | {"asin": "B0018OTHER", "price": "$3.49"}], [old, old | {"asin": "B0018OTHER", "reviewText": None}], ("meta_Luxury_Beauty.json.gz", "Luxury_Beauty_5.json.gz"))
    assert not bad and (counts["products"], counts["prices_unread"], counts["reviews"]) == (2, 1, 2)
    brush, other = world.get("B0018BRUSH"), world.get("B0018OTHER")
    assert (brush.price, brush.brand, brush.category, other.price, brush.description) == (None, "", "Beauty > Hair Care", 3.49, "Soft A brush.")
    assert [(a.name, a.value) for a in brush.attributes] == [("item weight", "2 ounces")]
    (history,) = world.histories()
    assert [e.timestamp for e in history.events] == ["2013-09-01"] * 4 and history.events[1].text == "Four Stars. Soft enough."


def test_what_is_malformed_is_quarantined_with_line_and_field(tmp_path):
    meta = [
        meta23(), meta23(), meta23(price=9), "{", meta23(parent_asin=None), meta23(parent_asin="B2", title=""), meta23(parent_asin="B3", price=-1), meta23(parent_asin="B4", average_rating=7),
        meta23(parent_asin="B5", details="{oops"), meta23(parent_asin="B6", categories="Beauty"), meta23(parent_asin="B7", details='{"Color": "blue"}', price="None", categories=[]),
        meta23(parent_asin="B8", features=[1]), [1], meta23(parent_asin="B9", average_rating="n/a", rating_number=None, price="from $5"),
    ]  # fmt: skip
    reviews = [review23(), review23(), review23(rating=2), review23(user_id=""), review23(rating=9), review23(rating=None), review23(timestamp="then"), review23(text={}), "nonsense", review23(timestamp=-5)]
    world, counts, bad = world_of(tmp_path, meta, [r if isinstance(r, (dict, str)) else json.dumps(r) for r in reviews])
    of_meta, of_reviews = ([b for b in bad if b["file"].endswith(name)] for name in ("meta_All_Beauty.jsonl", "/All_Beauty.jsonl"))
    assert [(b["line"], b["field"]) for b in of_meta] == [(3, "id"), (4, ""), (5, "parent_asin"), (6, "title"), (7, "price"), (8, "average_rating"), (9, "details"), (10, "categories"), (12, "features"), (13, "")]
    assert sorted((b["line"], b["field"]) for b in of_reviews) == [(3, "id"), (4, "user_id"), (5, "rating"), (6, "rating"), (7, "timestamp"), (8, "text"), (9, ""), (10, "timestamp")]
    assert counts["products_read"] == counts["products"] + counts["products_merged"] + len(of_meta) == 14
    assert counts["reviews_read"] == counts["reviews"] + counts["reviews_merged"] + len(of_reviews) == 10
    assert world.get("B7").category == "All Beauty" and world.get("B7").price is None and world.get("B7").attribute("color").value == "blue"
    assert (world.get("B9").rating, world.get("B9").n_reviews, world.get("B9").price) == (None, 0, 5.0)


def test_a_packed_file_that_is_cut_off_is_one_error(tmp_path):
    source = tmp_path / "amazon"
    source.mkdir()
    write(source / "meta_x.jsonl.gz", [meta23(parent_asin=f"B{n}") for n in range(300)])
    whole = (source / "meta_x.jsonl.gz").read_bytes()
    (source / "meta_x.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"meta_x\.jsonl\.gz: cannot be read to its end"):
        build(WorldConfig(kind="amazon", path=str(source)), tmp_path / "w")


def test_a_folder_without_products(tmp_path):
    with pytest.raises(UserError, match=r"there is no meta_\*"):
        build(WorldConfig(kind="amazon", path=str(tmp_path)), tmp_path / "w")
