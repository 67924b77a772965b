"""The parity report: what Megatron computes here, held against transformers and plain PyTorch.

1. For each architecture and layout: the logits, the loss and every gradient of one step over packed conversations.
2. Twenty optimizer steps against a plain PyTorch run; packed against unpacked; the routers' auxiliary loss against its formula.
3. A checkpoint of the weights, loaded and exported: the same bytes. Ten and ten steps with a checkpoint between them, under the same
   layout and under others: the curve of twenty.

Each check gives one number and the limit that it must not pass (`limits`). Ranks are started once for each size of a group, and rebuild
their model from one layout to the next. The models are fp32 or bf16; the other side computes in fp32, from the same weights. Nothing else
here knows of the device: `trainers.model` chooses layers, kernels and collectives by it. With CUDA none of it has been run yet.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers

from prstack.settings import TrainerConfig
from trainers import checkpoint, reference
from trainers.batches import Batches, Pack
from trainers.hf_files import Reader
from trainers.layout import Layout
from trainers.loop import learning_rate, train
from trainers.model import CUDA
from trainers.tiny import make, make_packs
from trainers.worker import DTYPES, Setup

ARCHITECTURES = ("qwen3_moe", "mixtral")
LAYOUTS = {
    "EP1": Layout(),
    "EP2": Layout(2, ep=2),
    "TP2+SP": Layout(2, tp=2),
    "PP2": Layout(2, pp=2),
    "DP2": Layout(2),
    "TP2·EP2": Layout(2, tp=2, ep=2),
    "EP2·DP2": Layout(4, ep=2),
    "PP2·EP2": Layout(4, pp=2, ep=2),
    "TP2·EP2·DP2": Layout(4, tp=2, ep=2),
    "CP2": Layout(2, cp=2),
    "CP2·EP2": Layout(2, cp=2, ep=2),
}
"""EP2 and DP2 are two ranks each: with EP2 the dense parameters are replicated and the experts spread, with DP2 both are replicated."""
LIMITS = {
    "logits": 1e-5,
    "loss": 1e-6,
    "gradients": 1e-5,
    "20 steps": 1e-4,
    "packed": 1e-6,
    "aux loss": 1e-6,
    "aux gradients": 1e-5,
    "round trip": 0,
    "10 + 10 steps": 0,
    "10 + 10 steps, moved": 1e-5,
}
"""In fp32 on CPU."""
BF16_LIMITS = {
    "logits": 0.3,
    "loss": 2e-3,
    "gradients": 0.5,
    "20 steps": 0.02,
    "packed": 2e-3,
    "aux loss": 2e-3,
    "aux gradients": 0.5,
    "10 + 10 steps, moved": 0.02,
}
"""What differs in bf16. One token that rounding sends to another expert changes that expert's gradients by a third, which is why theirs are wide."""
CUDA_LIMITS = {
    "float32": {
        "logits": 1e-4,
        "loss": 1e-5,
        "gradients": 1e-4,
        "20 steps": 1e-3,
        "packed": 1e-5,
        "aux loss": 1e-5,
        "aux gradients": 1e-4,
        "10 + 10 steps": 1e-4,
        "10 + 10 steps, moved": 1e-4,
    },
    "bfloat16": {"10 + 10 steps": 0.05},
}
"""What differs on CUDA, by precision, with TF32 off (`PLAIN_CUDA`): sums run in another order, and backward kernels add in no fixed one.
Guesses, until someone runs it."""
PLAIN_CUDA = {"NVIDIA_TF32_OVERRIDE": "0", "NVTE_FLASH_ATTN": "0", "NVTE_FUSED_ATTN": "0"}
"""Environment of ranks that compute in fp32 on CUDA: no TF32 in any library, and of Transformer Engine's attentions the one that is not for
16 bits alone. Whether that one takes packed sequences depends on its release; where it does not, the ranks say so."""
STEPS, BATCH, CLIP, DECAY, LR = 20, 4, 1.0, 0.1, 3e-3
TRAIN_LAYOUTS = ("EP1", "EP2", "TP2·EP2", "PP2·EP2")
TRIP_LAYOUTS = ("EP2", "TP2+SP", "PP2", "PP2·EP2")


