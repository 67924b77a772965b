"""What a person sees of a run: tables, the trajectory page, metrics."""
