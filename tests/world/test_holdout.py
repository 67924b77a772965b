"""The split of needs: what is held out, and which users a world of each split has."""

from collections import Counter
from itertools import combinations
from typing import get_args

import pytest

from prstack.settings import WorldConfig
from prstack.store.records import read_records
from prstack.world.generated.catalogue import CATEGORIES
from prstack.world.holdout import (
    HELD_OUT_CATEGORIES,
    Slice,
    held_out,
    held_out_category,
    held_out_combination,
    slice_of,
)
from prstack.world.material import Latent
from prstack.world.world import World, build

SMALL = {"products": 420, "users": 44}


def latent(folder):
    return list(read_records(folder / "truth" / "users", Latent, pytest.fail, "truth"))


def slices(folder) -> Counter:
    return Counter(slice_of(u.category, [c.attribute for c in u.constraints]) for u in latent(folder))


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """Split → folder of a world of the same seed."""
    folders = {}
    for split in ("train", "evaluation", "all"):
        folders[split] = tmp_path_factory.mktemp(split)
        build(WorldConfig(**SMALL, split=split), folders[split])
    return folders


def needs(category):
    """The attributes of every need that can be proposed in a category."""
    numeric, kinds = [s.name for s in category.numeric], [k.name for k in category.kinds]
    yield from (list(c) for size in (2, 3) for c in combinations(numeric, size))
    yield from ([*c, kind] for size in (1, 2) for c in combinations(numeric, size) for kind in kinds)


def test_every_seen_category_has_needs_of_both_kinds():
    assert {c.name for c in CATEGORIES if held_out_category(c.name)} == set(HELD_OUT_CATEGORIES)
    for category in (c for c in CATEGORIES if c.name not in HELD_OUT_CATEGORIES):
        share = sum(held_out_combination(category.name, need) for need in needs(category)) / len(list(needs(category)))
        assert 0.1 < share < 0.5, category.name


def test_a_slice_is_what_training_saw():
    assert slice_of("tent", ["weight", "floor area"]) == "seen combination" and slice_of("TENTS", []) == "unseen category"
    for category in CATEGORIES:
        for need in needs(category):
            found = slice_of(category.name, need)
            assert found in get_args(Slice) and held_out(category.name, need) == (found != "seen combination")
            assert found == slice_of(category.name, [*reversed(need), "price", "category", need[0].upper()])


def test_training_users_have_no_need_that_is_held_out(worlds):
    assert slices(worlds["train"]) == {"seen combination": 44}


def test_evaluation_users_are_a_quarter_a_quarter_and_a_half(worlds):
    assert slices(worlds["evaluation"]) == {"unseen category": 11, "unseen combination": 11, "seen combination": 22}
    by_slice = {}
    for u in latent(worlds["evaluation"]):
        by_slice.setdefault(slice_of(u.category, [c.attribute for c in u.constraints]), Counter())[u.category] += 1
    assert {name: (len(found), max(found.values()) - min(found.values()) <= 1) for name, found in by_slice.items()} == {
        "unseen category": (3, True), "unseen combination": (11, True), "seen combination": (11, True),
    }  # fmt: skip


def test_without_a_split_users_have_needs_of_all_kinds(worlds):
    assert set(slices(worlds["all"])) == set(get_args(Slice))
    assert {u.category for u in latent(worlds["all"])} == {c.name for c in CATEGORIES}


def test_the_catalogue_is_the_same_in_every_split(worlds):
    opened = [World.open(folder) for folder in worlds.values()]
    for name in ("products", "reviews", "pages"):
        first, *others = (list(getattr(w, name)()) for w in opened)
        assert all(other == first for other in others)


def test_a_split_is_deterministic(worlds, tmp_path):
    for split, folder in worlds.items():
        build(WorldConfig(**SMALL, split=split), tmp_path / split)
        assert latent(tmp_path / split) == latent(folder)
        assert list(World.open(tmp_path / split).histories()) == list(World.open(folder).histories())


def test_more_users_begin_with_the_same_ones(worlds, tmp_path):
    build(WorldConfig(**SMALL | {"users": 60}, split="evaluation"), tmp_path)
    assert latent(tmp_path)[:44] == latent(worlds["evaluation"])
