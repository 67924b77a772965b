"""Trajectories that others made: their formats, and their way through filters and rendering (docs/datasets.md)."""
