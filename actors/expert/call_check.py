"""Is a step a valid tool call, is it new, and has its result to do with the query?

1. A call equals an earlier one when name and arguments do, in whatever order, arguments that say what holds anyway left aside.
2. A product search is irrelevant when it is not for a wanted category and no hit is of one, by category or title; where the query names no
   category, when its words are none of the query's.
3. A product's page is irrelevant when it is of another category; when it costs more than the budget, as a result had shown, while
   others that can be paid for are left; and when no result has shown its id.
4. What the web brings up is irrelevant when neither speaks it of the category nor was a need searched for.
"""

from __future__ import annotations

import json
import re

from actors.expert.findings import finding, stem, stems, words
from prstack.tools import results
from prstack.tools.results import ProductPage
from prstack.types import Constraint
from prstack.world.language import hear
from prstack.world.match import in_category
from prstack.world.opinions import praise_words
from prstack.world.units import currency, money
from prstack.world.units import price as read_price

DEFAULTS = {"page": 1, "sort": "relevance"}
"""Arguments of a search that change nothing."""
_SHOWN = re.compile(r"([^\s,()]+) \(([^()]*)\)|([^\s,()]+)")
_WORK = words(
    "a an and are as at be best buy buying by can choose compare comparison do does find for from get good great guide guides have help how i in is it its "
    "like look looking me more most much my need needs new no not of on one or page pages product products rated review reviews search should some test "
    "tested than that the their them things to top use what when which who will with would you your"
)
"""Words that say nothing of what is searched for."""


def check(parts: dict[str, str]) -> list[dict]:
    """The findings on a step, from the sections of its prompt."""
    result, call = parts["Result"], parts["Call"]
    if result.startswith("(no tool"):
        return [finding("has_action", "the step neither calls a tool nor reports")]
    if result.startswith("error"):
        return [finding("valid_call", f"the call failed ({result.removeprefix('error:').strip().rstrip('.')[:160]})")]
    called = re.search(r"<tool_call>\s*(.*?)\s*</tool_call>", call, re.S)
    try:
        body = json.loads(called.group(1))
        name, arguments = body["name"], body["arguments"]
    except (AttributeError, ValueError, KeyError, TypeError):
        return [finding("valid_call", "the call is not valid JSON")]
    for line in parts["Earlier calls"].splitlines():
        earlier, _, text = line.partition(" ")
        if earlier == name and _plain(_loads(text)) == _plain(arguments):
            return [finding("not_duplicate", f"{name} was called with the same arguments before")]
    if re.match(r"(0|no) results", result, re.I):
        return [finding("relevant_result", "the search found nothing; other words are needed")]
    if isinstance(arguments, dict) and (reason := _irrelevant(arguments, result, parts)):
        return [finding("relevant_result", reason)]
    return [finding(k) for k in ("valid_call", "not_duplicate", "relevant_result")]


def _loads(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _plain(arguments: object) -> object:
    """Arguments without those that change nothing."""
    if not isinstance(arguments, dict):
        return arguments
    return {k: v for k, v in arguments.items() if v is not None and DEFAULTS.get(k) != v}


def _irrelevant(arguments: dict, result: str, parts: dict[str, str]) -> str:
    """Why a result has nothing to do with the query; empty when it has, or when that cannot be told."""
    query, needs = parts["Query"], hear(parts["Query"])
    wanted = [c.value for c in needs if c.attribute == "category" and c.op == "="]
    if page := results.parse_product(result):
        return _irrelevant_page(page, needs, wanted, parts)
    if hits := results.parse_search(result):
        if wanted:
            helps = _asks_for(arguments, wanted) or any(_is_of(h.category, h.title, wanted) for h in hits)
            return "" if helps else f"the search lists none of the {wanted[0]} that are needed"
        return "" if _aims(arguments, query, needs) else "the search has nothing to do with any need"
    pages = results.parse_web_search(result)
    page = results.parse_web_page(result)
    if not wanted or not (pages or page):
        return ""  # a user's own tool, or a query without a kind of product
    heads = {_head(w) for w in wanted}
    if heads & stems(result) or _aims(arguments, query, needs):
        return ""
    return f"{'the page' if page else 'none of the pages'} {'is not' if page else 'is'} about {wanted[0]}"


def _irrelevant_page(page: ProductPage, needs: list[Constraint], wanted: list[str], parts: dict[str, str]) -> str:
    if wanted and page.category and not _is_of(page.category, page.title, wanted):
        return f"{page.id} is none of the {wanted[0]} that are needed"
    if "Products shown before" not in parts:
        return ""  # a template of the user's own
    shown = _shown(parts["Products shown before"])
    if page.id not in shown and page.id not in parts["Query"]:
        return f"no result has shown {page.id}, so its page was opened by guess"
    limit = next((float(c.value) for c in needs if c.attribute == "price" and c.op == "<=" and c.unit in ("", page.currency)), None)
    if limit is None or page.price is None or page.price <= limit or shown.get(page.id, ("", None))[1] is None:
        return ""
    opened = set(re.findall(r'^visit_product .*?"product_id": *"\s*\[?([^"\]\s]+)', parts["Earlier calls"], re.M))
    left = any(
        id not in opened and price is not None and price <= limit and (not wanted or _is_of(category, "", wanted)) for id, (category, price) in shown.items()
    )
    return f"{page.id} costs {money(page.price, page.currency)}, more than can be spent, while cheaper ones are left" if left else ""


def _shown(text: str) -> dict[str, tuple[str, float | None]]:
    """id → (category, price) of products that results have shown."""
    found = {}
    for line in text.splitlines():
        category, _, listed = line.rpartition(": ")
        for m in _SHOWN.finditer(listed):
            found[m[1] or m[3]] = (category, read_price(m[2]) if m[2] and currency(m[2]) else None)
    return found


def _is_of(category: str, title: str, wanted: list[str]) -> bool:
    """Whether a product is of a wanted category, or what its category or title names is: people's words are not the shop's."""
    return any(in_category(category, w) or _head(w) in stems(f"{category} {title}") for w in wanted)


def _head(category: str) -> str:
    """The word of a category that says what a thing is: "cleaner" of "vacuum cleaners for stairs"."""
    name = re.split(r"\s(?:for|with|without|of|in|under|from|that)\s", category.split(">")[-1].strip())[0]
    said = re.findall(r"[^\W\d_][\w'-]*", name)
    return stem(said[-1]) if said else ""


def _asks_for(arguments: dict, wanted: list[str]) -> bool:
    """Whether a search is for a wanted category: what it then lists is what the shop has."""
    query, filter = str(arguments.get("query", "")), str(arguments.get("category") or "")
    return any(_head(w) in stems(query) for w in wanted) and (not filter or _is_of(filter, "", wanted))


def _aims(arguments: dict, query: str, needs: list[Constraint]) -> bool:
    """Whether what was searched for has a word of the query, or one that praises what it asks for."""
    said = " ".join(str(v) for k, v in arguments.items() if k in ("query", "goal", "category", "brand"))
    praise = " ".join(w for c in needs for w in praise_words(c.attribute))
    return bool(stems(said, _WORK) & stems(f"{query} {praise}", _WORK))
