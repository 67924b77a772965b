"""The search that a query suggests before anything is known: what the scripted expert types first.

The same words as the first search of `actors.expert.research`, which tests hold it to.
"""

from __future__ import annotations

from prstack.world.language import hear
from prstack.world.opinions import praise_words


def first_query(query: str) -> dict:
    """Arguments of product_search: the category, the values and praise of the needs, and the budget as `max_price`."""
    needs = [c for c in hear(query) if c.attribute != "opinion"]
    words = [c.value for c in needs if c.attribute == "category"][:1]
    for c in needs:
        if c.attribute != "category":
            words += [c.value] if c.op == "=" else praise_words(c.attribute)[:1]
    arguments: dict = {"query": " ".join(w for w in words if w) or query[:80]}
    budget = next((float(c.value) for c in needs if c.attribute == "price" and c.op == "<="), None)
    if budget is not None:
        arguments["max_price"] = int(budget) if budget == int(budget) else budget
    return arguments
