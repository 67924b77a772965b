"""What can only be decided over all records: near-duplicates, and the floor on corrected mistakes.

Records come in the order of the input, and each is judged against those that were kept before it:

1. One that only a lenient filter (`filters.LENIENT`: how the agent went about it) rejects, and in which a mistake was corrected, stays while
   the share of such among the kept is below `min_corrected`. Otherwise it is rejected by that filter.
2. One that is too similar to a kept one is rejected, and names it (`prstack.distill.filters.near`).

The decisions depend on the records and their order alone: whoever takes up again what was cut off remembers the kept ones first.
"""

from __future__ import annotations

from collections.abc import Iterable

from prstack.distill.filters.near import NearDuplicates
from prstack.settings import FilterConfig

NEAR_DUPLICATES = "near_duplicates"
"""The step of the funnel."""


class Selection:
    """`kept`, and `corrected` among them: those in which a correction lives on as a reflection."""

    def __init__(self, config: FilterConfig):
        self.config = config
        self.near = NearDuplicates()
        self.kept = self.corrected = 0

    def remember(self, id: str, signature: Iterable[int], reflections: int) -> None:
        """A kept record."""
        self.near.add(id, signature)
        self.kept += 1
        self.corrected += reflections > 0

    @property
    def wants_corrected(self) -> bool:
        """Whether the kept hold fewer corrected mistakes than they should."""
        return self.corrected < self.config.min_corrected * self.kept or (not self.kept and self.config.min_corrected > 0)

    def duplicate(self, signature: Iterable[int]) -> tuple[str, str] | None:
        """(reason, detail) when a record with this signature is like a kept one."""
        similarity, id = self.near.nearest(signature)
        if similarity <= self.config.max_similarity:
            return None
        return "near_duplicate", f"{similarity:.2f} similar to {id}, at most {self.config.max_similarity:.2f} is kept"
