import pytest

from prstack.types import Attribute, Constraint, Product
from prstack.world.match import check, in_category, same_value, satisfies
from prstack.world.units import parse_attribute

KETTLE = Product(
    "P1", "Kettle", "Home > Kettles", "Aurel", 49.0, rating=4.2,
    attributes=[parse_attribute("noise level", "58 dB"), parse_attribute("Capacity", "1.5 liters"), parse_attribute("body_material", "stainless-steel"), parse_attribute("size", "M")],
)  # fmt: skip


@pytest.mark.parametrize(
    ("attribute", "op", "value", "unit", "expected"),
    [
        ("noise level", "<=", "58", "dB", True),
        ("noise level", "<=", "57.5", "dB", False),
        ("noise level", ">=", "58", "", True),
        ("Noise Level", "=", "58", "dB", True),
        ("capacity", ">=", "1400", "ml", True),
        ("capacity", "=", "1500ml", "", True),
        ("capacity", "=", "50.7", "oz", True),
        ("capacity", "<=", "3", "kg", None),
        ("body material", "=", "Stainless Steel", "", True),
        ("body material", "!=", "glass", "", True),
        ("body material", "!=", "stainless steel", "", False),
        ("size", "<=", "5", "", None),
        ("warranty", "=", "2", "years", None),
        ("price", "<=", "49", "USD", True),
        ("price", "<=", "48.99", "", False),
        ("price", "<=", "100", "PHP", None),
        ("category", "=", "kettle", "", True),
        ("category", "!=", "Kettles", "", False),
        ("brand", "=", "aurel", "", True),
        ("rating", ">=", "4", "", True),
    ],
)
def test_satisfies(attribute, op, value, unit, expected):
    assert satisfies(Constraint(attribute, op, value, unit), KETTLE) is expected


def test_check_takes_what_was_read_off_a_page():
    page = {"noise level": Attribute("noise level", "58 dB", 58, "dB")}
    assert check(Constraint("noise level", "<=", "60", "dB"), page)
    assert check(Constraint("price", "<=", "60", "USD"), page) is None


def test_several_values_of_one_attribute():
    colours = [Attribute("color", "red"), Attribute("color", "blue")]
    assert check(Constraint("color", "=", "blue"), colours)
    assert check(Constraint("color", "!=", "blue"), colours) is False


def test_category_paths():
    assert in_category("Groceries > Drinks > Coffee", "Coffee")
    assert in_category("Groceries > Drinks > Coffee", "groceries > drinks")
    assert not in_category("Groceries > Drinks > Coffee", "Drinks > Coffee")
    assert in_category("Water Bottle", "water bottles")


def test_same_value():
    assert same_value(parse_attribute("x", "1 l"), parse_attribute("x", "1000ml"))
    assert not same_value(parse_attribute("x", "1 l"), parse_attribute("x", "900 ml"))
    assert same_value(parse_attribute("x", "Crew-Neck"), parse_attribute("x", "crew neck"))
