"""The research agent's tools over one world: JSON arguments in, text out.

A call is a pure function of the world: the same call gives the same text, in any process. Nothing raises: whatever goes
wrong is a ToolResult with `ok=False`, a code in `error`, and a text that says what to do instead.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from prstack.tools import results, schemas
from prstack.tools.neutralise import one_line
from prstack.types import ToolCall, ToolResult
from prstack.world.match import category_key, category_keys
from prstack.world.world import World

PER_PAGE, WEB_HITS = 10, 6


class ToolError(Exception):
    """A call that cannot be answered. `code`: unknown_tool, unknown_category or not_found."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class Toolbox:
    """Product search, product pages, web search and web pages of the world in a folder."""

    def __init__(self, world_folder: str | Path):
        self.world = World.open(Path(world_folder))
        self._tools = {
            "product_search": self._product_search,
            "visit_product": self._visit_product,
            "web_search": self._web_search,
            "web_visit": self._web_visit,
        }

    @property
    def schemas(self) -> list[dict]:
        """The tools in OpenAI's format."""
        return schemas.SCHEMAS

    def call(self, call: ToolCall) -> ToolResult:
        """Answers a call. Never raises."""
        try:
            if call.name not in self._tools:
                raise ToolError("unknown_tool", f"there is no tool {one_line(call.name, 40)!r}; call one of {', '.join(self._tools)}")
            text = self._tools[call.name](**schemas.check(call.name, call.arguments))
        except (ToolError, schemas.BadArguments) as e:
            return ToolResult(call.id, False, f"error: {one_line(str(e))}", e.code)
        except Exception as e:  # the boundary: an episode goes on whatever a tool does
            return ToolResult(call.id, False, f"error: the tool failed ({type(e).__name__}); try another call", "internal")
        return ToolResult(call.id, True, text)

    def _product_search(self, query: str, category: str | None = None, max_price: float | None = None, min_rating: float | None = None, page: float = 1) -> str:
        if category is not None:
            self._check_category(category)
        page = int(page)
        ids = self.world.search.products(query, category=category, max_price=max_price, min_rating=min_rating, limit=PER_PAGE, offset=(page - 1) * PER_PAGE)
        hint = "no further results" if page > 1 else "nothing matches; use other or fewer words, or drop a filter"
        return results.format_search(query, [self.world.get(i) for i in ids], page, hint)

    def _check_category(self, category: str) -> None:
        known = self.world.categories()
        wanted = category_key(category)
        if not any(wanted in category_keys(c) for c in known):
            levels = {level.strip().casefold(): c for c in known for level in c.split(">")}
            near = [levels[n] for n in difflib.get_close_matches(category.casefold(), levels, n=3, cutoff=0.6)]
            examples = ("did you mean " + " or ".join(dict.fromkeys(near)) + "?") if near else f"there are {len(known)}, such as {', '.join(known[:3])};"
            raise ToolError("unknown_category", f"there is no category {one_line(category, 60)!r}; {examples} Or leave category out")

    def _visit_product(self, product_id: str) -> str:
        product = self.world.get(product_id.strip().strip("[]"))
        if product is None:
            raise ToolError("not_found", f"there is no product {one_line(product_id, 40)!r}; use an id from product_search results")
        return results.format_product(product, self.world.reviews_of(product.id))

    def _web_search(self, query: str) -> str:
        pages = [self.world.page(i) for i in self.world.search.pages(query, limit=WEB_HITS)]
        hits = [(p, self.world.search.snippet(query, p.text)) for p in pages]
        return results.format_web_search(query, hits, "nothing matches; use other or fewer words")

    def _web_visit(self, page_id: str) -> str:
        page = self.world.page(page_id.strip().strip("[]"))
        if page is None:
            raise ToolError("not_found", f"there is no page {one_line(page_id, 40)!r}; use an id from web_search results")
        return results.format_web_page(page)
