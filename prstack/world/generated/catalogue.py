"""What the generated world sells: categories with typed attributes, brands, and the words of descriptions.

Every category has numeric attributes with a unit, a range, a step and a better direction, and attributes of kind. The range
is what the market offers; where in it a product lies depends on its quality (`prstack.world.generated.source`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Numeric:
    """`better` is "low" or "high"; `why` says in a guide what the number means."""

    name: str
    unit: str
    low: float
    high: float
    step: float
    better: str
    why: str

    def steps(self, goodness: float) -> int:
        """The steps from `low` at which a goodness in [0, 1] lies."""
        share = 1 - goodness if self.better == "low" else goodness
        return round(share * (self.high - self.low) / self.step)


@dataclass(slots=True, frozen=True)
class Kind:
    name: str
    values: tuple[str, ...]
    why: str


@dataclass(slots=True, frozen=True)
class Category:
    """`price` is the range from the plainest to the best; `uses` is what descriptions talk about."""

    name: str
    noun: str
    price: tuple[float, float]
    numeric: tuple[Numeric, ...]
    kinds: tuple[Kind, ...]
    uses: tuple[str, ...]


N, K = Numeric, Kind
CATEGORIES: tuple[Category, ...] = (
    Category(
        "Blenders", "Blender", (35, 320),
        (
            N("noise level", "dB", 54, 92, 1, "low", "ten more are heard as twice the noise"),
            N("power", "W", 300, 1600, 50, "high", "ice and nuts need it, soft fruit does not"),
            N("capacity", "l", 0.6, 2.4, 0.1, "high", "a family fills more than a single glass"),
            N("weight", "kg", 1.2, 6.0, 0.1, "low", "it matters when the machine lives in a cupboard"),
        ),
        (
            K("jar material", ("glass", "plastic", "stainless steel", "copolyester"), "it decides about smell, breakage and the dishwasher"),
            K("control type", ("dial", "push buttons", "touch panel"), "wet fingers and touch panels do not get along"),
        ),
        ("morning smoothies", "soups and sauces", "small kitchens", "baby food", "frozen fruit", "weekend brunches", "a shared flat", "nut butters"),
    ),
    Category(
        "Headphones", "Headphones", (25, 380),
        (
            N("battery life", "hours", 8, 72, 1, "high", "count on a fifth less with noise cancelling"),
            N("weight", "g", 120, 380, 5, "low", "it is felt after the second hour"),
            N("noise reduction", "dB", 8, 42, 1, "high", "above thirty the office disappears"),
            N("charging time", "min", 20, 240, 5, "low", "a full charge from empty"),
        ),
        (
            K("wearing style", ("in-ear", "on-ear", "over-ear"), "glasses and on-ear cushions rarely agree"),
            K("pad material", ("leatherette", "velour", "memory foam", "silicone"), "some skins do not take leatherette"),
        ),
        ("commuting", "open-plan offices", "long flights", "podcasts", "late films", "video calls", "walks", "studying"),
    ),
    Category(
        "Office Chairs", "Office Chair", (90, 690),
        (
            N("load rating", "kg", 90, 180, 5, "high", "the tested load, with a margin"),
            N("warranty", "years", 1, 12, 1, "high", "gas springs fail late"),
            N("assembly time", "min", 10, 90, 5, "low", "by one person with the enclosed tool"),
            N("weight", "kg", 9, 28, 0.5, "low", "it matters on stairs and carpets"),
        ),
        (
            K("upholstery", ("mesh", "fabric", "leather", "faux leather"), "it decides how warm the back gets"),
            K("armrests", ("fixed", "adjustable", "folding", "none"), "fixed ones may not fit under the desk"),
        ),
        ("home offices", "long writing days", "shared desks", "gaming evenings", "small studies", "meeting rooms", "reception desks", "drawing tables"),
    ),
    Category(
        "Vacuum Cleaners", "Vacuum Cleaner", (80, 640),
        (
            N("noise level", "dB", 58, 88, 1, "low", "ten more are heard as twice the noise"),
            N("suction", "kPa", 8, 30, 0.5, "high", "deep carpets want more than floors"),
            N("run time", "min", 15, 90, 5, "high", "in the normal setting, not in boost"),
            N("weight", "kg", 1.4, 8.0, 0.1, "low", "stairs are cleaned with one hand"),
        ),
        (
            K("dirt container", ("bag", "bin", "self-emptying station"), "a bag keeps the dust inside"),
            K("floor head", ("brush roll", "soft roller", "combination nozzle"), "brushes are hard on oiled wood"),
        ),
        ("flats with pets", "parquet floors", "car interiors", "two-storey homes", "deep carpets", "quick daily rounds", "stairs", "allergy households"),
    ),
    Category(
        "Electric Kettles", "Electric Kettle", (20, 160),
        (
            N("capacity", "l", 0.6, 2.2, 0.1, "high", "half a litre makes two mugs"),
            N("boiling time", "s", 90, 420, 10, "low", "for one litre from the tap"),
            N("noise level", "dB", 50, 86, 1, "low", "ten more are heard as twice the noise"),
            N("cord length", "cm", 50, 150, 5, "high", "sockets are seldom where the kettle is"),
        ),
        (
            K("body material", ("glass", "stainless steel", "plastic", "ceramic"), "it decides about taste and lime"),
            K("lid type", ("hinged", "removable", "soft opening"), "steam burns the hand that opens too fast"),
        ),
        ("tea rounds", "office kitchens", "pour-over coffee", "instant noodles", "dormitories", "caravans", "early mornings", "big families"),
    ),
    Category(
        "Backpacks", "Backpack", (30, 260),
        (
            N("capacity", "l", 12, 48, 1, "high", "twenty for a day, forty for a weekend"),
            N("weight", "g", 380, 1900, 20, "low", "the empty pack"),
            N("water resistance", "mm", 300, 5000, 100, "high", "water column of the fabric"),
            N("warranty", "years", 1, 12, 1, "high", "zips go first"),
        ),
        (
            K("fabric", ("nylon", "canvas", "polyester", "leather"), "it decides about wear and look"),
            K("closure", ("zip", "roll top", "buckle flap"), "zips are quick, roll tops are tight"),
        ),
        ("day hikes", "city commutes", "weekend trips", "school", "photography", "cycling", "hand luggage", "the gym"),
    ),
    Category(
        "Desk Lamps", "Desk Lamp", (18, 210),
        (
            N("brightness", "lm", 200, 1400, 20, "high", "fine work wants more than reading"),
            N("power use", "W", 4, 28, 1, "low", "at full light"),
            N("reach", "cm", 25, 110, 5, "high", "from the foot to the head"),
            N("cord length", "cm", 90, 300, 10, "high", "behind a desk a metre is gone at once"),
        ),
        (
            K("power source", ("mains", "USB-C", "battery"), "a battery is free of the socket and empty in the evening"),
            K("mounting", ("weighted base", "clamp", "wall bracket"), "a clamp saves table space"),
        ),
        ("reading corners", "drawing", "model building", "night shifts", "bedside tables", "sewing", "homework", "video calls"),
    ),
    Category(
        "Portable Chargers", "Portable Charger", (18, 190),
        (
            N("battery capacity", "mAh", 4000, 30000, 500, "high", "a phone takes about four thousand"),
            N("output power", "W", 10, 140, 5, "high", "laptops ask for sixty and more"),
            N("weight", "g", 90, 720, 10, "low", "it is carried every day"),
            N("charging time", "min", 60, 600, 10, "low", "of the charger itself"),
        ),
        (
            K("casing", ("aluminium", "plastic", "fabric"), "metal sheds heat and scratches"),
            K("input port", ("USB-C", "USB-A", "Lightning"), "one cable for everything is worth a lot"),
        ),
        ("festivals", "train journeys", "photo tours", "long working days", "camping weekends", "conferences", "backup at home", "hand luggage"),
    ),
    Category(
        "Running Shoes", "Running Shoe", (45, 260),
        (
            N("weight", "g", 170, 380, 5, "low", "a single shoe in the middle size"),
            N("cushioning", "mm", 14, 42, 1, "high", "foam under the heel"),
            N("durability", "km", 300, 1200, 20, "high", "until the foam is flat"),
            N("heel drop", "mm", 0, 14, 1, "low", "calves take part when it is small"),
        ),
        (
            K("upper material", ("mesh", "knit", "leather"), "it decides about air and rain"),
            K("closure", ("laces", "elastic", "dial system"), "a dial is quick, laces fit better"),
        ),
        ("park rounds", "first marathons", "treadmills", "forest paths", "intervals", "long Sundays", "wet roads", "beginners"),
    ),
    Category(
        "Coffee Makers", "Coffee Maker", (40, 590),
        (
            N("brew time", "min", 2, 14, 0.5, "low", "for a full pot or a double shot with warm-up"),
            N("tank capacity", "l", 0.5, 2.4, 0.1, "high", "how often water is fetched"),
            N("pressure", "bar", 3, 20, 1, "high", "above nine there is crema"),
            N("noise level", "dB", 48, 82, 1, "low", "ten more are heard as twice the noise"),
        ),
        (
            K("filter type", ("paper", "metal mesh", "cloth"), "paper holds the oils back"),
            K("carafe material", ("glass", "steel", "porcelain"), "steel keeps warm, glass shows the level"),
        ),
        ("office mornings", "Sunday breakfasts", "small counters", "iced coffee", "guests", "early shifts", "students", "holiday homes"),
    ),
    Category(
        "Air Purifiers", "Air Purifier", (60, 620),
        (
            N("noise level", "dB", 22, 62, 1, "low", "at the middle speed"),
            N("clean air rate", "m³/h", 80, 640, 10, "high", "the room's volume should pass four times an hour"),
            N("filter life", "months", 3, 24, 1, "high", "at eight hours a day"),
            N("power use", "W", 12, 90, 1, "low", "it runs day and night"),
        ),
        (
            K("filter type", ("HEPA", "activated carbon", "electrostatic"), "carbon is for smells, HEPA for dust"),
            K("placement", ("floor standing", "table top", "wall mounted"), "corners block the inlet"),
        ),
        ("bedrooms", "nurseries", "kitchens", "city flats", "offices", "smokers' rooms", "pollen season", "basements"),
    ),
    Category(
        "Bluetooth Speakers", "Bluetooth Speaker", (22, 360),
        (
            N("battery life", "hours", 4, 40, 1, "high", "at half volume"),
            N("output power", "W", 5, 100, 5, "high", "gardens swallow more than rooms"),
            N("range", "m", 8, 60, 1, "high", "in the open, walls halve it"),
            N("weight", "g", 180, 2400, 20, "low", "it is carried more than one thinks"),
        ),
        (
            K("housing", ("fabric", "plastic", "aluminium", "wood"), "it decides about sand and sound"),
            K("charging port", ("USB-C", "micro USB", "dock"), "one cable for everything is worth a lot"),
        ),
        ("picnics", "bathrooms", "beach days", "kitchens", "garden parties", "workshops", "dance practice", "audio books"),
    ),
    Category(
        "Tents", "Tent", (60, 720),
        (
            N("water resistance", "mm", 800, 6000, 100, "high", "water column of the fly sheet"),
            N("setup time", "min", 2, 35, 1, "low", "two people, once practised"),
            N("floor area", "m²", 1.8, 9.0, 0.1, "high", "sleeping room without the porch"),
            N("weight", "kg", 1.0, 11.0, 0.1, "low", "with poles and pegs"),
        ),
        (
            K("pole material", ("aluminium", "fibreglass", "steel", "inflatable"), "fibreglass splits in frost"),
            K("entrance", ("single", "double", "side"), "two people get up at different times"),
        ),
        ("bike tours", "family holidays", "festivals", "mountain huts without a bed", "scout camps", "the garden", "autumn weekends", "canoe trips"),
    ),
    Category(
        "Monitors", "Monitor", (110, 980),
        (
            N("refresh rate", "Hz", 60, 280, 5, "high", "games gain from it, text does not"),
            N("response time", "ms", 1, 14, 0.5, "low", "grey to grey"),
            N("brightness", "nits", 200, 1200, 20, "high", "windows behind the desk ask for more"),
            N("power use", "W", 14, 80, 1, "low", "at the usual setting"),
        ),
        (
            K("panel type", ("IPS", "VA", "OLED", "TN"), "it decides about black and viewing angle"),
            K("stand", ("fixed", "height adjustable", "swivel arm"), "necks like adjustable ones"),
        ),
        ("spreadsheets", "photo editing", "evening games", "home offices", "programming", "films", "second screens", "shared desks"),
    ),
)

BRANDS = (
    "Aurel", "Brisko", "Corvane", "Dellmar", "Estrano", "Fennick", "Gravona", "Hollbeck", "Ivaro",
    "Jastrel", "Kestrano", "Lumeno", "Mordane", "Norvelle", "Ostrano", "Pellick", "Quorra", "Rastavel",
    "Selvano", "Tamrick", "Ulvano", "Vandrel", "Westrano", "Yarrick",
)
SERIES = (
    "Mira", "Solano", "Vento", "Tarka", "Ondine", "Palto", "Rivo", "Zephra", "Calyx", "Dorado", "Ember",
    "Fable", "Grano", "Halden", "Indra", "Junto", "Kairo", "Lago", "Merito", "Nimbo", "Opalis", "Prato",
    "Quill", "Rondo", "Sirena", "Tempo", "Umbra", "Velo", "Wico", "Xanto", "Ylva", "Zorro", "Alba", "Bora",
    "Cosmo", "Delta", "Etna", "Faro", "Gala", "Helio",
)
COLOURS = ("slate grey", "off-white", "forest green", "midnight blue", "brick red", "sand", "charcoal", "pale yellow")
EXTRAS = (
    "A printed manual in six languages is in the box.",
    "Spare parts can be ordered from the maker.",
    "The packaging is cardboard throughout.",
    "A cleaning cloth is enclosed.",
    "The maker gives tips on care on its site.",
    "It is delivered within the week.",
    "A quick-start card lies on top.",
    "The serial number is on the underside.",
)
