"""Reports that recommend the wrong products: unopened, invented, unfit, not to be had, twice, or none.

A product that is added is really opened first, in a step before the report, and what is said of it is true: only that it is recommended is
wrong.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace

from benchmarks.supervision.kinds import harmless, wrong
from benchmarks.supervision.moments import Moment
from benchmarks.supervision.texts import (
    Block,
    Draft,
    Page,
    budget,
    category,
    hits,
    needs,
    numeric,
    pages,
    read_draft,
    read_page,
    tagged,
)


def draft_of(moment: Moment) -> Draft | None:
    return read_draft(moment.step.content)


def truthful(moment: Moment, page: Page) -> Block:
    """A product in the form of the report, with what its page lists of the needs."""
    lines = [(c.attribute, page.listed[c.attribute]) for c in needs(moment.trajectory) if c.attribute in page.listed]
    return Block(page.id, page.title, f"${page.price:,.2f}", [*lines, *([("rating", f"{page.rating:g} stars")] if page.rating else [])])


def _adding(moment: Moment, page: Page, why: str, first: bool = False) -> Moment | None:
    """The report with one more product, whose page is opened before if it was not."""
    draft = draft_of(moment)
    if draft is None or page.price is None or page.id in moment.step.content:
        return None
    before = [] if page.id in pages(moment) else [moment.shop.visit(page.id)]
    return moment.said(why, replace(draft, blocks=[*draft.blocks, truthful(moment, page)]).text(), before)


def _any_page(moment: Moment, rng: random.Random, wanted, of: str | None = None, most: int = 80) -> Page | None:
    """A page that is as wanted, one that was opened if there is such a one."""
    opened = [p for p in pages(moment).values() if wanted(p)]
    if opened:
        return rng.choice(opened)
    offered = moment.shop.of(of or category(moment.trajectory))
    for product in rng.sample(offered, min(most, len(offered))):
        page = read_page(moment.shop.visit(product.id).tool_result.text)
        if page and wanted(page):
            return page
    return None


def _within(moment: Moment, page: Page) -> bool:
    limit = budget(moment.trajectory)
    return page.price is not None and (limit is None or page.price <= limit)


@wrong("report", "visited", planned=True)
def report_unvisited(moment: Moment, rng: random.Random) -> Moment | None:
    """A product that a search listed, within the budget, whose page was not opened."""
    draft, opened, limit = draft_of(moment), pages(moment), budget(moment.trajectory)
    listed = {id: h for s in moment.earlier("product_search") for id, h in hits(s.tool_result.text).items()}
    left = [id for id, (_, c, p) in listed.items() if id not in opened and c == category(moment.trajectory) and p is not None and (limit is None or p <= limit)]
    if draft is None or not left:
        return None
    id = rng.choice(left)
    title, _, price = listed[id]
    return moment.said(f"the page of {id} was not opened", replace(draft, blocks=[*draft.blocks, Block(id, title, f"${price:,.2f}")]).text())


@wrong("report", "visited", "supported")
def report_invented_id(moment: Moment, rng: random.Random) -> Moment | None:
    """A product that no tool has shown, with the first one's properties."""
    draft = draft_of(moment)
    id = f"P{rng.randrange(900_000, 999_999)}"
    return draft and moment.said(
        f"no tool has shown {id}", replace(draft, blocks=[*draft.blocks, replace(draft.blocks[0], id=id, title="Arvento Prime 1")]).text()
    )


@wrong("report", "meets_constraints", planned=True)
def report_breaks_budget(moment: Moment, rng: random.Random) -> Moment | None:
    limit = budget(moment.trajectory)
    page = limit and _any_page(moment, rng, lambda p: p.price is not None and p.price > 1.02 * limit)
    return page and _adding(moment, page, f"{page.id} costs {page.price:g}, the budget is {limit:g}")


@wrong("report", "meets_constraints", planned=True)
def report_breaks_need(moment: Moment, rng: random.Random) -> Moment | None:
    asked = [c for c in needs(moment.trajectory) if numeric(c)]
    if not asked:
        return None
    c = rng.choice(asked)
    page = _any_page(moment, rng, lambda p: p.holds(c) is False and _within(moment, p))
    return page and _adding(moment, page, f"{page.id} has {c.attribute} {page.listed[c.attribute]}, not {c.op} {c.value} {c.unit}")


@wrong("report", "meets_constraints", planned=True)
def report_breaks_negative(moment: Moment, rng: random.Random) -> Moment | None:
    unwanted = [c for c in needs(moment.trajectory) if c.op == "!="]
    if not unwanted:
        return None
    c = rng.choice(unwanted)
    page = _any_page(moment, rng, lambda p: p.holds(c) is False and _within(moment, p))
    return page and _adding(moment, page, f"{page.id} has {c.value} as the {c.attribute}")


