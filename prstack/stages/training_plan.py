"""`prstack sft --plan`: what the training that the settings describe would take, before anything is started.

Memory of the fullest rank by what it is for, the ranks that a layout needs to fit, and hours at a stated share of the device's peak. The
model's config is enough: a folder, or a name in `trainers.shapes` whose weights need not be here.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich import box
from rich.table import Table

from prstack.errors import UserError
from prstack.report.tables import make_console
from prstack.settings import Config
from prstack.store.records import data_files

GIB = 1 << 30


def plan(config: Config, packs: Path | None) -> int:
    """Prints the plan; returns 1 when it does not fit into `plan.memory_gib`. `packs`: the training set, where there is one.

    Raises UserError for a layout and for adapters that the model does not allow.
    """
    import trainers  # noqa: F401 - the import hook comes before anything that imports megatron
    from trainers import plan as arithmetic
    from trainers.layout import Layout
    from trainers.lora import Lora, adapters

    settings, asked = config.trainer, config.plan
    spec = _spec(settings.model)
    layout = Layout.of(settings.ranks, settings.tp, settings.pp, settings.ep, settings.cp)
    layout.check(spec, settings.context)
    lora = Lora.of(settings.lora)
    if lora:
        lora.check(spec, tuple(settings.freeze), grouped=asked.device == "gpu")
    if settings.context > spec.max_positions:
        raise UserError(f"trainer.context={settings.context}: {settings.model} has {spec.max_positions} positions")
    tokens, limit = settings.micro_batch * settings.context, asked.memory_gib * GIB
    how = (settings.dtype, tokens, settings.recompute, asked.device == "gpu")
    needed = arithmetic.memory(spec, layout, *how, lora)
    whole, active = arithmetic.counts(spec)
    console = make_console()
    rows = [
        ("parameters", f"{_number(whole)}, {_number(active)} active for a token"),
        *([("trained", f"{_number(arithmetic.counts(spec, adapters(spec, lora))[0])}: adapters of rank {lora.rank} ({', '.join(lora.targets)})")] if lora else []),
        ("layout", f"{layout.ranks} ranks: {layout}"),
        ("a step", f"{settings.global_batch} sequences of at most {settings.context:,} tokens, {tokens:,} tokens a micro-batch, {settings.dtype}"),
        *((f"  {name}", _gib(getattr(needed, name))) for name in ("weights", "gradients", "optimizer", "activations", "output")),
        ("memory, fullest rank", f"{_gib(needed.total)} of {asked.memory_gib:g} GiB"),
    ]
    fits = needed.total <= limit * (1 - arithmetic.HEADROOM)
    least = arithmetic.fitting(spec, layout, *how, limit * (1 - arithmetic.HEADROOM), lora)
    rows.append(("ranks needed", f"{least.ranks} (with this ep, tp, pp and cp)" if least else "no number fits; raise tp, pp or cp, lower context, or recompute"))
    trained, source = _tokens(config, packs)
    rate = layout.ranks * asked.peak_tflops * 1e12 * asked.mfu / arithmetic.flops(spec, settings.context, lora)
    rows += [
        ("tokens", f"{trained:,} ({source})"),
        ("time", f"{_hours(trained / rate)} at {rate:,.0f} tokens/s, an MFU of {asked.mfu:g} of {asked.peak_tflops:g} TFLOP/s a rank"),
    ]
    table = Table(title=f"{settings.model}: plan", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_header=False)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if not fits:
        console.print(
            f"Does not fit: {needed.total / GIB:.1f} GiB, with {arithmetic.HEADROOM:.0%} of {asked.memory_gib:g} GiB left free (plan.memory_gib)", markup=False
        )
    return int(not fits)


def _spec(model: str):
    from prstack.stages.models import resolve_model
    from trainers.shapes import SHAPES
    from trainers.spec import ModelSpec

    if model in SHAPES and not Path(model).is_dir():
        return ModelSpec.from_config(SHAPES[model], model)
    return ModelSpec.from_hf(resolve_model(model))


def _tokens(config: Config, packs: Path | None) -> tuple[int, str]:
    """Tokens that would be trained on, and where the number is from."""
    settings = config.trainer
    if packs is None:
        each = settings.global_batch * settings.context
        return (settings.steps * each, f"{settings.steps} full steps") if settings.steps else (config.plan.tokens, "plan.tokens")
    files = data_files(packs, "the training set")
    lengths = [pc.sum(pc.list_value_length(pq.read_table(f, columns=["input_ids"])["input_ids"])).as_py() or 0 for f in files]
    return round(sum(lengths) * settings.epochs), f"{settings.epochs:g} epochs of {packs}"


def _number(n: int) -> str:
    return f"{n / 1e9:.2f} billion" if n >= 1e9 else f"{n / 1e6:.1f} million"


def _gib(n: float) -> str:
    return f"{n / GIB:,.2f} GiB"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
