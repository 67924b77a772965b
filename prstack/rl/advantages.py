"""Advantages: what an episode earned beyond its group, the episodes of the same query under the same weights.

For the rewards r of a group of G episodes, with mean m:

- `group_norm`: (r - m) / (s + 1e-4), s the standard deviation over the group (of a sample, G - 1). GRPO: Shao et al. 2024,
  "DeepSeekMath", eq. 4 ff.; the small number is TRL's and keeps groups of all but equal rewards from being blown up.
- `leave_one_out`: r less the mean of the others, which is G / (G - 1) · (r - m). RLOO: Ahmadian et al. 2024, "Back to Basics".
- `mean`: r - m. Dr. GRPO: Liu et al. 2025, "Understanding R1-Zero-Like Training": dividing by s weighs queries by how hard they are.

An advantage holds for every sampled token of its episode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from prstack.errors import UserError
from prstack.plugins import import_callable

SMALL = 1e-4

Advantage = Callable[[Sequence[float]], list[float]]
"""The rewards of a group [G] → the advantages of its episodes [G]. G is at least 2."""


def group_norm(rewards: Sequence[float]) -> list[float]:
    """Distance from the mean in standard deviations of the group. Raises ValueError for fewer than two rewards."""
    centred = mean(rewards)
    deviation = math.sqrt(math.fsum(c * c for c in centred) / (len(rewards) - 1))
    return [c / (deviation + SMALL) for c in centred]


def leave_one_out(rewards: Sequence[float]) -> list[float]:
    """Distance from the mean of the others. Raises ValueError for fewer than two rewards."""
    g = len(rewards)
    return [c * g / (g - 1) for c in mean(rewards)]


def mean(rewards: Sequence[float]) -> list[float]:
    """Distance from the mean. Raises ValueError for fewer than two rewards."""
    if len(rewards) < 2:
        raise ValueError(f"a group of {len(rewards)} has nothing to compare")
    middle = math.fsum(rewards) / len(rewards)
    return [r - middle for r in rewards]


ADVANTAGES: dict[str, Advantage] = {"group_norm": group_norm, "leave_one_out": leave_one_out, "mean": mean}
OF_ALGORITHM = {"dr_grpo": "mean"}
"""What the paper of an algorithm takes; of the others it is `group_norm`."""


def advantage(name: str | None, algorithm: str) -> Advantage:
    """The function that `rl.advantage` names: one of `ADVANTAGES`, an import path, or with None the algorithm's own. Raises UserError."""
    name = name or OF_ALGORITHM.get(algorithm, "group_norm")
    if name in ADVANTAGES:
        return ADVANTAGES[name]
    if ":" not in name:
        raise UserError(f"rl.advantage={name}: there are {', '.join(ADVANTAGES)}, or an import path (package.module:function)")
    return import_callable(name, "rl.advantage")
