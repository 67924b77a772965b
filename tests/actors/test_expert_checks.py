"""What the expert supervisor sends back and what it lets pass, one prompt at a time."""

import json
import random
from dataclasses import asdict

import pytest

from actors.expert import supervisor
from actors.supervisor import shown_products
from prstack.prompts import Prompts
from prstack.types import Constraint, RubricItem, Step, ToolCall, ToolResult
from prstack.world.generated.catalogue import CATEGORIES
from prstack.world.language import say, utterable
from tests.factories import product_page, search_text

PROMPTS = Prompts()
QUERY = (
    "I need help with a purchase. I am looking for blenders. My budget is $120. The noise level should be at most 60 dB. The jar material must not be plastic."
)
STEPS = "\nSteps:\n1. Search for blenders.\n2. Open the pages of the best hits and check each need there.\n3. Report."
NEEDS = "Needs:\n- I am looking for blenders\n- price at most $120\n- noise level at most 60 dB\n- the jar material must not be plastic"


def ask(task, **values):
    return json.loads(supervisor.reply(f"check_{task}", PROMPTS.render(f"supervisor_check_{task}", **values), random.Random(0)))


def wrong(answer):
    """The findings of a verdict that sends back."""
    found = [i for i in answer["items"] if not i["ok"]]
    assert bool(found) == (answer["decision"] == "revise") or answer.get("score", 0) >= 0.7
    return [(i["kind"], i["reason"]) for i in found] if answer["decision"] == "revise" else []


# --- plans -----------------------------------------------------------------------------------------------------
def plan(text, query=QUERY):
    return wrong(ask("plan", query=query, plan=text, rubric=[]))


def test_a_plan_that_states_every_need_passes():
    assert not plan(NEEDS + STEPS)
    assert not plan("## Needs\n- **Product**: blenders\n- **Budget**: max. $120\n- **Noise level**: ≤ 60 dB\n- **Jar material**: anything but plastic" + STEPS)
    assert not plan(
        "Blenders for $120 or less, no plastic as the jar material, and a noise level of 60 dB at most. I search, then open each page and verify all of it."
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("at most $120", "at most $1,200"),
        ("at most $120", "at most €120"),
        ("at most 60 dB", "at most 66 dB"),
        ("at most 60 dB", "at least 60 dB"),
        ("at most 60 dB", "at most 60 W"),
        ("must not be plastic", "has to be plastic"),
        ("must not be plastic", "must not be glass"),
        ("blenders", "kettles"),
        ("- noise level at most 60 dB\n", ""),
        ("\nSteps", "\n- weight at most 3 kg\nSteps"),
        (STEPS, ""),
        ("2. Open the pages of the best hits and check each need there.", "2. There is no need to open any page."),
    ],
)
def test_a_plan_that_departs_from_the_query_is_sent_back(old, new):
    text = (NEEDS + STEPS).replace(old, new)
    assert text != NEEDS + STEPS and [kind for kind, _ in plan(text)] == ["covers_needs"]


def test_a_limit_in_another_unit_is_the_same_limit():
    query = "I am looking for blenders. The capacity should be at least 1.2 l. A boiling time of 120 s or less is a must."
    assert not plan("- blenders\n- capacity at least 1200 ml\n- boiling time at most 2 min. " + STEPS, query)
    assert plan("- blenders\n- capacity at least 120 ml\n- boiling time at most 2 min. " + STEPS, query)


def test_whatever_can_be_said_of_the_catalogue_is_heard_in_a_plan():
    rng = random.Random(1)
    for category in CATEGORIES:
        asked = [Constraint(n.name, rng.choice(("<=", ">=")), f"{n.low + n.step:g}", n.unit) for n in category.numeric]
        asked += [Constraint(k.name, rng.choice(("=", "!=")), rng.choice(k.values)) for k in category.kinds]
        asked = [Constraint("category", "=", category.name), Constraint("price", "<=", "150", "USD"), *filter(utterable, asked)]
        query, text = (" ".join(f"{(s := say(c, rng))[0].upper()}{s[1:]}." for c in asked) for _ in range(2))
        assert not plan(text + STEPS, query), (query, text)


@pytest.mark.parametrize(
    "text", ["", "\x00", "at most at most", "$", "≤ ≥ ≠", "- **: **\n" * 50, "the the of at least 9,999,999,999 of of of", '"' * 99, "no " * 3000]
)
def test_no_plan_breaks_the_check(text):
    assert plan(text) and plan(NEEDS + STEPS, text) is not None


# --- calls -----------------------------------------------------------------------------------------------------
LISTING = search_text("blender", [("P1", "Aurel Mira Blender", 99.0), ("P2", "Bonvar Mira Blender", 80.0), ("P3", "Corima Mira Blender", 250.0)])


def call(name, arguments, result, earlier=(), shown=("Blenders: P1 ($99.00), P2 ($80.00), P3 ($250.00)",), query=QUERY):
    text = f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>'
    return [kind for kind, _ in wrong(ask("toolcall", query=query, earlier=list(earlier), shown=list(shown), call=text, result=result))]


