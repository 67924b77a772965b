"""What stands beside a product: its variants, and products like it."""

import pytest

from prstack.types import Product
from prstack.world.related import difference, most_alike
from prstack.world.units import parse_attribute
from prstack.world.world import World
from tests.world.test_order import written


def kettle(id: str, price: float | None = 40.0, available: bool = True, **attributes: str) -> Product:
    return Product(id, f"Brisko Kettle {id}", "Kettles", "Brisko", price, attributes=[parse_attribute(k, v) for k, v in attributes.items()], available=available)


def test_difference_is_the_mean_over_price_and_attributes():
    p = kettle("P1", 40, weight="1 kg", body="glass")
    assert difference(p, p) == 0 and difference(p, kettle("P2", 40, weight="1000 g", body="Glass")) == 0
    assert difference(p, kettle("P2", 20, weight="1 kg", body="glass")) == pytest.approx(0.5 / 3)
    assert difference(p, kettle("P2", 40, weight="4 kg", body="steel")) == pytest.approx((0.75 + 1) / 3)
    assert difference(p, kettle("P2", None)) == 1 and difference(p, kettle("P2", 40, weight="quite heavy", body="glass")) == pytest.approx(1 / 3)
    assert difference(kettle("P1", 0), kettle("P2", 0)) == 0


def test_what_is_in_stock_comes_first_then_what_differs_least():
    p = kettle("P1", 40, body="glass")
    pool = [kettle("P2", 40, False, body="glass"), kettle("P3", 80, body="glass"), kettle("P5", 40, body="glass"), kettle("P4", 40, body="glass")]
    assert [q.id for q in most_alike(p, pool, 3)] == ["P4", "P5", "P3"] and [q.id for q in most_alike(p, pool, 9)][-1] == "P2"


def test_related_products_are_others_of_the_category(world):
    for product in list(world.products())[::9]:
        related = world.related_to(product)
        assert len(related) == 3 == len({q.id for q in related} - {product.id}) and {q.category for q in related} == {product.category}
        assert related == world.related_to(product) and [q.available for q in related] == sorted((q.available for q in related), reverse=True)


def test_related_products_are_nearer_than_others(world):
    nearer, rows = 0, [p for p in world.products() if p.category == "Blenders"]
    for product in rows:
        near = sum(difference(product, q) for q in world.related_to(product)) / 3
        nearer += near < sum(difference(product, q) for q in rows if q.id != product.id) / (len(rows) - 1)
    assert nearer > 0.9 * len(rows)


def test_variants_are_no_related_products(tmp_path):
    family = [kettle(f"P{n}") for n in (3, 1, 2)]
    for p in family:
        p.parent_id = "F1"
    others = [kettle("P9"), Product("P8", "Fennick Kettle", "Kettles", "Fennick"), Product("P7", "Brisko Kettle", "Irons")]
    written(tmp_path, [*family, *others], 2)
    world = World.open(tmp_path)
    assert [p.id for p in world.variants_of(world.get("P3"))] == ["P1", "P2"] and [p.id for p in world.variants_of(world.get("P3"), 1)] == ["P1"]
    assert [p.id for p in world.related_to(world.get("P3"))] == ["P9", "P8"]
    assert world.variants_of(world.get("P9")) == [] and {p.id for p in world.related_to(world.get("P9"))} == {"P1", "P2", "P3"} and world.related_to(world.get("P7")) == []


def test_a_family_of_real_data_knows_its_members(tau):
    world = World.open(tau[0])
    families: dict[str, list[str]] = {}
    for p in world.products():
        families.setdefault(p.parent_id, []).append(p.id)
    assert max(map(len, families.values())) > 8
    for parent, ids in families.items():
        for id in ids[:3]:
            product = world.get(id)
            assert [p.id for p in world.variants_of(product)] == sorted(i for i in ids if i != id)
            assert all(p.parent_id != parent for p in world.related_to(product))
