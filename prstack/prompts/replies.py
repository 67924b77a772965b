"""JSON schemas of the structured replies, and their tolerant reading.

The schemas bound every string and list, so that a small model under a grammar comes to an end; enumerations come from the
history or the check at hand, so that what a reply names exists.
"""

from __future__ import annotations

import json
import typing

from prstack.types import Decision, Dimension, History, Op, Source
from prstack.world.facets import Facet
from prstack.world.opinions import praise_words
from prstack.world.units import number_text

VERDICT_KINDS = {
    "plan": ["covers_needs"],
    "toolcall": ["has_action", "valid_call", "not_duplicate", "relevant_result"],
    "report": ["format", "visited", "supported", "meets_constraints", "answers_rubric"],
}
WEIGHTS = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5]


def _text(length: int) -> dict:
    return {"type": "string", "maxLength": length}


def _enum(values: typing.Any) -> dict:
    return {"type": "string", "enum": list(values)}


def _object(**properties: dict) -> dict:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _array(items: dict, least: int, most: int) -> dict:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def _attributes(history: History) -> dict:
    return _enum(sorted({a.name for e in history.events for a in e.attributes} | {"price"}))


def persona_schema(history: History) -> dict:
    """Persona over the categories, properties and event ids of a history."""
    need = _object(
        text=_text(80),
        evidence=_array(_enum([e.id for e in history.events]), 1, 3),
        attribute=_attributes(history),
        op=_enum(typing.get_args(Op)),
        value=_text(24),
        unit=_text(8),
    )
    return _object(
        summary=_text(160),
        category=_enum(sorted({e.category for e in history.events if e.category})),
        budget={"type": "integer", "minimum": 1, "maximum": 9999},
        needs=_array(need, 1, 4),
    )


def query_schema() -> dict:
    return _object(query=_text(400) | {"minLength": 40})


def rubric_schema(category: str, facets: list[Facet], with_reviews: bool) -> dict:
    """The kind of product and grounding first, then items of every type that the category allows.

    What items ask for, products of the category can have. `with_reviews`: there are reviews in the category, so an item may
    ask for what they say.
    """
    always = [_item("entity_match", "search", value={"const": category}), _item("grounding", "product_page")]
    kinds = [
        _item("budget_match", "search", op={"const": "<="}, value={"type": "string", "pattern": "[1-9][0-9]{0,3}"}),
        _item("comparison", "report"),
    ]
    for f in facets:
        name = {"const": f.name}
        if f.numeric:
            values = {"enum": [number_text(round(f.low + (f.high - f.low) * share, 2)) for share in (0.25, 0.5, 0.75)]}
            kinds.append(_item("numeric_range", "product_page", attribute=name, op=_enum(["<=", ">="]), value=values, unit={"const": f.unit}))
        else:
            kinds.append(_item("attribute_match", "product_page", attribute=name, op={"const": "="}, value=_enum(f.values)))
            if len(f.values) > 1:
                kinds.append(_item("negative_attribute", "product_page", attribute=name, op={"const": "!="}, value=_enum(f.values)))
    praised = [(f.name, praise_words(f.name)[0]) for f in facets if with_reviews and praise_words(f.name)]
    kinds += [_item("review_opinion", "reviews", attribute={"const": n}, op={"const": "="}, value={"const": w}) for n, w in praised]
    return _object(items=_array({"anyOf": kinds}, 3, 6) | {"prefixItems": always})


def _item(type: str, source: Source, **typed: dict) -> dict:
    """One kind of rubric item: what is checked first, the words after it."""
    return _object(
        type={"const": type},
        **typed,
        text=_text(80) | {"minLength": 8},
        weight={"enum": WEIGHTS},
        dimension=_enum(typing.get_args(Dimension)),
        source={"const": source},
    )


def verdict_schema(state: str) -> dict:
    """Findings and reason before the decision, so that the decision follows from them."""
    finding = _object(kind=_enum(VERDICT_KINDS[state]), ok={"type": "boolean"}, reason=_text(100))
    score = {"score": {"enum": [i / 10 for i in range(11)]}} if state == "report" else {}
    return _object(items=_array(finding, 1, 4), reason=_text(160), **score, decision=_enum(typing.get_args(Decision)))


def marks_schema(n: int) -> dict:
    """`n` criteria in their order: a reason, then the marks of both reports, from 0 to 10 by halves."""
    mark = {"enum": [i / 2 for i in range(21)]}
    one = [_object(n={"const": i + 1}, reason=_text(240), a=mark, b=mark) for i in range(n)]
    return _object(marks=_array(one[-1], n, n) | {"prefixItems": one})


def reflections_schema(n: int, length: int) -> dict:
    """`n` reflections in their order, each of at most `length` characters."""
    one = [_object(n={"const": i + 1}, reflection=_text(length) | {"minLength": 1}) for i in range(n)]
    return _object(reflections=_array(one[-1], n, n) | {"prefixItems": one})


def criteria_schema(dimensions: typing.Iterable[str]) -> dict:
    """A reason, weights of the dimensions, and three to eight criteria with their weights in each."""
    dimensions, weight = list(dimensions), {"enum": [i / 20 for i in range(1, 20)]}
    one = _object(criterion=_text(120) | {"minLength": 8}, explanation=_text(300), weight=weight)
    weights, criteria = ({d: v for d in dimensions} for v in (weight, _array(one, 3, 8)))
    return _object(reason=_text(400), dimension_weight=_object(**weights), criterions=_object(**criteria))


def read_json(text: str) -> dict | None:
    """The first JSON object in a reply (models wrap it in prose and fences); None when there is none."""
    decoder = json.JSONDecoder()
    at = text.find("{")
    while at >= 0:
        try:
            value, _ = decoder.raw_decode(text, at)
            return value if isinstance(value, dict) else None
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
    return None
