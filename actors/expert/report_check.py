"""Does a report hold? Visited products, supported claims, needs kept and answered, and a form that serves.

1. The scorer reads report and sources (`prstack.scoring`): products that were not opened, claims that are not what the pages say, needs
   broken.
2. What the rubric asks for and a recommended product's page answers has to be said: a need's property, what reviewers find. An item
   that the sources cannot answer is named, and tolerated where the score reaches `MIN_SCORE`.
3. Words that no page claims by its own form are looked at apart (`report_words`): comparisons, prose, limits repeated, the language.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from actors.expert import report_words
from actors.expert.findings import finding
from prstack.scoring import grounding, originality, rubric
from prstack.scoring.evidence import Evidence
from prstack.scoring.grounding import opinions_held
from prstack.scoring.report import Report, parse_report
from prstack.scoring.rubric import constraint_of
from prstack.tools.results import ProductPage
from prstack.types import Attribute, RubricItem
from prstack.world.match import known, same_value
from prstack.world.names import OTHER_NAMES, fold, usual
from prstack.world.opinions import opinion_of

MIN_SCORE = 0.7
"""Reports below are sent back for any finding."""
KINDS = ("format", "visited", "supported", "meets_constraints", "answers_rubric")


def check(text: str, query: str, items: Sequence[RubricItem], sources: str) -> tuple[list[dict], float, bool]:
    """Findings on a report, its score, and whether it is sent back."""
    report = parse_report(text)
    evidence = Evidence.from_texts(re.findall(r"<source>\n(.*?)\n</source>", sources, re.S))
    scored = rubric.score(report, list(items), evidence)
    faults = [*_form(report, evidence), *_products(report, evidence), *report_words.check(report, query, items, evidence)]
    open_points = []
    for item, result in zip(items, scored.items, strict=True):
        unanswered = finding("answers_rubric", f"left unanswered: {item.text.rstrip('.')}")
        if result.status == "violated" and item.type in rubric.CONSTRAINTS:
            faults.append(finding("meets_constraints", f"a need is broken ({item.text.rstrip('.')}): {result.evidence}"))
        elif _answerable(item, result.status, report, evidence):
            faults.append(unanswered)
        elif result.status == "unaddressed" and item.type != "grounding":
            open_points.append(unanswered)
    found = [*faults, *open_points]
    named = {f["kind"] for f in found}
    sent_back = bool(faults) or (bool(open_points) and scored.score < MIN_SCORE)
    return found + [finding(k) for k in KINDS if k not in named], round(scored.score, 4), sent_back


def _form(report: Report, evidence: Evidence) -> list[dict]:
    out = []
    if not report.pitches:
        out.append(finding("format", "the report recommends no product by its id"))
    if originality.own_share(report, evidence) < 1:
        out.append(finding("format", "the report is for the most part a copy of what the tools showed"))
    return out


def _products(report: Report, evidence: Evidence) -> list[dict]:
    out = [finding("visited", f"{id} is recommended but its page was never opened") for id in report.product_ids if id not in evidence.visited]
    for f in grounding.ground(report, evidence).findings:
        if f.status != "supported" and f.product_id in evidence.visited:
            why = "the page says otherwise" if f.status == "contradicted" else "no source says so"
            out.append(finding("supported", f"{f.product_id} is said to have {f.name}: {f.value}, but {why}"))
    return out


def _answerable(item: RubricItem, status: str, report: Report, evidence: Evidence) -> bool:
    """Whether the report is silent on an item that the page of a recommended product answers."""
    pages = [evidence.visited[id] for id in report.product_ids if id in evidence.visited]
    if item.type == "review_opinion":
        heard = opinion_of(item.value)
        good = (heard[1] if heard and heard[0] == item.attribute else True) != (item.negative or item.op == "!=")
        return status == "unaddressed" and any(_found(page, item.attribute, good) for page in pages)
    if item.type not in rubric.CONSTRAINTS or item.type == "entity_match":
        return False
    attribute, text = constraint_of(item).attribute, fold(report.text)
    if attribute == "price":
        return bool(pages) and not re.search(r"[$€£₱]\s?\d|\b[A-Z]{3} ?\d|\d ?(?:dollars|euros?|[A-Z]{3}\b)", report.text)
    words = [fold(attribute), usual(attribute), *map(fold, OTHER_NAMES.get(usual(attribute), ()))]
    listed = [a for page in pages if (a := _listed(page, attribute))]
    return bool(listed) and not any(re.search(rf"(?<![\w-]){re.escape(w)}(?![\w-])", text) for w in (*words, *(fold(a.value) for a in listed)))


def _found(page: ProductPage, attribute: str, good: bool) -> bool:
    """Whether reviewers find so, by the page's count and by the reviews that it shows alike."""
    counts = [opinions_held(page, attribute), opinions_held(replace(page, aspects={}), attribute)]
    return all((praise > blame) if good else (blame > praise) for praise, blame in counts)


def _listed(page: ProductPage, name: str) -> Attribute | None:
    """What a page lists of a property, where owners measured nothing else."""
    listed = next((a for a in page.attributes.values() if usual(a.name) == usual(name)), None)
    return listed if listed and all(same_value(a, listed) for a in known(page, name)) else None
