"""What filters and internalisation are worth to a student: four training sets of one synthesis, trained and evaluated alike.

    python -m benchmarks.ablation             about an hour of 2 cores
    python -m benchmarks.ablation --quick     one training of an arm, a few steps: does it run
    python -m benchmarks.ablation --only data the training sets alone, and one conversation as each arm has it (examples.md)
    python -m benchmarks.ablation ray.address=auto   with settings of prstack, for all arms

Everything lies in `--folder`; the same command takes up there what was cut off, down to the optimizer step and the conversation. Arms are
trained seed by seed, and the tables are printed after each, and written to tables.md, so that what is there can be read before all is.

Equal are the tokens with a loss (what the assistant writes) that a training sees, to within a step; a training of an arm in which more is
read than written has more steps. Whatever is not named in `arms.py` is `preset=laptop`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.ablation.arms import ARMS, COMMON, Made, examples, synthesis, training_set
from benchmarks.ablation.measure import COMPARED, document, read
from benchmarks.common import Clock, Figure, finish, machine, versions
from benchmarks.students import CONTROLS, Table, interval, number, show, stage
from prstack import config
from prstack.evaluation.bootstrap import Interval
from prstack.stages import evaluate, sft
from prstack.stages.cluster import one_session
from prstack.store.parts import write_text

EPISODES, TARGETS, SEEDS, QUERIES = 160, 160_000, 3, 64
QUICK = {"episodes": 12, "targets": 4_000, "seeds": 1, "queries": 4}
QUICK_WORLD = ["world.products=240", "world.users=40"]
AGAINST = "full"


def train(arm: str, seed: int, made: Made, folder: Path, targets: int, extra: Sequence[str]) -> tuple[Path, dict]:
    settings = config.load([*COMMON, f"trainer.seed={seed}", *extra])
    settings.trainer.input = str(made.packs)
    settings.trainer.steps = made.steps(targets, settings.trainer.global_batch)
    place = folder / f"{arm}-{seed}"
    return place / "sft" / "model", stage(sft, settings, place).counts


def evaluated(models: dict[str, Path], folder: Path, queries: int, extra: Sequence[str]) -> dict:
    """Has the conversations that are missing; the comparison of what is there."""
    settings = config.load([*COMMON, f"evaluation.queries={queries}", *extra])
    settings.evaluation.subjects = [*CONTROLS, *(f"{name}={model}" for name, model in models.items())]
    settings.evaluation.compare = next(iter(models))
    stage(evaluate, settings, folder)
    return document(*read(folder / "evaluation" / "episodes.jsonl"), AGAINST)


def tables(found: dict, sets: dict[str, Made], trained: dict[str, list[dict]]) -> list[Table]:
    """What is there: the training sets, means, the scores of each training, differences."""
    rows = []
    for arm, made in sets.items():
        seen = (trained.get(arm) or [dict.fromkeys(("steps", "tokens", "learned_tokens"), 0)])[0]
        rows.append((arm, *(made.counts[k] for k in ("kept", "tokens", "learned_tokens")), *(seen[k] for k in ("steps", "tokens", "learned_tokens"))))
    names = ("score", "e_prod", "precision_at_k", "finished", "call_validity", "grounding", "calls", "tokens")
    means = {**found["means"], **found["controls"]}
    return [
        ("Training sets, and what one training saw", ("arm", "conversations", "tokens", "with a loss", "steps", "tokens seen", "with a loss"), rows),
        ("Means over queries and trainings", ("arm", "trainings", *names), [(arm, len(trained.get(arm, ())), *(number(m[k]) for k in names)) for arm, m in means.items()]),
        ("Score of each training", ("arm", "score"), [(arm, ", ".join(number(v) for v in of["score"])) for arm, of in found["trainings"].items()]),
        (
            f"{AGAINST} less the others (95 %, over queries and trainings)",
            ("arm", *COMPARED),
            [(arm, *(_interval(of[m]) for m in COMPARED)) for arm, of in found["differences"].items()],
        ),
    ]


def _interval(i: dict | None) -> str:
    return interval(i and Interval(*(i[k] for k in ("mean_difference", "low", "high", "n"))), i and i["of"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=["data"])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--episodes", type=int, default=EPISODES, help="of each half of the synthesis")
    parser.add_argument("--targets", type=int, default=TARGETS, help="tokens with a loss that a training sees")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings of prstack, for all arms")
    given = parser.parse_args()
    if given.quick:
        vars(given).update(QUICK)
    folder = (given.folder or Path("runs") / f"ablation{'-quick' if given.quick else ''}").resolve()
    extra = [*(QUICK_WORLD if given.quick else ()), *given.settings]
    described, clock = machine(), Clock()
    with one_session():
        trajectories = synthesis(folder, given.episodes, extra)
        sets = {arm: training_set(arm, folder, trajectories, extra) for arm in ARMS}
    write_text(examples(folder), folder / "examples.md")
    print(f"ablation: one conversation as each arm has it: {folder / 'examples.md'}", flush=True)
    if given.only:
        return show(tables({"means": {}, "controls": {}, "trainings": {}, "differences": {}}, sets, {})[:1], folder / "tables.md")
    models: dict[str, Path] = {}
    trained: dict[str, list[dict]] = {arm: [] for arm in ARMS}
    for seed in range(given.seeds):
        for arm in ARMS:
            with one_session():
                models[f"{arm}-{seed}"], counts = train(arm, seed, sets[arm], folder, given.targets, extra)
                trained[arm].append(counts)
                found = evaluated(models, folder, given.queries, extra)
            show(tables(found, sets, trained), folder / "tables.md")
    figures = {f"score_{arm}": Figure(m["score"]) for arm, m in found["means"].items()}
    figures |= {f"score_full_less_{arm}": Figure(of["score"]["mean_difference"]) for arm, of in found["differences"].items()}
    notes = [
        f"{given.queries} held-out queries, one greedy conversation each; {given.seeds} trainings an arm of {given.targets:,} tokens with a loss; this session {clock.seconds:.0f} s"
    ]
    details = found | {"sets": {arm: made.counts for arm, made in sets.items()}, "trained": trained}
    finish("ablation", figures, given.quick, described, versions("prstack", "ray", "torch"), notes, details)


if __name__ == "__main__":
    main()
