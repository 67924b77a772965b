"""Names for goods that nobody sells: so many that they can only be copied, not recognised.

A model that meets seventy categories learns which of the seventy is meant, and says one of them where a new one stands
(docs/experiments/base-model.md). Here a category is two words of a few hundred ("Folding Lamps"), an attribute a part and a measure
("lid width") or a part and a trait ("handle finish"), and a word in five is made of syllables and never seen again.

No name is one that only held-out categories have, and no unit (`prstack.world.holdout`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

SYLLABLES = ("ar", "bo", "cel", "dra", "el", "fi", "gor", "hu", "in", "jo", "kal", "lum", "mir", "nor", "os", "pra", "quo", "ri", "sol", "tu", "ul", "vik", "wex", "yan", "zet", "ban", "del", "fer")
COINED = 0.2
"""Share of words in names that are made of syllables."""

USED_FOR = (
    "Folding", "Travel", "Garden", "Kitchen", "Camping", "Cordless", "Electric", "Solar", "Wall", "Floor", "Table", "Ceiling", "Pocket", "Baby", "Dog", "Cat", "Bird", "Horse", "Car", "Bike",
    "Boat", "Winter", "Summer", "Night", "Beach", "Sports", "School", "Hospital", "Hotel", "Barber", "Baking", "Fishing", "Hiking", "Riding", "Diving", "Sailing", "Painting", "Sewing", "Welding", "Gaming",
    "Studio", "Stage", "Concert", "Wooden", "Steel", "Ceramic", "Glass", "Leather", "Cotton", "Silk", "Woollen", "Rubber", "Stone", "Copper", "Digital", "Analogue", "Wireless", "Smart", "Manual", "Heavy-Duty",
    "Mini", "Double", "Triple", "Round", "Square", "Flat", "Curved", "Inflatable", "Heated", "Cooling", "Rolling", "Hanging", "Standing", "Sliding", "Rotating", "Vertical", "Portable", "Stackable", "Magnetic", "Insulated",
    "Bathroom", "Bedroom", "Balcony", "Cellar", "Garage", "Nursery", "Workshop", "Laboratory", "Church", "Museum", "Forest", "Desert", "Mountain", "River", "Harbour", "Airport", "Market", "Farm", "Vineyard", "Stable",
    "Left-Handed", "Antique", "Modern", "Rustic", "Nordic", "Tropical", "Marine", "Military", "Medical", "Dental", "Optical", "Musical", "Postal", "Royal", "Rural", "Urban", "Tiny", "Giant", "Silent", "Rapid",
)  # fmt: skip
THINGS = (
    "Toaster", "Drill", "Ladder", "Hammock", "Violin", "Telescope", "Suitcase", "Cooker", "Mower", "Bicycle", "Camera", "Printer", "Router", "Keyboard", "Microwave", "Freezer", "Fan", "Heater", "Sofa", "Mattress",
    "Bookshelf", "Rug", "Curtain", "Umbrella", "Wristwatch", "Razor", "Dryer", "Stroller", "Seat", "Kayak", "Snowboard", "Racket", "Dumbbell", "Mat", "Treadmill", "Projector", "Scanner", "Microphone", "Guitar", "Piano",
    "Sprayer", "Saw", "Wheelbarrow", "Aquarium", "Feeder", "Juicer", "Pan", "Knife", "Thermos", "Lunch Box", "Scooter", "Helmet", "Glove", "Jacket", "Boot", "Sleeping Bag", "Lantern", "Compass", "Battery Pack", "Bottle",
    "Bucket", "Brush", "Broom", "Mop", "Basket", "Tray", "Bowl", "Plate", "Mug", "Fork", "Grater", "Mixer", "Scale", "Timer", "Clock", "Mirror", "Frame", "Vase", "Candle", "Pillow",
    "Blanket", "Towel", "Apron", "Hat", "Scarf", "Belt", "Wallet", "Purse", "Cap", "Sandal", "Slipper", "Sock", "Shirt", "Coat", "Raincoat", "Swimsuit", "Goggle", "Whistle", "Rope", "Anchor",
    "Paddle", "Sail", "Tyre", "Pump", "Wrench", "Hammer", "Chisel", "Plane", "Clamp", "Vice", "Bench", "Stool", "Cabinet", "Drawer", "Locker", "Safe", "Doorbell", "Alarm", "Antenna", "Amplifier",
    "Turntable", "Drum", "Flute", "Trumpet", "Harp", "Accordion", "Easel", "Canvas", "Palette", "Stapler", "Shredder", "Notebook", "Pen", "Globe", "Puzzle", "Swing", "Slide", "Trampoline", "Sandpit", "Kite",
    "Drone", "Robot", "Turbine", "Generator", "Compressor", "Winch", "Crane", "Trailer", "Sledge", "Stove", "Grill", "Smoker", "Oven", "Dishwasher", "Fountain", "Sprinkler", "Hose", "Rake", "Spade", "Greenhouse",
)  # fmt: skip
PARTS = (
    "lid", "handle", "blade", "arm", "leg", "foot", "wheel", "frame", "shell", "strap", "buckle", "pocket", "sleeve", "collar", "hood", "sole", "heel", "brim", "rim", "spout",
    "hose", "nozzle", "filter", "drum", "tank", "pump", "motor", "fan", "belt", "chain", "gear", "pedal", "saddle", "axle", "brake", "lamp", "lens", "screen", "sensor", "button",
    "dial", "switch", "plug", "cable", "battery", "antenna", "speaker", "cover", "cushion", "seat", "back", "head", "neck", "base", "top", "side", "edge", "tip", "hook", "hinge",
    "lock", "drawer", "shelf", "door", "window", "roof", "floor", "wall", "rope", "net", "sail", "string", "bow", "key", "brush", "comb", "tray", "rack", "basket", "cup",
    "burner", "grate", "flue", "core", "coil", "valve", "gauge", "spring", "lever", "jaw", "grip", "trigger", "barrel", "bit", "disc", "plate", "sheet", "page", "cone", "ring",
    "standby", "idle", "peak", "starting", "stopping", "folding", "lifting", "turning", "cooling", "heating", "drying", "washing", "mixing", "cutting", "drilling", "printing", "scanning", "packed", "outer", "inner",
)  # fmt: skip


@dataclass(slots=True, frozen=True)
class Measure:
    """A unit with what it counts (the measure's name), its range, step and better direction."""

    name: str
    unit: str
    low: float
    high: float
    step: float
    better: str


MEASURES = tuple(Measure(*m) for m in (
    ("length", "cm", 20, 240, 1, "high"), ("width", "cm", 10, 180, 1, "low"), ("height", "cm", 8, 210, 1, "low"), ("depth", "cm", 5, 90, 1, "low"), ("thickness", "mm", 1, 60, 1, "high"),
    ("weight", "kg", 0.5, 40, 0.1, "low"), ("weight", "g", 50, 950, 5, "low"), ("capacity", "l", 0.2, 60, 0.1, "high"), ("power", "W", 50, 2400, 50, "high"), ("noise level", "dB", 20, 95, 1, "low"),
    ("speed", "km/h", 4, 45, 1, "high"), ("speed", "rpm", 200, 4000, 50, "high"), ("voltage", "V", 3, 48, 1, "high"), ("current", "A", 1, 20, 0.5, "low"), ("resolution", "MP", 4, 64, 1, "high"),
    ("size", "inch", 3, 40, 0.5, "high"), ("memory", "GB", 4, 512, 4, "high"), ("life", "hours", 2, 90, 1, "high"), ("time", "min", 5, 300, 5, "low"), ("warranty", "years", 1, 15, 1, "high"),
    ("time", "h", 5, 420, 5, "low"), ("delay", "ns", 1, 90, 1, "low"), ("pressure", "bar", 1, 30, 1, "high"), ("flow", "l/h", 50, 900, 10, "high"), ("light", "lm", 50, 3000, 50, "high"),
    ("load", "kg", 10, 250, 5, "high"), ("count", "pieces", 2, 60, 1, "high"), ("reach", "m", 1, 20, 0.5, "high"), ("temperature", "°C", -30, 25, 1, "low"), ("tension", "kg", 12, 36, 1, "high"),
    ("rate", "ppm", 4, 60, 1, "high"), ("rate", "bpm", 10, 400, 5, "high"), ("use", "l", 3, 90, 1, "low"), ("use", "W", 2, 120, 1, "low"), ("life", "months", 1, 36, 1, "high"),
    ("area", "dm²", 0.5, 30, 0.1, "high"), ("volume", "ml", 50, 950, 10, "high"), ("strength", "N", 5, 400, 5, "high"), ("angle", "°", 5, 180, 5, "high"), ("loss", "%", 1, 40, 1, "low"),
    ("grade", "points", 1, 100, 1, "high"), ("gap", "mm", 0.1, 9, 0.1, "low"), ("radius", "cm", 5, 400, 5, "low"), ("distance", "km", 1, 900, 5, "high"), ("heat", "kW", 0.5, 30, 0.5, "high"),
    ("energy", "Wh", 10, 950, 10, "high"), ("density", "g/m", 20, 600, 10, "high"), ("gloss", "GU", 50, 900, 10, "high"), ("dose", "mg", 5, 500, 5, "low"), ("age", "days", 2, 365, 1, "low"),
))  # fmt: skip
"""Attributes of numbers, by themselves or of a part."""
TRAITS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("material", ("wood", "steel", "aluminium", "plastic", "bamboo", "cork", "brass", "glass", "rubber", "silicone", "ceramic", "carbon", "copper", "titanium", "resin", "marble", "slate", "leather", "cotton", "wool", "silk", "linen", "felt", "foam", "velvet", "nylon", "wicker", "clay")),
    ("colour", ("red", "blue", "green", "black", "white", "grey", "yellow", "orange", "purple", "pink", "brown", "beige", "turquoise", "silver", "gold", "olive")),
    ("finish", ("matt", "glossy", "brushed", "painted", "polished", "oiled", "waxed", "raw", "hammered", "anodised", "lacquered", "frosted")),
    ("shape", ("round", "square", "oval", "flat", "conical", "hexagonal", "curved", "tapered", "domed", "ribbed")),
    ("type", ("single", "double", "fixed", "folding", "sliding", "rotating", "detachable", "hidden", "open", "closed", "hinged", "twisted", "ball", "needle", "piston", "vane")),
    ("mount", ("screws", "suction cup", "magnet", "adhesive", "clamp", "hooks", "rails", "bolts", "straps", "clips")),
    ("pattern", ("plain", "striped", "dotted", "checked", "floral", "marbled", "zigzag", "camouflage")),
    ("size", ("small", "medium", "large", "extra large", "compact", "full")),
    ("control", ("knob", "remote", "voice", "touch", "lever", "app", "timer", "pedal", "crank", "rope pull")),
    ("source", ("gas", "charcoal", "petrol", "mains", "sunlight", "steam", "wind", "hand", "coal", "hydrogen")),
    ("fastening", ("buttons", "zip", "velcro", "buckles", "laces", "snaps", "ties", "hooks")),
    ("origin", ("Norway", "Portugal", "Japan", "Chile", "Kenya", "India", "Canada", "Vietnam", "Poland", "Turkey")),
)  # fmt: skip
"""Attributes of kind, by themselves or of a part, and what they may be."""
_NEVER = frozenset({"floor area", "lid type"})
"""Names that only held-out categories have."""


