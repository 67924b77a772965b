"""From trajectories to a training set: filter, internalise, check, render, pack. Functions on records; Ray Data strings them together in `pipeline`."""
