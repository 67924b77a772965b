"""Worlds to shop in: generated or read, built, indexed, opened (docs/worlds.md, docs/generated-world.md).

    world.py        building and opening a world; adapters/ read real shops; writing.py, spool.py, ondisk.py, workers.py, material.py move records
    search.py       finding products and pages; index.py the engine, order.py sorted, related.py variants and alike, facets.py
    match.py        whether a product satisfies a constraint; names.py, units.py, statements.py say what counts as the same
    language.py     constraints in people's words and back; complaints.py, opinions.py, limits.py, asking.py (what is searched for)
    generated.py    the generated world: catalogue.py and shelf.py what it sells, stock.py products and reviews, pages.py, users.py,
                    holdout.py what training never sees
    levels.py       medium and hard ones: lines.py, generations.py, families.py, listing.py, owners.py, press.py, stories.py, with
                    the texts of prose/
    stats.py        figures of a world; diversity.py of its texts, shape.py of what only its maker knows
"""
