"""One tracker for every stage: metrics to `<run>/metrics.jsonl` always, to Weights & Biases when it is on, to Ray while a session is up.

A line of metrics.jsonl is `{"stage", "step", "time", <metric>: value, …}`. The stage is what stands before the first `/`
of the metric names; steps count per stage and go on where the file ends, so that a run that is taken up again
continues its curves. Numbers that JSON does not have are written as "nan", "inf" and "-inf".

W&B gets the same names and values, with `<stage>/step` as the horizontal axis of each stage. Its files lie under
`<run>/wandb`. What goes wrong there is one warning and the end of W&B for this process, never the end of the run.

Ray gets the numbers among them as gauges (`Gauges`), which `docs/metrics.md` lists: from there Prometheus and Ray's dashboard take them.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import re
import sys
import time
import uuid
import warnings
from pathlib import Path
from typing import Any, ClassVar

from prstack.secrets import without_secrets
from prstack.settings import TrackingConfig

PREFIX = "prstack_"
"""Of every gauge; Ray puts `ray_` before it."""
LABELLED = (
    (re.compile(r"synthesis/failures/(?P<reason>.+)"), "synthesis/failures"),
    (re.compile(r"rl/outcome/(?P<outcome>.+)"), "rl/outcome"),
    (re.compile(r"rl/reward/(?P<term>.+)"), "rl/reward_term"),
    (re.compile(r"evaluation/(?P<subject>.+)/(?P<metric>[^/]+)"), r"evaluation/\g<metric>"),
)
"""Metrics of which there are as many as there are reasons, terms, …: one gauge, in which a label tells them apart (every group but `metric`)."""


class Tracker:
    """Metrics of one run. `config_dict` is shown in W&B without its secrets (`without_secrets`)."""

    def __init__(self, run_path: str | Path, config: TrackingConfig, run_name: str, config_dict: dict[str, Any]):
        self.path = Path(run_path) / "metrics.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._steps = _last_steps(self.path)
        self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 - closed in close()
        if self.path.stat().st_size and not self.path.read_bytes().endswith(b"\n"):
            self._file.write("\n")  # a line that a kill cut off stays alone
        self._wandb: Any = None
        self._axes: set[str] = set()
        self._gauges = Gauges(run_name)
        if config.wandb != "disabled":
            self._guard("could not start", lambda: self._start(config, run_name, config_dict))

    def log(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Appends one line of metrics. Without `step`, the stage's next one."""
        stage = next((key.split("/", 1)[0] for key in metrics if "/" in key), "")
        step = self._steps.get(stage, -1) + 1 if step is None else step
        self._steps[stage] = step
        row = {"stage": stage, "step": step, "time": round(time.time(), 3), **{k: _plain(v) for k, v in metrics.items()}}
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._file.flush()
        self._gauges.set(metrics)
        if self._wandb:
            self._guard("could not log", lambda: self._log_wandb(stage, step, metrics))

    def summary(self, values: dict[str, Any]) -> None:
        """Final values of the run: a line without a step, and the W&B summary."""
        row = {"stage": "summary", "step": None, "time": round(time.time(), 3), **{k: _plain(v) for k, v in values.items()}}
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._file.flush()
        if self._wandb:
            self._guard("could not write the summary", lambda: self._wandb.summary.update(_without_none(values)))

    def close(self) -> None:
        """Ends the W&B run and closes the file; a second call does nothing."""
        if self._wandb:
            self._guard("could not finish", lambda: self._wandb.finish())
            self._wandb = None
        self._file.close()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _start(self, config: TrackingConfig, run_name: str, config_dict: dict[str, Any]) -> None:
        import wandb

        if config.wandb == "online" and not wandb.Api().api_key:
            raise RuntimeError("no W&B API key; run `wandb login`, or set WANDB_API_KEY, or tracking.wandb=offline")
        run_dir = self.path.parent.resolve()
        self._wandb = wandb.init(
            id=_run_id(run_dir / "wandb" / "run_id"),
            resume="allow" if config.wandb == "online" else None,
            project=config.project,
            entity=config.entity,
            name=run_name,
            dir=str(run_dir),
            mode=config.wandb,
            config=without_secrets(config_dict),
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=30,
                disable_git=True,
                disable_code=True,
                save_code=False,
                x_disable_meta=True,
                x_save_requirements=False,
            ),
        )

    def _log_wandb(self, stage: str, step: int, metrics: dict[str, Any]) -> None:
        axis = f"{stage}/step" if stage else "step"
        if axis not in self._axes:
            self._axes.add(axis)
            self._wandb.define_metric(axis, hidden=True)
            self._wandb.define_metric(f"{stage}/*" if stage else "*", step_metric=axis)
        self._wandb.log({**_without_none(metrics), axis: step})

    def _guard(self, what: str, act: Any) -> None:
        """Runs one W&B call; if it fails, W&B is over for this process."""
        try:
            act()
        except Exception as e:
            run, self._wandb = self._wandb, None
            first = (str(e).splitlines() or [""])[0]
            warnings.warn(f"W&B {what} ({type(e).__name__}: {first}); metrics go on in {self.path}", RuntimeWarning, stacklevel=3)
            if run is not None:
                with contextlib.suppress(Exception):
                    run.finish(exit_code=1)


