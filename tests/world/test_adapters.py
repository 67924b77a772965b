import copy
import json
from collections import Counter

import pytest

from prstack.errors import UserError
from prstack.settings import WorldConfig
from prstack.world.adapters.fields import clean
from prstack.world.world import World, build


def quarantine(folder):
    return [json.loads(line) for line in (folder / "quarantine.jsonl").read_text().splitlines()]


# --- tau-bench retail ------------------------------------------------------------------------------------------
def test_tau_retail_counts(tau):
    _, counts = tau
    assert counts["products"] == counts["products_read"] == 591
    assert (counts["categories"], counts["orders_read"], counts["quarantined"]) == (50, 1000, 0)
    assert counts["users_read"] == counts["users"] + counts["users_skipped"] == 500
    assert counts["users"] == 438 and counts["orders_unlisted"] == 0


def test_tau_retail_products_and_histories(tau):
    world = World.open(tau[0])
    bottle = world.get("6469567736")
    assert (bottle.title, bottle.category, bottle.parent_id) == ("Water Bottle, 1000ml, glass, blue", "Water Bottle", "8310926033")
    assert bottle.attribute("capacity").number == 1000 and bottle.attribute("capacity").unit == "ml"
    assert bottle.attribute("material").number is None
    types = Counter(e.type for h in world.histories() for e in h.events)
    assert types["purchase"] == 2978 and types["return"] > 200
    assert all(h.events and all(world.get(e.product_id) and e.text and e.attributes for e in h.events) for h in world.histories())


TAU_PRODUCTS = {
    "p1": {"name": "Mug", "product_id": "p1", "variants": {"i1": {"item_id": "i1", "options": {"size": "300ml"}, "available": True, "price": 5.0}}},
    "p2": {"name": "Jug", "product_id": "p2", "variants": {"i2": {"item_id": "i2", "options": {"size": "1L"}, "available": False, "price": 9}}},
}
TAU_ORDER = {"order_id": "#W1", "user_id": "ann", "status": "delivered", "items": [{"item_id": "i1", "price": 5.0}]}


def write_tau(folder, products=None, orders=None, users=None):
    folder.mkdir(exist_ok=True)
    (folder / "products.json").write_text(json.dumps(products or TAU_PRODUCTS, indent=1))
    (folder / "orders.json").write_text(json.dumps(orders or {"#W1": TAU_ORDER}, indent=1))
    (folder / "users.json").write_text(json.dumps(users or {"ann": {"orders": ["#W1"]}, "bob": {"orders": []}}, indent=1))
    return WorldConfig(kind="tau_retail", path=str(folder))


def test_small_tau_world(tmp_path):
    counts = build(write_tau(tmp_path / "src"), tmp_path / "w")
    assert (counts["products"], counts["users"], counts["users_skipped"], counts["quarantined"]) == (2, 1, 1, 0)
    assert World.open(tmp_path / "w").get("i2").available is False


def test_bad_tau_records_are_quarantined_with_line_and_field(tmp_path):
    products = copy.deepcopy(TAU_PRODUCTS)
    products["p1"]["variants"] |= {
        "i3": {"options": {"size": "1L"}, "available": True, "price": "cheap"},
        "i4": {"options": {"size": None}, "available": True, "price": 1.0},
        "i 5": {"options": {}, "available": True, "price": 1.0},
        "i6": {"options": {}, "price": 1.0},
        "i7": 7,
    }
    products["p9"] = {"name": "Nothing"}
    orders = {
        "#W1": TAU_ORDER,
        "#W2": TAU_ORDER | {"status": "lost"},
        "#W3": TAU_ORDER | {"items": [{"item_id": "i99", "price": 1}]},
        "#W4": "order",
        "#W5": TAU_ORDER | {"items": None},
    }
    users = {"ann": {"orders": ["#W1", "#W2"]}, "bob": {"orders": ["#W9"]}, "cat": {}, "dan": {"orders": ["#W3"]}}
    counts = build(write_tau(tmp_path / "src", products, orders, users), tmp_path / "w")
    bad = quarantine(tmp_path / "w")
    assert counts["quarantined"] == len(bad) == 12
    assert counts["products_read"] == counts["products"] + sum("products.json" in b["file"] for b in bad) == 8
    assert counts["orders_read"] == 1 + sum("orders.json" in b["file"] for b in bad) == 5
    assert counts["users_read"] == counts["users"] + counts["users_skipped"] + sum("users.json" in b["file"] for b in bad) == 4
    fields = {b["field"] for b in bad}
    assert {"p1.variants.i3.price", "p1.variants.i4.options.size", "p1.variants.i6.available", "p9.variants", "#W2.status", "#W3.items.0.item_id", "bob.orders", "cat.orders"} <= fields
    lost = next(b for b in bad if b["field"] == "#W2.status")
    assert '"#W2"' in (tmp_path / "src" / "orders.json").read_text().splitlines()[lost["line"] - 1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("products.json", '{\n "a": 1,\n oops\n}', r"products\.json:3: not JSON"),
        ("orders.json", "[]", r"orders\.json: expected one JSON object, found list"),
        ("users.json", "", r"users\.json:1: not JSON"),
        ("users.json", None, r"users\.json: no such file"),
        ("products.json", '{"p1": {}}', "no product could be read"),
        ("orders.json", b'{\n"a": "\xff"}', r"orders\.json:2: not UTF-8"),
    ],
)
def test_broken_tau_files_are_one_error(tmp_path, name, content, message):
    config = write_tau(tmp_path / "src")
    file = tmp_path / "src" / name
    file.unlink()
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        build(config, tmp_path / "w")