@dataclass(frozen=True, slots=True)
class Finding:
    """One comparison: `measured` is the largest difference, and must not exceed `limit`."""

    check: str
    model: str
    layout: str
    measured: float
    limit: float

    @property
    def ok(self) -> bool:
        return math.isfinite(self.measured) and self.measured <= self.limit


@dataclass(slots=True)
class Case:
    """A checkpoint, its packs, and what transformers makes of them."""

    kind: str
    base: Path
    dtype: str
    packs: list[Pack]
    logits: list[np.ndarray]
    loss: float
    gradients: dict[str, np.ndarray]

    def setup(self, layout: Layout, **more: object) -> Setup:
        return Setup(str(self.base), layout, dtype=self.dtype, clip=0.0, **more)

    def finding(self, check: str, layout: str, measured: float) -> Finding:
        return Finding(check, self.kind, layout, float(measured), limits(self.dtype)[check])


def limits(dtype: str) -> dict[str, float]:
    """Check → what it must not pass in this precision, on this machine's device."""
    return LIMITS | (BF16_LIMITS if dtype == "bfloat16" else {}) | (CUDA_LIMITS[dtype] if CUDA else {})


def run(open_group: Callable[[int], object], folder: Path, most_ranks: int = 4, dtype: str = "float32") -> Iterator[Finding]:
    """All findings, as they are made. `open_group(ranks)` gives a `launch.Group` as a context; layouts of more than `most_ranks` ranks are left out."""
    transformers.utils.logging.disable_progress_bar()
    cases = [case(kind, folder / kind, dtype) for kind in ARCHITECTURES]
    for ranks in sorted({layout.ranks for layout in LAYOUTS.values()}):
        if ranks > most_ranks:
            continue
        with open_group(ranks) as group:
            for c in cases:
                for name, layout in LAYOUTS.items():
                    if layout.ranks == ranks:
                        yield from one_step(group, c, name, layout)
                        if name in TRAIN_LAYOUTS:
                            yield twenty_steps(group, c, name, layout)
                        if name in TRIP_LAYOUTS:
                            yield round_trip(group, c, name, layout, folder / f"{c.kind}-{name}")
                        if name in ("EP1", "EP2"):
                            yield from auxiliary(group, c, name, layout)
                if ranks == 1:
                    yield packed(group, c)
                if ranks == 2:
                    yield from resumed(group, c, folder / f"{c.kind}-resumed")


def case(kind: str, base: Path, dtype: str = "float32") -> Case:
    """A random model with tied embeddings (qwen3_moe) or without, its weights in `dtype`, and its reference."""
    hf = _model(kind, base, dtype)
    packs = make_packs(BATCH, seed=2)
    with torch.no_grad():
        found = [reference.logits(hf, p).numpy() for p in packs]
    return Case(kind, base, dtype, packs, found, *reference.step(hf, packs))


def reload(c: Case) -> object:
    """The checkpoint in transformers, as it was."""
    return _model(c.kind, c.base, c.dtype)


def _model(kind: str, base: Path, dtype: str) -> object:
    return make(kind, base, dtype=DTYPES[dtype], tie_word_embeddings=kind == "qwen3_moe").float()


def spread(packs: Sequence[Pack], dp: int) -> list[list[list[Pack]]]:
    """Packs one by one over data-parallel ranks: [dp rank][micro-batch][pack]."""
    return [[[p] for p in packs[d::dp]] for d in range(dp)]


