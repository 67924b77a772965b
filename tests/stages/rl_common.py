"""What the tests of `prstack rl` share: a reward, and settings."""

import functools

from prstack.config import load

REWARDED = ("reward.extra=['tests.stages.rl_common:letters=1.0']",)


def letters(episode):
    """The share of one letter in what was said, which differs between the episodes of any model."""
    text = "".join(s.content + s.reasoning for s in episode.steps)
    return text.count("e") / (len(text) + 10)


@functools.cache
def configured(*overrides):
    return load(["preset=smoke", "rl.updates=3", "trainer.context=24", *overrides])
