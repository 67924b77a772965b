"""The shuffled control: the conversations of a training set with their queries exchanged within a category.

What is trained on them learns the format, the tools, searching and reporting as well as on the training set, since all but
the query stays as it was; that the answer has to fit the query, and so the rubric behind it, it cannot learn. What the
trained model does better than this control is what it learned of solving.

The exchange, within each category:
1. Conversations with the same query form a group; groups come in a random order, and so do the conversations in them.
2. A group that is more than half of its category is cut to as many as there are others: for the rest no other query is
   left. A category with a single query stays out for this reason.
3. Queries move on by the length of the longest group, which carries each of them past the end of its own.

Invariants (tested): every conversation gets a query of another one of its category, never its own text; each query is given
out as often as it came; the result depends on the records and the seed alone, not on the order in which they come.
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator


def exchange(rows: Iterable[dict], seed: int) -> dict[str, str]:
    """Id → its new query. `rows` are those of the data set (id, category, messages); ids that stay out are missing."""
    queries: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        queries[row["category"]][row["id"]] = _query(row["messages"])["content"]
    rng = random.Random(seed)
    new: dict[str, str] = {}
    for category in sorted(queries):
        new |= _exchange(queries[category], rng)
    return new


def shuffled(rows: Iterable[dict], queries: dict[str, str]) -> Iterator[dict]:
    """The rows that have a new query, with it."""
    for row in rows:
        if (query := queries.get(row["id"])) is not None:
            asked = _query(row["messages"])
            yield row | {"messages": [m | {"content": query} if m is asked else m for m in row["messages"]]}


def _exchange(queries: dict[str, str], rng: random.Random) -> dict[str, str]:
    """One category: id → query to id → new query."""
    same: dict[str, list[str]] = defaultdict(list)
    for id in sorted(queries):
        same[queries[id]].append(id)
    groups = [same[query] for query in sorted(same)]
    rng.shuffle(groups)
    for group in groups:
        rng.shuffle(group)
        del group[len(queries) - len(group) :]
    ids = list(itertools.chain.from_iterable(groups))
    longest = max(map(len, groups))
    return {id: queries[ids[(i + longest) % len(ids)]] for i, id in enumerate(ids)}


def _query(messages: list[dict]) -> dict:
    """The message that asks: the first of the user."""
    return next(m for m in messages if m["role"] == "user")
