"""What web pages tell of products: it supports, contradicts and decides where the product's own page is silent, and nowhere else."""

import json
import re
from collections import defaultdict
from dataclasses import dataclass

import pytest

from prstack.evaluation.tasks import make_tasks
from prstack.scoring.evidence import Evidence
from prstack.scoring.grounding import ground
from prstack.scoring.judge import side_of
from prstack.scoring.products import pitched_on_merit
from prstack.scoring.report import parse_report
from prstack.scoring.rubric import CONSTRAINTS, constraint_of, product_satisfies, score
from prstack.settings import WorldConfig
from prstack.store.records import read_records
from prstack.tools.toolbox import Toolbox
from prstack.types import RubricItem, ToolCall
from prstack.world.material import Contradiction
from prstack.world.world import World, build
from tests.factories import Script
from tests.scoring.test_rubric import PAGE_12 as PAGE

TEST = """W3 | Kettles on the bench, part 1: boiling time
kind: lab_test
published: 2025-03
We bought 2 kettles in shops. Sellers had no say in it.
Aurel Kettle (P12). We measured 4 min for the boiling time. Our bench gave 64 dB for the noise level.
Brisk Kettle (P7). On the bench we read 3 min for the boiling time.
Deviations of a few per cent are within the accuracy of the bench."""
FAST = RubricItem("r1", "numeric_range", "Boils within 5 min", 1.0, "depth", "product_page", attribute="boiling time", op="<=", value="5", unit="min")
SLOW = RubricItem("r2", "numeric_range", "Boils in 5 min or more", 1.0, "depth", "product_page", attribute="boiling time", op=">=", value="5", unit="min")
P12 = "1. [P12] Aurel Kettle\n"


def found(report, *texts):
    """name → status of the claims on P12."""
    return {f.name: f.status for f in ground(parse_report(report), Evidence.from_texts(texts)).findings if f.product_id == "P12"}


@pytest.mark.parametrize(
    ("claim", "name", "status"),
    [
        ("- boiling time: 4 min", "boiling time", "supported"),
        ("- time to boil: 240 s", "boiling time", "supported"),
        ("- boiling: 4 min", "boiling time", "supported"),
        ("It has a boiling time of 4 min.", "boiling time", "supported"),
        ("- boiling time: 3 min", "boiling time", "contradicted"),
        ("It has a boiling time of 3 min.", "boiling time", "contradicted"),
        ("- noise level: 58 dB", "noise level", "supported"),
        ("- noise level: 64 dB", "noise level", "contradicted"),  # the product's own page speaks of it
        ("- capacity: 1.6 l", "capacity", "unknown"),
    ],
)
def test_a_web_page_counts_where_the_products_page_is_silent(claim, name, status):
    assert found(P12 + claim, PAGE, TEST) == {name: status}
    assert found(P12 + claim, TEST, PAGE) == {name: status}, "in whatever order they were read"
    if name == "boiling time":
        assert set(found(P12 + claim, PAGE).values()) <= {"unknown"}


def test_a_constraint_is_decided_by_what_was_read():
    def status(item, *texts):
        return score(P12, [item], Evidence.from_texts(texts)).items[0].status

    assert [status(FAST, PAGE), status(FAST, PAGE, TEST), status(SLOW, PAGE, TEST)] == ["unaddressed", "met", "violated"]
    assert status(FAST, TEST) == "unaddressed", "no tool returned the product itself"
    listing = '1 result for "kettle", page 1\n[1] P12 | Aurel Kettle | Kettles | $49.00 | 4.3 stars, 27 reviews'
    assert status(FAST, listing, TEST) == "unaddressed", "its page, which may say otherwise, was not opened"
    assert pitched_on_merit(parse_report(P12), Evidence.from_texts([PAGE, TEST]), [FAST]) == ["P12"]
    lie = score(P12 + "- boiling time: 9 min", [FAST], Evidence.from_texts([PAGE, TEST])).items[0]
    assert lie.status == "violated" and "9 min" in lie.evidence


def test_a_claim_on_a_product_that_was_not_opened_is_supported_by_the_page_that_tells_it():
    assert found(P12 + "- boiling time: 4 min\n- noise level: 64 dB\n- capacity: 2 l", TEST) == {"boiling time": "supported", "noise level": "supported", "capacity": "unknown"}


@pytest.mark.parametrize(
    "page",
    [
        TEST.replace("boiling time\n", "boiling time (archive)\n", 1),
        TEST.replace("kind: lab_test", "kind: forum"),
        TEST.replace("kind: lab_test", "kind: guide"),
        TEST.replace("Aurel Kettle (P12). ", "Aurel Kettle (P12).\n"),  # behind no name: whose it is, is not said
        TEST.replace("Aurel Kettle (P12). ", "Aurel Kettle. "),
        TEST.replace("Kettles on the bench, part 1: boiling time", "Aurel Kettle (P12). We measured 4 min for the boiling time.").replace("We measured 4 min for the boiling time. Our", "Our"),
    ],
    ids=["archived", "forum", "guide", "another line", "no id", "heading"],
)
def test_what_tells_nothing(page):
    assert "boiling time" not in Evidence.from_texts([page]).told.get("P12", {})
    assert found(P12 + "- boiling time: 4 min", PAGE, page) == {"boiling time": "unknown"}


def test_of_two_pages_the_later_one_counts():
    newer = TEST.replace("2025-03", "2026-01").replace("4 min", "6 min").replace("W3", "W4")
    for texts in ((PAGE, TEST, newer), (PAGE, newer, TEST)):
        assert found(P12 + "- boiling time: 6 min", *texts) == {"boiling time": "supported"}
        assert found(P12 + "- boiling time: 4 min", *texts) == {"boiling time": "contradicted"}


