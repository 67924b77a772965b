"""A run in a store: what a kill at any moment of a push leaves, what is pulled, and whose state is newer."""

import contextlib
import os
import shutil
import threading
import time

import pytest
from pyarrow import fs

from prstack.errors import UserError
from prstack.store.remote.index import HIDDEN, Index
from prstack.store.remote.objects import Moving, Objects
from prstack.store.remote.staging import Staging, Superseded
from tests.store.stores import (
    AFTER,
    BEFORE,
    STORES,
    Killed,
    Store,
    become,
    everywhere,
    files,
    machine,
    tree,
    write,
)


@pytest.mark.parametrize("kind", STORES)
def test_what_one_machine_pushes_another_pulls_and_goes_on_with(kind, wired, tmp_path):
    url, store = STORES[kind](tmp_path)
    wired(store)
    a = machine(tmp_path / "a", url, BEFORE)
    assert a.push()[0] == len(BEFORE) - 1
    b = machine(tmp_path / "b", url)
    assert tree(tmp_path / "b") == BEFORE
    become(tmp_path / "b", AFTER)
    assert b.push()[0] == sum(BEFORE.get(n) != text for n, text in AFTER.items()) - 1 and b.push() == (0, 0)
    with pytest.raises(Superseded, match="another process has gone on"):
        a.push()
    machine(tmp_path / "a", url)
    assert tree(tmp_path / "a") == AFTER
    assert {n for n in Objects(url).list() if not n.startswith(".")} == {n for n in AFTER if not n.endswith("/")}
    assert [n for n in Objects(url).list(HIDDEN) if "index-" not in n] == []


def test_only_what_differs_is_moved(wired, tmp_path):
    url, store = f"file://{tmp_path}/store/a", wired(Store(fs.LocalFileSystem()))
    a = machine(tmp_path / "a", url, BEFORE)
    a.push()
    machine(tmp_path / "b", url)
    write(tmp_path / "a", {"new": "x"})
    a = machine(tmp_path / "a", url)  # b went on, so a takes what the store holds, which a has already
    assert not (tmp_path / "a" / "new").exists()
    store.reads.clear()
    machine(tmp_path / "b", url)
    assert not [r for r in store.reads if HIDDEN not in r] and tree(tmp_path / "b") == BEFORE
    write(tmp_path / "b", {"metrics.jsonl": "1\n2\n3\n"})
    assert Staging(url, tmp_path / "b").push() == (1, 6)


