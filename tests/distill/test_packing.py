"""Invariants of packing, over made-up samples."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prstack.distill import packing
from prstack.distill.packing import PACKED_SCHEMA, TOKENS_SCHEMA, first_fit, pack, windows
from prstack.errors import UserError
from prstack.store.parts import Parts

CONTEXT = 100
samples = st.dictionaries(st.text("abcdef0123456789", min_size=1, max_size=6), st.integers(1, CONTEXT), max_size=60)


def naive_first_fit(lengths: dict[str, int]) -> list[list[str]]:
    packs: list[list[str]] = []
    for i in sorted(lengths, key=lambda i: (-lengths[i], i)):
        home = next((p for p in packs if sum(lengths[j] for j in p) + lengths[i] <= CONTEXT), None)
        if home is None:
            packs.append([i])
        else:
            home.append(i)
    return packs


@given(samples)
def test_every_sample_once_none_too_long_none_wasted(lengths):
    packs = first_fit(lengths, CONTEXT)
    assert sorted(i for p in packs for i in p) == sorted(lengths)
    sizes = [sum(lengths[i] for i in p) for p in packs]
    assert all(0 < s <= CONTEXT for s in sizes)
    assert all(a + b > CONTEXT for n, a in enumerate(sizes) for b in sizes[n + 1 :])
    assert packs == naive_first_fit(lengths)


@given(samples, st.randoms())
def test_the_order_of_the_input_does_not_matter(lengths, rng):
    shuffled = list(lengths.items())
    rng.shuffle(shuffled)
    assert first_fit(dict(shuffled), CONTEXT) == first_fit(lengths, CONTEXT)
    assert list(windows(dict(shuffled), 150)) == list(windows(lengths, 150))


@given(samples, st.integers(1, 300))
def test_windows_hold_everything_once_within_their_limit(lengths, limit):
    parts = list(windows(lengths, limit))
    assert [i for p in parts for i in p] == sorted(lengths)
    assert all(sum(p.values()) <= limit or len(p) == 1 for p in parts)


@pytest.mark.parametrize("length", [0, CONTEXT + 1])
def test_what_fits_no_pack_is_refused(length):
    with pytest.raises(ValueError, match="sample a"):
        first_fit({"a": length, "b": 3}, CONTEXT)


def tokens(folder: Path, lengths: dict[str, int], order: list[str]) -> Parts:
    rng = random.Random(7)
    rows = {i: {"id": i, "input_ids": [rng.randrange(50_000) for _ in range(n)], "loss_mask": [rng.randrange(2) for _ in range(n)]} for i, n in sorted(lengths.items())}
    with Parts(folder, schema=TOKENS_SCHEMA, flush_every=7) as parts:
        for i in order:
            parts.add(rows[i])
    return parts


@settings(max_examples=12, deadline=None)
@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.integers(1, CONTEXT), min_size=1, max_size=40), st.randoms(), st.sampled_from([150, 10_000]))
def test_packed_rows_hold_every_token_once(lengths, rng, window):
    order = list(lengths)
    rng.shuffle(order)
    with tempfile.TemporaryDirectory() as folder:
        source = tokens(Path(folder) / "tokens", lengths, order)
        packed = Parts(Path(folder) / "packed", schema=PACKED_SCHEMA, flush_every=3)
        told: list[int] = []
        counts = pack(source, packed, set(lengths), CONTEXT, told.append, window)
        by_id = {r["id"]: r for r in source.rows()}
        rows = list(packed.rows())
        assert sum(told) == len(lengths) and counts["packs"] == len(rows)
        assert sorted(s for r in rows for s in r["sample_ids"]) == sorted(lengths)
        for row in rows:
            assert sum(row["segment_lengths"]) == len(row["input_ids"]) == len(row["loss_mask"]) == len(row["position_ids"]) <= CONTEXT
            at = 0
            for sample, n in zip(row["sample_ids"], row["segment_lengths"], strict=True):
                assert row["input_ids"][at : at + n] == by_id[sample]["input_ids"]
                assert row["loss_mask"][at : at + n] == by_id[sample]["loss_mask"]
                assert row["position_ids"][at : at + n] == list(range(n))
                at += n
        assert counts["tokens"] == sum(lengths.values()) and counts["learned_tokens"] == sum(sum(r["loss_mask"]) for r in rows)
        assert counts["fill"] == round(counts["tokens"] / (len(rows) * CONTEXT), 4)

        again = Parts(Path(folder) / "again", schema=PACKED_SCHEMA, flush_every=3)  # other parts, other order: the same packs
        pack(tokens(Path(folder) / "tokens2", lengths, sorted(lengths)), again, set(lengths), CONTEXT, told.append, window)
        assert list(again.rows()) == rows


def test_only_wanted_samples_are_packed_and_all_of_them_must_be_there(tmp_path):
    source = tokens(tmp_path / "tokens", {"a": 5, "b": 6, "c": 7}, ["a", "b", "c"])
    packed = Parts(tmp_path / "packed", schema=PACKED_SCHEMA)
    assert pack(source, packed, {"a", "c"}, CONTEXT, lambda n: None)["tokens"] == 12
    with pytest.raises(UserError, match="no tokens for d"):
        pack(source, packed, {"a", "d"}, CONTEXT, lambda n: None)


def test_packing_that_was_cut_off_goes_on(tmp_path):
    lengths = {f"s{i}": 20 + i % 50 for i in range(40)}
    source = tokens(tmp_path / "tokens", lengths, list(lengths))

    class Cut(Exception):
        pass

    def cut(_: int, told=[]) -> None:  # noqa: B006 - counts its calls
        told.append(1)
        if len(told) == 9:
            raise Cut

    with pytest.raises(Cut):
        pack(source, Parts(tmp_path / "packed", schema=PACKED_SCHEMA, flush_every=4), set(lengths), CONTEXT, cut)
    half = Parts(tmp_path / "packed", schema=PACKED_SCHEMA, flush_every=4)
    assert 0 < len(half) < 30
    pack(source, half, set(lengths), CONTEXT, lambda n: None)
    whole = Parts(tmp_path / "whole", schema=PACKED_SCHEMA, flush_every=4)
    pack(source, whole, set(lengths), CONTEXT, lambda n: None)
    assert list(half.rows()) == list(whole.rows())


def test_windows_that_share_a_file_are_packed_as_those_with_one_each(tmp_path, monkeypatch):
    lengths = {f"s{i:02d}": 20 + 7 * i % 50 for i in range(40)}
    source = tokens(tmp_path / "tokens", lengths, sorted(lengths, reverse=True))
    made = []
    for most in (packing.OPEN, 3):
        monkeypatch.setattr(packing, "OPEN", most)
        packed = Parts(tmp_path / f"packed{most}", schema=PACKED_SCHEMA, flush_every=4)
        pack(source, packed, set(lengths), CONTEXT, lambda n: None, 150)
        made.append(list(packed.rows()))
        assert not [path for path in packed.folder.iterdir() if path.is_dir()]
    assert made[0] == made[1] and len(made[0]) > 10


def test_no_samples_make_no_packs(tmp_path):
    counts = pack(Parts(tmp_path / "t", schema=TOKENS_SCHEMA), Parts(tmp_path / "p", schema=PACKED_SCHEMA), set(), CONTEXT, lambda n: None)
    assert counts == {"packs": 0, "tokens": 0, "learned_tokens": 0, "fill": 0.0}
