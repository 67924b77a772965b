"""The trainer beside TRL's, and what a step costs."""
