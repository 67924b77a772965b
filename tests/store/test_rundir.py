"""Run directories: one writer, `latest`, and stages that are skipped, resumed or refused."""

import json
import subprocess
import sys

import pytest

from prstack.errors import UserError
from prstack.store.rundir import Manifest, RunDir, Stage, git_revision
from prstack.types import SCHEMA_VERSION

KEY = {"seed": 0}


def opened(tmp_path, run_dir=None, command="run", key=KEY, name="n"):
    return RunDir.open(run_dir, str(tmp_path / "runs"), name, command, key)


def test_a_new_run_has_a_folder_of_its_own_and_latest_points_to_it(tmp_path):
    run, resumed = opened(tmp_path)
    assert not resumed and run.path.parent == (tmp_path / "runs").resolve() and run.path.name.endswith("-n")
    assert RunDir.latest(str(tmp_path / "runs")) == run.path
    info = json.loads((run.path / "run.json").read_text())
    assert (info["command"], info["finished"]) == ("run", False)
    run.finish()
    run.close()
    second, resumed = opened(tmp_path)
    assert not resumed and second.path != run.path and RunDir.latest(str(tmp_path / "runs")) == second.path
    second.close()


def test_runs_of_the_same_second_do_not_meet(tmp_path):
    paths = set()
    for _ in range(4):
        run, _ = opened(tmp_path)
        run.finish()
        run.close()
        paths.add(run.path)
    assert len(paths) == 4


def test_an_unfinished_run_of_the_same_command_and_settings_is_taken_up(tmp_path):
    first, _ = opened(tmp_path)
    first.close()
    for other in ({"key": {"seed": 1}}, {"command": "synthesize"}):
        run, resumed = opened(tmp_path, **other)
        assert not resumed and run.path != first.path
        run.finish()
        run.close()
    (tmp_path / "runs" / "latest").unlink()
    (tmp_path / "runs" / "latest").symlink_to(first.path.name)
    again, resumed = opened(tmp_path)
    assert resumed and again.path == first.path
    again.close()


def test_a_run_that_is_being_written_is_left_alone(tmp_path):
    first, _ = opened(tmp_path)
    second, resumed = opened(tmp_path)
    assert not resumed and second.path != first.path
    with pytest.raises(UserError, match=r"another prstack process is writing there"):
        opened(tmp_path, run_dir=str(first.path))
    first.close()
    third, resumed = opened(tmp_path, run_dir=str(first.path))
    assert resumed and third.path == first.path
    second.close()
    third.close()


def test_the_lock_goes_with_its_process(tmp_path):
    code = f"import os, signal; from prstack.store.rundir import RunDir; r, _ = RunDir.open({str(tmp_path / 'x')!r}, {str(tmp_path / 'runs')!r}, 'n', 'run', {{}}); os.kill(os.getpid(), signal.SIGKILL)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -9
    run, resumed = opened(tmp_path, run_dir=str(tmp_path / "x"))
    assert resumed
    run.close()


def test_a_named_run_dir_may_lie_anywhere_and_latest_points_to_it(tmp_path):
    run, resumed = opened(tmp_path, run_dir=str(tmp_path / "deep" / "down" / "here"))
    assert not resumed and RunDir.latest(str(tmp_path / "runs")) == run.path
    run.close()


def test_latest_that_is_no_link_is_not_overwritten(tmp_path):
    (tmp_path / "runs" / "latest").mkdir(parents=True)
    with pytest.raises(UserError, match=r"is not a link"):
        opened(tmp_path)


def test_latest_that_points_nowhere_is_replaced(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "latest").symlink_to("gone")
    assert RunDir.latest(str(tmp_path / "runs")) is None
    run, _ = opened(tmp_path)
    assert RunDir.latest(str(tmp_path / "runs")) == run.path
    run.close()


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_a_broken_run_json_is_an_error_that_names_it(tmp_path, content):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "run.json").write_text(content)
    with pytest.raises(UserError, match=r"run.json"):
        opened(tmp_path, run_dir=str(tmp_path / "x"))


def test_a_run_dir_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file"):
        opened(tmp_path, run_dir=str(tmp_path / "file"))


# --- stages ------------------------------------------------------------------------------------------------------
def test_a_stage_is_resumed_until_it_is_complete_and_then_skipped(tmp_path):
    inputs = {"seed": 1, "nested": {"a": [1, 2]}}
    first = Stage(tmp_path / "s", "s", inputs, {})
    assert not first.done and not first.resumed
    second = Stage(tmp_path / "s", "s", inputs, {})
    assert not second.done and second.resumed
    second.finish({"made": 3}, "abc", {"share": 0.5})
    third = Stage(tmp_path / "s", "s", inputs, {})
    assert third.done and not third.resumed
    m = Manifest.load(tmp_path / "s")
    assert (m.status, m.counts, m.content_hash, m.summary, m.schema_version) == (
        "complete",
        {"made": 3},
        "abc",
        {"share": 0.5},
        SCHEMA_VERSION,
    )
    third.reopen()
    assert Stage(tmp_path / "s", "s", inputs, {}).resumed


def test_other_inputs_are_refused_with_the_key_that_differs(tmp_path):
    Stage(tmp_path / "s", "s", {"world": {"seed": 1, "products": 5}}, {}).finish({}, "")
    with pytest.raises(UserError, match=r"world\.products was 5, is 6") as e:
        Stage(tmp_path / "s", "s", {"world": {"seed": 1, "products": 6}}, {})
    assert "run_dir=" in str(e.value)
    with pytest.raises(UserError, match=r"extra was None, is 1"):
        Stage(tmp_path / "s", "s", {"world": {"seed": 1, "products": 5}, "extra": 1}, {})


def test_what_json_cannot_tell_apart_is_the_same_input(tmp_path):
    Stage(tmp_path / "s", "s", {"range": (1, 2), "x": 1.0}, {}).finish({}, "")
    assert Stage(tmp_path / "s", "s", {"range": [1, 2], "x": 1.0}, {}).done


def test_another_schema_version_is_refused(tmp_path):
    Manifest("s", "complete", {}, {}, schema_version=SCHEMA_VERSION + 1).save(tmp_path / "s")
    with pytest.raises(UserError, match=r"schema version"):
        Stage(tmp_path / "s", "s", {}, {})


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"stage": "s"}', '{"unknown": 1}', "\ud800".encode("utf-8", "surrogatepass")]
)
def test_a_broken_manifest_is_named(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=r"manifest.json: not a manifest"):
        Manifest.load(tmp_path)


def test_seconds_add_up_over_sessions(tmp_path):
    first = Stage(tmp_path / "s", "s", {}, {})
    first._clock -= 10
    first.finish({}, "")
    second = Stage(tmp_path / "s", "s", {}, {})
    second.reopen()
    second._clock -= 5
    assert 15 <= second.finish({}, "").seconds < 20


def test_the_revision_is_a_commit_or_nothing():
    revision = git_revision()
    assert revision == "" or (len(revision.rstrip("+")) == 40 and int(revision.rstrip("+"), 16))
