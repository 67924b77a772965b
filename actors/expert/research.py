"""The expert as research agent: reads needs out of the query, searches, opens pages, checks each need, reports.

The policy is a function of the conversation alone:

1. Plan: name every need and the steps.
2. For a quarter of the queries, read a guide on the web first.
3. Search; open the hits in order, up to `ENOUGH` that meet every need or `PAGES` pages a search; search on with other words
   or the next page until two are found or three searches are spent (one more after each correction of a report).
4. Each page is held against every need, with the limit beside the value, so that a verdict stands on what is written.
5. Report the products that meet every need, best rated first, with what the tools showed of each need.

Seeded mistakes (never twice in a row, and never right after a correction): a plan that leaves a need out, a malformed
call, a call made before, a claim without support, a product that breaks a need.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

from prstack.dialogue.parse import format_assistant
from prstack.scoring.evidence import Evidence
from prstack.settings import MistakesConfig
from prstack.tools import results
from prstack.tools.results import Hit, ProductPage
from prstack.types import Attribute, Constraint, ToolCall
from prstack.world.asking import arguments, first_query
from prstack.world.language import hear
from prstack.world.limits import limit, verdict
from prstack.world.match import known, same_value, satisfies
from prstack.world.names import usual
from prstack.world.opinions import hear_opinions
from prstack.world.units import money

ENOUGH, PAGES, SEARCHES, PITCHES = 3, 4, 3, 3
GUIDED = 0.25
"""Share of queries for which a guide is read first."""


@dataclass(slots=True)
class View:
    """What the conversation holds so far."""

    query: str
    needs: list[Constraint]
    calls: list[tuple[str, dict]] = field(default_factory=list)
    """Name and arguments of every call that worked."""
    failed: list[tuple[str, dict]] = field(default_factory=list)
    """Name and arguments of every call that did not."""
    hits: dict[str, Hit] = field(default_factory=dict)
    pages: dict[str, ProductPage] = field(default_factory=dict)
    guides: list[str] = field(default_factory=list)
    """Ids of web pages that a search listed."""
    last: str = ""
    """Text of the last tool result."""
    reports: int = 0
    corrected: bool = False
    """The last message is a correction."""
    clean: bool = True
    """The last call worked and was new."""

    def of(self, name: str) -> list[dict]:
        return [a for n, a in self.calls if n == name]

    def category(self) -> str:
        return next((c.value for c in self.needs if c.attribute == "category"), "")

    def product_needs(self) -> list[Constraint]:
        return [c for c in self.needs if c.attribute != "category"]

    def fits(self, page: ProductPage) -> bool:
        return page.available is not False and all(satisfies(c, page) for c in self.needs)

    def fitting(self) -> list[ProductPage]:
        """Opened products that are known to meet every need and can be bought, best first."""
        good = [p for p in self.pages.values() if self.fits(p)]
        return sorted(good, key=lambda p: (-(p.rating or 0), p.price or 0, p.id))


def reply(task: str, messages: list[dict], rng: random.Random, mistakes: MistakesConfig) -> str:
    view = read(messages)
    if task == "plan":
        return _plan(view, rng, mistakes)
    if task == "report":
        return _report(view, rng, mistakes)
    return _act(view, rng, mistakes)


def read(messages: list[dict]) -> View:
    """The conversation as facts: needs from the query, calls that worked, products and pages seen."""
    query = messages[1]["content"]
    view = View(query, [c for c in hear(query) if c.attribute != "opinion"])
    call: tuple[str, dict] | None = None
    texts = []
    for m in messages[2:]:
        if m["role"] == "assistant":
            view.reports += m["content"].lstrip().startswith("<report>")
            for c in m.get("tool_calls") or ():
                try:
                    call = (c["function"]["name"], json.loads(c["function"]["arguments"]))
                except ValueError:
                    call = None
        elif m["role"] == "tool":
            view.last = m["content"]
            view.clean = call is not None and not m["content"].startswith("error") and call not in view.calls
            if call is not None and not m["content"].startswith("error"):
                view.calls.append(call)
                texts.append(m["content"])
            elif call is not None:
                view.failed.append(call)
    seen = Evidence.from_texts(texts)
    view.hits, view.pages = seen.hits, seen.visited
    view.guides = list(dict.fromkeys(hit.id for text in texts for hit in results.parse_web_search(text)))
    view.corrected = messages[-1]["role"] == "user" and len(messages) > 2 and "correcting" in messages[-1]["content"].split("\n", 1)[0]
    return view


# --- plan ------------------------------------------------------------------------------------------------------
def _plan(view: View, rng: random.Random, mistakes: MistakesConfig) -> str:
    needs = [_stated(c) for c in view.needs]
    product_needs = [n for n, c in enumerate(view.needs) if c.attribute != "category"]
    if product_needs and not view.corrected and rng.random() < mistakes.vague_plan:
        needs.pop(rng.choice(product_needs))
    steps = [
        f"Search for {view.category() or 'the product'} within the budget.",
        "Open the pages of the best hits and check each need there.",
        "Report the products that meet every need, and compare them.",
    ]
    content = "Needs:\n" + "\n".join(f"- {n}" for n in needs) + "\nSteps:\n" + "\n".join(f"{i}. {s}" for i, s in enumerate(steps, 1))
    count = len(needs)
    reasoning = rng.choice(
        [
            f"The query holds {count} needs. I list them, so that none is lost, and plan how to check each.",
            f"I count {count} needs. Each has to be checked on the product's own page.",
            f"Before I search I write down the {count} needs that every product must meet.",
        ]
    )
    return format_assistant(reasoning, content, None)


def _stated(c: Constraint) -> str:
    """A need in its plainest form, in which it is heard again."""
    if c.attribute == "category":
        return f"I am looking for {c.value}"
    return f"{c.attribute} {limit(c)}" if c.op in ("<=", ">=") else f"the {c.attribute} {limit(c)}"


# --- act -------------------------------------------------------------------------------------------------------
def _act(view: View, rng: random.Random, mistakes: MistakesConfig) -> str:
    action = _next_call(view)
    if action is None:
        return _report(view, rng, mistakes)
    name, arguments = action
    reasoning = " ".join(filter(None, [_reflect(view), _intend(view, name, arguments, rng)]))
    if view.clean and not view.corrected:
        if rng.random() < mistakes.malformed_call:
            wrong = {"visit_product": {"id": arguments.get("product_id", "")}, "product_search": {"q": arguments.get("query", "")}}
            return format_assistant(reasoning, "", ToolCall("", name, json.dumps(wrong.get(name, {}), ensure_ascii=False)))
        if view.calls and rng.random() < mistakes.duplicate_call:
            name, arguments = rng.choice(view.calls)
            reasoning = f"I look at this once more: {name}."
    return format_assistant(reasoning, "", ToolCall("", name, json.dumps(arguments, ensure_ascii=False)))


def _next_call(view: View) -> tuple[str, dict] | None:
    """The policy's next call; None when it is time to report."""
    coin = random.Random(view.query).random()
    searches = view.of("product_search")
    if coin < GUIDED and not searches:
        asked = view.of("web_search")
        if not asked:
            return "web_search", {"query": f"how to choose {view.category()}".strip()}
        guide = next((g for g in view.guides if ("web_visit", {"page_id": g}) not in view.failed), None)  # a page of the live web may not open
        if guide and not view.of("web_visit"):
            return "web_visit", {"page_id": guide}
    if not searches:
        return "product_search", _search(view, 0)
    fitting, opened = len(view.fitting()), len(view.pages)
    left = [h for h in view.hits.values() if h.id not in view.pages and _may_fit(h, view)]
    if fitting < ENOUGH and left and opened < PAGES * len(searches):
        return "visit_product", {"product_id": left[0].id}
    if fitting < 2 and len(searches) < SEARCHES + view.reports:
        for n in range(1, 12):
            wanted = _search(view, n)
            if wanted not in searches:
                return "product_search", wanted
    if fitting < 2 and left:
        return "visit_product", {"product_id": left[0].id}
    return None


