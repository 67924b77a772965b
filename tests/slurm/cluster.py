"""A real Slurm of two nodes on this machine: two slurmd, each in a network namespace of its own with its own address.

    root namespace        slurmctld, munged, sbatch         10.<n>.0.254   (a bridge)
    namespace <tag>n1     slurmd n1 and all that it starts  10.<n>.0.1     eth0
    namespace <tag>n2     slurmd n2 …                       10.<n>.0.2     eth0

A node has one CPU and two GPUs that are no GPUs: device files like /dev/null. `power_off` kills every process of a node's namespace, as a
power cut does. Needs root, Debian's slurmctld, slurmd, slurm-client and munge, and a kernel with network namespaces.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

NEEDED = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "scontrol", "squeue", "ip", "nsenter")
NODES = ("n1", "n2")

CONF = """
ClusterName=prstack
SlurmctldHost={host}({ctl})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
MpiDefault=none
GresTypes=gpu
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=0,default_queue_depth=100
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
SwitchType=switch/none
ReturnToService=2
SlurmctldPort={port}
SlurmctldTimeout=10
SlurmdTimeout=10
MessageTimeout=5
KillWait=5
CompleteWait=0
UnkillableStepTimeout=60
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdSpoolDir={folder}/spool.%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdParameters=config_overrides
"""


def lacking() -> str:
    """Why there can be no such Slurm here; empty where there can."""
    if os.geteuid():
        return "a Slurm of its own needs root"
    if missing := [c for c in NEEDED if not shutil.which(c, path=os.environ["PATH"] + ":/usr/sbin:/sbin")]:
        return f"{', '.join(missing)} not installed (apt-get install slurmctld slurmd slurm-client munge iproute2)"
    if subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode:
        return "this kernel allows no network namespaces here"
    return ""


class Slurm:
    """Starts with `start`, ends with `stop`, which kills what still runs on the nodes."""

    def __init__(self, folder: Path):
        self.folder = folder
        number = os.getpid() % 200 + 20
        self.tag, self.net, self.port = f"ps{os.getpid()}", f"10.{number}.0", 26000 + number
        self.env = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
        self._daemons: list[subprocess.Popen] = []
        self._slurmd: dict[str, subprocess.Popen] = {}

    def start(self) -> None:
        f = self.folder
        f.mkdir(parents=True, exist_ok=True)
        f.chmod(0o755)
        (f / "state").mkdir()
        host = os.uname().nodename
        (f / "slurm.conf").write_text(
            CONF.format(host=host, ctl=f"{self.net}.254", folder=f, port=self.port)
            + "".join(
                f"NodeName={n} NodeHostname={host} NodeAddr={self.address(n)} Port=6818 CPUs=1 RealMemory=12000 Gres=gpu:2 State=UNKNOWN\n"
                for n in NODES
            )
            + f"PartitionName=debug Nodes={','.join(NODES)} Default=YES MaxTime=INFINITE State=UP\n"
        )
        for i in range(2):
            os.mknod(f / f"gpu{i}", 0o666 | 0o020000, os.makedev(1, 3))
        (f / "gres.conf").write_text(f"NodeName=n[1-2] Name=gpu File={f}/gpu[0-1]\n")
        self._network()
        key = f / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        self._daemon("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={f}/munge.socket", f"--pid-file={f}/munged.pid", f"--seed-file={f}/munged.seed")
        self.wait_until(lambda: (f / "munge.socket").exists(), "munged")
        self._daemon("slurmctld", "-D", "-c")
        for node in NODES:
            self.power_on(node)
        self.wait_until(lambda: self.command("sinfo", "-h", "-o", "%T %D").split() == ["idle", "2"], "two idle nodes")

    def address(self, node: str) -> str:
        return f"{self.net}.{NODES.index(node) + 1}"

    def power_on(self, node: str) -> None:
        """Starts a node's slurmd in its namespace."""
        inside = ["nsenter", f"--net=/run/netns/{self.tag}{node}"]
        self._slurmd[node] = self._daemon(*inside, "slurmd", "-D", "-N", node, "-f", str(self.folder / "slurm.conf"))

    def power_off(self, node: str) -> None:
        """Kills every process of a node at once."""
        for _ in range(20):
            pids = self.processes(node)
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not pids:
                break
            time.sleep(0.1)
        if node in self._slurmd:
            self._slurmd.pop(node).wait()

    def processes(self, node: str) -> list[int]:
        """Everything that runs on a node."""
        with suppress(FileNotFoundError):
            wanted = os.stat(f"/run/netns/{self.tag}{node}")
            return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._namespace(pid) == (wanted.st_dev, wanted.st_ino)]
        return []

    def command(self, *words: str) -> str:
        done = subprocess.run(words, capture_output=True, text=True, env=self.env, timeout=60)
        return done.stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """What `scontrol show job` says: JobState, Restarts, Reason, …"""
        words = self.command("scontrol", "-o", "show", "job", number).split()
        return dict(w.split("=", 1) for w in words if "=" in w)

    def wait_for(self, number: str, states: tuple[str, ...], seconds: float) -> dict[str, str]:
        """Waits until a job is in one of the states."""
        self.wait_until(lambda: self.job(number).get("JobState") in states, f"job {number} in {states}", seconds)
        return self.job(number)

    def stop(self) -> None:
        with suppress(Exception):
            self.command("scancel", "--user=root")
        for node in NODES:
            self.power_off(node)
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in self._daemons:
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for node in NODES:
            subprocess.run(["ip", "netns", "del", f"{self.tag}{node}"], env=self.env, capture_output=True)
        subprocess.run(["ip", "link", "del", f"{self.tag}b"], env=self.env, capture_output=True)

    def _network(self) -> None:
        bridge, ip = f"{self.tag}b", lambda *words: subprocess.run(["ip", *words], check=True, env=self.env, capture_output=True)
        ip("link", "add", bridge, "type", "bridge")
        ip("addr", "add", f"{self.net}.254/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        for node in NODES:
            space, outer = f"{self.tag}{node}", f"{self.tag}{node}"
            ip("netns", "add", space)
            ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", outer, "master", bridge, "up")
            ip("-n", space, "addr", "add", f"{self.address(node)}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "lo", "up")
            ip("-n", space, "link", "set", "eth0", "up")
            ip("-n", space, "route", "add", "default", "via", f"{self.net}.254")  # leads nowhere, but tells processes their own address

    def _daemon(self, *words: str) -> subprocess.Popen:
        log = open(self.folder / "daemons.log", "ab")  # noqa: SIM115 - handed to the process
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env, start_new_session=True)
        log.close()
        if words[0] != "nsenter":
            self._daemons.append(process)
        return process

    @staticmethod
    def _namespace(pid: int) -> tuple[int, int] | None:
        try:
            s = os.stat(f"/proc/{pid}/ns/net")
        except OSError:
            return None
        return s.st_dev, s.st_ino

    def wait_until(self, there, what: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not there():
            if time.monotonic() > deadline:
                log = (self.folder / "slurmctld.log").read_text(errors="replace")[-1500:] if (self.folder / "slurmctld.log").exists() else ""
                raise TimeoutError(f"no {what} within {seconds:g} s\n{self.command('squeue')}\n{log}")
            time.sleep(0.25)
