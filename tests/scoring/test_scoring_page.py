"""docs/scoring.md: its examples print what stands below them, and its tables name what there is."""

import contextlib
import dataclasses
import io
import re
import sys
from pathlib import Path
from typing import get_args

import pytest

from prstack.scoring.reward import PENALTIES, TERMS, own_terms
from prstack.settings import RewardConfig
from prstack.types import ItemType
from tests.factories import trajectory

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "scoring.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n((?:(?!```).)*)```\n```\n(.*?)```", PAGE, re.S)


def run(code: str) -> tuple[str, dict]:
    out, names = io.StringIO(), {"__name__": "example"}
    with contextlib.redirect_stdout(out):
        exec(compile(code, "docs/scoring.md", "exec"), names)
    return out.getvalue(), names


def rows(heading: str) -> dict[str, list[str]]:
    """First cell → the others, of the table whose heading begins so."""
    table = re.search(rf"^\| {heading} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.M)[1]
    cells = [[c.strip() for c in line.strip("|\n ").split(" | ")] for line in table.splitlines()]
    return {first.strip("`"): rest for first, *rest in cells}


@pytest.mark.parametrize(("code", "shown"), EXAMPLES, ids=[f"example {n}" for n in range(1, len(EXAMPLES) + 1)])
def test_the_examples_print_what_they_show(code, shown):
    assert run(code)[0] == shown


def test_there_is_an_example_of_everything():
    assert len(EXAMPLES) == 4 and PAGE.count("```python") == 6, "the other two are the reward term and its use"


def test_every_item_type_is_explained_and_used():
    assert set(rows("type")) == set(get_args(ItemType))
    assert all(f'"{kind}"' in EXAMPLES[0][0] for kind in get_args(ItemType))


def test_the_weights_of_the_reward_are_the_settings():
    terms, config = rows("term"), RewardConfig()
    assert list(terms) == list(TERMS)
    for name, (_, weight) in terms.items():
        assert float(weight.replace("−", "-")) == getattr(config, name) * (-1 if name in PENALTIES else 1)
    assert f"`list_length` ({config.list_length})" in terms["products"][0] and f"`max_report_words` ({config.max_report_words})" in terms["length"][0]
    assert {f.name for f in dataclasses.fields(config)} == {*TERMS, "list_length", "max_report_words", "extra"}


def test_the_reward_term_works(tmp_path, monkeypatch):
    term, use = re.findall(r"```python\n(.*?)```", PAGE.partition("### A reward term of your own")[2], re.S)[:2]
    (tmp_path / "my_shop").mkdir()
    (tmp_path / "my_shop" / "rewards.py").write_text(term, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        earned = run(use)[1]["worth"](trajectory(1))
    finally:
        own_terms.cache_clear()
        for name in ("my_shop", "my_shop.rewards"):
            sys.modules.pop(name, None)
    opened = earned.terms[-1]
    assert (opened.name, opened.value, opened.weight, opened.error) == ("my_shop.rewards:opened", 1.0, 0.5, "")
    assert earned.terms[0].weight == 2.0
