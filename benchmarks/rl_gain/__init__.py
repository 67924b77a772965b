"""What reinforcement learning adds to a fine-tuned student: trainings from one start, held against it on the same held-out queries.

`__main__.py` makes and evaluates them, `measure.py` compares.
"""
