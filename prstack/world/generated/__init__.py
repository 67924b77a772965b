"""The generated world (docs/generated-world.md).

    source.py       makes it, part by part; catalogue.py and shelf.py what it sells, stock.py products and reviews, pages.py, users.py
    levels.py       medium and hard ones: lines.py, generations.py, families.py, listing.py, owners.py, press.py, stories.py, moments.py,
                    with the texts of prose/
"""
