"""Making, planning, training and checking models."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field as Check

from prstack.settings.checks import Natural, Positive


@dataclass
class LoraConfig:
    """Low-rank adapters that are trained in the place of the weights (LoRA, arXiv 2106.09685). With rank 0 all weights are trained."""

    rank: Natural = 0
    """Rank of the adapters; 0 trains all weights."""
    alpha: typing.Annotated[float, Check(gt=0)] = 16.0
    """What adapters add is multiplied by alpha / rank."""
    targets: list[Literal["attention", "mlp", "experts"]] = field(default_factory=lambda: ["attention"])
    """Layers with adapters: `attention` (queries, keys, values, output), `mlp` (of a dense model, or a shared expert), `experts` (each its
    own; not on CUDA)."""


@dataclass
class TrainerConfig:
    """Training a model with Megatron-core. A step takes `global_batch` packed sequences of the training set."""

    model: str = "smollm2-135m-moe"
    """The model to fine-tune: `world-9m` (comes with prstack), `smollm2-135m-moe` (upcycled from SmolLM2-135M-Instruct), or
    a Hugging Face directory or name of a Mixtral, Qwen3-MoE, Qwen2-MoE, Llama, Qwen3 or Qwen2 checkpoint."""
    input: str | None = None
    """Folder of packed sequences (Parquet). Default: the run's distillation stage."""
    ep: Positive = 2
    """Expert parallelism: ranks that the experts of a layer are spread over."""
    tp: Positive = 1
    """Tensor parallelism (with sequence parallelism): ranks that a layer is split over."""
    pp: Positive = 1
    """Pipeline parallelism: ranks that the layers are spread over."""
    cp: Positive = 1
    """Context parallelism: ranks that each conversation of a sequence is spread over, for sequences whose activations no GPU holds.
    trainer.context has to be a multiple of 2 · cp · tp. On CPU for trials alone: every rank computes all attention. Not for `rl`."""
    dispatcher: Literal["alltoall", "allgather", "deepep"] = "alltoall"
    """How tokens come to the ranks of their experts: `alltoall` sends each token where it goes, `allgather` all tokens everywhere (with
    micro-batches padded to one length), `deepep` sends by DeepEP's kernels (on GPUs, with the package deep_ep; never run)."""
    ranks: Positive | None = None
    """Processes, one CPU core or GPU each. Default: as few as ep, tp, pp and cp need; more are data-parallel."""
    threads: Positive = 1
    """CPU threads a rank."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Weights and activations; optimizer state and gradient sums are float32 always."""
    context: Positive = 8192
    """Longest packed sequence, in tokens: at least what distill.context was."""
    global_batch: Positive = 8
    """Packed sequences a step, over all ranks."""
    micro_batch: Positive = 1
    """Packed sequences a rank computes at a time; the gradients of a step's micro-batches add up."""
    epochs: typing.Annotated[float, Check(gt=0)] = 2.0
    """Passes over the training set."""
    rehearsal: typing.Annotated[float, Check(ge=0, lt=1)] = 0.0
    """Share of the tokens of a pass that is text of pretraining (`prstack.pretrain`, new documents), so that a base made of it does not
    forget what the conversations do not ask for, such as wordings that they do not hold."""
    steps: Positive | None = None
    """Steps, instead of `epochs`."""
    lr: typing.Annotated[float, Check(gt=0)] = 2e-4
    """Peak learning rate (AdamW, betas 0.9 and 0.95)."""
    warmup: Natural = 10
    """Steps of linear warm-up; a cosine to a tenth of the peak follows."""
    weight_decay: typing.Annotated[float, Check(ge=0)] = 0.0
    """Decoupled weight decay of matrices (norms have none)."""
    clip: typing.Annotated[float, Check(ge=0)] = 1.0
    """Gradient norm above which gradients are scaled down; 0 never."""
    aux_loss: typing.Annotated[float, Check(ge=0)] = 0.001
    """Weight of the routers' load-balancing loss (per layer and micro-batch)."""
    freeze: list[Literal["router", "embeddings"]] = field(default_factory=list)
    """What is left as it is: the routers (where a few conversations would unbalance the experts), the embeddings and output layer."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    recompute: bool = True
    """Recompute activations in the backward pass: about a third more time for a fraction of the memory. Without it a rank
    keeps some 70 kB a token and layer of SmolLM2's size, more than 11 GiB for a pack of 8192 tokens."""
    seed: int = 0
    """Seed of the order of the training data."""
    shuffle: bool = True
    """Draw the order of the packs anew for each epoch; without, they are seen as they lie, which a curriculum needs. Only with it is
    a loss that jumps an error."""
    checkpoint_every: Positive = 50
    """Steps between checkpoints; the last step always writes one."""
    keep: Positive = 2
    """Checkpoints that are kept."""
    restarts: Natural = 2
    """Times that a lost rank (killed, out of memory, its node gone) has all ranks start anew from the last checkpoint."""


