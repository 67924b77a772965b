"""Measurements in processes of their own: memory, threads and what a library leaves behind are then those of one measurement."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


class DidNotWork(Exception):
    """A process ended with an error; the message is its last line."""


def apart(module: str, option: str, job: dict[str, Any], threads: int, spread: int = 1) -> dict[str, Any]:
    """The JSON object that `python -m module option <job as JSON>` prints last, with so many threads for OpenMP. `spread`: processes of it that
    torch.distributed.run starts, of which the first prints. Raises DidNotWork."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false", "TRL_EXPERIMENTAL_SILENCE": "1"}
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={spread}", "--rdzv-endpoint=127.0.0.1:0", "--rdzv-backend=c10d"]
    command = [sys.executable, *(launcher if spread > 1 else []), "-m", module, option, json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise DidNotWork((done.stderr.strip().splitlines() or ["?"])[-1][:200])
    return json.loads(done.stdout.strip().splitlines()[-1])


def local_ray(cpus: int) -> None:
    """Ray on this machine alone, without a dashboard and without what its workers print."""
    import ray

    ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR", _node_ip_address="127.0.0.1")


def where(ranks: int, threads: int) -> str:
    """`2 ranks of 1 thread`."""
    return f"{ranks} rank{'s' * (ranks > 1)} of {threads} thread{'s' * (threads > 1)}"


def for_trl(base: str, threads: int, **options: Any) -> Any:
    """The transformers model that TRL trains: fp32, without the routers' auxiliary loss; sets the threads of this process."""
    import torch
    from transformers import AutoModelForCausalLM, logging

    torch.set_num_threads(threads)
    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="sdpa", **options)
    if hasattr(model.config, "router_aux_loss_coef"):
        model.config.router_aux_loss_coef = 0.0
    return model


ALIKE = {
    "lr_scheduler_type": "constant",
    "adam_beta2": 0.95,
    "max_grad_norm": 1.0,
    "gradient_checkpointing": False,
    "bf16": False,
    "use_cpu": True,
    "report_to": "none",
    "save_strategy": "no",
    "logging_steps": 1,
    "disable_tqdm": True,
    "dataloader_num_workers": 0,
}
"""Arguments of TRL's trainers in which they do as ours does, and what would only cost time is off."""