def _may_fit(hit: Hit, view: View) -> bool:
    """Nothing on the search line speaks against the product."""
    return all(satisfies(c, hit) is not False for c in view.needs if c.attribute in ("price", "category"))


def _search(view: View, n: int) -> dict:
    """The n-th search: first with the words of the needs, then the category alone, page by page."""
    if n == 0:
        return first_query(view.query)
    found = arguments(view.category() or view.query[:80], view.needs)
    return found | {"page": n} if n > 1 else found


def _reflect(view: View) -> str:
    """What the last result says about the needs."""
    if page := results.parse_product(view.last):
        said = "; ".join(f"{_shown(page, c)} ({limit(c)}) {verdict(c, page)}" for c in view.product_needs())
        stock = " It is out of stock." if page.available is False else ""
        return f"{page.id}: {said}.{stock} {'I keep it.' if view.fits(page) else 'I drop it.'}"
    if hits := results.parse_search(view.last):
        return f"{len(hits)} hits."
    return "Nothing found." if view.last and not view.last.startswith("error") and not view.guides else ""


def _shown(page: ProductPage, c: Constraint) -> str:
    if c.attribute == "price":
        return f"price {_price(page)}" if page.price is not None else "price"
    said = known(page, c.attribute)
    return f"{c.attribute} {said[0].value}" if said else c.attribute


