"""Jobs on several processes of this machine, results in the order of the jobs.

A worker is `python -m prstack.world.workers`: it reads pickled messages from its standard input, one at a time, and answers each on
its standard output. (`multiprocessing` would import the caller's main module in every worker; a script that builds a world
without a guard around it would then build it again.) A worker ends with its input, so none outlives the process that
started it. With one process, jobs are done by the caller itself.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from prstack.errors import UserError

T = TypeVar("T")


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """Up to `processes` processes; each starts with its first job. A context manager, at whose end they end, at once if it failed."""

    def __init__(self, processes: int):
        self.processes = processes
        self._threads = ThreadPoolExecutor(processes)  # each waits for one worker
        self._idle: queue.SimpleQueue[_Worker | None] = queue.SimpleQueue()
        self._started: list[_Worker] = []
        for _ in range(processes):
            self._idle.put(None)

    def map(self, function: Callable[[Any, Any], T], shared: Any, jobs: Iterable[Any]) -> Iterator[T]:
        """`function(shared, job)` of each job, in the order of the jobs. `shared` is sent to each worker once, so that what the
        function keeps in it stays between jobs. Raises what a function raised; UserError for a worker that was killed."""
        if self.processes == 1:
            yield from (function(shared, job) for job in jobs)
            return
        packed = pickle.dumps((function, shared), protocol=5)
        results = deque(self._threads.submit(self._run, packed, job) for job in jobs)
        while results:
            yield results.popleft().result()

    def _run(self, packed: bytes, job: Any) -> Any:
        worker = self._idle.get()
        try:
            if worker is None:
                worker = _Worker()
                self._started.append(worker)
            return worker.run(packed, job)
        finally:
            self._idle.put(worker)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exc: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._started:
            worker.end(now=exc[0] is not None)
        self._threads.shutdown()


class _Worker:
    def __init__(self):
        paths = os.pathsep.join(p for p in sys.path if p)
        env = os.environ | {"PYTHONPATH": paths}
        # A session of its own: Ctrl-C reaches the caller alone, which ends its workers.
        self.process = subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, start_new_session=True)
        self._has: bytes | None = None

    def run(self, packed: bytes, job: Any) -> Any:
        try:
            pickle.dump((None if packed is self._has else packed, job), self.process.stdin, protocol=5)
            self.process.stdin.flush()
            self._has = packed
            ok, answer = pickle.load(self.process.stdout)
        except (EOFError, BrokenPipeError) as e:
            code = self.process.wait()
            if code < 0:
                raise UserError(f"a process that makes the world was killed by signal {-code}; is there enough memory?") from e
            raise RuntimeError(f"a process that makes the world ended with code {code}") from e
        if not ok:
            raise answer
        return answer

    def end(self, now: bool) -> None:
        if now:
            self.process.kill()
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def main() -> None:
    """The loop of a worker."""
    source, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a job prints is no answer
    function = shared = None
    while True:
        try:
            packed, job = pickle.load(source)
        except EOFError:
            return
        try:
            if packed is not None:
                function, shared = pickle.loads(packed)
            answer = (True, function(shared, job))
        except Exception as e:
            answer = (False, _portable(e))
        pickle.dump(answer, answers, protocol=5)
        answers.flush()


def _portable(e: Exception) -> Exception:
    """The exception itself where it survives pickling, otherwise its text."""
    try:
        return pickle.loads(pickle.dumps(e))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(e)))


if __name__ == "__main__":
    main()
