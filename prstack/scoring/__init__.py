"""Verifiable scores of a report: rubric items, grounding, products. One engine for filter, reward and evaluation."""
