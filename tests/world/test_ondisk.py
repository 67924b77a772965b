import json
import random

import pytest

from prstack.store.records import Bad
from prstack.world import ondisk
from prstack.world.ondisk import Dictionary, Quarantine, Sorter


@pytest.mark.parametrize(("buffer", "most_runs"), [(64 << 20, 256), (4000, 256), (1, 256), (1, 3)])
def test_pairs_are_sorted_whatever_the_buffer_and_equal_keys_stay_in_order(tmp_path, monkeypatch, buffer, most_runs):
    monkeypatch.setattr(ondisk, "BUFFER", buffer)
    monkeypatch.setattr(ondisk, "_MOST_RUNS", most_runs)
    rng, sorter = random.Random(3), Sorter(tmp_path)
    pairs = [((rng.choice("abcé"), rng.randrange(5)), (n, "x" * rng.randrange(99), None)) for n in range(300)]
    for key, value in pairs:
        sorter.add(key, value)
    wanted = sorted(pairs, key=lambda p: p[0])
    assert list(sorter) == wanted and list(sorter) == wanted, "it can be read twice"
    assert list(tmp_path.iterdir()) == [], "its files have no names"
    assert len(sorter._runs) <= most_runs and bool(sorter._runs) == (buffer < 100_000)


def test_a_sorter_without_pairs_is_empty(tmp_path):
    assert list(Sorter(tmp_path)) == []


def test_a_dictionary_gives_back_equal_copies(tmp_path):
    found = Dictionary(tmp_path)
    first = {"a": [1, 2.5, None, "é\u2028"]}
    assert found.setdefault("one", first) is first
    again = found.setdefault("one", {"other": 1})
    assert again == first and again is not first
    found["two"] = "x" * 100_000
    found["one"] = [1]
    assert (found["one"], len(found["two"]), found.get("three"), "two" in found, list(found), len(found)) == ([1], 100_000, None, True, ["one", "two"], 2)
    del found["two"]
    assert "two" not in found and list(tmp_path.iterdir()) == []


def test_a_quarantine_takes_halves_of_surrogate_pairs(tmp_path):
    with Quarantine(tmp_path / "q.jsonl") as bad:
        assert not bad and bad.first is None
        bad.append(Bad("f", 1, "", "r", "x\ud83d\n"))
        bad.append(Bad("f", 2, "", "é", ""))
        assert len(bad) == 2 and bad.first.line == 1
    assert [json.loads(line)["excerpt"] for line in (tmp_path / "q.jsonl").read_text(encoding="utf-8").splitlines()] == ["x\ud83d\n", ""]
