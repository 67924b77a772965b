"""docs/distillation.md: its own filter works, its reference is read, and its table names every filter and every setting with its default."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import pytest

from prstack.distill.filters import FILTERS, chain
from prstack.distill.filters.contamination import read_reference
from prstack.settings import FilterConfig
from tests.factories import trajectory

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "distillation.md").read_text(encoding="utf-8")


def test_the_filter_of_ones_own_works(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    (path,) = re.findall(r"filters\.extra=\['([\w.]+:\w+)'\]", PAGE)
    (tmp_path / "my_shop").mkdir()
    (tmp_path / "my_shop" / "filters.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [n for n in sys.modules if n.split(".")[0] == "my_shop"]:
        monkeypatch.delitem(sys.modules, name)
    keep = chain(FilterConfig(extra=[path]))[path]
    assert keep(trajectory(0)) is None
    reason, detail = keep(trajectory(0, reports=["<report>\nA gift card of $20.\n</report>"]))
    assert reason == "gift_card" and "t0000" in detail


def test_the_example_of_a_reference_is_read(tmp_path):
    (line,) = re.findall(r'^\{"query".*\}$', PAGE, re.M)
    (tmp_path / "asked.jsonl").write_text(line + "\n")
    found = read_reference((str(tmp_path / "asked.jsonl"),))
    assert found.users and found.products and found.queries


def test_every_filter_stands_in_the_table_in_its_order():
    assert re.findall(r"^\| `(\w+)` \|", PAGE.partition("## Funnel")[0], re.M) == list(FILTERS)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(FilterConfig)])
def test_every_setting_is_named_with_its_default(field):
    default = getattr(FilterConfig(), field)
    shown = f"[{', '.join(default)}]" if isinstance(default, list) else str(default).lower() if isinstance(default, bool) else str(default)
    assert f"{field}={shown}" in PAGE
