"""First weights that can copy: two attention layers set so that a token is followed by what followed it before.

Copying out of the context is what a shopping agent does most, and what a small model learns last. After 295,000 tokens of short
documents a model that began with this circuit put 0.60 of the numbers in notes right, and one without it 0.03 (one seed,
docs/experiments/base-model.md). The circuit is the known one of two layers (Elhage et al. 2021, "A Mathematical Framework for
Transformer Circuits"; Olsson et al. 2022, "In-context Learning and Induction Heads"); that weights may begin near what training would
find is in the manner of Trockman and Kolter 2023, "Mimetic Initialization of Self-Attention Layers". Every weight of it is trained
like all others.

With embeddings of standard deviation 1, orthonormal maps P_g, S_g and C_g ([head_dim, hidden]) for each key-value group g, and
one direction of the residual stream that is the same in every embedding:

1. Layer 0 looks back by position alone: queries and keys read only the constant direction, and the keys are turned by
   g % 2 + 1 positions, so that the product peaks there. It carries P_g of that token into the slot S_g.
2. Layer 1 compares contents: keys read S_g, what stood one or two tokens before; queries read P_g of their own token (or, for
   odd heads of even groups, S_g: of the token before). It carries C_g of the token found on to the output. Only the slow dimensions
   of the rotary embedding take part, which stay nearly the same over a hundred tokens and more; a large `rope_theta` has more of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from prstack.errors import UserError
from trainers.spec import ModelSpec

CONSTANT = 8.0
"""The constant direction in every embedding, against a standard deviation of 1."""
FAST = (1.0, 0.7, 0.5)
"""Amplitudes of the fastest rotary pairs in layer 0."""
SLOW = 0.01
"""Turn per position, in radians, up to which a rotary pair counts as slow."""
SHARP = 2.0
"""Weight of the query and key norms of both layers."""
CARRIED, COPIED = 2.0, 24.0
"""Strength of what layer 0 and layer 1 write, each shared out among the heads of a group."""
FAINT = 0.01
"""Standard deviation of the noise on queries and keys of layer 0."""


def set_copying(spec: ModelSpec, weights: dict[str, Tensor], generator: torch.Generator, taken: int = 0, first: int = 0) -> None:
    """Sets the circuit in a Qwen3 checkpoint's tensors (by their Hugging Face names), in place, and leaves out the last `taken`
    dimensions of the residual stream.

    Raises UserError when the model is too small for it, or has no norms on queries and keys.
    """
    width, groups, per = spec.head_dim, spec.kv_heads, spec.heads // spec.kv_heads
    free = spec.hidden - taken
    if spec.layers < first + 2 or 3 * groups * width >= free or not spec.qk_norm:
        raise UserError(
            f"pretrain.copying: the circuit takes 2 layers, norms on queries and keys, and hidden above 3 · kv_heads · head_dim + {taken} = {3 * groups * width + taken}; "
            f"this model has layers={spec.layers} and hidden={spec.hidden}. pretrain.copying=false begins with random weights alone"
        )
    embedding = weights["model.embed_tokens.weight"]
    embedding[:, 0] = CONSTANT
    basis = torch.zeros(free - 1, spec.hidden)
    basis[:, 1:free] = _orthonormal(free - 1, generator)
    read, slots, out = (basis[i * groups * width :][: groups * width].view(groups, width, -1) for i in range(3))
    turn = spec.rope_theta ** -(torch.arange(0, width, 2) / width)
    _look_back(spec, weights, turn, read, slots, generator, first)
    slow = [i + shift for shift in (0, width // 2) for i in range(width // 2) if turn[i] < SLOW]
    q, k, v, o = (weights[f"model.layers.{first + 1}.self_attn.{x}_proj.weight"] for x in "qkvo")
    q.mul_(0.05)
    k.mul_(0.05)
    for g in range(groups):
        mixed = _orthonormal(width, generator)[: len(slow)]
        key_rows = [g * width + i for i in slow]
        k[key_rows] += mixed @ slots[g]
        v[g * width : (g + 1) * width] = out[g]
        for j in range(per):
            h = g * per + j
            q[[h * width + i for i in slow]] += mixed @ (slots[g] if j % 2 and g % 2 == 0 else read[g])
            o[:, h * width : (h + 1) * width] = out[g].T * (COPIED / per)
    for layer in (first, first + 1):
        for x in "qk":
            weights[f"model.layers.{layer}.self_attn.{x}_norm.weight"].fill_(SHARP)


def _look_back(spec: ModelSpec, weights: dict[str, Tensor], turn: Tensor, read: Tensor, slots: Tensor, generator: torch.Generator, first: int) -> None:
    """Layer 0: group g looks g % 2 + 1 tokens back."""
    width, per = spec.head_dim, spec.heads // spec.kv_heads
    q, k, v, o = (weights[f"model.layers.{first}.self_attn.{x}_proj.weight"] for x in "qkvo")
    for w in (q, k):
        w.copy_(torch.randn(w.shape, generator=generator) * FAINT)
    amplitude = torch.zeros(width // 2)
    amplitude[: len(FAST)] = torch.tensor(FAST)[: width // 2]
    for g in range(spec.kv_heads):
        back = g % 2 + 1
        k[g * width : (g + 1) * width, 0] += torch.cat([amplitude * torch.cos(turn * back), amplitude * torch.sin(turn * back)])
        v[g * width : (g + 1) * width] = read[g]
        for h in range(g * per, (g + 1) * per):
            q[h * width : h * width + width // 2, 0] += amplitude
            o[:, h * width : (h + 1) * width] = slots[g].T * (CARRIED / per)


def _orthonormal(n: int, generator: torch.Generator) -> Tensor:
    return torch.linalg.qr(torch.randn(n, n, generator=generator))[0]
