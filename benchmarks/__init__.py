"""Side-by-side comparisons, each one command: a table, and figures as JSON in benchmarks/results."""
