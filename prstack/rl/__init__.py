"""The pure side of reinforcement learning: rollouts and their tokens, groups, advantages, and how far engine and trainer disagree."""
