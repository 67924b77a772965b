"""Packs are checked when read; their order follows from the seed; ranks get equal shares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prstack.errors import UserError
from tests.trainers.models import VOCAB, make_packs
from trainers.batches import Batches, Pack, at_labels, at_tokens, labels_of, read_packs, write_packs
from trainers.losses import IGNORE
from trainers.micro import collate


def test_written_packs_are_read_back(tmp_path: Path) -> None:
    packs = make_packs(7)
    write_packs(packs[:4], tmp_path / "part-000000.parquet")
    write_packs(packs[4:], tmp_path / "part-000001.parquet")
    again = read_packs(tmp_path, vocab=VOCAB, context=512)
    assert len(again) == 7
    for a, b in zip(packs, again):
        assert (a.input_ids == b.input_ids).all() and (a.loss_mask == b.loss_mask).all()
        assert (a.segment_lengths == b.segment_lengths).all()
    assert again[5].name.endswith("part-000001.parquet:2")


def test_what_is_said_of_a_token_comes_back_and_stands_where_it_is_predicted(tmp_path: Path) -> None:
    packs = make_packs(3)
    for p in packs:
        p.extra = {"advantages": np.arange(len(p.input_ids), dtype=np.float32)}
    write_packs(packs, tmp_path / "x.parquet")
    for a, b in zip(packs, read_packs(tmp_path)):
        assert (a.extra["advantages"] == b.extra["advantages"]).all()
    p = packs[0]
    moved, labels = at_labels(p, p.extra["advantages"]), labels_of(p)
    assert (moved[labels != IGNORE] == 1 + np.flatnonzero(labels != IGNORE)).all() and not moved[labels == IGNORE].any()
    back = at_tokens(moved)
    learned = p.loss_mask.astype(bool)
    learned[np.cumsum(p.segment_lengths) - p.segment_lengths] = False
    assert (back[learned] == p.extra["advantages"][learned]).all() and not back[~learned].any()
    micro = collate(packs, multiple=64)
    assert micro.extra["advantages"].shape == micro.segment.shape == micro.labels[0].shape and micro.sequences <= len(micro.learned)
    assert micro.extra["advantages"][: len(moved)].tolist() == moved.tolist() and micro.learned.sum() == micro.targets
    table = pq.read_table(tmp_path / "x.parquet")
    values = table.column("advantages").to_pylist()
    broken = table.set_column(table.schema.get_field_index("advantages"), "advantages", pa.array([values[0], values[1][:-1], values[2]]))
    pq.write_table(broken, tmp_path / "x.parquet")
    with pytest.raises(UserError, match=r"x\.parquet:2: advantages must hold a finite number for each of"):
        read_packs(tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("segment_lengths", [2, 1], "segment_lengths"),
        ("segment_lengths", [4, 0], "segment_lengths"),
        ("loss_mask", [0, 1, 2, 1], "loss_mask must hold a 0 or 1"),
        ("loss_mask", [0, 1], "loss_mask must hold"),
        ("position_ids", [0, 1, 2, 3], "position_ids must count from 0"),
        ("input_ids", [1, 2, 999, 4], "token 999, the model has 384 tokens: the data was rendered with another tokenizer"),
    ],
)
def test_a_broken_pack_is_named(tmp_path: Path, column: str, value: list[int], message: str) -> None:
    good = {"input_ids": [1, 2, 3, 4], "loss_mask": [0, 1, 0, 1], "position_ids": [0, 1, 0, 1], "segment_lengths": [2, 2]}
    rows = [good, good | {column: value}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=message) as e:
        read_packs(tmp_path, vocab=384)
    assert "x.parquet:2:" in str(e.value)


def test_too_long_missing_column_and_empty(tmp_path: Path) -> None:
    write_packs(make_packs(3), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=r"tokens, trainer\.context is 8"):
        read_packs(tmp_path, context=8)
    pq.write_table(pq.read_table(tmp_path / "x.parquet").drop_columns(["loss_mask"]), tmp_path / "x.parquet")
    with pytest.raises(UserError, match="column loss_mask is missing"):
        read_packs(tmp_path)
    with pytest.raises(UserError, match="no such file or folder"):
        read_packs(tmp_path / "nowhere")


def test_labels_stay_within_their_segment() -> None:
    pack = Pack(np.array([5, 6, 7, 8, 9], np.int32), np.array([1, 1, 0, 1, 1], np.int8), np.array([3, 2], np.int32))
    assert labels_of(pack).tolist() == [6, IGNORE, IGNORE, 9, IGNORE]
    assert pack.targets == 2


def test_collate_restarts_positions_and_pads_in_a_segment_of_its_own() -> None:
    packs = [Pack(np.array([5, 6, 7], np.int32), np.ones(3, np.int8), np.array([2, 1], np.int32)) for _ in range(2)]
    micro = collate(packs, multiple=4)
    assert micro.packed.cu_seqlens_q.tolist() == [0, 2, 3, 5, 6, 8]
    assert micro.position_ids[0].tolist() == [0, 1, 0, 0, 1, 0, 0, 1]
    assert micro.labels[0].tolist() == [6, IGNORE, IGNORE, 6, IGNORE, IGNORE, IGNORE, IGNORE]
    assert (micro.tokens, micro.targets) == (6, 2)


def flat(batches: Batches, n: int) -> list[str]:
    return [sorted(next(batches).names()) for _ in range(n)]


def test_every_epoch_sees_every_pack_once_in_another_order() -> None:
    packs = make_packs(12)
    b = Batches(packs, 4, 1, 2, seed=1)
    epochs = [[x for batch in flat(b, 3) for x in batch] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(p.name for p in packs)
    assert epochs[0] != epochs[1]
    assert b.steps(1.0) == 3 and b.steps(1.5) == 5 and b.position == 24


def test_the_batches_do_not_depend_on_the_layout_and_resume_anywhere() -> None:
    packs = make_packs(10)
    one = flat(Batches(packs, 4, 1, 1, seed=2), 9)
    two = flat(Batches(packs, 4, 2, 2, seed=2), 9)
    resumed = flat(Batches(packs, 4, 2, 2, seed=2, position=4 * 5), 4)
    assert one == two and resumed == one[5:]
    assert flat(Batches(packs, 4, 1, 1, seed=3), 9) != one


def test_shares_are_equal_in_number_and_close_in_cost() -> None:
    for batch, _ in zip(Batches(make_packs(64, length=400), 16, 2, 4), range(8)):
        assert [[len(m) for m in share] for share in batch.shares] == [[2, 2]] * 4
        costs = [sum(p.cost for m in share for p in m) for share in batch.shares]
        assert max(costs) / min(costs) < 1.35


def test_impossible_batches_are_refused() -> None:
    with pytest.raises(UserError, match=r"global_batch=3 must be a multiple of .* 2 · 2"):
        Batches(make_packs(4), 3, 2, 2)
    silent = make_packs(2)
    for p in silent:
        p.loss_mask[:] = 0
    with pytest.raises(UserError, match="no token of the training data is to be learned"):
        Batches(silent, 2, 1, 1)


def test_without_shuffling_packs_come_as_they_lie_and_positions_are_kept():
    packs = make_packs(6)
    batches = Batches(packs, 2, 1, 1, seed=3, shuffle=False)
    names = [sorted(next(batches).names()) for _ in range(4)]
    assert names == [["pack 0", "pack 1"], ["pack 2", "pack 3"], ["pack 4", "pack 5"], ["pack 0", "pack 1"]]
    assert sorted(next(Batches(packs, 2, 1, 1, position=2, shuffle=False)).names()) == ["pack 2", "pack 3"]
