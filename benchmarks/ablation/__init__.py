"""What the steps of distillation are worth: four training sets of one synthesis, a student of each, the same evaluation.

`arms.py` says what the training sets are and makes them, `measure.py` compares the students.
"""