def _listed(page: ProductPage, name: str) -> Attribute | None:
    """What the page lists of a property, under whichever name; None where owners measured something else."""
    listed = next((a for a in page.attributes.values() if usual(a.name) == usual(name)), None)
    return listed if listed and all(same_value(a, listed) for a in known(page, name)) else None


def _intend(view: View, name: str, arguments: dict, rng: random.Random) -> str:
    if name == "product_search":
        first = not view.of("product_search")
        return rng.choice(["I search first.", "A first search."] if first else ["Not enough yet, I search on.", "I widen the search."])
    if name == "visit_product":
        return rng.choice([f"I open {arguments['product_id']}.", f"Next I check {arguments['product_id']}."])
    return rng.choice(["A guide may tell what to look for.", "I read up on it first."])


# --- report ----------------------------------------------------------------------------------------------------
def _report(view: View, rng: random.Random, mistakes: MistakesConfig) -> str:
    pitched = view.fitting()[:PITCHES]
    first = view.reports == 0 and not view.corrected
    if first and rng.random() < mistakes.missed_constraint:
        broken = [p for p in view.pages.values() if p not in pitched]
        pitched = [*pitched[: PITCHES - 1], rng.choice(broken)] if broken else pitched
    blocks = [_pitch(n, page, view) for n, page in enumerate(pitched, 1)]
    if first and blocks and rng.random() < mistakes.unsupported_claim:
        n = rng.randrange(len(blocks))
        blocks[n] += rng.choice(["\n- warranty: 5 years", "\n- country of origin: Japan", "\n- energy class: A"])
    if not blocks:
        body = "I opened every product that looked likely; none of them meets every need, so I recommend none."
    else:
        body = "\n".join(blocks)
        if len(pitched) > 1:
            body += f"\n\n## Comparison\n{_compare(pitched, view)}"
    reasoning = " ".join(filter(None, [_reflect(view), f"I have {len(view.fitting())} products that meet every need, so I report." if view.fitting() else "I report what I found."]))
    return format_assistant(reasoning, f"<report>\n{body}\n</report>", None)


def _compare(pitched: list[ProductPage], view: View) -> str:
    """One sentence a property that the products can be told apart by."""
    said = []
    priced = [p for p in pitched if p.price is not None]
    if len(priced) > 1:
        cheap, dear = min(priced, key=lambda p: p.price), max(priced, key=lambda p: p.price)
        said.append(f"{cheap.title} is the cheapest at {_price(cheap)}; {dear.title} costs {_price(dear)}." if cheap is not dear else "They cost the same.")
    for name in dict.fromkeys(c.attribute for c in view.product_needs()):
        values = [a.value for p in pitched if (a := _listed(p, name))]
        if len(set(values)) > 1:
            said.append(f"Their {name} differs: {', '.join(values)}.")
    return " ".join(said) or "They do not differ in what was asked for."


def _price(page: ProductPage) -> str:
    return money(page.price, page.currency) if page.price is not None else "price not stated"


def _pitch(n: int, page: ProductPage, view: View) -> str:
    """One product of the report: what its page shows of every need, and what reviewers say."""
    lines = [f"{n}. [{page.id}] {page.title} — {_price(page)}"]
    for c in view.product_needs():
        a = _listed(page, c.attribute)
        if a is not None:
            lines.append(f"- {a.name}: {a.value}")
    wanted = {c.attribute for c in view.product_needs()}
    said = [(a, word, good) for _, _, text in page.reviews for a, word, good in hear_opinions(text) if a in wanted]
    for attribute in sorted({a for a, _, _ in said}):
        votes = [(word, good) for a, word, good in said if a == attribute]
        good = sum(g for _, g in votes) * 2 > len(votes)
        word = next((w for w, g in votes if g == good), "")
        if word:
            lines.append(f"- reviewers: {word}")
    if page.rating is not None:
        lines.append(f"- rating: {page.rating:g} stars")
    return "\n".join(lines)
