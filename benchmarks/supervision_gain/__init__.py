"""What supervision gains: the same tasks and seeds before a supervisor, before one that takes everything, and alone.

`episodes.py` plays them, `measure.py` makes means with intervals of them, `reaction.py` looks at what follows a correction.
"""
