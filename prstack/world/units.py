"""Typed values out of shop text: numbers with units, and prices.

`parse_attribute` gives a number only where the whole value is one number with at most one known unit ("58 dB",
"1000ml", "13-inch"). Ranges, sizes and compound values ("5-25 lbs", "M", "i7", "75W equivalent", "4K") stay text:
comparing them as numbers would be wrong more often than it would help.
"""

from __future__ import annotations

import functools
import re

from prstack.types import Attribute

# Unit → (dimension, size in the dimension's base unit). Units of a dimension convert into each other; a dimension
# of its own only makes spellings equal. "oz" is a mass, and a volume where it meets one.
_TABLE: dict[str, dict[float, str]] = {
    "mass": {1: "g gram grams", 0.001: "mg", 1000: "kg kgs kilo kilos kilogram kilograms", 28.349523: "oz ounce ounces", 453.59237: "lb lbs pound pounds"},
    "length": {1: "mm millimeter millimeters millimetre millimetres", 10: "cm centimeter centimeters centimetre centimetres", 1000: "m meter meters metre metres", 1e6: "km", 25.4: 'in inch inches "', 304.8: "ft foot feet", 914.4: "yd yard yards", 1609344: "mile miles"},
    "volume": {1: "ml milliliter milliliters millilitre millilitres", 10: "cl", 1000: "l liter liters litre litres", 29.573530: "fl-oz", 3785.4118: "gallon gallons gal"},
    "time": {60: "h hr hrs hour hours", 1: "min mins minute minutes", 1 / 60: "s sec secs second seconds", 1440: "day days", 1 / 60000: "ms", 10080: "week weeks"},
    "calendar": {1: "month months", 12: "year years yr yrs"},
    "data": {1: "MB", 1000: "GB", 1e6: "TB"},
    "power": {1: "W watt watts", 1000: "kW"},
    "charge": {1: "mAh", 1000: "Ah"},
    "frequency": {1: "Hz hertz", 1000: "kHz", 1e6: "MHz", 1e9: "GHz"},
    "area": {1: "m² m2 sqm", 0.09290304: "ft² ft2 sq-ft sqft"},
    "pressure": {1: "Pa", 1000: "kPa", 1e5: "bar bars", 6894.757: "psi"},
    "sound": {1: "dB decibel decibels"},
    "light": {1: "lm lumen lumens"},
    "luminance": {1: "nits nit cd/m² cd/m2"},
    "flow": {1: "m³/h m3/h", 1.699011: "cfm"},
    "angle": {1: "° deg degree degrees"},
    "share": {1: "% percent"},
    "voltage": {1: "V volt volts"},
    "current": {1: "A amp amps", 0.001: "mA"},
    "pixels": {1: "MP megapixel megapixels"},
    "zoom": {1: "x"},
    "cups": {1: "cup cups"},
    "pieces": {1: "piece pieces pc pcs pack packs"},
    "speed": {1: "rpm"},
    "temperature": {1: "°C", 5 / 9: "°F"},
    "colour temperature": {1: "K kelvin"},
    "ports": {1: "port ports"},
    "pages": {1: "page pages"},
    "density": {1: "gsm"},
}
_ZERO = {("temperature", 5 / 9): -160 / 9}
"""Where a unit's scale begins, in the dimension's base unit, if not at its zero: 0 °F are -17.8 °C."""
_KNOWN = {name: (dimension, size) for dimension, sizes in _TABLE.items() for size, names in sizes.items() for name in names.split()}
_FOLDED = {name.casefold(): entry for name, entry in _KNOWN.items() if len(name) > 1}
_FOLDED["l"] = _KNOWN["L"] = _KNOWN["l"]
_FOLDED["w"], _FOLDED["v"], _FOLDED["h"] = _KNOWN["W"], _KNOWN["V"], _KNOWN["h"]
_FLUID_OUNCE = _KNOWN["fl-oz"]

