"""The record types of every stage, and their Arrow schema.

Records are plain dataclasses. `arrow_schema(cls)` derives the Parquet schema from the annotations, so that
there is one definition; `tests/test_types.py` pins its fingerprint to `SCHEMA_VERSION`, so that a changed
field without a new version (and a migration in `prstack.store.records`) fails.

Conventions: text is `large_string`; tool arguments are JSON text, because their shape is the model's; a number
that may be missing is null, never a sentinel.
"""

from __future__ import annotations

import dataclasses
import types as pytypes
import typing
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import BeforeValidator

SCHEMA_VERSION = 4

EventType = Literal["search", "view", "purchase", "review", "return", "dialogue"]
ItemType = Literal[
    "attribute_match",
    "numeric_range",
    "entity_match",
    "negative_attribute",
    "budget_match",
    "review_opinion",
    "comparison",
    "grounding",
]
Dimension = Literal["comprehensiveness", "depth", "instruction_following", "readability"]
Source = Literal["search", "product_page", "reviews", "web", "report"]
Op = Literal["<=", ">=", "=", "!="]
Role = Literal["user", "research", "supervisor"]
State = Literal["plan", "toolcall", "report"]
Decision = Literal["approve", "revise"]
Termination = Literal["approved", "max_rounds", "max_tool_calls", "max_tokens", "time", "error", "finished"]
"""How an episode ended. `approved`: the supervisor took the report; `finished`: there was a report, and no supervisor."""
NO_CALL, NO_REPORT = "no tool call and no report", "no report came when it was asked for"
OWN_FAULTS = (NO_CALL, NO_REPORT)
"""Details of the termination `error` that are the doing of a lone research agent, and not of its engine or tools."""


# --- world ---------------------------------------------------------------------------------------------------
@dataclass(slots=True)
class Attribute:
    """One typed property of a product: `value` as shown ("58 dB"), and its number and unit when it has them."""

    name: str
    value: str
    number: float | None = None
    unit: str = ""


@dataclass(slots=True)
class Product:
    """One thing that can be bought. Variants of a product are products of their own with a common `parent_id`."""

    id: str
    title: str
    category: str
    brand: str = ""
    price: float | None = None
    currency: str = "USD"
    rating: float | None = None
    n_reviews: int = 0
    description: str = ""
    attributes: list[Attribute] = field(default_factory=list)
    parent_id: str = ""
    available: bool = True
    shipping: str = ""
    """What it costs and takes to be delivered, in words."""

    def attribute(self, name: str) -> Attribute | None:
        return next((a for a in self.attributes if a.name == name), None)


@dataclass(slots=True)
class Review:
    id: str
    product_id: str
    rating: float
    text: str
    user_id: str = ""


@dataclass(slots=True)
class Page:
    """A page of the web corpus. `kind`: guide, lab_test, forum, brand or article."""

    id: str
    url: str
    title: str
    text: str
    kind: str = "article"
    published: str = ""


@dataclass(slots=True)
class Event:
    """One thing a user did. `text` holds what was said: a review, a reason for a return, a service dialogue."""

    id: str
    type: EventType
    timestamp: str = ""
    product_id: str = ""
    title: str = ""
    category: str = ""
    price: float | None = None
    rating: float | None = None
    attributes: list[Attribute] = field(default_factory=list)
    text: str = ""


@dataclass(slots=True)
class History:
    """A user's behaviour, oldest event first: the input of synthesis."""

    user_id: str
    events: list[Event]


@dataclass(slots=True)
class Constraint:
    """What a product must be: `attribute op value unit`, for example noise level <= 60 dB; a number stands as text.

    The attribute `price` is the budget (unit: the currency), `category` the kind of product, and `opinion` a word that
    reviewers should, or should not, use (`prstack.world.opinions`).
    """

    attribute: str
    op: Op
    value: str
    unit: str = ""


# --- task ----------------------------------------------------------------------------------------------------
@dataclass(slots=True)
class Need:
    """A need inferred from a history. `evidence` names the events (by id) that support it."""

    text: str
    evidence: list[str]
    attribute: str = ""
    op: Op = "="
    value: str = ""
    unit: str = ""


@dataclass(slots=True)
class Persona:
    summary: str
    category: str
    needs: list[Need]
    budget: float | None = None
    currency: str = "USD"


@dataclass(slots=True)
class RubricItem:
    """One criterion of a report. `weight` sums to 1 over a rubric; a `negative` item is met by an absence.

    `attribute`, `op`, `value`, `unit` make the item checkable without a judge; what they mean depends on `type`
    (`prstack.scoring.rubric`).
    """

    id: str
    type: ItemType
    text: str
    weight: float
    dimension: Dimension
    source: Source
    negative: bool = False
    attribute: str = ""
    op: Op = "="
    value: str = ""
    unit: str = ""