@dataclass
class PretrainConfig:
    """A small base model from random weights and world text: `prstack pretrain`. How it trains is the trainer's section."""

    seed: Natural = 0
    """Seed of the text and of the first weights."""
    tokens: Positive = 10_000_000
    """Tokens of text that are made; trainer.epochs or trainer.steps say how often they are seen."""
    vocabulary: typing.Annotated[int, Check(ge=512)] = 7168
    """Tokens of the tokenizer that is made from the text; some 4,100 of them are numbers."""
    tokenizer_documents: Positive = 4000
    """Documents that the tokenizer is made from."""
    layers: Positive = 6
    """Transformer layers."""
    hidden: Positive = 256
    """Width of the residual stream."""
    heads: Positive = 4
    """Query heads of attention."""
    kv_heads: Positive = 2
    """Key and value heads."""
    head_dim: Positive = 32
    """Width of a head; vLLM on CPU takes 32, 64, 80, 96, 112, 128 and more."""
    experts: Positive = 8
    """Experts a layer."""
    topk: Positive = 2
    """Experts a token."""
    ffn: Positive = 192
    """Hidden units of an expert."""
    copying: bool = True
    """Begin with two layers that copy (`trainers.copying`) instead of with random weights alone."""
    comparing: bool = True
    """Begin with a circuit that holds each number against the one before it (`trainers.comparing`)."""


@dataclass
class UpcycleConfig:
    """From a dense checkpoint to a mixture of experts that computes the same function: `prstack upcycle`."""

    model: str = "smollm2-135m-instruct"
    """The dense model (Llama, Qwen3 or Qwen2): the same names as engine.model."""
    out: str | None = None
    """Folder of the sparse checkpoint. Required; it must not exist."""
    kind: Literal["simple", "fine"] = "fine"
    """`simple`: every expert is the whole FFN, so active compute grows with topk. `fine`: experts are 1/(topk + shared) of the
    FFN, and active compute stays."""
    experts: Positive = 8
    """Experts a layer, the shared one aside; with `fine` a multiple of topk."""
    topk: Positive = 4
    """Experts a token."""
    shared: Natural = 0
    """Shards of the FFN that make a shared expert, which every token passes through (with `simple` 1: the whole FFN). The result
    is then a Qwen2-MoE; a Qwen2 needs at least 1, a Qwen3 has no such kin."""
    noise: typing.Annotated[float, Check(ge=0)] = 0.0
    """Standard deviation of what is added to the routed experts' weights, as a share of that of the weights. The function at step
    0 is then another."""
    reinit: typing.Annotated[float, Check(ge=0, le=1)] = 0.0
    """Share of each routed expert's hidden units that are drawn anew (Drop-Upcycling). The function at step 0 is then another."""


@dataclass
class PlanConfig:
    """The machine that `prstack sft --plan` plans for."""

    memory_gib: typing.Annotated[float, Check(gt=0)] = 80.0
    """Memory of a rank, in GiB; a tenth is left free."""
    peak_tflops: typing.Annotated[float, Check(gt=0)] = 989.0
    """Peak of a rank's device in `trainer.dtype`, in TFLOP/s. The default is an H100 in bfloat16."""
    mfu: typing.Annotated[float, Check(gt=0, le=1)] = 0.35
    """Share of the peak that is reached."""
    tokens: Positive = 100_000_000
    """Tokens to train on, where there is no training set yet to count."""
    device: Literal["gpu", "cpu"] = "gpu"
    """Whether layers keep what fused GPU kernels keep, or what plain operations do."""


@dataclass
class SelftestConfig:
    """The parity report: `prstack selftest`."""

    ranks: Positive = 4
    """Layouts of more ranks are left out."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Precision of the trained side; the other computes in float32. Default: bfloat16 with CUDA, float32 without."""
    out: str | None = None
    """A file for the tables, in Markdown."""
