"""New weights for a living vLLM engine, out of a folder that a trainer has published.

1. `check` holds the folder against the one that the engine was started with: the same tensors, of the same shapes, in whole
   files; and against the checksum with which it was published. What is wrong is said before anything changes.
2. `Gate` lets requests through side by side and an update alone: what is in flight ends with the weights that it began with,
   what comes later waits. So every answer is made by one version, and no request fails because of an update.
3. `WeightUpdate` runs in each of vLLM's workers. It reads the files itself (memory-mapped: a folder under /dev/shm is shared
   memory, one on disk is read through the page cache), so that no weights travel between processes, and each worker loads its
   own share of them, a file at a time. Of published weights it computes the checksum of every tensor on the way
   (`prstack.store.published`). Engines on several machines need a folder that all of them see.
4. The engine drops the key/value cache, which the old weights made; vLLM does not do so by itself.

vLLM 0.32.0 repacks weights for the CPU when it loads them, and on a reload leaves two copies as they were, without an error:
the experts of a fused MoE layer, and an output layer that is tied to the embedding. `renew_experts` and `renew_output` see to
them. On a GPU nothing is repacked, and the same reload copies from the files to the device; that way has not been run.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from prstack.errors import UserError
from prstack.memory import give_back
from prstack.store import published

WORKER = f"{__name__}.WeightUpdate"
"""vLLM's `worker_extension_cls`."""
OUTPUT = "lm_head.weight"
INDEX = "model.safetensors.index.json"


# --- the folder ------------------------------------------------------------------------------------------------------
def files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint folder. Raises UserError when there are none or one is missing."""
    index = folder / INDEX
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())) if index.is_file() else ["model.safetensors"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise UserError(f"{index}: not an index of safetensors files ({e!r})") from e
    found = [folder / name for name in names]
    if missing := [p for p in found if not p.is_file()]:
        raise UserError(f"{missing[0]}: no such file; weights come as {INDEX.removesuffix('.index.json')} or as files with an index")
    return found


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a checkpoint folder; of the files only the heads are read. Raises UserError."""
    from safetensors import SafetensorError, safe_open

    found: dict[str, tuple[int, ...]] = {}
    for path in files(folder):
        try:
            with safe_open(path, framework="np") as f:
                found |= {name: tuple(f.get_slice(name).get_shape()) for name in f.keys()}  # noqa: SIM118 (no mapping)
        except (OSError, SafetensorError) as e:
            raise UserError(f"{path}: not a whole safetensors file ({e})") from e
    return found


def is_tied(model_dir: Path) -> bool:
    """Whether the output layer of a checkpoint is its embedding."""
    config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    return bool(config.get("tie_word_embeddings")) or OUTPUT not in shapes(model_dir)


def check(folder: Path, model_dir: Path, checksums: dict[str, str] | None = None) -> None:
    """Raises UserError unless `folder` holds the tensors that `model_dir` holds (a stored copy of a tied output layer aside), each with
    a checksum if there are some."""
    aside = {OUTPUT} if is_tied(model_dir) else set()
    wanted, given = ({n: s for n, s in shapes(f).items() if n not in aside} for f in (model_dir, folder))
    if missing := sorted(wanted.keys() - given.keys()):
        raise UserError(f"{folder}: tensor {missing[0]} is missing ({len(missing)} of {len(wanted)} are); the engine keeps its weights")
    if unknown := sorted(given.keys() - wanted.keys()):
        raise UserError(f"{folder}: tensor {unknown[0]} has no place in the model ({len(unknown)} such); the engine keeps its weights")
    for name, shape in wanted.items():
        if given[name] != shape:
            raise UserError(f"{folder}: tensor {name} has shape {list(given[name])}, the model's is {list(shape)}; the engine keeps its weights")
        if checksums and name not in checksums:
            raise UserError(f"{folder}: tensor {name} was not published; the engine keeps its weights")


