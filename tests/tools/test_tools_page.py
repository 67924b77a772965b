"""docs/tools.md: its calls give the texts that stand below them, and its example of an own tool works."""

import json
import re
from pathlib import Path

import pytest

from prstack.settings import WorldConfig
from prstack.tools import own
from prstack.tools.live import WebError
from prstack.tools.toolbox import Toolbox, ToolError
from prstack.types import ToolCall
from prstack.world.world import build
from tests.world.conftest import real_world

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tools.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r'```json\n(\{"name".*?)\n```\n```\n(.*?)\n```', PAGE, re.S)


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    build(WorldConfig(products=280, users=14), folder / "world")
    (folder / "page_tools.py").write_text(re.search(r"```python\n(# my_shop/tools\.py\n.*?)```", PAGE, re.S)[1], encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield Toolbox(folder / "world", own=own.load(["page_tools:PriceRank"]))


def test_every_tool_has_an_example(box):
    assert {json.loads(call)["name"] for call, _ in EXAMPLES} == {s["function"]["name"] for s in box.schemas}


@pytest.mark.parametrize(("call", "shown"), EXAMPLES, ids=lambda text: json.loads(text)["name"] if text.startswith("{") else "")
def test_the_examples_are_real(box, call, shown):
    asked = json.loads(call)
    assert box.call(ToolCall("c1", asked["name"], json.dumps(asked["arguments"]))).text == shown


def test_the_variants_are_real(tmp_path_factory):
    shown = re.search(r"```\n(9635758562 \|.*?)\n```", PAGE, re.S)[1]
    box = Toolbox(real_world("tau_retail", tmp_path_factory)[0])
    assert box.call(ToolCall("c1", "visit_product", '{"product_id": "9635758562"}')).text == shown


def test_every_code_is_explained(box):
    codes = {c for line in re.findall(r"^\| (`[^|]*) \|", PAGE, re.M) for c in re.findall(r"`(\w+)`", line)}
    for error in (ToolError, WebError):
        assert set(re.findall(r"`(\w+_?\w*)`", error.__doc__.partition("`code`")[2])) <= codes
    calls = [("buy", "{}"), ("web_visit", "{"), ("web_visit", "{}"), ("product_search", '{"query": "x", "category": "y"}'), ("product_search", '{"query": "x", "brand": "y"}'), ("web_visit", '{"page_id": "x"}')]
    given = [box.call(ToolCall("c1", name, arguments)).error for name, arguments in calls]
    assert given == ["unknown_tool", "invalid_json", "invalid_arguments", "unknown_category", "unknown_brand", "not_found"] and set(given) <= codes