NUMBER = r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|-?\d{1,12}(?:\.\d+)?"
"""A number as shops write it; thousands may be set off by commas."""
_VALUE = re.compile(rf"({NUMBER})\s?-?\s?(fl\.? ?oz|sq\.? ?ft|[^\W\d_][^\s\d]*(?:[23](?:/h)?)?|[%°\"][CF]?)?")
_SYMBOLS = {"$": "USD", "€": "EUR", "£": "GBP", "₱": "PHP", "¥": "JPY", "₹": "INR"}


def number(text: str) -> float:
    """The value of a text that matches NUMBER."""
    return float(text.replace(",", ""))


def number_text(value: float) -> str:
    """A number as text without needless digits: 60.0 → "60", 1.50 → "1.5"."""
    value = round(value, 6)
    return str(int(value)) if value == int(value) else f"{value:.6f}".rstrip("0")


@functools.lru_cache(4096)
def unit_entry(unit: str) -> tuple[str, float] | None:
    """(dimension, size in its base unit) of a known unit, or None."""
    name = re.sub(r"^(fl|sq)\.? ?-?", r"\1-", unit.strip()) if unit[:2].casefold() in ("fl", "sq") else unit.strip()
    return _KNOWN.get(name) or _FOLDED.get(name.casefold())


def convert(value: float, unit: str, to: str) -> float | None:
    """`value` in another unit; None when the units do not measure the same thing. No unit fits any unit."""
    if unit == to or not unit or not to:
        return value
    have, want = unit_entry(unit), unit_entry(to)
    if have is None or want is None:
        return value if unit.casefold() == to.casefold() else None
    if have[0] != want[0]:
        ounces = unit_entry("oz")
        if have == ounces and want[0] == "volume":
            have = _FLUID_OUNCE
        elif want == ounces and have[0] == "volume":
            want = _FLUID_OUNCE
        else:
            return None
    return (value * have[1] + _ZERO.get(have, 0.0) - _ZERO.get(want, 0.0)) / want[1]


@functools.lru_cache(65536)
def measure(text: str) -> tuple[float, str] | None:
    """(number, unit) of a clean measurement; None for anything else."""
    match = _VALUE.fullmatch(text.strip())
    if not match:
        return None
    digits, unit = match.groups()
    bare = digits.lstrip("-")
    if len(bare) > 1 and bare[0] == "0" and bare[1] != ".":  # "007" is a name
        return None
    if unit is None:
        return number(digits), ""
    if unit_entry(unit) is None or (unit == "K" and number(digits) < 1000):  # "4K" is a resolution
        return None
    return number(digits), unit


def parse_attribute(name: str, text: str) -> Attribute:
    """The typed attribute of a name and a value as shown. Source: the records' convention (`prstack.types`)."""
    text = " ".join(text.split())
    found = measure(text)
    return Attribute(name, text, *found) if found else Attribute(name, text)


def price(text: str) -> float | None:
    """The amount of one price in any common notation ("$1,299.00", "1.299,00 €", "PHP 256"); None otherwise."""
    runs = re.findall(r"\d[\d.,\u00a0\u202f' ]*\d|\d", text)
    if len(runs) != 1 or re.search(r"-\s*[^\d\s]?\d", text):
        return None
    digits = re.sub(r"[\u00a0\u202f' ]", "", runs[0])
    cents = re.search(r"[.,](\d{1,2})$", digits)
    whole = digits[: cents.start()] if cents else digits
    if not re.fullmatch(r"\d+|\d{1,3}([.,])\d{3}(?:\1\d{3})*", whole) or len(whole) > 15:
        return None
    return float(re.sub(r"[.,]", "", whole) + (f".{cents[1]}" if cents else ""))


def money(amount: float, currency: str = "USD") -> str:
    """A price as shown: "$89.00", "PHP 256.00"."""
    symbol = {v: k for k, v in _SYMBOLS.items()}.get(currency) if currency in ("USD", "EUR", "GBP") else None
    return f"{symbol}{amount:,.2f}" if symbol else f"{currency} {amount:,.2f}"


def currency(text: str) -> str | None:
    """The currency code that a price text names, or None."""
    for symbol, code in _SYMBOLS.items():
        if symbol in text:
            return code
    match = re.search(r"\b[A-Z]{3}\b", text)
    return match[0] if match else None
