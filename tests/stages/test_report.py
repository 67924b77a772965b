"""`prstack report`: the page of a run's folder, written anew each time."""

import pytest

from prstack.config import to_dict
from prstack.errors import UserError
from prstack.report.tracking import Tracker
from prstack.settings import Config, TrackingConfig
from prstack.stages.report import made, report, run
from prstack.store.parts import write_text
from prstack.store.rundir import Manifest, RunDir


def test_the_page_lies_in_the_run_and_is_written_anew(tmp_path, capsys):
    write_text('{"name": "mine"}', tmp_path / "run.json")
    page = report(Config(), tmp_path)
    assert page == tmp_path / "report.html" and "No stage was begun" in page.read_text()
    assert capsys.readouterr().out.strip() == f"Read the report: {page}"
    Manifest("world", "complete", {}, to_dict(Config().world), counts={"products": 7}).save(tmp_path / "world")
    assert report(Config(), tmp_path) == page and "7 products" in page.read_text()


def test_without_a_target_it_is_the_latest_run(tmp_path):
    runs = Config(runs=str(tmp_path / "runs"))
    with pytest.raises(UserError, match="there is no run"):
        report(runs)
    folder, _ = RunDir.open(None, runs.runs, "mine", "run", {})
    folder.close()
    assert report(runs) == folder.path / "report.html" == report(runs, folder.path.name)


def test_it_is_the_last_step_of_a_run(tmp_path):
    folder, _ = RunDir.open(str(tmp_path / "run"), str(tmp_path), "mine", "run", {})
    with Tracker(folder.path, TrackingConfig(wandb="disabled"), "mine", {}) as tracker:
        assert run(Config(), folder, tracker).exists()
    folder.close()


def test_a_folder_that_is_no_run_is_an_error(tmp_path):
    for place in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError, match="not the folder of a run"):
            report(Config(), place)
    write_text("{}", tmp_path / "run.json")
    Manifest("world", "complete", {}, {}).save(tmp_path / "world")
    (tmp_path / ".report.html.tmp").mkdir()
    with pytest.raises(UserError, match=r"report.html: cannot be written"):
        report(Config(), tmp_path)


def test_it_names_machine_and_versions():
    facts = made()
    assert "cores" in facts["on"] and facts["prstack"] and facts["Python"] and facts["ray"]
