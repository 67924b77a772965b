"""What a training run will take: bytes on the fullest rank, ranks, hours. Arithmetic alone; nothing is allocated or started.

Per rank, from the same list of parameters that load and export use (`trainers.weights.parameters`):

1. Weights in `dtype`; gradients in fp32. The fullest pipeline stage counts.
2. Optimizer: AdamW's two moments in fp32, and in bf16 training the fp32 weights. Spread over data-parallel ranks: of dense parameters over
   ranks / (tp · pp) = cp · dp, of experts over ranks / (pp · ep).
3. Activations of one micro-batch of `tokens`, of which a rank holds tokens / cp, and with sequence parallelism tokens / (cp · tp) outside of
   attention. With recomputation each
   layer keeps its input, and one layer at a time all it needs; without it all layers do. A pipeline's first stage holds as many micro-batches
   as there are stages (1F1B). Experts are taken to get even shares of the tokens.
4. The output layer: one chunk of logits, all of them where they are small, and the gradient of its weights (`trainers.losses`).

With adapters (`trainers.lora`) gradients and optimizer are those of the adapters alone. Activations are counted as without, and what A gives on
top: more than is kept, because a frozen layer without adapters keeps no input.

Not counted: the framework itself, communication buffers, fragmentation; `HEADROOM` stands for them.

Floating-point operations: 6 for each active parameter that is multiplied with and each token (2 forward, 4 backward), and 6 · layers · heads ·
head_dim · context for causal attention; 4 for a frozen parameter, whose gradient is not computed. What recomputation repeats does not count, as
is the convention for MFU. Source: Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models", whose per-layer
terms are adapted to grouped queries, SwiGLU and experts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, fields

from trainers.layout import Layout
from trainers.lora import Lora, adapters
from trainers.losses import CHUNK, KEEP
from trainers.spec import ModelSpec
from trainers.weights import Param, parameters

BYTES = {"float32": 4, "bfloat16": 2}
HEADROOM = 0.1
"""Share of the given memory that is left free."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on the fullest rank."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    output: float

    @property
    def total(self) -> float:
        return sum(getattr(self, f.name) for f in fields(self))


def counts(spec: ModelSpec, listed: Iterable[Param] | None = None) -> tuple[int, int]:
    """Parameters of the whole model, and those that one token uses; of those `listed` alone, if given."""
    whole = active = 0
    for p in parameters(spec) if listed is None else listed:
        if p.tied:
            continue
        n = _size(p.shape)
        whole += n
        active += n * spec.topk // spec.experts if p.expert >= 0 else n
    return whole, active


def memory(
    spec: ModelSpec, layout: Layout, dtype: str, tokens: int, recompute: bool, fused: bool, lora: Lora | None = None
) -> Memory:
    """Of a rank that computes micro-batches of `tokens` tokens."""
    dense, experts = _stages(layout, spec, parameters(spec))
    stage = max(range(layout.pp), key=lambda s: dense[s] + experts[s])
    kept = here, own = dense[stage], experts[stage]
    if lora:
        dense, experts = _stages(layout, spec, adapters(spec, lora))
        here, own = dense[stage], experts[stage]
        kept = (*kept, here, own)
    state = 8 + (4 if dtype == "bfloat16" else 0)
    dp, expert_dp = layout.cp * layout.dp, layout.ranks // (layout.pp * layout.ep)
    return Memory(
        weights=sum(kept) * BYTES[dtype],
        gradients=(here + own) * 4,
        optimizer=state * (here / dp + own / expert_dp),
        activations=activations(spec, layout, dtype, tokens, recompute, fused, lora),
        output=_output(spec, layout, dtype, tokens, trained=lora is None),
    )


def _stages(layout: Layout, spec: ModelSpec, listed: Iterable[Param]) -> tuple[dict[int, float], dict[int, float]]:
    """Dense and expert parameters of a rank, by pipeline stage."""
    dense: dict[int, float] = defaultdict(float)
    experts: dict[int, float] = defaultdict(float)
    per_stage = spec.layers // layout.pp
    for p in listed:
        if p.tied and layout.pp == 1:
            continue
        first = p.name.startswith("embedding.")
        stage = p.layer // per_stage if p.layer >= 0 else 0 if first else layout.pp - 1
        if p.expert >= 0:
            experts[stage] += _size(p.shape) / layout.ep
        else:
            dense[stage] += _size(p.shape) / (layout.tp if p.dim is not None else 1)
    return dense, experts


