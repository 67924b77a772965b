"""Worlds to shop in: generated or read, built, indexed, opened (docs/worlds.md, docs/generated-world.md).

    world.py        building and opening a world; adapters/ read real shops; writing.py, spool.py, ondisk.py, workers.py, material.py move records
    search.py       finding products and pages; index.py the engine, order.py sorted, related.py variants and alike, facets.py
    match.py        whether a product satisfies a constraint; names.py, units.py, statements.py say what counts as the same
    language.py     constraints in people's words and back; complaints.py, opinions.py, limits.py, asking.py (what is searched for)
    generated/      the generated world; holdout.py what training never sees of it, shape.py what only its maker knows
    stats.py        figures of a world; diversity.py of its texts
"""