# --- requests and updates --------------------------------------------------------------------------------------------
class Gate:
    """Requests pass side by side; `closed()` waits until those inside have left and holds the others back until it ends."""

    def __init__(self) -> None:
        self._inside = 0
        self._open, self._empty = asyncio.Event(), asyncio.Event()
        self._open.set()
        self._empty.set()

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        while not self._open.is_set():
            await self._open.wait()
        self._inside += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """One at a time."""
        self._open.clear()
        try:
            await self._empty.wait()
            yield
        finally:
            self._open.set()


# --- in vLLM's workers -----------------------------------------------------------------------------------------------
class WeightUpdate:
    """Mixed into vLLM's worker class, whose attributes are `model_runner` and `vllm_config`."""

    def load_folder(self, folder: str, tied: bool, checksums: dict[str, str] | None = None) -> dict[str, float]:
        """Loads the weights of a checkpoint folder into the model, no tensor with another checksum than is given. Whatever it raises,
        the weights are then partly new, and the engine must not answer any more.

        Returns seconds: `read`, of reading and checking the bytes, and `pack`, of placing them in vLLM's layouts.
        """
        from vllm.config import set_current_vllm_config
        from vllm.model_executor.model_loader.reload import (
            finalize_layerwise_reload,
            initialize_layerwise_reload,
        )
        from vllm.platforms import current_platform

        model = self.model_runner.get_model()
        parameters = {name for name, _ in model.named_parameters()}
        on_cpu, start, watch = current_platform.is_cpu(), time.perf_counter(), Stopwatch()
        with set_current_vllm_config(self.vllm_config):
            if on_cpu:
                self.renew_experts(model)
            initialize_layerwise_reload(model)
            found = watch.each(tensors(Path(folder), checksums))
            loaded = model.load_weights((n, t) for n, t in found if not (tied and n == OUTPUT))
            finalize_layerwise_reload(model, self.vllm_config.model_config)
            if on_cpu:
                self.renew_output(model)
        if loaded is not None and (left := sorted(parameters - set(loaded))):
            raise RuntimeError(f"{folder}: the parameter {left[0]} got no weights ({len(left)} of {len(parameters)})")
        give_back()
        return {"read": watch.seconds, "pack": time.perf_counter() - start - watch.seconds}

    def renew_experts(self, model: Any) -> None:
        """Before a reload: a fused MoE layer that has its kernel already is not packed again, so the kernel is dropped."""
        for module in model.modules():
            method = getattr(module, "quant_method", None)
            if getattr(method, "moe_kernel", None) is not None:
                method.moe_kernel = None

    def renew_output(self, model: Any) -> None:
        """After a reload: an output layer computes with a packed copy of its weight. A tied one has no tensor of its own in the
        files, so nothing has packed it again."""
        from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

        for module in model.modules():
            if isinstance(module, ParallelLMHead) and hasattr(module, "cpu_linear"):
                module.quant_method.process_weights_after_loading(module)


class Stopwatch:
    """The seconds in which an iterator is asked for its next."""

    seconds = 0.0

    def each(self, items: Iterator[Any]) -> Iterator[Any]:
        while True:
            start = time.perf_counter()
            item = next(items, None)
            self.seconds += time.perf_counter() - start
            if item is None:
                return
            yield item


def tensors(folder: Path, checksums: dict[str, str] | None = None) -> Iterator[tuple[str, Any]]:
    """Names and tensors of a checkpoint folder, memory-mapped. Raises RuntimeError for one with another checksum than is given."""
    from safetensors import safe_open

    for path in files(folder):
        with safe_open(path, framework="pt") as f:
            for name in f.keys():  # noqa: SIM118 (no mapping)
                tensor = f.get_tensor(name)
                if checksums and published.of_tensor(tensor) != checksums.get(name):
                    raise RuntimeError(f"{path}: tensor {name} has other bytes than were published")
                yield name, tensor
