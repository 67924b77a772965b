"""A correct report with one thing changed: what the change is about flips.

What flips, of each kind of change:

- number, word, unit, price, rating, and each of them negated: the finding on that product's property is no longer `supported` but
  `contradicted`, and the grounding item goes from met to violated; where the number breaks a constraint of the rubric by plain
  arithmetic, that item goes to violated as well;
- an id that no tool returned: E.Prod loses one, and the grounding item goes to violated;
- the id of another product that was seen: the grounding item is no longer met;
- reviewers negated: the finding is contradicted, and an item that asks for that opinion goes from met to not met. Where as many
  reviewers say the one as the other, both hold, and nothing is mutated;
- a sentence that compares two products: the comparison item goes from met to not met, whatever is changed; where the sentence says beside
  which product each value belongs, false values are contradicted as well, and so is the grounding item.
"""

import random
import re
from collections import Counter

import pytest

from prstack.scoring.grounding import ground
from prstack.scoring.products import e_prod
from prstack.scoring.report import parse_report
from prstack.scoring.rubric import RubricScore, score
from prstack.types import RubricItem
from prstack.world.opinions import hear_opinions, opinion_of
from tests.scoring.conftest import Played
from tests.scoring.mutator import APART, SENTENCES, STYLES, Mutation, comparing, mutations


def some(played: list[Played], style: str) -> list[Played]:
    """All reports as they are, a fourth of them in every other form."""
    return played if style == "as it is" else played[::4]


def statuses(scored: RubricScore) -> dict[str, str]:
    return {i.id: i.status for i in scored.items}


def findings(p: Played, text: str) -> dict[tuple[str, str, str], str]:
    return {(f.product_id, f.name, f.value): f.status for f in ground(parse_report(text), p.evidence).findings}


def rubric(p: Played) -> list[RubricItem]:
    """The task's, with an item on each opinion that the report states."""
    said = sorted(set(re.findall(r"^- reviewers: (.+)$", p.report, re.M)))
    return [*p.task.rubric, *(RubricItem(f"o-{w}", "review_opinion", w, 0.1, "depth", "reviews", attribute=opinion_of(w)[0], value=w) for w in said)]


def divided(p: Played, m: Mutation) -> bool:
    """Whether as many shown reviewers say the opposite."""
    attribute = opinion_of(m.new.removeprefix("not "))[0]
    votes = [good for _, _, text in p.evidence.visited[m.product].reviews for a, _, good in hear_opinions(text) if a == attribute]
    return sum(votes) * 2 == len(votes)


def broken(p: Played, m: Mutation) -> list[str]:
    """Ids of the rubric's items that the new number breaks, in the unit that it is written in."""
    out = []
    for i in p.task.rubric:
        if m.number is not None and m.name == ("price" if i.type == "budget_match" else i.attribute) and (i.type == "budget_match" or m.new.endswith(f" {i.unit}")):
            limit = float(i.value)
            out += [i.id] if (i.op == "<=" and m.number > limit) or (i.op == ">=" and m.number < limit) else []
    return out


def flips(p: Played, m: Mutation, style: str) -> bool:
    text = STYLES[style](m.report)
    items = rubric(p)
    after = statuses(score(text, items, p.evidence))
    grounding = next(i.id for i in items if i.type == "grounding")
    if m.kind == "invented id":
        return after[grounding] == "violated" and len(e_prod(parse_report(text), p.evidence)) == len(parse_report(p.report).pitches) - 1
    if m.kind == "other id":
        return after[grounding] != "met"
    bad = {(id, name) for (id, name, value), status in findings(p, text).items() if status == "contradicted" and value.strip(" .") == m.new}
    met = statuses(score(STYLES[style](p.report), items, p.evidence))
    if m.kind == "reviewers negated":
        word = m.new.removeprefix("not ")
        again = sum(opinion_of(w) == opinion_of(word) for w in re.findall(r"^- reviewers: (.+)$", p.report, re.M)) > 1  # of another product
        if met[f"o-{word}"] == "met" and after[f"o-{word}"] == "met" and not again:
            return False
    return (m.product, m.name) in bad and after[grounding] == "violated" and all(after[id] == "violated" for id in broken(p, m))


@pytest.mark.parametrize("style", STYLES)
def test_a_correct_report_is_correct_in_any_form(played, style):
    """Every claim is found and supported, and every item that the plain report meets is met."""
    for p in some(played, style):
        text = STYLES[style](p.report)
        was, found = findings(p, p.report), findings(p, text)
        assert set(found.values()) == {"supported"} and {(i, n, v.rstrip(".")) for i, n, v in found} == set(was), text
        assert parse_report(text).product_ids == parse_report(p.report).product_ids
        items = [i for i in p.task.rubric if i.type != "comparison" or "## Comparison" not in p.report]
        assert statuses(score(text, items, p.evidence)) == statuses(score(p.report, items, p.evidence)), text


@pytest.mark.parametrize("style", STYLES)
def test_one_change_flips_what_it_is_about(played, style):
    made, flipped, missed = Counter(), Counter(), []
    for p in some(played, style):
        rng = random.Random(p.task.id)
        strangers = sorted(p.evidence.seen_ids - set(parse_report(p.report).product_ids))
        for m in mutations(p.report, strangers, rng):
            if m.kind == "reviewers negated" and divided(p, m):
                continue
            made[m.kind] += 1
            if flips(p, m, style):
                flipped[m.kind] += 1
            else:
                missed.append((m.kind, m.product, m.name, m.new))
    print(f"{style}: {sum(flipped.values())} of {sum(made.values())} flip: " + ", ".join(f"{k} {flipped[k]}/{n}" for k, n in sorted(made.items())))
    assert set(made) >= {"number", "number negated", "word", "word negated", "unit", "price", "rating", "invented id", "other id", "reviewers negated"}
    assert sum(made.values()) > (1000 if style == "as it is" else 300) and sum(flipped.values()) >= 0.99 * sum(made.values()), missed[:10]


COMPARISON = RubricItem("c", "comparison", "Compares", 0.5, "comprehensiveness", "report")
GROUNDING = RubricItem("g", "grounding", "Is grounded", 0.5, "depth", "report")
FALSE_VALUES = ("products exchanged", "values exchanged", "values exchanged, not the word", "first value", "second value")


@pytest.mark.parametrize("titles", [False, True], ids=["by id", "by title"])
@pytest.mark.parametrize("form", SENTENCES)
def test_a_comparing_sentence_counts_and_each_lie_in_it_does_not(played, form, titles):
    made, missed = Counter(), []
    for p in played:
        c = comparing(p.report, form, titles, random.Random(p.task.id))
        if c is None:
            continue
        made["true"] += 1
        now = statuses(score(c.report, [COMPARISON, GROUNDING], p.evidence))
        assert now == {"c": "met", "g": "met"}, c.report
        for kind, text in c.lies.items():
            made[kind] += 1
            now = statuses(score(text, [COMPARISON, GROUNDING], p.evidence))
            if now["c"] == "met" or (kind in FALSE_VALUES and form not in APART and now["g"] != "violated"):
                missed.append((kind, now, text))
    print(f"{form}: {sum(made.values()) - len(missed)} of {sum(made.values())}, " + ", ".join(f"{k} {n}" for k, n in made.items()))
    assert made["true"] > 80 and not missed, missed[:5]