def one_step(group, c: Case, name: str, layout: Layout) -> Iterator[Finding]:
    group.setup(c.setup(layout))
    shares = spread(c.packs, group.dp)
    out = group.logits(shares)
    yield c.finding("logits", name, max(np.abs(out[i % group.dp][i // group.dp] - want).max() for i, want in enumerate(c.logits)))
    yield c.finding("loss", name, abs(group.step(shares, lr=0.0)["loss"] - c.loss))
    yield c.finding("gradients", name, relative(group.gradients(), c.gradients))


def relative(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> float:
    """The largest difference of two sets of gradients, over the largest entry of each tensor. Infinite where the names differ."""
    if ours.keys() != theirs.keys():
        return math.inf
    return max(np.abs(ours[n] - g).max() / max(np.abs(g).max(), 1e-3) for n, g in theirs.items())


def twenty_steps(group, c: Case, name: str, layout: Layout) -> Finding:
    """The largest difference of the loss over twenty steps of AdamW with clipping, warm-up and weight decay."""
    rates = [learning_rate(s, STEPS, LR, 3) for s in range(STEPS)]
    batches = [make_packs(BATCH, seed=100 + s) for s in range(STEPS)]
    setup = c.setup(layout, weight_decay=DECAY)
    setup.clip = CLIP
    group.setup(setup)
    ours = [group.step(spread(packs, group.dp), lr)["loss"] for packs, lr in zip(batches, rates)]
    theirs = reference.train(reload(c), batches, rates, DECAY, CLIP)
    return c.finding("20 steps", name, np.abs(np.subtract(ours, theirs)).max())


def packed(group, c: Case) -> Finding:
    """All packs in one sequence against each segment in a micro-batch of its own."""
    group.setup(c.setup(Layout()))
    apart = [
        Pack(p.input_ids[a:b], p.loss_mask[a:b], np.array([b - a], np.int32)) for p in c.packs for a, b in reference.segments(p)
    ]
    return c.finding("packed", "EP1", abs(group.step([[c.packs]], lr=0.0)["loss"] - group.step([[[p] for p in apart]], lr=0.0)["loss"]))


def auxiliary(group, c: Case, name: str, layout: Layout, weight: float = 0.1) -> Iterator[Finding]:
    """The auxiliary loss as reported, and what it adds to the gradients, against the formula."""
    group.setup(c.setup(layout, aux_loss=weight))
    metrics = group.step(spread(c.packs, group.dp), lr=0.0)
    hf = reload(c)
    _, grads = reference.step(hf, c.packs, aux_loss=weight)
    with torch.no_grad(), reference.routed(hf) as seen:
        for p in c.packs:
            reference.logits(hf, p)
        lengths = [len(p.input_ids) for p in c.packs]
        want = float(reference.load_balancing(seen, lengths, hf.config.num_experts_per_tok)) / hf.config.num_hidden_layers
    yield c.finding("aux loss", name, abs(metrics["aux_loss"] - want))
    yield c.finding("aux gradients", name, relative(group.gradients(), grads))


def round_trip(group, c: Case, name: str, layout: Layout, folder: Path) -> Finding:
    """Tensors that are not byte for byte what was loaded, or that only one side has."""
    group.setup(c.setup(layout))
    group.export(folder)
    before, after = Reader(c.base), Reader(folder)
    names = set(before.names()), set(after.names())
    differ = sum(not torch.equal(before.get(n), after.get(n)) for n in names[0] & names[1])
    return c.finding("round trip", name, differ + len(names[0] ^ names[1]))


def resumed(group, c: Case, folder: Path) -> Iterator[Finding]:
    """Ten steps under EP2 and ten from their checkpoint, against twenty. Not under TP2: its padding counts in the auxiliary loss."""
    whole = curve(group, c, LAYOUTS["EP2"], folder / "whole", 2 * 10)
    half = curve(group, c, LAYOUTS["EP2"], folder / "half", 2 * 10, stop_at=10)
    for name in ("EP2", "DP2", "PP2"):
        rest = curve(group, c, LAYOUTS[name], folder / "half", 2 * 10, resume=True)
        check = "10 + 10 steps" if name == "EP2" else "10 + 10 steps, moved"
        yield c.finding(check, "EP2" if name == "EP2" else f"EP2 → {name}", np.abs(np.subtract(half + rest, whole)).max())


def curve(group, c: Case, layout: Layout, folder: Path, steps: int, stop_at: int | None = None, resume: bool = False) -> list[float]:
    """The loss of each step of the training loop; what a resumed run writes goes to a folder beside."""
    found = checkpoint.latest(folder) if resume else None
    group.setup(c.setup(layout, aux_loss=0.01), weights_from_base=found is None)
    state = group.load(found) if found else None
    seen: list[float] = []
    config = TrainerConfig(steps=steps, lr=LR, warmup=2, checkpoint_every=1000)
    batches = Batches(make_packs(10, seed=6), BATCH, 1, group.dp, seed=5)
    out = folder.with_name(f"{folder.name}-on") if resume else folder
    train(group, batches, config, out, lambda m: seen.append(m["loss"]), state, stop_at=stop_at)
    return seen


@contextmanager
def local(_: int = 1) -> Iterator[object]:
    """One rank in this process, for `run`."""
    from trainers.launch import Local

    with Local() as group:
        yield group
    gc.collect()
