"""`prstack selftest [gpu]`: the parity report of this machine, as tables, and as a file where one is asked for.

1. `trainers.selftest`: Megatron against transformers and plain PyTorch, on every layout that fits the machine.
2. The shipped base, taken through Megatron and exported, is sampled from by vLLM: the log-probabilities that vLLM gives with its tokens
   against those that the trainer computes for them.

Exit code 1 when a difference exceeds its limit. With `gpu` the same on CUDA (never run yet); a machine without it is an error, exit code 2.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from prstack.errors import UserError
from prstack.report.tables import make_console
from prstack.settings import Config, EngineConfig
from prstack.stages.cluster import ray_session
from prstack.stages.models import resolve_model

ONE_STEP = ("logits", "loss", "gradients")
VLLM_LIMIT = {"float32": 1e-4, "bfloat16": 0.2}
PROMPTS, PROMPT_TOKENS, SAMPLED = 4, 40, 32


def selftest(config: Config, targets: list[str]) -> int:
    """Prints the report; returns 1 when something differs by more than it may. Raises UserError."""
    import torch

    import trainers  # noqa: F401 - the import hook comes before anything that imports megatron
    from trainers import selftest as parity
    from trainers.launch import Local, RayGroup

    if targets not in ([], ["gpu"]):
        raise UserError(f"prstack selftest {targets[0]}: expected gpu, or nothing")
    gpus = torch.cuda.device_count()
    if targets and not gpus:
        raise UserError("prstack selftest gpu: torch sees no CUDA device here; prstack selftest checks the CPU path")
    if config.selftest.out and not Path(config.selftest.out).parent.is_dir():
        raise UserError(f"selftest.out={config.selftest.out}: there is no such folder")
    most = min(config.selftest.ranks, gpus) if gpus else config.selftest.ranks
    cores = config.ray.num_cpus or os.cpu_count() or 1
    dtype = config.selftest.dtype or ("bfloat16" if gpus else "float32")
    if gpus and dtype == "float32":
        os.environ.update(parity.PLAIN_CUDA)  # a local cluster's ranks inherit it

    @contextmanager
    def opened(ranks: int) -> Iterator[object]:
        with Local() if ranks == 1 and not gpus else RayGroup(ranks, cpus=min(1.0, cores / ranks)) as group:
            yield group

    begun, findings = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="prstack-selftest-") as scratch, ray_session(config.ray), tqdm(unit=" checks", desc="selftest") as bar:
        for finding in parity.run(opened, Path(scratch), most, dtype):
            findings.append(finding)
            bar.set_postfix_str(f"{finding.model} {finding.layout}", refresh=False)
            bar.update()
        if importlib.util.find_spec("vllm"):
            findings.append(against_vllm(Path(scratch), opened, dtype))
            bar.update()
    left_out = [name for name, layout in parity.LAYOUTS.items() if layout.ranks > most]
    report(findings, left_out, time.monotonic() - begun, config.selftest.out)
    return int(any(not f.ok for f in findings))


def against_vllm(folder: Path, opened: Callable[[int], object], dtype: str) -> object:
    """The largest difference between the log-probabilities of sampled tokens in vLLM and in the trainer."""
    from actors.engine import Sampling
    from actors.router import EnginePool
    from actors.synthesis import serve
    from trainers.batches import Pack
    from trainers.layout import Layout
    from trainers.selftest import Finding
    from trainers.worker import Setup

    base = resolve_model("world-9m")
    rng = np.random.default_rng(0)
    prompts = [rng.integers(300, 4000, PROMPT_TOKENS).tolist() for _ in range(PROMPTS)]

    async def sample(pool: EnginePool) -> list:
        return [await pool.generate(p, Sampling(max_tokens=SAMPLED, seed=i)) for i, p in enumerate(prompts)]

    with opened(1) as group:
        group.setup(Setup(str(base), Layout(), dtype=dtype))
        group.export(folder / "exported")
        settings = EngineConfig(dtype=dtype, max_model_len=512, kv_cache_mb=64)
        with serve(settings, folder / "exported") as pool:
            samples = asyncio.run(sample(pool))
        whole = [np.array([*p, *s.token_ids], np.int32) for p, s in zip(prompts, samples)]
        packs = [Pack(ids, np.ones(len(ids), np.int8), np.array([len(ids)], np.int32)) for ids in whole]
        ours = group.forward([[[p] for p in packs]])[0]
    differ = [np.subtract(row[0][PROMPT_TOKENS - 1 : -1], s.logprobs) for row, s in zip(ours, samples)]
    return Finding("vLLM logprobs", "world-9m", "EP1", float(np.abs(np.concatenate(differ)).max()), VLLM_LIMIT[dtype])


# --- what is shown -----------------------------------------------------------------------------------------------
def report(findings: list, left_out: list[str], seconds: float, out: str | None) -> None:
    """The tables, a closing line, and the file."""
    console = make_console()
    for title, heads, rows in tables(findings):
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for head in heads:
            table.add_column(head)
        for row in rows:
            table.add_row(*(Text(cell, "bold red" if cell.endswith("✗") else "") for cell in row))
        console.print(table)
    if left_out:
        console.print(f"Not run, for more ranks than there are devices: {', '.join(left_out)}.", markup=False)
    bad = [f for f in findings if not f.ok]
    said = "; ".join(f"{f.check}, {f.model} {f.layout}: {f.measured:.1e} > {f.limit:g}" for f in bad)
    console.print(f"{len(findings) - len(bad)} of {len(findings)} checks passed in {seconds:.0f} s." + (f" Failed: {said}" if bad else ""), markup=False)
    if out:
        Path(out).write_text(markdown(findings), encoding="utf-8")
        console.print(f"Written: {out}", markup=False)


def tables(findings: list) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Title, heads and rows of each table: a step by layout, and the rest a row a check. A cell beyond its limit ends with ✗."""
    steps = {(f.model, f.layout): {} for f in findings if f.check in ONE_STEP}
    for f in findings:
        if f.check in ONE_STEP:
            steps[f.model, f.layout][f.check] = f
    limits = {f.check: f.limit for f in findings}
    heads = ["model", "layout", *(f"{c} (≤ {limits[c]:g})" for c in ONE_STEP if c in limits)]
    yield "One step against transformers: largest difference", heads, [[m, layout, *map(_cell, found.values())] for (m, layout), found in steps.items()]
    rows = [[f.check, f.model, f.layout, _cell(f), f"{f.limit:g}"] for f in sorted(findings, key=lambda f: f.check) if f.check not in ONE_STEP]
    yield "The rest", ["check", "model", "layout", "largest difference", "limit"], rows


def _cell(finding: object) -> str:
    return f"{finding.measured:.1e}{'' if finding.ok else ' ✗'}" if finding.measured else "0"


def markdown(findings: list) -> str:
    """The tables as Markdown."""
    parts = []
    for title, heads, rows in tables(findings):
        lines = [f"**{title}**", "", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *(f"| {' | '.join(row)} |" for row in rows)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"
