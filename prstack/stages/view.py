"""`prstack view [RUN]`: trajectories as a table and a page, or one of them in the terminal."""

from __future__ import annotations

from pathlib import Path

from prstack.errors import UserError
from prstack.report.tables import clean, funnel_table, make_console, shown_path
from prstack.report.terminal import trajectories_table, trajectory_view
from prstack.report.trajectories import collect, find
from prstack.report.viewer import write_page
from prstack.settings import Config
from prstack.store.rundir import RunDir

ROWS = 40
"""Rows of the terminal table; the page has them all."""


def view(config: Config, target: Path | None) -> int:
    """Shows the trajectories at `target`: a run, a folder of trajectories, or one file; by default the latest run."""
    place = RunDir.find(target, config.run_dir, config.runs)
    if place is None:
        raise UserError(
            f"there is no run under {config.runs}/ yet; make one with `prstack run`, or name a folder or file: prstack view PATH"
        )
    console = make_console()
    if config.view.id:
        found = find(place, config.view.id)
        t = found.trajectories[0]
        console.print(trajectory_view(t, found.glances[0], found.events.get(t.user_id, {})))
        if config.view.html:
            console.print(f"Page: {shown_path(write_page(found, config.view.html))}", markup=False, soft_wrap=True)
        return 0
    found = collect(place, config.view.limit)
    page = write_page(
        found, config.view.html or (found.run or (found.place if found.place.is_dir() else found.place.parent)) / "view.html"
    )
    console.print(trajectories_table(found, ROWS))
    if found.funnel:
        console.print(funnel_table(found.funnel))
    notes = (
        [f"{len(found.trajectories):,} of {found.total:,} trajectories on the page (view.limit)"]
        if found.total > len(found.trajectories)
        else []
    )
    notes += (
        [f"{len(found.trajectories) - ROWS:,} more of them on the page than in this table"]
        if len(found.trajectories) > ROWS
        else []
    )
    notes += [f"{len(found.bad):,} records could not be read; the first: {found.bad[0]}"] if found.bad else []
    notes += [f"Page: {shown_path(page)}", f"One of them: prstack view {shown_path(place)} id={found.trajectories[0].id[:8]}"]
    for note in notes:
        console.print(clean(note), soft_wrap=True)
    return 0
