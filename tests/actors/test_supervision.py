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
from benchmarks.supervision.__main__ import figures_of
from benchmarks.supervision.engines import label, opened
from benchmarks.supervision.harness import drawn, judge, mutants
from benchmarks.supervision.kinds import HELD_OUT, all_kinds
from benchmarks.supervision.measure import Share, balanced, of_state, result, sent_back, wilson
from benchmarks.supervision.moments import clean_moments
from benchmarks.supervision.texts import budget, category, hits, needs, pages, read_draft
from prstack.errors import UserError
from prstack.settings import EndpointConfig, EngineConfig
from prstack.types import Constraint
from prstack.world.language import hear
from prstack.world.match import satisfies
from prstack.world.names import usual
from prstack.world.units import convert
from tests.chat_endpoint import Endpoint, answer

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
        said = self.decision if self.decision == "no idea" else json.dumps({"items": [], "reason": "", "score": 0.5, "decision": self.decision})
        return Completion(said, "stop", 0, 0, "test", 0.0)


def verdicts(engine, moments):
    return asyncio.run(judge(engine, moments, 8))


def verdicts_of(name, settings, moments):
    """Of an engine that is opened for it."""

    async def run():
        async with opened(name, settings) as engine:
            return await judge(engine, moments, 8)

    return asyncio.run(run())


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
        assert file.name in ("moments.py", "engines.py") or not any(n.startswith("actors.expert") for n in names), file


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


def test_a_reply_without_a_verdict_is_counted_and_sends_back(clean, made):
    moments = [*clean[:6], *made["report_wrong_price"]]
    judged = verdicts(Answers("no idea"), moments)
    assert all(j.unreadable and j.sent_back for j in judged)
    assert not any(j.unreadable for d in ("approve", "revise", "fail") for j in verdicts(Answers(d), moments))
    state = of_state(judged, KINDS.values(), "report")
    assert state.unreadable == state.recall.n + state.alarms.n and state.recall.value == 1.0


def test_a_limit_draws_as_many_right_as_wrong_moments_of_every_state(clean, made):
    right = [*clean, *(m for name, found in made.items() if KINDS[name].harmless for m in found)]
    wrong = [m for name, found in made.items() if not KINDS[name].harmless for m in found]
    few = drawn(right, wrong, 30, 0)
    assert [Counter(m.state for m in side) for side in few] == [{"plan": 5, "toolcall": 5, "report": 5}] * 2
    assert few == drawn(right, wrong, 30, 0) and few != drawn(right, wrong, 30, 1)
    assert drawn(right, wrong, 10**6, 0) == (right, wrong)


def test_an_engine_that_does_not_look_is_at_chance_and_the_expert_is_not(clean, made):
    moments = [*clean, *made["report_wrong_price"]]
    states = {d: of_state(verdicts(engine, moments), KINDS.values(), "report") for d, engine in (("blind", Answers("revise")), ("expert", ExpertEngine()))}
    assert balanced(states["blind"].recall, states["blind"].alarms)[0] == 0.5
    value, low, high = balanced(states["expert"].recall, states["expert"].alarms)
    assert value == high == 1.0 and 0.6 < low < 1.0
    figures = figures_of([], {}, states | {"empty": of_state([], [], "plan")})
    assert figures["balanced_accuracy_blind"].value == 0.5 and "balanced_accuracy_empty" not in figures


def test_an_engine_that_is_not_there_is_an_error_that_says_so():
    for name, model, said in (("vllm", "./no-such-folder", "no such folder"), ("no_such_module:make", "", "cannot import no_such_module")):
        with pytest.raises(UserError, match=said):
            verdicts_of(name, EngineConfig(model=model), [])


def test_results_do_not_name_the_folder_of_a_model(tmp_path):
    (tmp_path / "student").mkdir()
    assert label("vllm", str(tmp_path / "student")) == "vllm-student" and label("openai", "maker/model") == "openai-maker-model"
    assert label("my_module:make", "") == "my_module-make"


def test_an_endpoint_is_asked_with_the_supervisors_own_prompt_and_schema(clean):
    endpoint = Endpoint(answer(json.dumps({"items": [], "reason": "no", "decision": "revise"})))
    try:
        judged = verdicts_of("openai", EngineConfig(model="m", endpoint=EndpointConfig(base_url=endpoint.url)), clean[:3])
    finally:
        endpoint.close()
    assert [j.verdict.reason for j in judged] == ["no"] * 3
    assert all(clean[0].trajectory.query in a["messages"][0]["content"] and "decision" in json.dumps(a["response_format"]) for a in endpoint.asked[:1])


@pytest.mark.slow
def test_a_model_in_vllm_gives_verdicts_that_can_be_read(clean):
    one_each = [next(m for m in clean if m.state == state) for state in ("plan", "toolcall", "report")]
    judged = verdicts_of("vllm", EngineConfig(model="world-9m", temperature=0.0), one_each)
    assert [j.verdict.decision in ("approve", "revise") and not j.unreadable for j in judged] == [True] * 3


@pytest.mark.parametrize(("found", "n", "low", "high"), [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (0, 0, 0.0, 1.0)])
def test_wilson_intervals(found, n, low, high):
    assert wilson(found, n) == pytest.approx((low, high), abs=1e-4)