def test_values_belong_to_the_product_before_them():
    line = TEST.replace(" Our bench gave", " Brisk Kettle (P7). Our bench gave")
    told = Evidence.from_texts([line]).told
    assert {id: {name: t.value.value for name, t in of.items()} for id, of in told.items()} == {"P12": {"boiling time": "4 min"}, "P7": {"noise level": "64 dB", "boiling time": "3 min"}}


def test_a_finding_shows_the_line_of_the_page():
    evidence = Evidence.from_texts([PAGE, TEST])
    (finding,) = ground(parse_report(P12 + "- boiling time: 4 min"), evidence).findings
    assert (finding.shown.source, finding.shown.line) == ("2", 5)
    assert evidence.texts["2"][finding.shown.start : finding.shown.end].startswith("Aurel Kettle (P12). We measured 4 min")
    assert evidence.place("P12", "noise level").source == "1"


def test_recall_asks_for_what_web_pages_answer():
    texts = [PAGE, TEST]
    said = ground(parse_report(P12 + "- boiling time: 4 min"), Evidence.from_texts(texts), [FAST])
    silent = ground(parse_report(P12), Evidence.from_texts(texts), [FAST])
    assert (said.stated, said.asked, silent.stated, silent.asked) == (1, 1, 0, 1)
    assert ground(parse_report(P12), Evidence.from_texts([PAGE]), [FAST]).asked == 0


def test_judges_get_the_page_that_tells_of_a_product():
    script = Script().call("visit_product", {"product_id": "P12"}, PAGE).call("web_visit", {"page_id": "W3"}, TEST)
    script.call("web_visit", {"page_id": "W9"}, TEST.replace("P12", "P77").replace("P7)", "P78)"))
    assert side_of(script.report(P12).trajectory("t")).sources == (PAGE, TEST)


# --- in generated worlds ---------------------------------------------------------------------------------------------
@dataclass
class Read:
    """A world of which everything was read: product pages by category, web pages."""

    world: World
    products: dict[str, list[str]]
    web: list[str]


@pytest.fixture(scope="module", params=["easy", "medium", "hard"])
def read(request, tmp_path_factory) -> Read:
    folder = tmp_path_factory.mktemp("web") / "world"
    build(WorldConfig(users=60, seed=1000, split="evaluation", difficulty=request.param), folder)
    world, toolbox = World.open(folder), Toolbox(folder)

    def ask(name: str, **arguments: str) -> str:
        return toolbox.call(ToolCall("c", name, json.dumps(arguments))).text

    products = {c: [ask("visit_product", product_id=p.id) for p in world.by_category(c)] for c in world.categories()}
    return Read(world, products, [ask("web_visit", page_id=p.id) for p in world.pages()])


def test_whoever_reads_everything_knows_what_is_valid(read, request):
    """The scorer decides as the truth of the world does, for every product of the category of 40 tasks."""
    seen = {c: (Evidence.from_texts([*texts, *read.web]), Evidence.from_texts(texts)) for c, texts in read.products.items()}
    only_on_the_web = 0
    for task in make_tasks(read.world, 40):
        everything, pages = seen[task.category]
        rules = [constraint_of(i) for i in task.rubric if i.type in CONSTRAINTS]
        for p in read.world.by_category(task.category):
            known = p.available and all(product_satisfies(p.id, rule, everything) for rule in rules)
            assert known == (p.id in task.valid_ids), (task.id, p.id)
            only_on_the_web += known and not all(product_satisfies(p.id, rule, pages) for rule in rules)
    assert (only_on_the_web == 0) == ("easy" in request.node.callspec.id) and only_on_the_web in (0, *range(20, 200))


@pytest.mark.parametrize("read", ["medium", "hard"], indirect=True)  # easy listings leave nothing out
def test_every_value_that_only_a_web_page_tells_supports_its_claim(read):
    hidden = [c for c in read_records(read.world.folder / "truth" / "listings", Contradiction, pytest.fail, "truth") if not c.listed]
    lines: dict[str, list[str]] = defaultdict(list)
    for text in read.web:
        if "(archive)" not in text.split("\n")[0]:
            for line in text.split("\n"):
                if named := re.search(r"\((P\d+)\)", line):
                    lines[named[1]].append(line)
    page_of = {text.split(" ")[0]: text for texts in read.products.values() for text in texts}
    web, tried = Evidence.from_texts(read.web), 0
    for c in hidden:
        told = any(c.attribute in line and re.search(rf"(?<![\w.]){re.escape(c.measured)}(?!\w)", line) for line in lines[c.product_id])
        page = page_of[c.product_id]
        if not told or c.attribute in page:
            continue
        tried += 1
        evidence = Evidence(dict(web.hits), {}, set(web.pages), web.told, dict(web.texts), dict(web.seen_in))
        evidence.add("page", page)
        number = re.match(r"[\d.]+", c.measured)
        wrong = c.measured.replace(number[0], str(float(number[0]) * 3 + 1)) if number else "bamboo"
        for value, status in ((c.measured, "supported"), (wrong, "contradicted")):
            (finding,) = ground(parse_report(f"1. [{c.product_id}] This one\n- {c.attribute}: {value}"), evidence).findings
            assert (finding.name, finding.status) == (c.attribute, status), (c, value, lines[c.product_id])
    assert tried >= 50, tried
