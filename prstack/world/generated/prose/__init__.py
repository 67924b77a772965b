"""Texts of medium and hard worlds, composed and not drawn from a list.

    grammar.py   templates with choices, and how they are expanded
    goods.py     what can be told of each category: parts, what lies in the box, who needs it; nothing of the typed attributes
    listings.py  descriptions: sentences of many kinds, in the voice of the brand
    owners.py    reviews: who, how long, an opinion on an attribute, what happened
    noise.py     what careless sellers do to titles and texts
"""
