"""Reading reports: which lines recommend a product, what they claim of it, tables."""
