"""The register of kinds: what is done to a clean moment, which finding names it, and which kinds are held out.

A kind's function takes a clean moment and a source of chance and gives a changed moment, with the fact that makes it wrong, or None where
the moment offers nothing for it. `wrong` kinds should be sent back, `harmless` ones, which say the same in another way, approved.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.supervision.moments import Moment
from prstack.types import State

Change = Callable[[Moment, random.Random], Moment | None]

HELD_OUT = frozenset({
    "plan_other_category", "call_duplicate_respelled", "call_result_of_other_product", "search_above_budget", "search_excluded_value",
    "search_filter_other_category", "search_floor_above_budget", "web_visit_other_subject", "report_breaks_category", "report_cut_off",
    "report_empty_sections", "report_invented_id", "report_invented_quote", "report_other_currency", "report_out_of_stock",
    "report_product_twice", "report_properties_left_out", "report_prose_wrong_value", "report_recommends_none", "report_refused_product",
    "report_table_wrong_cell", "report_title_of_other", "report_without_ids",
    "plan_in_other_words", "plan_reordered", "plan_units_converted", "report_table", "report_units_converted", "report_with_rejected",
})  # fmt: skip
"""A third of the wrong and a third of the harmless kinds, drawn by lot among those that are not `planned`, before any rule of the expert
was written for this benchmark. The rules were written from the results of the others alone."""


@dataclass(slots=True, frozen=True)
class Kind:
    """`findings`: finding kinds that name the fault. `planned`: one that a supervisor must catch at least."""

    name: str
    state: State
    change: Change
    findings: frozenset[str] = frozenset()
    planned: bool = False
    harmless: bool = False

    @property
    def held_out(self) -> bool:
        return self.name in HELD_OUT

    def make(self, moment: Moment, rng: random.Random) -> Moment | None:
        """A mutant of this kind, or None. Raises AssertionError for one in which nothing changed or that does not say why it is wrong."""
        made = self.change(moment, rng)
        if made is None:
            return None
        before, after = moment.step, made.step
        assert (before.content, before.tool_call, before.tool_result) != (after.content, after.tool_call, after.tool_result), self.name
        assert self.harmless or made.why, self.name
        made.kind = self.name
        return made


KINDS: dict[str, Kind] = {}


def wrong(state: State, *findings: str, planned: bool = False) -> Callable[[Change], Change]:
    """Registers a kind of fault under the function's name."""
    return _registered(state, frozenset(findings), planned, False)


def harmless(state: State) -> Callable[[Change], Change]:
    """Registers a change that leaves the moment right."""
    return _registered(state, frozenset(), False, True)


def _registered(state: State, findings: frozenset[str], planned: bool, harmless: bool) -> Callable[[Change], Change]:
    def register(change: Change) -> Change:
        KINDS[change.__name__] = Kind(change.__name__, state, change, findings, planned, harmless)
        return change

    return register


def all_kinds() -> list[Kind]:
    """Every kind, in the order of the modules that hold them."""
    from benchmarks.supervision import (  # noqa: F401  they register theirs
        calls,
        plans,
        reports_claims,
        reports_form,
        reports_products,
        reports_words,
        searches,
    )

    return list(KINDS.values())
