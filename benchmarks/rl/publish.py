"""One trainer, one engine: how long new weights take from one to the other, and what memory they need on their way."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from prstack.store.published import retire


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of one publish, and MiB above what was held before the first."""

    bytes: int
    write: float
    update: float
    read: float
    """Of `update`: the engine reads and checks the bytes."""
    pack: float
    """Of `update`: vLLM places them in layouts of its own."""
    memcpy: float
    trainer_mb: float
    """Memory of its own; so of the engine."""
    engine_mb: float
    engine_mapped_mb: float
    """Pages of the files that the engine has mapped: the page cache's, which takes them back when they are needed."""

    def over(self) -> float:
        return (self.write + self.update - self.pack) / self.memcpy


def measure(base: Path, folder: Path, bucket_mb: int, rounds: int) -> list[Round]:
    """Publishes the weights of a checkpoint `rounds` times, after two that do not count: from the third on there is an old version to write over."""
    return asyncio.run(_measure(base, folder, bucket_mb, rounds))


async def _measure(base: Path, folder: Path, bucket_mb: int, rounds: int) -> list[Round]:
    import trainers  # noqa: F401 - the import hook comes before anything that imports megatron
    from actors.engine import Sampling
    from actors.vllm_engine import VLLMEngine
    from trainers.launch import Local
    from trainers.worker import Setup

    this, found = psutil.Process(), []
    engine = VLLMEngine({"name": "vllm", "model": base.name, "dtype": "float32", "max_model_len": 512, "kv_cache_mb": 64}, base)
    try:
        core = max(this.children(recursive=True), key=lambda p: p.memory_info().rss)
        with Local() as group:
            group.setup(Setup(str(base)))
            before = None
            for n in range(rounds + 2):
                version, start = f"v{n}", time.perf_counter()
                with Growth(this, core) as more:
                    before = before or more.least
                    given = group.publish(folder / version, version, bucket_mb)
                    written = time.perf_counter()
                    await engine.update_weights(given.folder, given.version, given.checksum)
                    done = time.perf_counter()
                sample = await engine.generate([1, 2, 3], Sampling(max_tokens=4))
                assert sample.weight_version == version
                retire(folder, version)
                timed = [engine.update_seconds[name] for name in ("read", "pack")]
                (trainer_mb, _), (engine_mb, mapped_mb) = ((np.subtract(a, b).clip(0) / 2**20).tolist() for a, b in zip(more.most, before, strict=True))
                if n > 1:
                    found.append(Round(given.bytes, written - start, done - written, *timed, memcpy(given.bytes), trainer_mb, engine_mb, mapped_mb))
    finally:
        await engine.shutdown()
    return found


def memcpy(size: int) -> float:
    """Seconds in which one thread copies so many bytes to memory that was written before; the best of three."""
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


class Growth:
    """What processes hold while the context is open, as (bytes of their own, bytes of files that are mapped): `least` at its beginning, `most` of each
    at any moment."""

    def __init__(self, *processes: psutil.Process, every: float = 0.01):
        self._processes, self._every = processes, every
        self.least = self.most = [held(p) for p in processes]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._stop.wait(self._every):
            self.most = [tuple(map(max, a, held(p))) for a, p in zip(self.most, self._processes, strict=True)]

    def __enter__(self) -> Growth:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()


def held(process: psutil.Process) -> tuple[int, int]:
    """Resident bytes of a process of its own, and of files that it has mapped; what is shared memory is its own."""
    lines = (line.split() for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith("Rss"))
    found = {name.rstrip(":"): int(kib) * 1024 for name, kib, _ in lines}
    return found["RssAnon"] + found["RssShmem"], found["RssFile"]
