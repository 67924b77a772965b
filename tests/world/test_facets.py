"""Properties of a category, whatever their sellers call them."""

from prstack.types import Attribute, Product
from prstack.world.facets import MAX_FACETS, Facet, facets
from prstack.world.names import OTHER_NAMES
from prstack.world.stats import CategoryStats, _count, _fold
from prstack.world.units import parse_attribute


def goods(*listings: dict[str, str]) -> list[Product]:
    return [Product(f"P{n}", "Thing", "Things", attributes=[parse_attribute(a, v) for a, v in of.items()]) for n, of in enumerate(listings)]


def test_names_that_mean_the_same_are_one_property():
    shown = facets(goods({"noise level": "50 dB", "colour": "sand"}, {"loudness": "62 dB"}, {"Noise Level": "55 dB"}, {"noise level": "71 dB", "color": "red"}))
    assert shown == [Facet("noise level", low=50, high=71, unit="dB"), Facet("color", ["red", "sand"])]


def test_the_name_that_most_use_is_shown():
    assert [f.name for f in facets(goods({"Color": "red"}, {"Color": "blue"}, {"colour": "red"}))] == ["Color"]


def test_every_attribute_has_a_facet_under_all_its_names():
    several = [
        Product(f"P{n}", "Thing", "Things", attributes=[Attribute(name, "x")])
        for n, name in enumerate((*OTHER_NAMES["fabric"], "fabric", "closure", *OTHER_NAMES["closure"]))
    ]
    assert [f.values for f in facets(several)] == [["x"], ["x"]] and len(facets(several)) <= MAX_FACETS


def test_values_in_other_units_are_of_one_range():
    (weight,) = facets(goods({"weight": "2 kg"}, {"weight": "1 kg"}, {"net weight": "500 g"}))
    assert (weight.low, weight.high, weight.unit) == (0.5, 2, "kg")


def test_stats_count_an_attribute_once_whatever_it_is_called():
    stats = CategoryStats("Things")
    for p in goods({"noise level": "50 dB", "Size": "2 kg"}, {"loudness": "62 dB"}, {"noise level": "55 dB"}):
        _count(stats, p)
    _fold(stats)
    assert stats.attributes == {"noise level": 3, "Size": 1} and stats.numbers == {("noise level", "dB"): [50, 55, 62], ("Size", "kg"): [2]}
