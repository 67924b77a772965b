"""The supervision benchmark: mutants are really wrong, harmless changes are not, and the expert tells them apart."""

import ast
import asyncio
import json
import math
import re
from collections import Counter
from pathlib import Path

import pytest

import benchmarks.supervision
from actors.engine import Completion, EngineError
from actors.expert import ExpertEngine
from benchmarks.supervision.harness import judge, mutants
from benchmarks.supervision.kinds import HELD_OUT, all_kinds
from benchmarks.supervision.measure import Share, result, sent_back, wilson
from benchmarks.supervision.moments import clean_moments
from benchmarks.supervision.texts import budget, category, hits, needs, pages, read_draft
from prstack.types import Constraint
from prstack.world.language import hear
from prstack.world.match import satisfies
from prstack.world.names import usual
from prstack.world.units import convert

KINDS = {k.name: k for k in all_kinds()}
RARE = {"report_out_of_stock"}
"""Kinds that need a product which a small world may not have."""


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return clean_moments("easy", 14, 3, tmp_path_factory.mktemp("world") / "w", products=350)[0]


@pytest.fixture(scope="module")
def made(clean):
    return {name: mutants(kind, clean, 6, 0) for name, kind in KINDS.items()}


class Answers:
    """An engine that decides the same every time."""

    def __init__(self, decision):
        self.decision = decision

    async def complete(self, request):
        if self.decision == "fail":
            raise EngineError("engine", "gone")
        return Completion(json.dumps({"items": [], "reason": "", "score": 0.5, "decision": self.decision}), "stop", 0, 0, "test", 0.0)


def verdicts(engine, moments):
    return asyncio.run(judge(engine, moments, 8))


def test_every_kind_makes_mutants_that_say_why_they_are_wrong(made):
    assert {name for name, found in made.items() if not found} <= RARE
    for name, found in made.items():
        assert all(m.kind == name and m.state == KINDS[name].state and bool(m.why) != KINDS[name].harmless for m in found), name


def test_the_same_seed_makes_the_same_mutants(clean, made):
    again = mutants(KINDS["report_wrong_value"], clean, 6, 0)
    assert [m.step.content for m in again] == [m.step.content for m in made["report_wrong_value"]]
    assert [m.step.content for m in mutants(KINDS["report_wrong_value"], clean, 6, 1)] != [m.step.content for m in again]


def test_a_mutant_leaves_its_moment_as_it_was(clean):
    before = [(m.step.content, m.step.tool_call, len(m.trajectory.steps)) for m in clean]
    for kind in KINDS.values():
        mutants(kind, clean, 2, 5)
    assert [(m.step.content, m.step.tool_call, len(m.trajectory.steps)) for m in clean] == before


def test_a_third_of_the_wrong_kinds_is_held_out_and_none_that_is_planned():
    wrong = [k for k in KINDS.values() if not k.harmless]
    held_out = [k for k in wrong if k.held_out]
    assert set(KINDS) >= HELD_OUT
    assert len(held_out) == round(len(wrong) / 3) and not any(k.planned for k in held_out)
    assert len(wrong) >= 60 and sum(k.planned for k in wrong) >= 20


def stated(moment):
    """The needs that a plan states, heard by the phrase book."""
    return [c for c in hear(moment.step.content) if c.attribute != "opinion"]


def test_plans_with_a_fault_do_not_state_the_needs_of_the_query(made):
    for name in (
        "leaves_need_out",
        "leaves_budget_out",
        "limit_times_ten",
        "limit_a_little_off",
        "direction_turned",
        "unit_changed",
        "other_category",
        "negation_dropped",
        "other_value",
        "other_currency",
        "limits_exchanged",
        "need_invented",
    ):
        for m in made[f"plan_{name}"]:
            asked = [c for c in hear(m.trajectory.query) if c.attribute != "opinion"]
            assert sorted(map(repr, stated(m))) != sorted(map(repr, asked)), m.step.content


@pytest.mark.parametrize("name", ["plan_in_other_words", "plan_units_converted", "plan_reordered"])
def test_harmless_plans_state_every_need(made, name):
    for m in made[name]:
        for c in [Constraint("category", "=", category(m.trajectory)), *needs(m.trajectory)]:
            same = [s for s in stated(m) if usual(s.attribute) == usual(c.attribute) and s.op == c.op]
            near = [s for s in same if s.value == c.value or (s.unit != c.unit and math.isclose(convert(float(s.value), s.unit, c.unit) or 0, float(c.value)))]
            assert near, (c, m.step.content)


