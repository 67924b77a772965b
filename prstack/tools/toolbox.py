"""The research agent's tools over one world: JSON arguments in, text out.

A call is a pure function of the world: the same call gives the same text, in any process. Nothing raises: whatever goes
wrong is a ToolResult with `ok=False`, a code in `error`, and a text that says what to do instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prstack.tools import results, schemas
from prstack.tools.live.errors import WebError
from prstack.tools.neutralise import one_line
from prstack.types import ToolCall, ToolResult
from prstack.world.match import category_key, category_keys
from prstack.world.world import World

if TYPE_CHECKING:
    from prstack.tools.live import LiveWeb
    from prstack.tools.own import Own

PER_PAGE, WEB_HITS = 10, 6


class ToolError(Exception):
    """A call that cannot be answered. `code`: unknown_tool, unknown_category, unknown_brand, not_found or invalid_arguments; users' own
    tools (`prstack.tools.own`) may give others, and `tool_failed` is one that raised."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class Toolbox:
    """Product search, product pages, web search and web pages of the world in a folder, and users' own tools (`own.load`).

    With `web` the two web tools go to the internet: their answers then depend on the day, and visits on the searches before.
    """

    def __init__(self, world_folder: str | Path, own: Sequence[Own] = (), web: LiveWeb | None = None):
        self.world, self.web = World.open(Path(world_folder)), web
        self._tools = {
            "product_search": self._product_search,
            "visit_product": self._visit_product,
            "web_search": self._web_search,
            "web_visit": self._web_visit,
        }
        self._own = {tool.name: tool for tool in own}
        self._schemas = [*schemas.SCHEMAS, *(tool.schema for tool in own)]

    @property
    def schemas(self) -> list[dict]:
        """The tools in OpenAI's format."""
        return self._schemas

    @property
    def waits(self) -> bool:
        """Whether a call may wait for others: the internet, or whatever a user's own tool does. Calls are safe in any thread."""
        return self.web is not None or bool(self._own)

    def call(self, call: ToolCall) -> ToolResult:
        """Answers a call. Never raises."""
        try:
            if call.name in self._own:
                text = self._own[call.name].answer(self.world, call.arguments)
            elif call.name in self._tools:
                text = self._tools[call.name](**schemas.check(schemas.PARAMETERS[call.name], call.arguments))
            else:
                raise ToolError("unknown_tool", f"there is no tool {one_line(call.name, 40)!r}; call one of {', '.join([*self._tools, *self._own])}")
        except (ToolError, WebError, schemas.BadArguments) as e:
            return ToolResult(call.id, False, f"error: {one_line(str(e))}", e.code)
        except Exception as e:  # the boundary: an episode goes on whatever a tool does
            return ToolResult(call.id, False, f"error: the tool failed ({type(e).__name__}); try another call", "internal")
        return ToolResult(call.id, True, text)

    def _product_search(self, query: str, page: int = 1, sort: str = "relevance", **filters: Any) -> str:
        category, brand, low, high = (filters.get(name) for name in ("category", "brand", "min_price", "max_price"))
        if category is not None:
            self._check_category(category)
        if not self.world.search.whole and (brand is not None or sort == "reviews"):
            raise ToolError("invalid_arguments", "this world was made by an older prstack, which knows neither brand nor sort by reviews; leave them out")
        if brand is not None:
            self._check_brand(brand)
        if low is not None and high is not None and low > high:
            raise ToolError("invalid_arguments", f"min_price {low:g} is above max_price {high:g}; give a lower min_price or a higher max_price")
        ids = self.world.search.products(query, sort=sort, limit=PER_PAGE, offset=(page - 1) * PER_PAGE, **filters)
        hint = "no further results" if page > 1 else "nothing matches; use other or fewer words, or drop a filter"
        return results.format_search(query, [self.world.get(i) for i in ids], page, hint)

    def _check_category(self, category: str) -> None:
        known = self.world.categories()
        wanted = category_key(category)
        if not any(wanted in category_keys(c) for c in known):
            levels = {level.strip().casefold(): c for c in known for level in c.split(">")}
            near = [levels[n] for n in difflib.get_close_matches(category.casefold(), levels, n=3, cutoff=0.6)]
            near, some = ([one_line(c, results.MAX_CATEGORY) for c in names] for names in (dict.fromkeys(near), known[:3]))
            examples = ("did you mean " + " or ".join(near) + "?") if near else f"there are {len(known)}, such as {', '.join(some)};"
            raise ToolError("unknown_category", f"there is no category {one_line(category, 60)!r}; {examples} Or leave category out")

    def _check_brand(self, brand: str) -> None:
        search = self.world.search
        if not search.has_brand(brand):
            near, some = ([one_line(name, results.MAX_VALUE) for name in names] for names in (search.near_brands(brand), search.largest_brands()))
            examples = ("did you mean " + " or ".join(near) + "?") if near else f"the largest are {', '.join(some)};" if some else "no product states one;"
            raise ToolError("unknown_brand", f"there is no brand {one_line(brand, 60)!r}; {examples} Or leave brand out")

    def _visit_product(self, product_id: str) -> str:
        product = self.world.get(product_id.strip().strip("[]"))
        if product is None:
            raise ToolError("not_found", f"there is no product {one_line(product_id, 40)!r}; use an id from product_search results")
        variants, related = self.world.variants_of(product, results.MAX_VARIANTS), self.world.related_to(product, results.MAX_RELATED)
        return results.format_product(product, self.world.reviews_of(product.id), variants, related)

    def _web_search(self, query: str) -> str:
        if self.web is not None:
            hits = self.web.search(query)
        else:
            pages = [self.world.page(i) for i in self.world.search.pages(query, limit=WEB_HITS)]
            hits = [(p, self.world.search.snippet(query, p.text)) for p in pages]
        return results.format_web_search(query, hits, "nothing matches; use other or fewer words")

    def _web_visit(self, page_id: str, goal: str | None = None) -> str:
        page = (self.world.page if self.web is None else self.web.visit)(page_id.strip().strip("[]"))
        if page is None:
            raise ToolError("not_found", f"there is no page {one_line(page_id, 40)!r}; use an id from web_search results")
        return results.format_web_page(page, goal)