@pytest.mark.parametrize(("torn", "copies"), [(False, True), (True, False)])
def test_a_kill_at_any_moment_of_a_push_leaves_one_of_two_states(torn, copies, wired, tmp_path, monkeypatch):
    """For every change k that a push makes: it is killed there, then another machine takes the run up, is killed at one of its own changes as
    well, and a third goes on to the end; so does the first one on its own folder."""
    everywhere(monkeypatch, AT_ONCE=1)
    url, origin = f"file://{tmp_path}/store/a", tmp_path / "origin"
    wired(None)
    machine(tmp_path / "a", url, BEFORE).push()
    become(tmp_path / "a", AFTER)
    shutil.copytree(tmp_path / "a", origin / "a")
    shutil.copytree(tmp_path / "store", origin / "store")

    def reset():
        for name in ("a", "b", "c", "store"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
        for name in ("a", "store"):
            shutil.copytree(origin / name, tmp_path / name)

    seen, k = [], 0
    while True:
        reset()
        cut = wired(Store(fs.LocalFileSystem(), copies, cut=k, torn=torn))
        try:
            Staging(url, tmp_path / "a").push()
            assert cut.changes == k, "it was to be killed"
            break
        except Killed:
            pass
        shutil.copytree(tmp_path / "store", tmp_path / "cut" / str(k) / "store")
        wired(Store(fs.LocalFileSystem(), copies, cut=k % 7, torn=torn))
        with contextlib.suppress(Killed):
            machine(tmp_path / "b", url)
        wired(None)
        c = machine(tmp_path / "c", url)
        seen.append(tree(tmp_path / "c"))
        assert seen[-1] in (BEFORE, AFTER), f"killed at change {k}"
        assert files(tmp_path / "store" / "a") == {n: t for n, t in seen[-1].items() if not n.endswith("/")}, f"killed at change {k}: what a reader without the index sees"
        become(tmp_path / "c", AFTER)
        c.push()
        assert files(tmp_path / "store" / "a") == files(tmp_path / "c")

        reset()
        shutil.rmtree(tmp_path / "store")
        shutil.copytree(tmp_path / "cut" / str(k) / "store", tmp_path / "store")
        again = machine(tmp_path / "a", url)
        assert tree(tmp_path / "a") == AFTER, "what was not stored yet is still here"
        again.push()
        assert files(tmp_path / "store" / "a") == files(tmp_path / "a")
        k += 1
    assert k > 25 and BEFORE in seen and AFTER in seen and seen == sorted(seen, key=lambda s: s == AFTER), "one moment divides the two"


def test_the_first_push_of_all_killed_at_any_moment(wired, tmp_path):
    url = f"file://{tmp_path}/store/a"
    for k in range(100):
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        a, b = tmp_path / f"a{k}", tmp_path / f"b{k}"
        wired(Store(fs.LocalFileSystem(), cut=k, torn=True))
        try:
            machine(a, url, BEFORE).push()
            break
        except Killed:
            pass
        wired(None)
        machine(b, url, claim=False)
        assert tree(b) in ({}, BEFORE)
    assert k > 12


def test_a_reader_sees_a_run_while_it_is_pushed(tmp_path):
    """A writer that keeps the order of a stage (data, then the file that names them; older data go last) while it is pushed and pulled."""
    url, a, over = f"file://{tmp_path}/store/a", tmp_path / "a", threading.Event()
    staging = machine(a, url, {"run.json": "{}"})

    def work():
        for n in range(10**6):
            if over.is_set():
                return
            for part in range(5):
                tmp = write(a, {f"s/step-{n}/.tmp": f"{n} {part} " * 200}) / f"s/step-{n}/.tmp"
                tmp.rename(tmp.with_name(f"part-{part}"))
            write(a, {"s/.latest": str(n)})
            os.replace(a / "s/.latest", a / "s/latest")
            with open(a / "s/steps.jsonl", "a") as file:
                file.write(f"{n}\n")
            if n >= 2:
                shutil.rmtree(a / f"s/step-{n - 2}")
            time.sleep(0.02)

    writer = threading.Thread(target=work)
    writer.start()
    pushed, seen = 0, []
    try:
        deadline = time.monotonic() + 20
        while (len(seen) < 12 or len(set(seen)) < 6) and time.monotonic() < deadline:
            try:
                pushed += staging.push()[0] > 0
            except Moving:
                continue
            b = tmp_path / f"b{len(seen)}"
            machine(b, url, claim=False)
            latest = b / "s" / "latest"
            if latest.exists():
                n = latest.read_text()
                seen.append(int(n))
                assert [(b / f"s/step-{n}/part-{p}").read_text() for p in range(5)] == [f"{n} {p} " * 200 for p in range(5)]
                lines = (b / "s/steps.jsonl").read_text().split() if int(n) else ["0"]
                assert lines[: int(n)] == [str(i) for i in range(int(n))]
    finally:
        over.set()
        writer.join()
    assert len(set(seen)) > 5 and seen == sorted(seen)


def test_a_folder_that_changes_between_two_looks_is_looked_at_again(tmp_path, monkeypatch):
    url, scan, looks = f"file://{tmp_path}/store/a", Staging._scan, []
    a = machine(tmp_path / "a", url, {"run.json": "{}", "latest": "part-1", "part-1": "x"})
    a.push()
    write(tmp_path / "a", {"latest": "part-2", "part-2": "x"})

    def look(self):
        found = scan(self)
        looks.append(found)
        if len(looks) == 1:  # a moment later
            write(tmp_path / "a", {"part-3": "x", ".latest": "part-3"})
            os.replace(tmp_path / "a" / ".latest", tmp_path / "a" / "latest")
        return found

    monkeypatch.setattr(Staging, "_scan", look)
    a.push()
    stored = files(tmp_path / "store" / "a")
    assert stored["latest"] == "part-3" and "part-3" in stored and len(looks) == 4


def test_hidden_files_links_and_published_weights_stay_here(tmp_path):
    url = f"file://{tmp_path}/store/a"
    a = machine(tmp_path / "a", url, {"run.json": "{}", ".world-building/x": "", "s/.part-000001.tmp": "", "rl/weights/update-1/w": "", "rl/model/w": ""})
    (tmp_path / "a" / "s" / "link").symlink_to("/etc/hostname")
    a.push()
    assert set(files(tmp_path / "store" / "a")) == {"run.json", "rl/model/w"}


def test_a_file_that_is_written_while_it_is_sent_is_not_stored_half(tmp_path, monkeypatch):
    url, file = f"file://{tmp_path}/store/a", tmp_path / "a" / "big"
    a = machine(tmp_path / "a", url, {"run.json": "{}", "big": "one" * 1000})
    upload = Objects.upload

    def slowly(self, link, size, name):
        if name == "big":
            file.write_text("two" * 1000)  # in place: the link shows it
        return upload(self, link, size, name)

    monkeypatch.setattr(Objects, "upload", slowly)
    with pytest.raises(Moving):
        a.push()
    machine(tmp_path / "b", url, claim=False)
    assert tree(tmp_path / "b") == {}
    monkeypatch.undo()
    assert a.push()[0] == 2 and (tmp_path / "store" / "a" / "big").read_text() == "two" * 1000


# --- whose is newer -------------------------------------------------------------------------------------------------
def test_what_a_kill_left_unstored_is_kept_unless_the_run_went_on_elsewhere(tmp_path, capsys):
    url = f"file://{tmp_path}/store/a"
    machine(tmp_path / "a", url, BEFORE).push()
    write(tmp_path / "a", {"synthesis/trajectories/part-000001.parquet": "mine"})
    machine(tmp_path / "a", url)
    assert (tmp_path / "a" / "synthesis/trajectories/part-000001.parquet").exists()
    machine(tmp_path / "b", url)
    machine(tmp_path / "a", url)
    assert tree(tmp_path / "a") == BEFORE and "1 files that only" in capsys.readouterr().out


def test_an_emptied_folder_is_filled_again_and_an_emptied_store_is_not_guessed_at(tmp_path):
    url = f"file://{tmp_path}/store/a"
    machine(tmp_path / "a", url, BEFORE).push()
    become(tmp_path / "a", {})
    machine(tmp_path / "a", url).push()
    assert tree(tmp_path / "a") == BEFORE and set(files(tmp_path / "store" / "a")) == {n for n in BEFORE if not n.endswith("/")}
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(UserError, match=r"is empty, while .*remove that folder"):
        machine(tmp_path / "a", url)
    assert tree(tmp_path / "a") == BEFORE


def test_a_run_that_was_copied_into_the_store_is_taken_up(tmp_path):
    url = f"file://{tmp_path}/store/a"
    write(tmp_path / "store" / "a", {n: t for n, t in BEFORE.items() if not n.endswith("/")} | {".lock": ""})
    b = machine(tmp_path / "b", url)
    assert files(tmp_path / "b") == {n: t for n, t in BEFORE.items() if not n.endswith("/")} and b.push() == (0, 0)


def test_a_store_whose_objects_are_not_what_the_index_says_is_refused(tmp_path, monkeypatch):
    url = f"file://{tmp_path}/store/a"
    everywhere(monkeypatch, SETTLE=0.01)
    machine(tmp_path / "a", url, BEFORE).push()
    (tmp_path / "store" / "a" / "sft" / "model" / "model.safetensors").write_text("model of 7")
    with pytest.raises(UserError, match=r"sft/model/model.safetensors: not what the index"):
        machine(tmp_path / "b", url)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", ".lock", "a//b", ""])
def test_an_index_cannot_lead_out_of_the_run(name, tmp_path):
    url = f"file://{tmp_path}/store/a"
    index = Index(3, "other", {name: [1, "0"]})
    Objects(url).put(index.name, index.data())
    with pytest.raises(UserError, match="which is no file of a run"):
        machine(tmp_path / "b", url)
