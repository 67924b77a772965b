"""Scores of reports and episodes, for filters, rewards and evaluation alike (docs/scoring.md).

    report.py       a report as pitches and claims; reading/ has its lines and tables
    evidence.py     what a trajectory's tools showed
    grounding.py    claims held against that (values.py compares them); recall; comparisons.py what sentences about two products claim
    rubric.py       typed items: met, violated, unaddressed; originality.py what of a report is its own
    products.py     E.Prod, and pitched on merit
    verdicts.py     what the reasoning keeps and drops
    conduct.py      tool turns and repetition
    gate.py         whether a task is worth playing
    criteria.py, race.py, judge.py    RACE: criteria, arithmetic, asking judges
    reward.py       all of it as one number of named terms
"""
