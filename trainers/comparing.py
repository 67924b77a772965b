"""First weights that can compare: each number is held against the one before it.

A number has its size in its embedding (`trainers.numbers`). Which of two is larger is one subtraction away, and yet no recipe tried
taught it to the mixture of experts. Here the place for it is prepared, in the manner of `trainers.copying`, before whose two layers
it stands:

1. Layer 0 finds a number and the one before it. Queries and keys of the first group read the constant direction, turned so that the
   product peaks `BEFORE` tokens back for one head and at the token itself for the other, and the mark of numbers, so that nothing
   else is looked at. The value is the sum of the thermometer; one head adds it, the other subtracts it, into one dimension. All
   numbers' embeddings are of one length, so that the norm before the layer does not blur their sizes.
2. Two units of each expert of layer 0 make a step of it, silu(d + 1) - silu(d - 1), in a second dimension.
3. Layer 3 looks for the nearest number, `AFTER` tokens back, and fetches its step. In which words it is said is left to training, as is
   every weight.

A number is one token for it, and what stands behind the point in other numbers is none (`prstack.pretrain.tokenizer`): the limit is then
three to seven tokens behind the value, whatever the unit, and the peak is broad enough. Its norms are sharp, so that hundreds of other
numbers in a long document do not blur it.

Measured (docs/experiments/base-model.md): without it the mixture of experts stays at chance; in whole diaries 0.89 after a million tokens at
a learning rate of 1e-3, 0.98 after eight. At 3e-3 Adam's first steps take it apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from prstack.errors import UserError
from trainers.copying import CONSTANT
from trainers.numbers import FLAG
from trainers.spec import ModelSpec

SCRATCH = 2
"""Dimensions of the residual stream that are kept free: the difference, and its step."""
BEFORE, AFTER = 5, 3
"""Tokens from a limit back to the value beside it ("57 dB (at most 60"), and from where it is said how it stands back to the limit."""
PAIRS = (1, 2, 3, 4, 5)
"""Rotary pairs that know the distance; the last one of all, which hardly turns, knows numbers."""
CONTENT, DISTANCE, SHARP, FIRM = 0.6, 0.36, 3.0, 20.0
"""Shares of a query and key in their number and in each pair; the weight of their norms; and their scale, which the norms take out
again, but a weight of 1 outlasts Adam's steps and one of 0.05 does not."""
NORM = 1.2
"""Root mean square of an embedding, about."""
DIFFERENCE, STEEP, STEP, FETCHED = 0.8, 26.0, 4.0, 6.0
"""Strength of the difference, its steepness before the step, half the step's height, and the strength of what is fetched."""


def set_comparing(spec: ModelSpec, weights: dict[str, Tensor], taken: int) -> int:
    """Sets the circuit in a Qwen3-MoE checkpoint's tensors (by their Hugging Face names), in place.

    `taken`: what `trainers.numbers.set_numbers` returned; the `SCRATCH` dimensions below become 0 in all embeddings. Returns how many
    more are taken. Raises UserError for a model without experts, norms on queries and keys, or numbers, or that is too small.
    """
    if not taken or spec.layers < 4 or not spec.experts or not spec.qk_norm or spec.head_dim < 2 * max(PAIRS) + 4 or spec.heads < 2 * spec.kv_heads:
        raise UserError(
            "pretrain.comparing: the circuit takes numbers in the vocabulary, 4 layers, experts, norms on queries and keys, two query heads a key head, "
            f"and head_dim of {2 * max(PAIRS) + 4}; this model has layers={spec.layers}, heads={spec.heads}, kv_heads={spec.kv_heads} and head_dim={spec.head_dim}"
        )
    flag = spec.hidden - taken
    difference, step = flag - 1, flag - 2
    _even_out(weights["model.embed_tokens.weight"], flag, step)
    width, per = spec.head_dim, spec.heads // spec.kv_heads
    turn = spec.rope_theta ** -(torch.arange(0, width, 2) / width)
    for layer, peaks in ((0, (BEFORE, 0)), (3, (AFTER, AFTER))):
        q, k, v, o = (weights[f"model.layers.{layer}.self_attn.{x}_proj.weight"] for x in "qkvo")
        slow = width // 2 - 1
        k[:width], v[:width] = 0.0, 0.0
        k[slow, 0], k[slow, flag] = -CONTENT / CONSTANT * FIRM, 2 * CONTENT / FLAG * FIRM
        k[list(PAIRS), 0] = DISTANCE / CONSTANT * FIRM
        if layer == 0:
            v[0, flag + 1 :] = 1.0
        else:
            v[0, step] = FETCHED
        for h in range(per):
            at = h * width
            q[at : at + width], o[:, at : at + width] = 0.0, 0.0
            q[at + slow, 0] = CONTENT / CONSTANT * FIRM
            for i in PAIRS:
                q[at + i, 0] = DISTANCE / CONSTANT * FIRM * torch.cos(turn[i] * peaks[h % 2])
                q[at + i + width // 2, 0] = -DISTANCE / CONSTANT * FIRM * torch.sin(turn[i] * peaks[h % 2])
            if layer == 0:
                o[difference, at] = DIFFERENCE if h % 2 == 0 else -DIFFERENCE
        for x in "qk":
            weights[f"model.layers.{layer}.self_attn.{x}_norm.weight"].fill_(SHARP)
    for e in range(spec.experts):
        gate, up, down = (weights[f"model.layers.0.mlp.experts.{e}.{x}_proj.weight"] for x in ("gate", "up", "down"))
        gate[:2], up[:2], down[:, :2] = 0.0, 0.0, 0.0
        gate[:2, difference] = STEEP
        gate[0, 0], gate[1, 0] = NORM / CONSTANT, -NORM / CONSTANT
        up[:2, 0] = NORM / CONSTANT
        down[step, 0], down[step, 1] = STEP, -STEP
    return SCRATCH


def _even_out(embedding: Tensor, flag: int, step: int) -> None:
    """The constant in all embeddings, nothing in the scratch, and one length for all numbers."""
    embedding[:, 0] = CONSTANT
    embedding[:, step:flag] = 0.0
    numbers = embedding[:, flag] != 0
    rest = embedding[numbers, 1:step]
    left = embedding.shape[1] - CONSTANT**2 - (embedding[numbers, flag:] ** 2).sum(1, keepdim=True)
    embedding[numbers, 1:step] = rest * (left.clamp(min=1.0).sqrt() / rest.norm(dim=1, keepdim=True))
