"""A checkpoint with first weights: where pretraining begins.

1. Matrices are drawn from a normal distribution of the config's `initializer_range`. Routers start ten times smaller, near an
   even choice. What writes into the residual stream (attention output, FFN down) starts at zero, so that a token's embedding is
   not drowned by what random layers add to it.
2. Embeddings have a standard deviation of 1, and the last norm a weight of hidden^-0.5, so that logits begin near 1. Adam's steps
   push all rare tokens the same way at the same pace; embeddings of hidden^-0.5 lose in thirty steps what tells one number from
   another.
3. All other norms are 1, biases 0. Numbers get their order (`trainers.numbers`); the circuits of `trainers.copying` and
   `trainers.comparing` are set where they are asked for.
"""

from __future__ import annotations

from pathlib import Path

import torch

from trainers.comparing import set_comparing
from trainers.copying import set_copying
from trainers.hf_files import Writer, vocabulary
from trainers.numbers import set_numbers
from trainers.spec import ModelSpec, read_config
from trainers.weights import parameters


def write_first(shell: str | Path, folder: str | Path, seed: int, copying: bool = True, comparing: bool = False) -> ModelSpec:
    """Writes a checkpoint of `shell`'s config.json, with its tokenizer files, and returns its spec. Raises UserError."""
    spec, std = ModelSpec.from_hf(shell), float(read_config(shell).get("initializer_range", 0.02))
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, torch.Tensor] = {}
    for p in parameters(spec):
        if p.tied:
            continue
        for name, shape in zip(p.hf, p.shapes):
            if name.endswith(".bias"):
                weights[name] = torch.zeros(shape)
            elif len(shape) == 1:
                weights[name] = torch.full(shape, spec.hidden**-0.5 if name == "model.norm.weight" else 1.0)
            elif name.endswith(("o_proj.weight", "down_proj.weight", "w2.weight")):
                weights[name] = torch.zeros(shape)
            else:
                scale = 1.0 if name == "model.embed_tokens.weight" else std / 10 if p.name.endswith("router.weight") else std
                weights[name] = torch.randn(shape, generator=generator) * scale
    taken = set_numbers(weights["model.embed_tokens.weight"], vocabulary(shell))
    if comparing:
        taken += set_comparing(spec, weights, taken)
    if copying:
        set_copying(spec, weights, generator, taken, first=1 if comparing else 0)
    writer = Writer(folder)
    for name, tensor in weights.items():
        writer.add(name, tensor)
    writer.finish(shell, {"dtype": "float32"})
    return spec
