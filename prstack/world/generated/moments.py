"""Moments of a user's life before they are events: histories are told in days and put in order at the end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from prstack.types import Event, EventType, Product

FIRST_DAY = date(2025, 1, 6)


@dataclass(slots=True)
class Moment:
    """`day`: days since `FIRST_DAY`; a part of a day only orders. `rating`: stars."""

    day: float
    type: EventType
    product: Product | None = None
    text: str = ""
    rating: float | None = None


def event(id: str, m: Moment, category: str) -> Event:
    """A moment as an event; one without a product is of `category`."""
    stamp = (FIRST_DAY + timedelta(days=int(m.day))).isoformat()
    if m.product is None:
        return Event(id, m.type, stamp, category=category, text=m.text)
    p = m.product
    return Event(id, m.type, stamp, p.id, p.title, p.category, p.price, m.rating, list(p.attributes), m.text)
