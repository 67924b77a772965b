"""The supervisor as a classifier of errors: clean moments, moments with one fault, and how an engine tells them apart.

`moments.py` makes the clean ones, `plans.py`, `calls.py`, `searches.py` and `reports_*.py` put the faults in, `kinds.py` lists them, `harness.py` asks an
engine, `measure.py` counts. Nothing here shares code with the expert or with the scorer, except the reader of verdicts.
"""
