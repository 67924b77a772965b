"""How much of the engines' speed synthesis keeps, and what its orchestration costs: `python -m benchmarks.synthesis`."""
