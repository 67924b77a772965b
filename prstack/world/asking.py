"""What someone with needs types into a product search: the scripted expert, the controls, and the text of pretraining alike."""

from __future__ import annotations

from collections.abc import Sequence

from prstack.types import Constraint
from prstack.world.language import hear
from prstack.world.opinions import praise_words


def search_words(needs: Sequence[Constraint]) -> str:
    """The category, then in the order of the needs what is wanted, or what owners say of a thing that has it; may be empty."""
    words = [c.value for c in needs if c.attribute == "category"][:1]
    for c in needs:
        if c.attribute not in ("category", "price"):
            words += [c.value] if c.op == "=" else praise_words(c.attribute)[:1]
    return " ".join(filter(None, words))


def arguments(query: str, needs: Sequence[Constraint]) -> dict:
    """Arguments of product_search: the query, and the budget of the needs as `max_price`."""
    budget = next((float(c.value) for c in needs if c.attribute == "price" and c.op == "<="), None)
    found: dict = {"query": query}
    if budget is not None:
        found["max_price"] = int(budget) if budget == int(budget) else budget
    return found


def first_query(query: str) -> dict:
    """Arguments of the search that a query in people's words suggests before anything is known: what the expert searches first."""
    needs = [c for c in hear(query) if c.attribute != "opinion"]
    return arguments(search_words(needs) or query[:80], needs)