def visit(id, price=80.0, category="Blenders", **more):
    page = product_page(id, "Aurel Mira Blender" if category == "Blenders" else "Aurel Mira Kettle", price, 55).replace(
        "category: Blenders", f"category: {category}"
    )
    return call("visit_product", {"product_id": id}, page, **more)


def test_arguments_that_change_nothing_make_no_new_call():
    earlier = ['product_search {"query": "blender", "max_price": 120}']
    assert call("product_search", {"max_price": 120, "query": "blender", "page": 1, "sort": "relevance", "brand": None}, LISTING, earlier) == ["not_duplicate"]
    assert not call("product_search", {"query": "blender", "max_price": 120, "page": 2}, LISTING, earlier)


def test_a_search_for_something_else_does_not_help():
    kettles = LISTING.replace("Blender", "Kettle")
    assert call("product_search", {"query": "kettle"}, kettles) == ["relevant_result"]
    assert not call("product_search", {"query": "smoothie maker"}, LISTING), "what it lists is what is needed"
    assert not call("product_search", {"query": "blender", "page": 2}, kettles), "a shop may have no more"
    assert not call("product_search", {"query": "quiet kitchen helper"}, LISTING, query="I need something quiet for the kitchen.")
    assert call("product_search", {"query": "garden hose"}, LISTING, query="I need something quiet for the kitchen.") == ["relevant_result"]


def test_a_page_of_another_kind_or_above_the_budget_does_not_help():
    assert not visit("P2")
    assert visit("P2", category="Kettles") == ["relevant_result"]
    assert visit("P3", 250.0) == ["relevant_result"]


def test_a_page_above_the_budget_is_all_right_when_nothing_else_is_left():
    earlier = ['visit_product {"product_id": "P1"}', 'visit_product {"product_id": "P2"}']
    assert not visit("P3", 250.0, earlier=earlier)
    assert not visit("P3", 250.0, shown=["Blenders: P1 ($99.00), P3 (no price)"]), "its price was not shown"


def test_an_id_that_nothing_has_shown_was_guessed():
    assert visit("P9") == ["relevant_result"]
    assert not visit("P9", shown=["mentioned: P7, P9"])
    assert not visit("P9", query=QUERY + " What about P9?")
    prompt = PROMPTS.render(
        "supervisor_check_toolcall",
        query=QUERY,
        earlier=[],
        shown=[],
        call='<tool_call>\n{"name": "visit_product", "arguments": {"product_id": "P9"}}\n</tool_call>',
        result=product_page("P9", "Aurel Mira Blender", 80, 55),
    )
    own = prompt.replace("## Products shown before\n", "")
    assert json.loads(supervisor.reply("check_toolcall", own, random.Random(0)))["decision"] == "approve", "a template without the section"


def test_what_the_web_says_of_other_things_does_not_help():
    other = '1 result for "how to choose a kettle"\n[1] W1 | How to choose: Kettles | guide | 2025-01\n    What to look for in kettles?'
    assert call("web_search", {"query": "how to choose a kettle"}, other) == ["relevant_result"]
    assert not call("web_search", {"query": "how to choose a kettle"}, other.replace("kettles?", "kettles and blenders?"))
    assert not call("web_search", {"query": "how loud is a noise level of 60 dB"}, other), "a need was looked up"
    assert not call("my_tool", {"x": 1}, "whatever my own tool says")


def test_products_that_results_have_shown_are_listed_by_category():
    def step(text):
        return Step("research", "toolcall", 0, tool_call=ToolCall("c", "t", "{}"), tool_result=ToolResult("c", True, text))

    page = product_page("P5", "Dellan Mira Blender", 70, 55) + "\nrelated: P6 ($71.00), P1 ($99.00)"
    guide = "W1 | A test\nkind: lab_test\npublished: 2025-02\nAurel Mira Blender (P1). Fenwick Mira Blender (P8)."
    assert shown_products([step(LISTING), step(page), step(guide)]) == [
        "Blenders: P1 ($99.00), P2 ($80.00), P3 ($250.00), P5 ($70.00), P6 ($71.00)",
        "mentioned: P8",
    ]
    assert shown_products([]) == []


# --- reports ---------------------------------------------------------------------------------------------------
PAGES = [
    product_page("P1", "Aurel Mira 1 Blender", 99.0, 55).replace(
        "reviews:", "reviewers on:\n- noise level: 2 good\nreviews:\n- R1, 5 stars: It is quiet, just as I hoped.\n- R2, 5 stars: Pleasantly quiet."
    ),
    product_page("P2", "Bonvar Mira 2 Blender", 80.0, 58),
]
FIRST = "1. [P1] Aurel Mira 1 Blender — $99.00\n- noise level: 55 dB\n- jar material: glass\n- reviewers: quiet"
SECOND = "2. [P2] Bonvar Mira 2 Blender — $80.00\n- noise level: 58 dB\n- jar material: glass"
BETWEEN = "## Comparison\nBonvar Mira 2 Blender is the cheapest at $80.00; Aurel Mira 1 Blender costs $99.00."
RUBRIC = [
    RubricItem("r1", "entity_match", "Recommends Blenders", 0.2, "instruction_following", "search", attribute="category", value="Blenders"),
    RubricItem("r2", "budget_match", "Stays within 120 USD", 0.2, "instruction_following", "search", attribute="price", op="<=", value="120", unit="USD"),
    RubricItem("r3", "numeric_range", "at most 60 dB", 0.2, "instruction_following", "product_page", attribute="noise level", op="<=", value="60", unit="dB"),
    RubricItem("r4", "negative_attribute", "no plastic", 0.2, "instruction_following", "product_page", True, "jar material", "!=", "plastic"),
    RubricItem("r5", "review_opinion", "Says that reviewers find it quiet", 0.1, "depth", "reviews", attribute="noise level", value="quiet"),
    RubricItem("r6", "comparison", "Compares them", 0.1, "depth", "report"),
]


