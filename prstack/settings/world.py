"""The shopping environment and its tools."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field as Check

from prstack.settings.checks import Positive, Seconds, Share


@dataclass
class WorldConfig:
    """The shopping environment: catalogue, reviews, web pages and behaviour histories."""

    kind: Literal["generated", "tau_retail", "shoppingbench", "amazon", "webshop", "table"] = "generated"
    """Where the records come from."""
    path: str | None = None
    """Folder of the source files. Default: `<kind>` under $PRSTACK_DATA, ./data or ../shared/data."""
    mapping: str | None = None
    """`table`: a YAML file that says which column of your CSV, JSONL or Parquet files is what (docs/worlds.md)."""
    histories: str | None = None
    """A file or folder (JSONL or Parquet of History records) that replaces the world's own histories."""
    min_events: Positive = 3
    """`amazon`, `table`: users with fewer events have no history; they are counted."""
    seed: int = 0
    """Seed of everything that is generated."""
    products: Positive = 1200
    """Generated world: number of products."""
    users: Positive = 400
    """Number of generated users (worlds without users of their own included)."""
    valid_share: Share = 0.35
    """Generated world: share of the first search hits that a typical query's constraints leave standing (hard: three quarters of it)."""
    difficulty: Literal["easy", "medium", "hard"] = "easy"
    """Generated world. `medium`: generations and families, values that are not listed or stand in other units, false listings that count,
    written-out texts, histories with views. `hard`: also other names, careless sellers, more false listings, outdated tests, and
    fewer valid products among the first hits (docs/generated-world.md)."""
    split: Literal["train", "evaluation", "all"] = "train"
    """Generated world: the needs that its users have. `train`: none that is held out (`prstack.world.holdout`);
    `evaluation`: a quarter in held-out categories, a quarter with held-out combinations of attributes in the others, half
    with neither; `all`: any. The catalogue is the same in each."""


@dataclass
class WebConfig:
    """The live web for web_search and web_visit, instead of the world's own pages (docs/live-web.md)."""

    live: bool = False
    """Searches and visits the internet. Results change from day to day, and what a page says reaches the model."""
    endpoint: str | None = None
    """URL of a search service that answers GET with JSON; fixed parameters may stand in it, a key may not."""
    provider: str | None = None
    """Import path (`package.module:name`) of your own search provider instead: called with this section, it gives an object with
    search(query, limit)."""
    query_parameter: str = "q"
    """Parameter that carries the query."""
    key_header: str = "Authorization"
    """Header that carries the key, where key_env is given."""
    key_env: str | None = None
    """Name of the environment variable that holds the key, as the header wants it ("Bearer …" included)."""
    results: str = "results"
    """Where the list of results lies in the reply: a dotted path, as web.results; empty where the reply is the list."""
    url: str = "url"
    """Where the address lies in a result."""
    title: str = "title"
    """Where the title lies in a result."""
    snippet: str = "content"
    """Where the snippet lies in a result; it may be missing."""
    published: str = "publishedDate"
    """Where the date lies in a result; it may be missing."""
    max_bytes: Positive = 2_000_000
    """Of a page and of a search reply, before and after decompression; a longer page is cut there."""
    seconds: Seconds = 15.0
    """Time for a search or a visit, redirects and robots.txt included."""


@dataclass
class ToolsConfig:
    """The tools of the research agent."""

    extra: list[str] = field(default_factory=list)
    """Import paths (`package.module:name`) of your own tools (docs/tools.md); models see them beside the four."""


@dataclass
class ServeConfig:
    """The tools of a run's world as an MCP server: `prstack world serve RUN`."""

    transport: Literal["stdio", "http"] = "stdio"
    """`stdio`: a client starts the server and talks to it over standard input and output; `http`: streamable HTTP at /mcp."""
    host: str = "127.0.0.1"
    """Address that HTTP binds. Others than loopback let everyone who reaches it call the tools."""
    port: Positive = 8077
    """Port of HTTP."""


@dataclass
class SearchConfig:
    """Looking for products as an agent does: `prstack world search QUERY`."""

    category: str | None = None
    """Only products of this category, or under it."""
    brand: str | None = None
    """Only products of this brand."""
    min_price: typing.Annotated[float, Check(ge=0)] | None = None
    """Only products from this price on."""
    max_price: typing.Annotated[float, Check(ge=0)] | None = None
    """Only products up to this price."""
    min_rating: typing.Annotated[float, Check(ge=0, le=5)] | None = None
    """Only products rated at least so, in stars."""
    sort: Literal["relevance", "price_low", "price_high", "rating", "reviews"] = "relevance"
    """Order of all that matches."""
    page: Positive = 1
    """Page of results."""
