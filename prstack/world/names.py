"""Names of attributes: how they are compared, and which mean the same.

Sellers call one property by several names. The table is the only place that knows them: `prstack.world.match` compares names through
it, and listings of hard worlds draw their names from it (`prstack.world.generated.listing`). No other name stands for two attributes, or for
one that another product of the category has.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "noise level": ("loudness", "sound level", "operating noise"),
    "power": ("wattage", "motor power"),
    "capacity": ("usable volume", "fill volume"),
    "weight": ("item weight", "net weight"),
    "battery life": ("playing time", "time per charge"),
    "noise reduction": ("noise damping", "attenuation"),
    "charging time": ("recharge time", "time to full charge"),
    "load rating": ("maximum load", "load limit"),
    "warranty": ("guarantee", "guarantee period"),
    "assembly time": ("build time", "time to assemble"),
    "suction": ("suction power", "negative pressure"),
    "run time": ("cleaning time", "runtime"),
    "boiling time": ("time to boil", "heating time"),
    "cord length": ("cable length", "lead length"),
    "water resistance": ("water column", "hydrostatic head"),
    "brightness": ("light output", "luminosity"),
    "power use": ("power consumption", "energy draw"),
    "reach": ("arm length", "working radius"),
    "battery capacity": ("charge capacity", "cell capacity"),
    "output power": ("power output", "maximum output"),
    "cushioning": ("heel foam", "foam height"),
    "durability": ("service life", "expected mileage"),
    "heel drop": ("heel-to-toe drop", "toe offset"),
    "brew time": ("brewing time", "preparation time"),
    "tank capacity": ("tank volume", "water tank"),
    "pressure": ("pump pressure", "brewing pressure"),
    "clean air rate": ("clean air delivery rate", "CADR"),
    "filter life": ("filter lifetime", "filter change interval"),
    "range": ("wireless range", "transmission range"),
    "setup time": ("pitching time", "time to pitch"),
    "floor area": ("sleeping area", "ground area"),
    "refresh rate": ("frame rate", "vertical frequency"),
    "response time": ("pixel response", "grey-to-grey time"),
    "jar material": ("jug material", "beaker material"),
    "control type": ("controls", "operation"),
    "wearing style": ("wearing type", "fit type"),
    "pad material": ("ear pads", "ear cushions"),
    "upholstery": ("seat cover", "seat fabric"),
    "armrests": ("arm supports", "arm rests"),
    "dirt container": ("dust container", "dust collection"),
    "floor head": ("floor nozzle", "floor tool"),
    "body material": ("kettle body", "jug body"),
    "lid type": ("lid", "lid opening"),
    "fabric": ("outer fabric", "shell fabric"),
    "closure": ("closing system", "closing type"),
    "power source": ("power supply", "energy source"),
    "mounting": ("attachment", "fixing"),
    "casing": ("enclosure", "case material"),
    "input port": ("charging input", "input socket"),
    "upper material": ("upper", "shoe upper"),
    "filter type": ("filter", "filter medium"),
    "carafe material": ("pot material", "carafe"),
    "placement": ("installation", "set-up place"),
    "housing": ("outer shell", "cabinet"),
    "charging port": ("charging socket", "charging connector"),
    "pole material": ("poles", "tent poles"),
    "entrance": ("doors", "way in"),
    "panel type": ("panel", "display technology"),
    "stand": ("monitor foot", "foot type"),
    "colour": ("color", "colourway"),
    "launch year": ("year of launch", "release year"),
}


@functools.lru_cache(65536)
def fold(text: str) -> str:
    """A name or value as it is compared: without regard to case, underscores and hyphens."""
    return re.sub(r"[\s_\-]+", " ", text).strip().casefold()


_USUAL = {fold(other): name for name, others in OTHER_NAMES.items() for other in others}


@functools.lru_cache(65536)
def usual(name: str) -> str:
    """The folded name under which an attribute is known: "Loudness" → "noise level"; other names fold to themselves."""
    folded = fold(name)
    return _USUAL.get(folded, folded)


def common(counts: Mapping[str, int]) -> dict[str, str]:
    """Each of the names that are counted → the one that most give to the same attribute."""
    same: dict[str, list[str]] = {}
    for name in counts:
        same.setdefault(usual(name), []).append(name)
    return {name: min(names, key=lambda n: (-counts[n], n)) for names in same.values() for name in names}