def _pairs(value: object) -> object:
    """A mapping, also from the (key, value) pairs as which Arrow hands out maps, and JSON made of them holds."""
    pairs = isinstance(value, list | tuple) and all(isinstance(p, list | tuple) and len(p) == 2 and isinstance(p[0], str) for p in value)
    return dict(value) if pairs else value


# --- trajectory ----------------------------------------------------------------------------------------------
@dataclass(slots=True)
class ToolCall:
    """`arguments` is JSON text as the model wrote it, valid or not."""

    id: str
    name: str
    arguments: str


@dataclass(slots=True)
class ToolResult:
    call_id: str
    ok: bool
    text: str
    error: str = ""


@dataclass(slots=True)
class VerdictItem:
    """One finding of a check: `kind` from a closed list per state, `reason` in words."""

    kind: str
    ok: bool
    reason: str


@dataclass(slots=True)
class Verdict:
    """A supervisor's check. `score` in [0, 1] for reports, null otherwise."""

    decision: Decision
    reason: str
    items: list[VerdictItem] = field(default_factory=list)
    score: float | None = None


@dataclass(slots=True)
class Alternative:
    """Another draw of a report that was not taken, with its verifiable rubric score (`Trajectory.scores`)."""

    content: str
    score: float
    reasoning: str = ""


@dataclass(slots=True)
class Step:
    """One turn of one role. Research turns hold `reasoning`, `content` and at most one tool call with its result;
    supervisor turns hold the verdict on the research turn before them. An assistant turn with several tool calls is a
    step for each, of which all but the first are `joined`; every one has its own verdict behind it.

    For a trained policy: `token_ids`, `loss_mask`, `logprobs` (same length, sampled tokens as they were sampled)
    and the `weight_version` that produced them.
    """

    role: Role
    state: State
    round: int
    reasoning: str = ""
    content: str = ""
    tool_call: ToolCall | None = None
    tool_result: ToolResult | None = None
    verdict: Verdict | None = None
    token_ids: list[int] = field(default_factory=list)
    loss_mask: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    weight_version: str = ""
    alternatives: list[Alternative] = field(default_factory=list)
    """Of a report that is the best of several (`agents.best_of`): the others, as they were drawn."""
    joined: bool = False
    """A tool call of the same assistant turn as the research step before. Reasoning, content and sampled tokens stand in the turn's first step."""


@dataclass(slots=True)
class Usage:
    """What a role used: tokens in and out, engine calls, seconds in the engine."""

    role: Role
    prompt_tokens: int = 0
    completion_tokens: int = 0
    calls: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Trajectory:
    """One episode from query to report. `id` is a hash of user, seed, config and prompt versions."""

    id: str
    user_id: str
    seed: int
    persona: Persona
    query: str
    rubric: list[RubricItem]
    steps: list[Step]
    reports: list[str]
    """The report of each round; the last is the final one."""
    scores: list[float]
    """The verifiable rubric score of each round (`prstack.scoring`), in [0, 1]."""
    termination: Termination
    detail: str = ""
    """For `error`: what happened. For the gate: which rubric items were dropped and why."""
    usage: list[Usage] = field(default_factory=list)
    engines: Annotated[dict[str, str], BeforeValidator(_pairs)] = field(default_factory=dict)
    """Role → engine and model that played it."""
    prompt_version: str = ""
    world: str = ""


@dataclass(slots=True)
class Rejected:
    """A record that did not go on, where it stopped and why. `record` is the JSON of what was rejected."""

    id: str
    stage: str
    reason: str
    detail: str
    record: str
    tokens: int = 0
    """Size of the record in tokens, where the stage counts them."""


# --- Arrow -----------------------------------------------------------------------------------------------------
_SCALARS = {
    str: pa.large_string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
}
_COMPACT = {"token_ids": pa.list_(pa.int32()), "loss_mask": pa.list_(pa.int8()), "logprobs": pa.list_(pa.float32())}


def _arrow_type(hint: typing.Any) -> pa.DataType:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, pytypes.UnionType):
        (inner,) = [a for a in args if a is not type(None)]
        return _arrow_type(inner)
    if origin is Literal:
        return pa.large_string()
    if origin is list:
        return pa.list_(_arrow_type(args[0]))
    if origin is dict:
        return pa.map_(_arrow_type(args[0]), _arrow_type(args[1]))
    if dataclasses.is_dataclass(hint):
        return pa.struct(list(_fields(hint)))
    return _SCALARS[hint]


def _fields(cls: type) -> typing.Iterator[pa.Field]:
    hints = typing.get_type_hints(cls)
    for f in dataclasses.fields(cls):
        yield pa.field(f.name, _COMPACT.get(f.name) or _arrow_type(hints[f.name]))


def arrow_schema(cls: type) -> pa.Schema:
    """The Parquet schema of a record type, with the schema version in its metadata."""
    return pa.schema(list(_fields(cls)), metadata={"prstack.schema_version": str(SCHEMA_VERSION), "prstack.record": cls.__name__})
