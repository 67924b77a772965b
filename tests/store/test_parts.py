"""The journal of parts: what is committed stays, what is not is made again, and nothing is there twice."""

import os
import random
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prstack.errors import UserError
from prstack.store.parts import Parts, write_table, write_text
from prstack.types import Review, Trajectory, arrow_schema
from tests.factories import trajectory


def review(n: int, text: str = "fine") -> Review:
    return Review(f"r{n}", f"p{n % 3}", 4.0, text)


def committed(folder) -> list[str]:
    return [i for f in sorted(folder.glob("part-*.parquet")) for i in pq.read_table(f, columns=["id"]).column("id").to_pylist()]


def test_records_come_back_in_order_part_by_part(tmp_path):
    with Parts(tmp_path, Review, flush_every=4) as parts:
        for n in range(10):
            parts.add(review(n))
        assert len(committed(tmp_path)) == 8 and len(parts) == 10 and "r9" in parts
    assert [f.name for f in parts.files()] == [f"part-{n:06d}.parquet" for n in range(3)]
    assert [r["id"] for r in parts.rows()] == [f"r{n}" for n in range(10)]
    assert next(parts.rows(columns=["id", "rating"])) == {"id": "r0", "rating": 4.0}


def test_maps_come_back_as_dicts(tmp_path):
    with Parts(tmp_path, Trajectory) as parts:
        parts.add(trajectory(1))
    assert next(parts.rows())["engines"] == {"user": "expert", "research": "expert", "supervisor": "expert"}


def test_taking_up_again_knows_what_is_done(tmp_path):
    first = Parts(tmp_path, Review, flush_every=3)
    for n in range(5):
        first.add(review(n))  # r3 and r4 are in the buffer when the process "dies"
    (tmp_path / ".part-000001.tmp").write_bytes(b"half a part")
    second = Parts(tmp_path, Review, flush_every=3)
    assert second.ids == {"r0", "r1", "r2"}
    assert not list(tmp_path.glob(".*.tmp"))
    with second:
        for n in range(5):
            if f"r{n}" not in second:
                second.add(review(n))
    assert sorted(committed(tmp_path)) == [f"r{n}" for n in range(5)]


def test_an_id_is_refused_the_second_time(tmp_path):
    with Parts(tmp_path, Review) as parts:
        parts.add(review(1))
        with pytest.raises(ValueError, match=r"id r1 twice"):
            parts.add(review(1, "other"))
    again = Parts(tmp_path, Review)
    with pytest.raises(ValueError, match=r"id r1 twice"):
        again.add(review(1))
    assert committed(tmp_path) == ["r1"]


def test_two_parts_with_one_id_are_refused(tmp_path):
    with Parts(tmp_path, Review) as parts:
        parts.add(review(1))
    (tmp_path / "part-000007.parquet").write_bytes((tmp_path / "part-000000.parquet").read_bytes())
    with pytest.raises(UserError, match=r"part-000007"):
        Parts(tmp_path, Review)


def test_new_parts_never_take_an_old_name(tmp_path):
    with Parts(tmp_path, Review, flush_every=1) as parts:
        for n in range(3):
            parts.add(review(n))
    (tmp_path / "part-000000.parquet").unlink()
    with Parts(tmp_path, Review, flush_every=1) as parts:
        parts.add(review(0))
    assert (tmp_path / "part-000003.parquet").exists() and sorted(committed(tmp_path)) == ["r0", "r1", "r2"]


def test_the_hash_is_of_the_records_not_of_their_order_or_spread(tmp_path):
    records = [review(n) for n in range(20)]
    hashes = set()
    for seed, every in enumerate([1, 7, 64]):
        random.Random(seed).shuffle(records)
        with Parts(tmp_path / str(seed), Review, flush_every=every) as parts:
            for r in records:
                parts.add(r)
        hashes |= {parts.content_hash, Parts(tmp_path / str(seed), Review).content_hash}
    assert len(hashes) == 1 and len(hashes.copy().pop()) == 64
    with Parts(tmp_path / "other", Review) as parts:
        for n in range(20):
            parts.add(review(n, "fine" if n else "fine."))
    assert parts.content_hash not in hashes
    assert Parts(tmp_path / "empty", Review).content_hash == "0" * 64


@pytest.mark.parametrize("content", [b"", b"rubbish", b"PAR1rubbishPAR1"])
def test_a_damaged_part_is_named(tmp_path, content):
    (tmp_path / "part-000000.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"part-000000.parquet: a committed part cannot be read"):
        Parts(tmp_path, Review)


def test_a_part_of_something_else_is_named(tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "part-000000.parquet")
    with pytest.raises(UserError, match=r"part-000000.parquet"):
        Parts(tmp_path, Review)


def test_an_exception_inside_the_block_still_commits_what_was_added(tmp_path):
    with pytest.raises(RuntimeError), Parts(tmp_path, Review) as parts:
        parts.add(review(1))
        raise RuntimeError
    assert committed(tmp_path) == ["r1"]


def test_row_groups_are_bounded_and_text_is_compressed(tmp_path):
    table = pa.Table.from_pylist(
        [{"id": str(n), "product_id": "p", "rating": 1.0, "text": "same " * 40, "user_id": ""} for n in range(2500)],
        schema=arrow_schema(Review),
    )
    write_table(table, tmp_path / "r.parquet")
    meta = pq.read_metadata(tmp_path / "r.parquet")
    assert [meta.row_group(i).num_rows for i in range(meta.num_row_groups)] == [1024, 1024, 452]
    assert (tmp_path / "r.parquet").stat().st_size < 50_000 and list(tmp_path.iterdir()) == [tmp_path / "r.parquet"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    write_text("old", tmp_path / "a.txt")
    with pytest.raises(UnicodeEncodeError):
        write_text("\ud800", tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "old"


WRITER = """
import sys, time
from prstack.store.parts import Parts
from prstack.types import Review
with Parts(sys.argv[1], Review, flush_every=3) as parts:
    for n in range(30):
        if f"r{n}" not in parts:
            parts.add(Review(f"r{n}", "p", 4.0, "fine"))
            time.sleep(0.05)
"""


def test_killed_again_and_again_every_record_is_there_once(tmp_path):
    for kill_after in (3, 18):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)])
        deadline = time.monotonic() + 60
        while len(committed(tmp_path)) < kill_after and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.poll() is None, "it was to be killed in the middle"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert 18 <= len(committed(tmp_path)) < 30
    subprocess.run([sys.executable, "-c", WRITER, str(tmp_path)], check=True, timeout=60)
    ids = committed(tmp_path)
    assert sorted(ids) == sorted(f"r{n}" for n in range(30)) and len(set(ids)) == 30
