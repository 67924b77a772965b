"""A run that is killed again and again: `python -m tests.trainers._kills BASE DATA FOLDER LOG KILLS`.

Everything is imported once; each run is a fork, which saves after every step and is killed at a random moment after its third. Prints the
step of the newest whole checkpoint after each kill.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from tests.trainers import _job
from trainers import checkpoint


def main(base: str, data: str, folder: str, log: str, kills: str) -> None:
    rng, lines = random.Random(0), 0
    for _ in range(int(kills)):
        pid = os.fork()
        if not pid:
            _job.main(base, data, folder, "100000", log, "1")
            os._exit(1)
        while _lines(log) < lines + 3:
            if os.waitpid(pid, os.WNOHANG) != (0, 0):
                raise SystemExit("the run ended by itself")
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.4))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        lines = _lines(log)
        found = checkpoint.latest(folder)
        print(checkpoint.progress(found)["step"] if found else 0, flush=True)


def _lines(log: str) -> int:
    return Path(log).read_text().count("\n") if Path(log).exists() else 0


if __name__ == "__main__":
    main(*sys.argv[1:])
