"""A checkpoint with random weights: where pretraining begins.

Matrices are drawn from a normal distribution of the config's `initializer_range`; those that write into the residual stream
(attention output, FFN down) are divided by sqrt(2 · layers), as in GPT-2, so that its variance does not grow with depth.
Routers start ten times smaller, near an even choice. Norms are 1.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from trainers.hf_files import Writer
from trainers.spec import ModelSpec, read_config
from trainers.weights import parameters


def write_random(shell: str | Path, folder: str | Path, seed: int) -> ModelSpec:
    """Writes a checkpoint of `shell`'s config.json, with its tokenizer files, and returns its spec. Raises UserError."""
    spec, std = ModelSpec.from_hf(shell), float(read_config(shell).get("initializer_range", 0.02))
    generator = torch.Generator().manual_seed(seed)
    writer = Writer(folder)
    for p in parameters(spec):
        if p.tied:
            continue
        for name, shape in zip(p.hf, p.shapes):
            if len(shape) == 1:
                writer.add(name, torch.ones(shape))
                continue
            scale = std
            if name.endswith(("o_proj.weight", "down_proj.weight", "w2.weight")):
                scale /= math.sqrt(2 * spec.layers)
            elif p.name.endswith("router.weight"):
                scale /= 10
            writer.add(name, torch.randn(shape, generator=generator) * scale)
    writer.finish(shell, {"dtype": "float32"})
    return spec