def activations(
    spec: ModelSpec, layout: Layout, dtype: str, tokens: int, recompute: bool, fused: bool, lora: Lora | None = None
) -> float:
    """Bytes that the backward pass waits for."""
    each, layers = BYTES[dtype], spec.layers // layout.pp
    share = tokens / (layout.cp * layout.tp)
    layer = share * (each * layer_numbers(spec, fused) + 4 * router_numbers(spec))
    if not fused and dtype == "bfloat16":
        layer += share * 4 * spec.hidden  # two norms that compute in fp32
    if lora:
        layer += share * each * adapter_numbers(spec, lora)
    flying = layout.pp
    if recompute:
        return flying * layers * share * spec.hidden * each + layer
    return flying * layers * layer


def layer_numbers(spec: ModelSpec, fused: bool) -> int:
    """Numbers a token that one layer keeps, in the precision of the activations.

    `fused`: by Transformer Engine's norms and attention and Megatron's fused SwiGLU, which keep what they begin with; else by the plain
    operations of the CPU path, of which each keeps its own.
    """
    h, q, kv = spec.hidden, spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    times = spec.topk or 1
    norms = (4 if fused else 6) * h
    attention = (2 * q + 2 * kv) if fused else (4 * q + 3 * kv)
    if spec.qk_norm:
        attention += (1 if fused else 2) * (q + kv)
    if spec.experts:
        shared = (3 if fused else 5) * spec.shared + h if spec.shared else 0
        return norms + attention + shared + times * ((3 if fused else 6) * spec.ffn + (2 if fused else 1) * h)
    return norms + attention + (3 if fused else 5) * spec.ffn


def adapter_numbers(spec: ModelSpec, lora: Lora) -> int:
    """Numbers a token that the adapters of one layer keep: what each A gives."""
    first = [p for p in adapters(spec, lora) if p.layer == 0 and p.expert <= 0 and "lora_A" in p.hf[0]]
    return lora.rank * sum(spec.topk if p.expert >= 0 else 1 for p in first)


def router_numbers(spec: ModelSpec) -> int:
    """Numbers a token that a router keeps, in fp32."""
    return 4 * spec.experts


def _output(spec: ModelSpec, layout: Layout, dtype: str, tokens: int, trained: bool) -> float:
    tokens = tokens // layout.cp
    whole = 4 * tokens * spec.vocab / layout.tp
    chunk = min(CHUNK, tokens) * spec.vocab / layout.tp * (4 + BYTES[dtype]) + (whole if whole <= KEEP else 0)
    last = tokens / layout.tp * spec.hidden * (12 if dtype == "float32" else 8)  # what the last norm keeps, and its result
    return chunk + (spec.vocab / layout.tp * spec.hidden * 4 if trained else 0) + last


def flops(spec: ModelSpec, context: int, lora: Lora | None = None) -> float:
    """Floating-point operations a trained token, in sequences of `context` tokens."""
    _, active = counts(spec)
    multiplied = active - (0 if spec.tied else spec.vocab * spec.hidden)  # an embedding is looked up
    weights = 4 * multiplied + 6 * counts(spec, adapters(spec, lora))[1] if lora else 6 * multiplied
    return weights + 6 * spec.layers * spec.heads * spec.head_dim * context


def fitting(
    spec: ModelSpec, layout: Layout, dtype: str, tokens: int, recompute: bool, fused: bool, limit: float, lora: Lora | None = None
) -> Layout | None:
    """The layout with the fewest ranks of this tp, pp and ep that fits into `limit` bytes, or None when no number does."""
    least = Layout.of(None, layout.tp, layout.pp, layout.ep, layout.cp).ranks
    for times in (2**n for n in range(14)):
        tried = Layout(least * times, layout.tp, layout.pp, layout.ep, layout.cp)
        if memory(spec, tried, dtype, tokens, recompute, fused, lora).total <= limit:
            return tried
    return None


def _size(shape: tuple[int, ...]) -> int:
    n = 1
    for s in shape:
        n *= s
    return n
