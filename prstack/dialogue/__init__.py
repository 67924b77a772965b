"""The chat format: what an assistant turn looks like as text, and as tokens with a loss mask."""