class Gauges:
    """Metrics as gauges of Ray, each with the label `run`, while this process is in a Ray session: `rl/mismatch/mean` is
    `ray_prstack_rl_mismatch_mean`. What is set before a session is kept for it. Values that are no finite numbers are left out; a gauge shows
    its last value until the process ends. What goes wrong with Ray is one warning and the end of the gauges, never the end of the run.
    """

    told_at: ClassVar[float] = -math.inf
    """When any gauge of this process was set last, by `time.monotonic`."""

    def __init__(self, run: str):
        self._run = ascii_label(run)
        self._made: dict[str, Any] = {}
        self._waiting: dict[str, float] = {}
        self._broken = False

    def set(self, metrics: dict[str, Any]) -> None:
        """Sets the gauges of these metrics, `<stage>/<name>` → value; costs some 5 µs each, and nothing leaves the process here."""
        self._waiting |= {name: number for name, value in metrics.items() if (number := _number(value)) is not None}
        ray = sys.modules.get("ray")
        if self._broken or ray is None or not ray.is_initialized():
            return
        try:
            for name, value in self._waiting.items():
                self._set(name, value)
            Gauges.told_at = time.monotonic()
        except Exception as e:
            self._broken = True
            warnings.warn(f"Ray's metrics: {name}: {type(e).__name__}: {e}; metrics go on in metrics.jsonl", RuntimeWarning, stacklevel=3)
        self._waiting = {}

    def _set(self, name: str, value: float) -> None:
        metric, labels = gauge_of(name)
        if metric not in self._made:
            about = "described in docs/metrics.md"
            self._made[metric] = importlib.import_module("ray.util.metrics").Gauge(metric, about, tag_keys=("run", *labels))
        self._made[metric].set(value, tags={"run": self._run} | labels)


def gauge_of(name: str) -> tuple[str, dict[str, str]]:
    """The gauge of a metric, without Ray's `ray_`, and its labels. Whatever Prometheus does not allow in a name becomes `_`."""
    labels: dict[str, str] = {}
    for pattern, family in LABELLED:
        if found := pattern.fullmatch(name):
            labels = {label: ascii_label(value) for label, value in found.groupdict().items() if label != "metric"}
            name = found.expand(family)
            break
    return PREFIX + re.sub(r"[^a-zA-Z0-9_]", "_", name), labels


def ascii_label(value: str) -> str:
    """A label as Ray takes it, in ASCII: other characters are written as escapes, so that two labels never become one."""
    return value.encode("ascii", "backslashreplace").decode()


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, less one that a kill cut off."""
    rows = []
    for line in Path(path).read_bytes().split(b"\n"):
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    return [r for r in rows if isinstance(r, dict)]


def _run_id(path: Path) -> str:
    """The W&B id of a run, kept in a file, so that a run that is taken up again is one W&B run."""
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(uuid.uuid4().hex[:12])
    return path.read_text()


def _last_steps(path: Path) -> dict[str, int]:
    rows = read_metrics(path) if path.exists() else []
    return {r["stage"]: r["step"] for r in rows if isinstance(r.get("step"), int) and isinstance(r.get("stage"), str)}


def _number(value: Any) -> float | None:
    if hasattr(value, "item"):  # NumPy and torch scalars
        value = value.item()
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):  # NumPy and torch scalars
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if v is not None}
