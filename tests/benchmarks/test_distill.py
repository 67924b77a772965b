import json
import math
from random import Random

import pytest

from benchmarks.distill import inputs, steps, watch
from benchmarks.distill.job import Made
from benchmarks.distill.watch import Sample, purpose, slope
from prstack.distill.filters import chain
from prstack.distill.filters.near import NearDuplicates, signature
from prstack.distill.internalise import internalise
from prstack.settings import FilterConfig
from prstack.store.records import adapter
from prstack.types import Trajectory
from tests.factories import trajectory

TWO = [inputs.Mould(trajectory(n, duplicate=True)) for n in (3, 4)]


def cast(n: int) -> Trajectory:
    (text,) = inputs.copies(TWO, [n])
    return adapter(Trajectory).validate_json(text)


def test_a_copy_depends_on_its_number_alone_and_is_renamed_throughout():
    assert cast(40) == cast(40)
    t, was = cast(40), trajectory(3, duplicate=True)
    told = json.dumps([s.tool_result.text for s in t.steps if s.tool_result] + t.reports)
    assert (t.id, t.user_id) == ("copy-0000040", "u40") and t.query == was.query
    assert "P130" not in told and told.count("[P") == json.dumps([s.tool_result.text for s in was.steps if s.tool_result] + was.reports).count("[P")


def test_what_filters_look_up_in_a_copy_is_still_found():
    config = FilterConfig(max_tool_error_rate=1.0)
    for n in range(6):
        assert [name for name, keep in chain(config).items() if keep(cast(n))] == []


def test_a_twin_has_another_id_and_one_that_is_alike_a_few_other_words():
    mould = TWO[0]
    one, twin, alike = mould.cast("a", 5), mould.cast("b", 5), mould.cast("b", 5, Random(1))
    assert one != twin and one.replace('"a"', '"b"', 1) == twin != mould.cast("b", 6)
    near = NearDuplicates()
    numbers = [signature(internalise(adapter(Trajectory).validate_json(text), "", "keep_corrected").messages) for text in (one, twin, alike)]
    near.add("a", numbers[0])
    assert near.nearest(numbers[1])[0] == 1.0 and near.nearest(numbers[2])[0] > 0.8


def test_of_many_copies_the_planted_shares_are_twins_alike_and_of_the_same_id():
    class Counted:
        def cast(self, id, seed, exchanged=None):
            return id, seed, exchanged

    made = list(inputs.copies([Counted()], range(20_000)))
    own = [id == f"copy-{seed:07d}" for id, seed, _ in made]
    again = len(made) - len({id for id, _, _ in made})
    assert again / 20_000 == pytest.approx(inputs.AGAIN, rel=0.5)
    assert sum(e is not None for _, _, e in made) / 20_000 == pytest.approx(inputs.ALIKE, rel=0.1)
    assert 1 - sum(own) / 20_000 == pytest.approx(inputs.TWINS + inputs.ALIKE, rel=0.1)
    assert all(seed <= n for n, (_, seed, _) in enumerate(made))


def test_the_slope_of_memory_is_that_after_it_has_settled():
    marks = [(float(t), 100 * t) for t in range(101)]
    samples = [Sample(float(t), {"driver": int(1e6 * (5 * t if t < 20 else 100 + 0.1 * t)), "distil": 7 * 10**6}) for t in range(120)]
    assert slope(samples, marks, 10_000) == pytest.approx(10.0)  # 0.1 MB in 100 records
    assert slope(samples, marks, 10_000, "distil") == pytest.approx(0.0, abs=1e-6)
    assert math.isnan(slope(samples[:21], marks, 10_000))


def test_processes_are_known_by_their_command_lines():
    lines = ["ray::MapWorker(MapBatches(_Worker)).submit()", "ray::IDLE", "ray::MapBatches(_read)", "/x/ray/core/src/ray/raylet/raylet --raylet_socket_name=a", "python -c spawn_main"]
    assert [purpose(line) for line in lines] == ["distil", "idle", "read", "ray", "distil"]
    assert watch.SETTLED < 1


def test_rates_leave_out_the_start_of_ray():
    assert Made({"read": 50}, "", begun=0.0, ready=10.0, streamed=14.0, ended=15.0).rate == 10.0


def test_steps_are_cumulative_times_less_what_is_named():
    stats = {("/a/pipeline.py", 1, "_row"): (1, 1, 0.5, 3.0, {}), ("/a/distiller.py", 2, "__call__"): (1, 1, 0.1, 2.0, {})}
    found = steps.times(stats, {"parse": steps.STEPS["parse"], "all": ("distiller.py", "__call__"), "none": ("x.py", "y")})
    assert found == {"parse": 1.0, "all": 2.0, "none": 0.0} and steps.largest(found) == "all" and steps.largest(found, ("all",)) == "parse"
