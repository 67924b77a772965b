"""Checkpoint folders as they are written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from prstack.store import published
from tests.trainers.models import make
from trainers.hf_files import _DTYPES, Writer, _cut, save


def read(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def test_tensors_that_share_memory_are_written_each(tmp_path: Path) -> None:
    base = tmp_path / "base"
    make("qwen3", base)
    whole = torch.arange(24.0).reshape(6, 4)
    given = {"upper": whole[:3], "lower": whole[3:], "whole": whole, "again": whole, "turned": whole.T, "inner": whole[1:2], "none": whole[:0]}
    writer = Writer(tmp_path / "out")
    for name, tensor in given.items():
        writer.add(name, tensor)
    writer.finish(base, {})
    found = read(tmp_path / "out")
    assert found.keys() == given.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in given.items())


def test_nothing_is_copied(tmp_path: Path) -> None:
    writer, whole = Writer(tmp_path / "out"), torch.zeros(4, 4)
    writer.add("upper", whole[:2])
    writer.add("lower", whole[2:])
    writer.add("lower again", whole[2:])
    assert [t.data_ptr() for t in writer._buffer.values()] == [whole.data_ptr(), whole[2:].data_ptr(), whole[2:].data_ptr()]


@pytest.mark.parametrize("dtype", _DTYPES, ids=str)
def test_a_file_is_what_safetensors_reads_and_writes(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"b": torch.arange(6).reshape(2, 3).to(dtype), "ä": torch.tensor(1).to(dtype), "none": torch.zeros(0, 2).to(dtype)}
    assert all(published.of_tensor(t) == published.checksum(t.reshape(-1).view(torch.uint8).numpy().tobytes()) for t in tensors.values())
    save(tensors, tmp_path / "ours")
    save_file(tensors, tmp_path / "theirs", metadata={"format": "pt"})
    for name in ("ours", "theirs"):
        found = load_file(tmp_path / name)
        assert found.keys() == tensors.keys()
        assert all((found[n].dtype, found[n].shape) == (dtype, t.shape) and published.of_tensor(found[n]) == published.of_tensor(t) for n, t in tensors.items())
    with safe_open(tmp_path / "ours", framework="pt") as f:
        assert f.metadata() == {"format": "pt"}
    assert (tmp_path / "ours").stat().st_size % 8 == (tmp_path / "theirs").stat().st_size % 8


@pytest.mark.parametrize("more", [-5, 0, 900])
def test_a_version_is_written_over_a_spare_one(tmp_path: Path, more: int) -> None:
    """And nothing of it is left, whether it was larger or smaller."""
    base, root = tmp_path / "base", tmp_path / "weights"
    make("qwen3", base)

    def publish(version: str, tensors: dict[str, torch.Tensor]) -> None:
        writer = Writer(root / version, 400, publishing=True)
        for name, tensor in tensors.items():
            writer.add(name, tensor)
        writer.finish(base, {}, version)
        published.retire(root, version)

    publish("v0", {f"old{n}": torch.randn(50 + more // 10) for n in range(10 + more // 100)})
    publish("v1", {"between": torch.zeros(3)})
    assert {p.name for p in root.iterdir()} == {"v1", published.SPARE}
    pages = {p.stat().st_ino for p in (root / published.SPARE).glob("*.safetensors")}
    given = {f"new{n}": torch.randn(50) for n in range(10)}
    publish("v2", given)
    assert {p.name for p in root.iterdir()} == {"v2", published.SPARE}
    assert published.read(root / published.SPARE, "v1", published.digest({"between": published.of_tensor(torch.zeros(3))}))
    found = read(root / "v2")
    assert found.keys() == given.keys() and all(torch.equal(found[n], t) for n, t in given.items())
    assert not list((root / "v2").glob("*.part"))
    mine = {p.stat().st_ino for p in (root / "v2").glob("*.safetensors")}
    assert mine & pages and (mine <= pages or more < 0)


def test_an_export_leaves_a_spare_folder_alone(tmp_path: Path) -> None:
    base = tmp_path / "base"
    make("qwen3", base)
    (tmp_path / published.SPARE).mkdir()
    writer = Writer(tmp_path / "out")
    writer.add("a", torch.zeros(3))
    writer.finish(base, {})
    assert (tmp_path / published.SPARE).is_dir()


@pytest.mark.parametrize("bucket", [1 << 30, 300, 1])
def test_what_is_published_has_its_checksums_and_no_file_above_a_bucket(tmp_path: Path, bucket: int) -> None:
    base = tmp_path / "base"
    make("qwen3", base)
    given = {f"t{n}": torch.full((n, 5), float(n)) for n in range(1, 9)}
    writer = Writer(tmp_path / "out", bucket, publishing=True)
    for name, tensor in given.items():
        writer.add(name, tensor)
    writer.finish(base, {}, "v7")
    found = read(tmp_path / "out")
    assert found.keys() == given.keys() and all(torch.equal(found[n], t) for n, t in given.items())
    said = published.read(tmp_path / "out", "v7", published.digest(writer.checksums))
    assert said == {name: published.of_tensor(t) for name, t in given.items()}
    assert writer.bytes == sum(t.nbytes for t in given.values())
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(given)
    for file in set(index["weight_map"].values()):
        tensors = load_file(tmp_path / "out" / file)
        assert len(tensors) == 1 or sum(t.nbytes for t in tensors.values()) <= bucket


def test_an_export_that_fits_is_one_file(tmp_path: Path) -> None:
    base = tmp_path / "base"
    make("qwen3", base)
    writer = Writer(tmp_path / "out")
    writer.add("a", torch.zeros(3))
    writer.add("b", torch.ones(3))
    writer.finish(base, {})
    assert sorted(p.name for p in (tmp_path / "out").glob("*.safetensors*")) == ["model.safetensors"]
    assert writer.checksums == {}


def test_parts_are_about_equal_and_keep_the_order() -> None:
    tensors = {str(n): torch.zeros(size) for n, size in enumerate([5, 1, 1, 1, 8, 2, 2, 0, 20, 0])}
    first, second = _cut(tensors, 2)
    assert [*first, *second] == list(tensors) and list(second) == ["7", "8", "9"]
    assert [list(p) for n in (0, 9) for p in _cut({"0": torch.zeros(n)}, 2)] == [["0"], ["0"]]


def test_a_writer_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "out", publishing=True)
    writer.add("a", torch.zeros(3))
    (tmp_path / ".out.tmp").rmdir()
    with pytest.raises(Exception, match="No such file"):
        writer.finish(tmp_path, {}, "v1")
    assert not (tmp_path / "out").exists()
