"""Evaluation: tasks with a known truth, metrics of episodes, intervals and tables. No engine, no runtime."""