def test_searches_and_visits_bring_up_what_the_query_is_not_about(made):
    for name in ("search_other_category", "search_unrelated", "search_filter_other_category"):
        for m in made[name]:
            found = hits(m.step.tool_result.text)
            assert found and all(c != category(m.trajectory) for _, c, _ in found.values()), name
    for m in made["visit_over_budget"]:
        assert float(re.search(r"^price: \$([\d.,]+)", m.step.tool_result.text, re.M)[1].replace(",", "")) > budget(m.trajectory)
    for m in made["visit_unlisted"]:
        assert json.loads(m.step.tool_call.arguments)["product_id"] not in m.shown()


def test_repeated_calls_get_what_they_got_before(made):
    for name in ("call_duplicate", "call_duplicate_reordered", "call_duplicate_default_added"):
        for m in made[name]:
            assert m.step.tool_result.text in {s.tool_result.text for s in m.earlier()}, name


def test_products_that_break_a_need_break_it_by_the_page_that_was_opened(made):
    for name in ("report_breaks_budget", "report_breaks_need", "report_breaks_negative", "report_refused_product"):
        for m in made[name]:
            added = read_draft(m.step.content.partition("\n\n## Not recommended")[0].removesuffix("\n</report>").rstrip() + "\n</report>").blocks[-1]
            product = m.shop.world.get(added.id)
            assert added.id in pages(m)
            assert any(satisfies(c, product) is False for c in needs(m.trajectory)), (name, m.why)


def test_harmless_reports_recommend_what_the_clean_ones_do(clean, made):
    listed = {m.trajectory.id: {b.id for b in read_draft(m.step.content).blocks} for m in clean if m.state == "report"}
    for name, kind in KINDS.items():
        if kind.harmless and kind.state == "report":
            for m in made[name]:
                assert {id for id in listed[m.trajectory.id] if id in m.step.content} == listed[m.trajectory.id], name


def test_mutators_share_no_code_with_the_expert_and_the_scorer():
    for file in Path(benchmarks.supervision.__file__).parent.glob("*.py"):
        names = [n.module or "" for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.ImportFrom)]
        assert not any(n.startswith(("prstack.scoring", "prstack.tools.results")) for n in names), file
        assert file.name in ("moments.py", "__main__.py") or not any(n.startswith("actors.expert") for n in names), file


def test_the_expert_catches_what_is_planned_and_leaves_clean_moments_alone(clean, made):
    for name, kind in KINDS.items():
        if kind.planned:
            judged = verdicts(ExpertEngine(), made[name])
            assert sent_back(judged).value >= 0.9, (name, [j.moment.why for j in judged if not j.sent_back])
            assert result(kind, judged).named.value >= 0.9, (name, [j.verdict for j in judged])
    alarms = [j for j in verdicts(ExpertEngine(), clean) if j.sent_back]
    assert len(alarms) <= 0.02 * len(clean), [(j.moment.step.content, j.verdict.reason) for j in alarms]


def test_harmless_changes_pass_the_expert(made):
    alarms = Counter(j.moment.kind for name, kind in KINDS.items() if kind.harmless for j in verdicts(ExpertEngine(), made[name]) if j.sent_back)
    assert not alarms


def test_engines_that_decide_the_same_every_time_have_the_recall_that_they_must(made):
    kind = KINDS["report_wrong_price"]
    for decision, share in (("approve", 0.0), ("revise", 1.0)):
        found = result(kind, verdicts(Answers(decision), made[kind.name]))
        assert found.sent_back.value == share and found.sent_back.n == len(made[kind.name])
    assert result(kind, verdicts(Answers("revise"), made[kind.name])).precision(Share(10, 10)) == 0.5
    failed = verdicts(Answers("fail"), made[kind.name])
    assert all(j.verdict is None for j in failed) and sent_back(failed).n == 0


@pytest.mark.parametrize(("found", "n", "low", "high"), [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (0, 0, 0.0, 1.0)])
def test_wilson_intervals(found, n, low, high):
    assert wilson(found, n) == pytest.approx((low, high), abs=1e-4)
