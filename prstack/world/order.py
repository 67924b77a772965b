"""All that matches a query, in the order of a number (`prstack.world.index`): price, rating, count of reviews.

1. The engine gives the first documents by the number alone, among all that match and have it. Those that share the last of these
   numbers may be many more than are wanted; which ones are shown is a matter of relevance, so that they are asked for again,
   by score. What comes before them is complete, and gets its scores as well.
2. Equal numbers are ordered by relevance (to two decimals), then by id. Of more than 60 that are equal in both, the first ones
   of the catalogue take part.
3. Documents without the number come last, by relevance.
"""

from __future__ import annotations

from tantivy import FieldType, Occur, Order, Query

from prstack.world.index import Index

TIES = 60


def ordered(index: Index, query: Query, field: str, descending: bool, limit: int, offset: int) -> list[str]:
    """Ids of the hits from `offset` on, by `field`."""
    wanted = limit + offset
    has = Query.exists_query(field)
    order = Order.Desc if descending else Order.Asc
    hits = index.searcher.search(_both(query, has), wanted, count=False, order_by_field=field, order=order).hits
    shown: list[str] = []
    if hits:
        last = hits[-1][0]
        before = sum(value != last for value, _ in hits)
        if before:
            shown += _by_relevance(index, _both(query, _beyond(index, field, last, descending)), before, field, descending)
        shown += _by_relevance(index, _both(query, _range(index, field, lower_bound=last, upper_bound=last)), len(hits) - before)
    if len(shown) < wanted:
        without = Query.boolean_query([(Occur.Must, query), (Occur.MustNot, has)])
        shown += _by_relevance(index, without, wanted - len(shown))
    return shown[offset:]


def _by_relevance(index: Index, query: Query, limit: int, field: str = "", descending: bool = False) -> list[str]:
    """The first ids by relevance; with a field, by that, and by relevance where it is equal."""
    hits = index.searcher.search(query, limit + TIES, count=False).hits
    addresses = [address for _, address in hits]
    values = index.searcher.fast_field_values(field, addresses) if field and hits else [0.0] * len(hits)
    keyed = sorted((-value if descending else value, -round(score, 2), id, address) for value, (score, address), id in zip(values, hits, index.ids(hits)))
    return [index.found(id.decode(), address) for _, _, id, address in keyed[:limit]]


def _both(query: Query, condition: Query) -> Query:
    return Query.boolean_query([(Occur.Must, query), (Occur.Must, Query.boost_query(condition, 0.0))])


def _beyond(index: Index, field: str, last: float, descending: bool) -> Query:
    """What comes before `last`."""
    if descending:
        return _range(index, field, lower_bound=last, include_lower=False)
    return _range(index, field, upper_bound=last, include_upper=False)


def _range(index: Index, field: str, **bounds: float | bool) -> Query:
    return Query.range_query(index.schema, field, FieldType.Float, **bounds)