def report(*parts, sources=PAGES, rubric=RUBRIC):
    text = "<report>\n" + "\n".join(parts) + "\n</report>"
    return wrong(ask("report", query=QUERY, rubric=[asdict(i) for i in rubric], report=text, evidence=list(sources)))


def kinds(found):
    return {kind for kind, _ in found}


def test_a_report_that_holds_passes():
    assert not report(FIRST, SECOND, BETWEEN)


def test_what_the_pages_answer_has_to_be_said():
    assert kinds(report(FIRST.replace("\n- reviewers: quiet", ""), SECOND, BETWEEN)) == {"answers_rubric"}
    assert kinds(report(FIRST.replace("\n- jar material: glass", ""), SECOND.replace("\n- jar material: glass", ""), BETWEEN)) == {"answers_rubric"}
    assert not report(FIRST, SECOND.replace("\n- jar material: glass", ""), BETWEEN), "said of one of them"
    assert not report(FIRST.replace("\n- jar material: glass", "\nA glass jar."), SECOND.replace("\n- jar material: glass", ""), BETWEEN), "said in words"


def test_what_no_page_answers_may_stay_open():
    silent = [p.partition("reviewers on:")[0] + "reviews:" for p in PAGES]
    assert not report(FIRST.replace("\n- reviewers: quiet", ""), SECOND, BETWEEN, sources=silent)


def test_a_comparison_has_to_be_the_right_way_round():
    assert kinds(report(FIRST, SECOND, "## Comparison\nAurel Mira 1 Blender is the cheapest at $99.00.")) == {"supported"}
    assert kinds(report(FIRST, SECOND, "## Comparison\nThe most expensive is P2.")) == {"supported"}
    assert kinds(report(FIRST, SECOND, "## Comparison\nP1 is cheaper than P2.")) == {"supported"}
    assert not report(FIRST, SECOND, "## Comparison\nP2 is cheaper than P1. P1 is the most expensive.")


def test_products_of_the_same_name_are_not_taken_for_each_other():
    twins = [p.replace("Aurel Mira 1", "Mira").replace("Bonvar Mira 2", "Mira") for p in PAGES]
    first, second = FIRST.replace("Aurel Mira 1", "Mira"), SECOND.replace("Bonvar Mira 2", "Mira")
    assert not report(first, second, "## Comparison\nMira Blender is the cheapest at $80.00; Mira Blender costs $99.00.", sources=twins)


def test_prose_that_goes_beyond_the_page_is_sent_back():
    assert kinds(report(FIRST, "It was voted best in class by a consumer magazine and comes with a lifelong guarantee.", SECOND, BETWEEN)) == {"supported"}
    assert not report(FIRST, "It meets every need, and of the two it is the one that I would take if quiet matters most to you.", SECOND, BETWEEN)


def test_limits_are_repeated_as_they_were_stated():
    assert kinds(report("You asked for a noise level of at most 70 dB.\n", FIRST, SECOND, BETWEEN)) == {"supported"}
    assert not report("You asked for a noise level of at most 60 dB.\n", FIRST, SECOND, BETWEEN)
    assert not report(FIRST, "Its noise level of 55 dB is well below your limit.", SECOND, BETWEEN)


def test_a_report_in_another_language_is_sent_back():
    german = "Ich empfehle diese beiden Geräte, weil sie alle Anforderungen erfüllen und im Budget bleiben. Der Preis ist bei dem zweiten Gerät besser."
    assert "format" in kinds(report(german, FIRST, SECOND))
    no = [i for i in RUBRIC if i.type != "negative_attribute"]
    assert not report(FIRST, SECOND, "## Comparison\nLos Lobos Blender, no, la, no, de, no.", rubric=no), "names are no prose"


def test_a_copy_of_the_pages_is_no_report():
    long = [
        p.replace("A blender for every day.", "A blender for every day of the week, with a jar that holds enough for six and a lid that stays on. " * 4)
        for p in PAGES
    ]
    assert ("format", "the report is for the most part a copy of what the tools showed") in report(*long, sources=long)


@pytest.mark.parametrize("text", ["", "\x00", "|", "| |\n|-|\n", "1. [P1]", "# #", "cheapest", "You asked for at most 9 dB", "Ø" * 300])
def test_no_report_breaks_the_check(text):
    assert report(text)
