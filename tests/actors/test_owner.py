import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

SCRIPT = """
import multiprocessing, time
from actors.owner import Owner

def hold(*owner):
    time.sleep(60)

if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    children = [spawn.Process(target=hold, args=args) for args in [(Owner(),), ()]]
    for child in children:
        child.start()
    print(*(c.pid for c in children), flush=True)
    time.sleep(60)
"""


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_process_that_was_sent_an_owner_ends_with_it(tmp_path):
    (tmp_path / "owner_script.py").write_text(SCRIPT)
    root = Path(__file__).resolve().parents[2]
    command, env = [sys.executable, str(tmp_path / "owner_script.py")], os.environ | {"PYTHONPATH": str(root)}
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    tied, free = (psutil.Process(int(pid)) for pid in parent.stdout.readline().split())
    try:
        time.sleep(1.0)
        assert alive(tied) and alive(free)
        assert os.getpgid(tied.pid) == tied.pid and os.getpgid(free.pid) == os.getpgid(parent.pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        deadline = time.monotonic() + 20
        while alive(tied) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not alive(tied)
        assert alive(free)  # what happens without
    finally:
        for process in (tied, free):
            if alive(process):
                process.kill()
        parent.kill()
        parent.wait()