def coined(rng: random.Random) -> str:
    """A word that nobody has heard: two or three syllables."""
    return "".join(rng.sample(SYLLABLES, rng.choice((2, 2, 3))))


def _one_of(words: tuple[str, ...], rng: random.Random) -> str:
    return coined(rng) if rng.random() < COINED else rng.choice(words)


def goods(rng: random.Random) -> str:
    """What a thing is called: "Folding Lamp", "Gorvik Boots", "Solmir"."""
    words = [_one_of(THINGS, rng).title()]
    if rng.random() < 0.7:
        words.insert(0, _one_of(USED_FOR, rng).title())
    return " ".join(words)


def numeric(rng: random.Random) -> tuple[str, Measure]:
    """A name and what it measures: ("lid width", cm …), ("weight", kg …). A few have a unit of two letters that means nothing."""
    m = rng.choice(MEASURES)
    if rng.random() < 0.06:
        m = Measure(m.name, "".join(rng.sample("bdfkrtvxz", 2)), m.low, m.high, m.step, m.better)
    return _of_a_part(coined(rng) if rng.random() < COINED / 2 else m.name, rng), m


def kind(rng: random.Random) -> tuple[str, tuple[str, ...]]:
    """A name of kind and two to six of its values: ("handle finish", ("matt", "oiled"))."""
    name, values = rng.choice(TRAITS)
    chosen = rng.sample(values, rng.randint(2, 6))
    return _of_a_part(name, rng), tuple(dict.fromkeys(coined(rng) if rng.random() < COINED / 2 else v for v in chosen))


def _of_a_part(name: str, rng: random.Random) -> str:
    while True:
        full = f"{_one_of(PARTS, rng)} {name}" if rng.random() < 0.65 else name
        if full not in _NEVER:
            return full


def units() -> tuple[str, ...]:
    return tuple(dict.fromkeys(m.unit for m in MEASURES))
