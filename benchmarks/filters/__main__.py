"""The filters of distillation against truth: recall and precision on planted faults, and on students' trajectories labelled by hand.

    python -m benchmarks.filters            80 episodes of a generated world; some 40 seconds
    python -m benchmarks.filters --quick    20 episodes

1. The scripted expert plays episodes without mistakes, which its supervisor approves: the clean trajectories.
2. Every kind of fault is planted into each of them (`course.py`, `words.py`, `reports.py`, `sets.py`), by code that shares nothing with the
   filters, the expert and the scorer. Recall: the share that the filter of that fault rejects, run alone. `unseen_first.py`: shapes written when
   the filters were done, for which they were changed then. `unseen.py`: shapes written after that by someone who did not know the filters.
3. Clean trajectories, and harmless edits of them (`harmless.py`), should pass. Precision: of what a filter rejects, planted or not, the
   share that was planted for it.
4. `students`: trajectories of a trained model that a reader labelled before any filter saw them; each filter alone against the labels.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections import Counter
from pathlib import Path

from actors.agent import derive_seed
from actors.expert import ExpertEngine
from actors.research import ResearchAgent
from actors.supervisor import Episode, SupervisorAgent
from actors.user import UserAgent
from benchmarks.common import Figure, finish, machine, table, versions
from benchmarks.filters.measure import (
    PLANTED,
    UNSEEN,
    UNSEEN_FIRST,
    Line,
    Total,
    alarms,
    contaminations,
    duplicates,
    planted,
    students,
    totals,
)
from benchmarks.supervision.engines import Roles
from prstack.settings import AgentsConfig, FilterConfig, WorldConfig
from prstack.types import Trajectory
from prstack.world.world import World, build

EPISODES, QUICK = 80, 20
FAULTLESS = {"vague_plan": 0.0, "malformed_call": 0.0, "duplicate_call": 0.0, "unsupported_claim": 0.0, "missed_constraint": 0.0}


def clean_trajectories(episodes: int, folder: Path, seed: int = 5, mistakes: dict[str, float] = FAULTLESS) -> list[Trajectory]:
    """Episodes of the expert, by default without mistakes, of as many users of a generated world; those that its supervisor approves."""
    build(WorldConfig(products=600, users=2 * episodes, seed=seed), folder)
    pool, limits = Roles(ExpertEngine(mistakes)), AgentsConfig()
    supervisor = SupervisorAgent(pool, UserAgent(pool, folder, limits), ResearchAgent(pool, folder, limits), limits, {}, "generated")
    histories = sorted(World.open(folder).histories(), key=lambda h: h.user_id)[:episodes]

    async def play() -> list[Trajectory]:
        return [await supervisor.run(Episode(f"clean-{n}", h, derive_seed(seed, n))) for n, h in enumerate(histories)]

    return [t for t in asyncio.run(play()) if t.termination == "approved"]


def show(title: str, found: list[Total]) -> None:
    rows = [(t.filter, t.planted, f"{t.recall:.3f}", t.kept, t.false_alarms, f"{t.precision:.3f}") for t in found]
    table(title, ("filter", "faulty", "recall", "sound", "of these rejected", "precision"), rows)


def show_kinds(title: str, lines: list[Line]) -> None:
    rows = [(x.filter, x.name, x.n, f"{x.caught / max(x.n, 1):.2f}", f"{x.anywhere / max(x.n, 1):.2f}") for x in lines]
    table(title, ("filter", "fault", "n", "rejected", "by any"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} episodes")
    quick, described, config = parser.parse_args().quick, machine(), FilterConfig()
    with tempfile.TemporaryDirectory() as folder:
        clean = clean_trajectories(QUICK if quick else EPISODES, Path(folder) / "world")
    lines, first, new, false = planted(PLANTED, clean, config), planted(UNSEEN_FIRST, clean, config), planted(UNSEEN, clean, config), alarms(clean, config)
    sound = Counter({name: len(false[""]) for name in false})
    (twins, alike), (shared, touched) = duplicates(clean, config), contaminations(clean, config)
    sound.update({"near_duplicates": len(clean)})
    sound["contamination"] = len(clean) // 2
    wrong = {name: len(found) for name, found in false.items()} | {"near_duplicates": alike, "contamination": touched}
    lines += [*shared, *twins]

    show_kinds(f"Planted into {len(clean)} clean trajectories: share that the filter rejects, alone, and that any filter rejects", lines)
    show_kinds("The same for the first shapes that the filters were not made with, for which they were changed", first)
    show_kinds("The same for shapes that the filters were not made with", new)
    for name, found in false.items():
        for said, n in Counter(f.partition(":")[0] for f in found).most_common() if name else ():
            print(f"false alarms of {name}: {n} of {said!r}")
    made, (labelled, apart) = totals(lines, wrong, sound), students(config)
    show("By filter, planted", made)
    unseen = totals(new, wrong, sound)
    show("By filter, shapes that it was not made with", unseen)
    show("By filter, students' trajectories labelled by hand", labelled)
    figures = {
        "clean": Figure(len(clean)),
        "kinds": Figure(len(lines)),
        "recall": Figure(sum(t.recall for t in made) / len(made), 0.9, at_least=True),
        "recall_least": Figure(min(t.recall for t in made)),
        "recall_unseen": Figure(sum(t.caught for t in unseen) / sum(t.planted for t in unseen)),
        "caught_by_any_unseen": Figure(sum(x.anywhere for x in new) / sum(x.n for x in new)),
        "recall_unseen_first": Figure(sum(x.caught for x in first) / sum(x.n for x in first)),
        "precision_least": Figure(min(t.precision for t in made), 0.95, at_least=True),
        "caught_by_any": Figure(sum(x.anywhere for x in lines) / sum(x.n for x in lines), 0.9, at_least=True),
        "student_recall": Figure(_mean([t.recall for t in labelled])),
        "student_precision": Figure(_mean([t.precision for t in labelled])),
    }
    details = {
        "kinds": [[x.filter, x.name, x.n, x.caught, x.anywhere] for x in lines],
        "unseen_first": [[x.filter, x.name, x.n, x.caught, x.anywhere] for x in first],
        "unseen": [[x.filter, x.name, x.n, x.caught, x.anywhere] for x in new],
        "planted": [[t.filter, t.planted, t.caught, t.kept, t.false_alarms] for t in made],
        "students": [[t.filter, t.planted, t.caught, t.kept, t.false_alarms] for t in labelled],
        "disagreements": apart,
    }
    finish("filters", figures, quick, described, versions("prstack", "rensa"), details=details)


def _mean(values: list[float]) -> float:
    known = [v for v in values if v == v]
    return sum(known) / len(known)


if __name__ == "__main__":
    main()
