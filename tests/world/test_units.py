import pytest

from prstack.types import Constraint, Product
from prstack.world.match import satisfies
from prstack.world.units import convert, measure, money, number_text, parse_attribute, price


@pytest.mark.parametrize(
    ("text", "number", "unit"),
    [
        ("58 dB", 58, "dB"),
        ("1000ml", 1000, "ml"),
        ("13-inch", 13, "inch"),
        ("6.1-inch", 6.1, "inch"),
        ("10 hours", 10, "hours"),
        ("1,000 ml", 1000, "ml"),
        ("12 fl oz", 12, "fl oz"),
        ("300 m³/h", 300, "m³/h"),
        ("60%", 60, "%"),
        ("10", 10, ""),
        ("2700K", 2700, "K"),
        ("-4 °F", -4, "°F"),
    ],
)
def test_clean_measurements_are_typed(text, number, unit):
    attribute = parse_attribute("x", text)
    assert (attribute.value, attribute.number, attribute.unit) == (text, number, unit)


@pytest.mark.parametrize("text", ["M", "i7", "75W equivalent", "5-25 lbs", "4K", "256GB SSD", "1.65-2.7m", "under 50 mm", "007", "3 years and above", "", "9" * 400])
def test_everything_else_stays_text(text):
    assert parse_attribute("x", text).number is None


@pytest.mark.parametrize(
    ("text", "amount"),
    [("$1,299.00", 1299), ("1.299,00 €", 1299), ("PHP 256", 256), ("1 299,50 €", 1299.5), ("₱ 1,200", 1200), ("12.5", 12.5), ("free", None), ("$10 - $20", None), ("", None), ("1,2,3", None)],
)
def test_price(text, amount):
    assert price(text) == amount


def test_conversion():
    assert convert(2, "lb", "kg") == pytest.approx(0.907, abs=1e-3)
    assert convert(1, "l", "oz") == pytest.approx(33.8, abs=0.1)  # an ounce of a volume is a fluid ounce
    assert convert(90, "min", "h") == 1.5
    assert convert(5, "kg", "cm") is None
    assert convert(5, "widgets", "kg") is None
    assert convert(5, "", "kg") == 5


def test_temperatures_convert_with_their_zero():
    assert convert(32, "°F", "°C") == pytest.approx(0) and convert(100, "°C", "°F") == pytest.approx(212) and convert(-40, "°F", "°C") == pytest.approx(-40)
    assert convert(7, "°F", "°F") == 7 and convert(300, "K", "°C") is None and convert(90, "°", "°C") is None
    lid = Product("P1", "Lid", "Lids", attributes=[parse_attribute("heat resistance", "450 °F")])
    met = [satisfies(Constraint("heat resistance", ">=", value, "°C"), lid) for value in ("230", "235")]
    assert met == [True, False] and satisfies(Constraint("heat resistance", "=", "232", "°C"), lid)


def test_numbers_and_money_as_shown():
    assert [number_text(x) for x in (60.0, 1.5, 0.1 + 0.2, -3)] == ["60", "1.5", "0.3", "-3"]
    assert [money(1299.5), money(256, "PHP")] == ["$1,299.50", "PHP 256.00"]
    assert measure("4 cups") == (4, "cups")