def test_missing_folder(tmp_path):
    with pytest.raises(UserError, match=r"world\.path"):
        build(WorldConfig(kind="tau_retail", path=str(tmp_path / "none")), tmp_path / "w")


# --- ShoppingBench ---------------------------------------------------------------------------------------------
def test_shoppingbench_counts(shoppingbench):
    _, counts = shoppingbench
    partial = counts["partial_read"] - counts["partial_merged"]
    assert counts["products_read"] == 150 and counts["products"] == counts["products_read"] - counts["products_merged"] + partial
    assert counts["tasks"] == 750 and partial > 1000 and counts["quarantined"] == 0 and counts["users"] == 30


def test_shoppingbench_products(shoppingbench):
    world = World.open(shoppingbench[0])
    bow = world.get("3706669986")
    assert (bow.currency, bow.price, bow.brand) == ("PHP", 256.0, "HEART STRING")
    assert bow.attribute("model").value == "Violin Bow"
    products = list(world.products())
    assert sum(len(p.attributes) for p in products) > 2 * len(products)
    assert not any("<p>" in p.description or "â\x9d" in p.description for p in products)
    assert "Women's Shoes > Sandals, Slides & Flip-Flops > House Slippers" in world.categories()
    assert not any(" > in > " in c or c.startswith("Non > ") for c in world.categories())
    assert len(world.by_category("Groceries")) == 15
    assert world.category_named("Stuffed Toys") == "Toys & Games > Stuffed Toys"
    assert world.category_named("Groceries") is None


def test_shoppingbench_users_are_seeded_and_neutral(shoppingbench, tmp_path):
    folder, counts = shoppingbench
    world = World.open(folder)
    again = build(WorldConfig(kind="shoppingbench", users=30), tmp_path / "again")
    assert again["content_hash"] == counts["content_hash"]
    for history in world.histories():
        assert history.events[-1].type == "purchase"
        home = history.events[-1].category.split(" > ")[0]
        assert all(e.category.split(" > ")[0] == home and world.get(e.product_id) for e in history.events)
        assert max(len(e.text) for e in history.events) < 40


def shop_line(**changes) -> str:
    reward = {"product_id": "77", "title": "Tin\u2028Cup", "category": "Kitchen > Cups", "price": 12.5, "specification": "material:tin;weight:90g;broken;:x"}
    return json.dumps({"query": "a cup", "reward": reward | changes}, ensure_ascii=False)


def test_bad_shoppingbench_lines_are_quarantined(tmp_path):
    source = tmp_path / "src"
    source.mkdir()
    lines = [
        shop_line(), shop_line(), shop_line(title="Other"), "{", shop_line(product_id="78", price=None), shop_line(product_id="79", title=""),
        json.dumps({"query": "x"}), shop_line(product_id="8 0"), shop_line(product_id="81", category=3), shop_line(product_id="82", attributes=[1], sku_options=3),
    ]  # fmt: skip
    (source / "synthesize_web_simpleqa_test.jsonl").write_text("\n".join(lines), encoding="utf-8")
    counts = build(WorldConfig(kind="shoppingbench", path=str(source), users=3), tmp_path / "w")
    bad = quarantine(tmp_path / "w")
    assert (counts["products_read"], counts["products"], counts["products_merged"], counts["quarantined"]) == (10, 2, 1, 7)
    assert [b["line"] for b in bad] == [3, 4, 5, 6, 7, 8, 9]
    cup = World.open(tmp_path / "w").get("77")
    assert (cup.title, cup.category) == ("Tin Cup", "Kitchen > Cups")
    assert [(a.name, a.value, a.number) for a in cup.attributes] == [("material", "tin", None), ("weight", "90g", 90)]


def test_missing_shoppingbench_file(tmp_path):
    with pytest.raises(UserError, match=r"synthesize_web_simpleqa_test\.jsonl: no such file"):
        build(WorldConfig(kind="shoppingbench", path=str(tmp_path)), tmp_path / "w")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("<p>Soft &amp; warm</p>\n<ul><li>two</li></ul>", "Soft & warm two"),
        ("goods â\x9d¤ï¸\x8fâ\x9d¤ï¸\x8f", "goods ❤️❤️"),
        ("donâ€™t", "don’t"),
        ("café 3 < 4", "café 3 < 4"),
        ("### **Cookies**", "Cookies"),
    ],
)
def test_clean(raw, text):
    assert clean(raw) == text
