"""Each filter on an episode that it keeps and on one that it rejects."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import pytest

from prstack.distill import filters
from prstack.distill.filters import FILTERS, chain
from prstack.errors import UserError
from prstack.settings import FilterConfig
from prstack.types import Need, Persona, RubricItem, Step
from prstack.world.holdout import held_out_combination
from tests.factories import Script, product_page, search_text, trajectories, trajectory

CONFIG = FilterConfig()
GOOD = "1. [P10] Aurel Mira Blender — $80.00\n- noise level: 55 dB\n- jar material: glass\nIt is the quietest of those that I opened today."


def episode(report: str = GOOD, search: bool = True, **fields):
    s = Script().plan("Search, open pages, report.")
    if search:
        s.call("product_search", {"query": "blender"}, search_text("blender", [("P10", "Aurel Mira Blender", 80.0)]), "I search.")
    s.call("visit_product", {"product_id": "P10"}, product_page("P10", "Aurel Mira Blender", 80.0, 55), "I open it.")
    return s.report(report, "I report.").trajectory("t", **fields)


def reason(name: str, t, config: FilterConfig = CONFIG) -> str | None:
    rejection = FILTERS[name](t, config)
    assert rejection is None or (rejection[0] and rejection[1])
    return rejection[0] if rejection else None


def test_a_good_episode_passes_every_filter_in_the_fixed_order():
    order = "format termination held_out contamination rounds tool_calls tool_errors repetition language report_length citations grounding products score"
    assert list(FILTERS) == order.split()
    for t in [episode(), *trajectories(20)]:
        assert [name for name in FILTERS if reason(name, t)] in ([], ["tool_errors"])


def steps_without(t, drop):
    return dataclasses.replace(t, steps=[s for i, s in enumerate(t.steps) if not drop(i, s)])


BROKEN = {
    "format:no_steps": lambda t: dataclasses.replace(t, steps=[], termination="error", detail="gate: nothing fits"),
    "format:no_plan": lambda t: steps_without(t, lambda i, s: s.state == "plan"),
    "format:no_verdict": lambda t: steps_without(t, lambda i, s: i == 3),
    "format:order": lambda t: dataclasses.replace(t, steps=[t.steps[0], t.steps[1], t.steps[1], *t.steps[2:]]),
    "format:unpaired_call": lambda t: with_step(t, 2, tool_result=None),
    "format:misplaced_call": lambda t: with_step(t, 0, tool_call=t.steps[2].tool_call, tool_result=t.steps[2].tool_result),
    "format:call_ids": lambda t: with_step(t, 4, tool_call=t.steps[2].tool_call, tool_result=t.steps[2].tool_result),
    "format:no_report": lambda t: steps_without(t, lambda i, s: s.state == "report"),
    "format:report_tags": lambda t: dataclasses.replace(with_step(t, -2, content="So: P10."), reports=["So: P10."]),
    "format:report_mismatch": lambda t: dataclasses.replace(t, reports=["<report>\nanother\n</report>"]),
    "format:no_query": lambda t: dataclasses.replace(t, query=" \u200b— "),
}


def with_step(t, i: int, **changes):
    steps = list(t.steps)
    steps[i] = dataclasses.replace(steps[i], **changes)
    return dataclasses.replace(t, steps=steps)


@pytest.mark.parametrize("expected", BROKEN)
def test_format(expected):
    assert reason("format", episode()) is None
    assert reason("format", BROKEN[expected](episode())) == expected


def alone(t):
    """The same episode without a supervisor and without a plan of its own."""
    return dataclasses.replace(t, steps=[s for s in t.steps if s.role == "research" and s.state != "plan"], termination="finished")


def test_an_episode_without_a_supervisor_is_whole_when_every_turn_acts():
    t = alone(episode())
    assert reason("format", t) is None
    assert reason("format", with_step(t, 0, tool_call=None, tool_result=None, content="I think aloud.")) == "format:no_action"
    assert reason("format", dataclasses.replace(t, steps=t.steps[:-1])) == "format:no_report"
    assert reason("format", dataclasses.replace(t, steps=[*t.steps, Step("research", "plan", 0, "", "A plan.")])) == "format:order"
    assert reason("format", dataclasses.replace(t, steps=[dataclasses.replace(t.steps[0], role="user"), *t.steps[1:]])) == "format:order"


def test_format_refuses_a_plan_after_tool_calls():
    t = episode()
    late = [Step("research", "plan", 0, "", "Another plan."), t.steps[1]]
    assert reason("format", dataclasses.replace(t, steps=[*t.steps[:4], *late, *t.steps[4:]])) == "format:order"


def test_termination():
    assert reason("termination", episode()) is None
    assert reason("termination", episode(termination="max_rounds", detail="four reports")) == "termination:max_rounds"
    assert reason("termination", episode(termination="max_rounds"), FilterConfig(terminations=["max_rounds"])) is None


def needing(category: str, *attributes: str, **fields):
    needs = [Need(f"{a} matters", ["e1"], a, "<=", "60", "dB") for a in attributes]
    return episode(persona=Persona("Shops.", category, needs, 120.0), **fields)


def test_held_out_needs():
    pair = next(p for p in combinations(("noise level", "power", "capacity", "weight"), 2) if held_out_combination("Blenders", p))
    seen = next(p for p in combinations(("noise level", "power", "capacity", "weight"), 2) if not held_out_combination("Blenders", p))
    assert reason("held_out", needing("Tents", "weight")) == "held_out_category"
    assert reason("held_out", needing("Blenders", *pair)) == "held_out_combination"
    assert reason("held_out", needing("Blenders", *seen)) is None and reason("held_out", needing("Blenders", pair[0])) is None
    asked = [RubricItem(f"r{n}", "numeric_range", a, 0.5, "depth", "product_page", attribute=a, op="<=", value="60") for n, a in enumerate(pair)]
    assert reason("held_out", needing("Blenders", pair[0], rubric=asked)) == "held_out_combination"
    asked[0].type = "review_opinion"  # an opinion of reviewers is no constraint
    assert reason("held_out", needing("Blenders", pair[0], rubric=asked)) is None


def test_held_out_needs_are_those_of_the_generated_world_and_a_setting():
    for world in ("tau_retail", "shoppingbench", ""):
        assert reason("held_out", needing("Tents", "weight", world=world)) is None
    assert reason("held_out", needing("Tents", "weight"), FilterConfig(held_out=False)) is None


def test_rounds():
    twice = trajectory(0, bad_report=True)
    assert reason("rounds", episode()) is None and reason("rounds", twice) is None
    assert reason("rounds", episode(), FilterConfig(min_rounds=2)) == "too_few_rounds"
    assert reason("rounds", twice, FilterConfig(min_rounds=2)) is None
    assert reason("rounds", dataclasses.replace(twice, reports=twice.reports * 3)) == "too_many_rounds"


def test_tool_calls():
    assert reason("tool_calls", episode()) is None
    assert reason("tool_calls", episode(search=False)) == "too_few_tool_calls"
    assert reason("tool_calls", episode(), FilterConfig(max_tool_calls=1)) == "too_many_tool_calls"


def test_tool_errors():
    assert reason("tool_errors", trajectory(0, malformed=True)) is None  # one of four
    assert reason("tool_errors", trajectory(0, malformed=True, not_json=True)) == "tool_errors"  # two of five
    for said in ("error: the service did not answer", "", " \n", "HTTP 503 Service Unavailable", "HTTP/1.1 404 Not Found", "Status code: 500", "<!DOCTYPE html><p>Oops</p>", '{"error": {"code": 1}}', "Please verify you are human."):
        unmarked = episode()
        unmarked.steps[2].tool_result.text = said
        assert reason("tool_errors", unmarked) == "tool_errors", said
    found = episode()
    found.steps[2].tool_result.text = "HTTP clients of 500 makers: 1 product\n" + found.steps[2].tool_result.text
    assert reason("tool_errors", found) is None


def test_repetition_counts_what_stays_and_not_what_was_rewritten():
    assert reason("repetition", trajectory(0, bad_report=True, vague_plan=True)) is None
    loop = "I will now look at the next product that may fit today. " * 8
    assert reason("repetition", with_step(episode(), 2, reasoning=loop)) == "repetition"


def test_runs_are_repetition_wherever_the_agent_wrote_them():
    call = dataclasses.replace(episode().steps[2].tool_call, arguments='{"query": "' + "long-armed " * 12 + '"}')
    for change in ({"reasoning": "n " * 30}, {"content": "ranos" + "tranos" * 12}, {"content": " ".join(f"Step {n}: I look at the next page." for n in range(11))}, {"content": "- brew time: 8 min\n" * 11}, {"tool_call": call}):
        assert reason("repetition", with_step(episode(), 2, **change)) == "repetition:run"
    for symbols in ("Fine \U0001f600" + "\U0001f600" * 20, "\u2713 " * 12):
        assert reason("repetition", with_step(episode(), 2, content=symbols)) == "repetition:run", symbols
    for rule in ("\u2500" * 40, "\u2014" * 20, "\u2026" * 12, "-" * 60, "=" * 60, "four stars: \u2605\u2605\u2605\u2605"):
        assert reason("repetition", with_step(episode(), 2, content=rule)) is None, rule
    table = "| P10 | $80 |\n|-----|-----|\n" + "".join(f"|  {n}  |  {n + 40}  |\n" for n in range(12)) + "-" * 60 + " 1" * 12
    assert reason("repetition", with_step(episode(), 2, content=table, reasoning="Very very quiet.")) is None


def test_sentences_again_in_any_order_are_repetition():
    few = ["I look at the price.", "I look at the page.", "I go on to the next one.", "That is how I go on."]
    order = "0121031321020313012310210312"
    assert reason("repetition", with_step(episode(), 2, reasoning=" ".join(few[int(n)] for n in order))) == "repetition:sentences"
    words = ["quiet", "loud", "small", "large", "cheap", "dear", "light", "heavy", "wide", "narrow"]
    different = " ".join(f"A {a} one may be {b}." for a in words for b in words if a < b)
    assert reason("repetition", with_step(episode(), 2, reasoning=different), FilterConfig(max_repetition=1)) is None
    assert reason("repetition", with_step(episode(), 2, content="- yes\n- no\n" * 9), FilterConfig(max_repetition=1)) is None, "labels are no sentences"


def test_a_product_twice_in_a_list_is_repetition():
    again = GOOD.replace("1. [P10]", "1. [P10] Aurel Mira Blender, first of all\n2. [P10]", 1)
    assert again != GOOD and reason("repetition", episode(again)) == "repetition:listed"


def test_language():
    assert reason("language", episode()) is None
    german = "Ich suche nach einem leisen Mixer und öffne die Seite, um zu prüfen, ob er nicht zu laut ist."
    assert reason("language", with_step(episode(), 2, reasoning=german)) == "language:other"
    assert reason("language", with_step(episode(), 2, reasoning=german), FilterConfig(language="any")) is None
    chinese = "我先搜索安静的搅拌机，然后打开页面。"
    assert reason("language", with_step(episode(), 2, reasoning="I search. " + chinese)) == "language:script"
    assert reason("language", with_step(episode(), 2, reasoning="It is called 小米, and has 58 µV.")) is None
    assert reason("language", with_step(episode(), 2, content="x" * 60)) == "language:no_word"
    code = "kVbWdLwS3tHt8UQYbTQ1zGvVhVwYvJrX0kQ2mB7n9cPzT4fE6aR8sD1gH3jK5lM"
    assert reason("language", with_step(episode(), 2, content="I note " + code)) == "language:no_word"
    assert reason("language", with_step(episode(), 2, content="See https://tests.example/" + code)) is None, "addresses may be long"
    assert reason("language", episode(), FilterConfig(language="de")) == "language:other"
    polish = "Szukam cichego blendera z kielichem szklanym, potem otwieram strony trzech najlepszych trafień i sprawdzam wszystkie potrzeby."
    assert reason("language", with_step(episode(), 2, reasoning=polish)) == "language:other", "no list of Polish words is needed"
    assert reason("language", episode(GOOD + " Blender" * 60)) is None, "a report is lists and names"
    t = episode(" ".join([polish] * 3))
    for step in t.steps:
        step.reasoning = "Szukam blendera."
    assert reason("language", t) == "language:other", "all of it together"


def test_report_length():
    assert reason("report_length", episode()) is None
    assert reason("report_length", episode("[P10] is good.")) == "report_too_short"
    assert reason("report_length", episode(GOOD + " word" * 1500)) == "report_too_long"


def test_citations():
    assert reason("citations", episode()) is None
    assert reason("citations", episode(GOOD + "\nIt is quieter than [P77].")) == "citations"
    for bare in ("Quieter than P7777.", "Quieter than [p77].", "See www.tests.example/blenders.", "As best-tests.example says.", "As tests.com/blenders says."):
        assert reason("citations", episode(f"{GOOD}\n{bare}")) == "citations"
    assert reason("citations", episode(f"{GOOD}\nWrite to me@tests.com, it weighs 2.5 kg, i.e. little.")) is None
    assert reason("citations", episode(f"{GOOD}\nAs loud as a Huawei P30.")) is None, "short enough to be a name"
    assert reason("citations", episode(GOOD + "\nSee https://tests.example/blenders.")) == "citations"
    assert reason("citations", episode(GOOD + "\nSee [W4]."), FilterConfig(min_cited=0.4)) is None
    told = episode(GOOD + "\nSee https://tests.example/p?id=3.")
    told.steps[4].tool_result.text += "\n- R1, 5 stars: as https://tests.example/p?id=3 says"
    assert reason("citations", told) is None
    assert reason("citations", episode("I found nothing that meets every need.")) is None, "what cites nothing cites nothing wrong"


def test_grounding():
    assert reason("grounding", episode()) is None
    assert reason("grounding", episode(GOOD.replace("55 dB", "35 dB"))) == "grounding"
    claims = "\n".join(f"- property {n}: {n}" for n in range(20))
    seen = episode(GOOD.replace("55 dB", "56 dB") + "\n" + claims)
    seen.steps[4].tool_result.text = seen.steps[4].tool_result.text.replace("attributes:", f"attributes:\n{claims}")
    assert reason("grounding", seen) == "grounding:contradicted", "one of many"
    assert reason("grounding", seen, FilterConfig(max_contradicted=1)) is None
    assert reason("grounding", episode("I found nothing that meets every need, so I recommend nothing at all this time.")) == "grounding"


def test_products():
    assert reason("products", episode()) is None
    assert reason("products", episode(GOOD.replace("P10", "P99"))) == "products"
    assert reason("products", episode(), FilterConfig(min_products=2)) == "products"


def test_score_is_computed_and_not_read():
    assert reason("score", episode(scores=[0.0])) is None
    loud = episode(GOOD.replace("P10", "P99"), scores=[1.0])
    assert reason("score", loud) == "score"
    assert filters.rubric_score(episode()) == pytest.approx(1.0)


def test_a_broken_need_is_one_too_many_whatever_the_score():
    cheap = episode(rubric=[dataclasses.replace(r, weight=0.01, value="50") if r.type == "budget_match" else r for r in episode().rubric])
    assert filters.rubric_score(cheap) > 0.9
    assert reason("score", cheap) == "score:broken_need" and reason("score", cheap, FilterConfig(max_broken=1)) is None


# --- users' own filters ----------------------------------------------------------------------------------------
@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "my_filters.py").write_text(
        "def no_glass(t):\n    return ('glass', 'it breaks') if 'glass' in t.reports[-1] else None\n"
        "def wrong(t):\n    return True\n"
        "def fails(t):\n    return t.nothing\n"
        "constant = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


def test_a_users_filter_runs_last(own):
    steps = chain(FilterConfig(extra=["my_filters:no_glass"]))
    assert list(steps)[-1] == "my_filters:no_glass" and len(steps) == len(FILTERS) + 1
    assert steps["my_filters:no_glass"](episode()) == ("glass", "it breaks")
    assert steps["my_filters:no_glass"](episode(GOOD.replace("glass", "steel"))) is None


@pytest.mark.parametrize("path", ["my_filters", "my_filters:", ":no_glass", "my_filters:nothing", "my_filters:constant", "no_such_module:f"])
def test_a_wrong_import_path_names_the_key(own, path):
    with pytest.raises(UserError, match=r"distill\.filters\.extra.*" + path.split(":")[0]):
        chain(FilterConfig(extra=[path]))


@pytest.mark.parametrize("name", ["wrong", "fails"])
def test_a_filter_that_misbehaves_is_named(own, name):
    with pytest.raises(UserError, match=rf"my_filters:{name}"):
        chain(FilterConfig(extra=[f"my_filters:{name}"]))[f"my_filters:{name}"](episode())