@wrong("report", "meets_constraints")
def report_breaks_category(moment: Moment, rng: random.Random) -> Moment | None:
    right = category(moment.trajectory)
    page = _any_page(moment, rng, lambda p: p.category != right and _within(moment, p), of=rng.choice(moment.shop.others(right)))
    return page and _adding(moment, page, f"{page.id} is none of the {right}")


@wrong("report", "meets_constraints", "supported")
def report_out_of_stock(moment: Moment, rng: random.Random) -> Moment | None:
    """A product that meets every need and cannot be bought."""
    asked = needs(moment.trajectory)
    page = _any_page(moment, rng, lambda p: not p.in_stock and all(p.holds(c) for c in asked))
    return page and _adding(moment, page, f"{page.id} is out of stock")


@wrong("report", "meets_constraints")
def report_refused_product(moment: Moment, rng: random.Random) -> Moment | None:
    """A product that the agent has dropped for a need, recommended without the property, and named as refused below."""
    asked, opened, draft = needs(moment.trajectory), pages(moment), draft_of(moment)
    dropped = {m for s in moment.trajectory.steps if s.reasoning and "I drop it." in s.reasoning for m in re.findall(r"^(P\d+): ", s.reasoning)}
    broken = [(p, c) for id, p in opened.items() if id in dropped and id not in moment.step.content for c in asked if p.holds(c) is False]
    if draft is None or not broken:
        return None
    page, c = rng.choice(broken)
    block = truthful(moment, page).without(c.attribute)
    after = f"## Not recommended\n- {page.title}: its {c.attribute} does not fit."
    return moment.said(f"{page.id} breaks {c.attribute}", replace(draft, blocks=[*draft.blocks, block], after=after).text())


@wrong("report", "format")
def report_product_twice(moment: Moment, rng: random.Random) -> Moment | None:
    draft = draft_of(moment)
    return draft and moment.said("the first product stands there twice", replace(draft, blocks=[*draft.blocks, draft.blocks[0]]).text())


@wrong("report", "format", "answers_rubric")
def report_recommends_none(moment: Moment, rng: random.Random) -> Moment | None:
    text = "I opened every product that looked likely. None of them meets every need, so I cannot recommend any."
    return moment.said("products that fit were opened", tagged(text)) if draft_of(moment) else None


@wrong("report", "format", "visited")
def report_without_ids(moment: Moment, rng: random.Random) -> Moment | None:
    text = re.sub(r"^(\d+\. )\[\S+\] ", r"\1", moment.step.content, flags=re.M)
    return moment.said("no product is named by its id", text) if draft_of(moment) else None


@wrong("report", "supported")
def report_title_of_other(moment: Moment, rng: random.Random) -> Moment | None:
    """Two products have each other's title."""
    draft = draft_of(moment)
    if draft is None or len(draft.blocks) < 2 or draft.blocks[0].title == draft.blocks[1].title:
        return None
    a, b = draft.blocks[:2]
    return moment.said(f"{a.id} is {a.title}", draft.with_block(0, replace(a, title=b.title)).with_block(1, replace(b, title=a.title)).text())


# --- said in another way -------------------------------------------------------------------------------------------
@harmless("report")
def report_with_rejected(moment: Moment, rng: random.Random) -> Moment | None:
    """What was opened and does not fit is named below, with the reason."""
    asked, draft = needs(moment.trajectory), draft_of(moment)
    broken = [(p, c) for p in pages(moment).values() if p.id not in moment.step.content for c in asked if p.holds(c) is False and c.attribute in p.listed]
    if draft is None or not broken:
        return None
    lines = [f"- [{p.id}] {p.title}: its {c.attribute} is {p.listed[c.attribute]}." for p, c in rng.sample(broken, min(2, len(broken)))]
    return moment.said("", replace(draft, after="## Not recommended\n" + "\n".join(dict.fromkeys(lines))).text())


@harmless("report")
def report_more_properties(moment: Moment, rng: random.Random) -> Moment | None:
    """Further true lines: brand, availability, other listed properties."""
    draft, opened = draft_of(moment), pages(moment)
    if draft is None:
        return None
    blocks = []
    for b in draft.blocks:
        page = opened[b.id]
        more = [(n, v) for n, v in page.listed.items() if not b.value(n) and page.text.count(n) == 1]
        blocks.append(replace(b, lines=[*b.lines, *more[:2], ("availability", "in stock")] if page.in_stock else [*b.lines, *more[:2]]))
    made = replace(draft, blocks=blocks).text()
    return moment.said("", made) if made != moment.step.content else None
