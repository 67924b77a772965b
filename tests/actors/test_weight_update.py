"""New weights for a living engine: the folder, the gate, and small models in real engines beside fresh ones."""

import asyncio
import dataclasses
import json
import shutil
import signal
from contextlib import contextmanager, suppress

import numpy as np
import psutil
import pytest

from actors.engine import EngineError, Sampling
from actors.router import EnginePool
from actors.vllm_engine import VLLMEngine, runtime_env
from actors.weight_update import Gate, check, is_tied, shapes, tensors
from prstack.errors import UserError
from prstack.store import published
from tests.actors import faulty_updates

TENSORS = {"model.embed_tokens.weight": (6, 4), "model.norm.weight": (4,)}


# --- the folder ------------------------------------------------------------------------------------------------------
def folder(path, tensors=None, index=False, **config):
    save = pytest.importorskip("safetensors.numpy").save_file
    path.mkdir()
    tensors = {n: np.zeros(s, np.float32) for n, s in (TENSORS if tensors is None else tensors).items()}
    if index:
        names = {n: f"part-{i}.safetensors" for i, n in enumerate(tensors)}
        for name, file in names.items():
            save({name: tensors[name]}, path / file)
        (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    else:
        save(tensors, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_the_same_tensors_are_taken_however_they_are_cut_into_files(tmp_path):
    served, published = folder(tmp_path / "a"), folder(tmp_path / "b", index=True)
    assert shapes(served) == shapes(published) == TENSORS
    check(published, served)


def test_a_stored_copy_of_a_tied_output_layer_makes_no_difference(tmp_path):
    copied = folder(tmp_path / "a", TENSORS | {"lm_head.weight": (6, 4)}, tie_word_embeddings=True)
    without, untied = folder(tmp_path / "b"), folder(tmp_path / "c", TENSORS | {"lm_head.weight": (6, 4)}, tie_word_embeddings=False)
    assert is_tied(copied) and is_tied(without) and not is_tied(untied)
    check(copied, without)
    check(without, copied)
    with pytest.raises(UserError, match=r"lm_head\.weight is missing"):
        check(without, untied)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model.norm.weight": None}, r"tensor model\.norm\.weight is missing \(1 of 2 are\)"),
        ({"model.layers.9.weight": (2, 2)}, r"tensor model\.layers\.9\.weight has no place"),
        ({"model.norm.weight": (5,)}, r"tensor model\.norm\.weight has shape \[5\], the model's is \[4\]"),
    ],
)
def test_a_folder_of_another_model_is_refused_with_the_tensor(tmp_path, change, words):
    other = {n: s for n, s in (TENSORS | change).items() if s}
    with pytest.raises(UserError, match=f"b: {words}"):
        check(folder(tmp_path / "b", other), folder(tmp_path / "a"))


def test_files_that_are_missing_or_cut_off_are_refused_with_their_names(tmp_path):
    served, published = folder(tmp_path / "a"), folder(tmp_path / "b", index=True)
    (published / "part-1.safetensors").write_bytes((published / "part-1.safetensors").read_bytes()[:-4])
    with pytest.raises(UserError, match=r"part-1\.safetensors: not a whole safetensors file"):
        check(published, served)
    (published / "part-1.safetensors").unlink()
    with pytest.raises(UserError, match=r"part-1\.safetensors: no such file"):
        check(published, served)
    (published / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(UserError, match="not an index"):
        check(published, served)
    with pytest.raises(UserError, match=r"model\.safetensors: no such file"):
        check(tmp_path / "nowhere", served)


def test_published_weights_are_taken_byte_by_byte_or_not_at_all(tmp_path):
    pytest.importorskip("torch")
    served, given = folder(tmp_path / "a"), folder(tmp_path / "b", index=True)
    sums = {name: published.checksum(np.zeros(shape, np.float32).tobytes()) for name, shape in TENSORS.items()}
    (given / published.INDEX).write_text(published.index("7", sums))
    whole = published.digest(sums)
    assert published.read(given, "7", whole) == sums
    check(given, served, sums)
    assert [name for name, _ in tensors(given, sums)] == list(TENSORS)
    for version, checksum, words in (("8", whole, "holds weights 7, not 8"), ("7", "0", "not what was published as 7: the checksum is")):
        with pytest.raises(UserError, match=words):
            published.read(given, version, checksum)
    with pytest.raises(UserError, match=r"tensor model\.norm\.weight was not published"):
        check(given, served, {"model.embed_tokens.weight": ""})
    data = (given / "part-1.safetensors").read_bytes()
    (given / "part-1.safetensors").write_bytes(data[:-1] + b"\x01")
    with pytest.raises(RuntimeError, match=r"part-1\.safetensors: tensor model\.norm\.weight has other bytes than were published"):
        list(tensors(given, sums))
    with pytest.raises(UserError, match=r"published\.json: does not say what was published"):
        published.read(served, "7", whole)


# --- the gate --------------------------------------------------------------------------------------------------------
def test_an_update_waits_for_those_in_flight_and_holds_the_others_back():
    async def run():
        gate, seen = Gate(), []

        async def request(name, ends):
            async with gate.passing():
                seen.append(f"{name} in")
                await ends.wait()
                seen.append(f"{name} out")

        async def update():
            async with gate.closed():
                seen.append("update")
                await asyncio.sleep(0)

        first, now = asyncio.Event(), asyncio.Event()
        now.set()
        tasks = [asyncio.create_task(request("a", first)), asyncio.create_task(request("b", first))]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(update()))
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(request("c", now)))
        await asyncio.sleep(0.01)
        assert seen == ["a in", "b in"]
        first.set()
        await asyncio.gather(*tasks)
        assert seen == ["a in", "b in", "a out", "b out", "update", "c in", "c out"]

    asyncio.run(run())


def test_an_update_that_is_given_up_while_it_waits_opens_the_gate_again():
    async def run():
        gate = Gate()
        async with gate.passing():
            waiting = asyncio.create_task(gate.closed().__aenter__())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            async with asyncio.timeout(1), gate.passing():
                pass

    asyncio.run(run())


# --- real engines ----------------------------------------------------------------------------------------------------
SETTINGS = {"name": "vllm", "model": "small", "dtype": "float32", "max_model_len": 256, "kv_cache_mb": 16}
PROMPT = [(7 * i) % 300 for i in range(100)]
GREEDY = Sampling(max_tokens=8, temperature=0.0)
KINDS = {"dense_tied": ("qwen3", {"tie_word_embeddings": True}, "OldOutput"), "moe": ("qwen3_moe", {"moe_intermediate_size": 64}, "OldExperts")}
"""Model, configuration, and what is wrong without its step. (Experts of other sizes than multiples of 32 fail loudly instead.)"""


def small_model(kind, path, seed, **over):
    from tokenizers import AddedToken, Tokenizer, models

    from tests.trainers.models import make

    make(kind, path, seed, head_dim=32, **over)
    tokenizer = Tokenizer(models.WordLevel({"x": 0}, unk_token="x"))
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in ("<|im_start|>", "<|im_end|>")])
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    (path / "chat_template.jinja").unlink()
    return str(path)


def engine(path, update="WeightUpdate"):
    args = {"max_logprobs": -1} | ({} if update == "WeightUpdate" else {"worker_extension_cls": f"{faulty_updates.__name__}.{update}"})
    return VLLMEngine(SETTINGS | {"vllm_args": args}, path)


@contextmanager
def trained(base):
    """A trainer, one step away from `base`."""
    from trainers.launch import Local
    from trainers.tiny import make_packs
    from trainers.worker import Setup

    with Local() as group:
        group.setup(Setup(base))
        group.step([[make_packs(4)]], lr=1e-2)
        yield group


async def distributions(engine):
    """Log probabilities of every token of the vocabulary after three prefixes; the longest comes first, and the others find it in the cache."""
    out = []
    for length in (100, 70, 40):
        done, _ = await engine._run(PROMPT[:length], {"max_tokens": 1, "temperature": 0.0, "logprobs": -1, "detokenize": False}, None, "test")
        out.append([done.logprobs[0][i].logprob for i in range(len(done.logprobs[0]))])
    return np.array(out)


def in_a_process_of_its_own(function, *args):
    """vLLM is not imported here, where other tests go on."""
    import ray

    return ray.get(ray.remote(max_retries=0, num_cpus=0)(lambda: asyncio.run(function(*args))).options(runtime_env=runtime_env()).remote())


async def refused(engine, weights):
    try:
        await engine.update_weights(weights.folder, weights.version, weights.checksum)
    except EngineError as e:
        return e.kind, e.message


async def compare(old, new, torn, faulty):
    """What an engine on `old` says before and after its update to the published `new`, what a fresh one on `new` says, and what is said when a
    step is left out; what becomes of one that is given other weights than were published."""
    updated, fresh = engine(old), engine(new.folder, faulty)
    try:
        said = {"old": await distributions(updated), "new": await distributions(fresh)}
        said["not what was published"] = await refused(updated, dataclasses.replace(new, checksum="0" * 32))
        await updated.update_weights(new.folder, new.version, new.checksum)
        said["updated"], said["seconds"] = await distributions(updated), updated.update_seconds
        said["sampled"] = await updated.generate(PROMPT, Sampling(max_tokens=120))
        sample, expected = await updated.generate(PROMPT, GREEDY), await fresh.generate(PROMPT, GREEDY)
        said["samples"] = [(s.token_ids, s.logprobs, s.weight_version) for s in (sample, expected)]
        await updated._llm.collective_rpc("load_folder", args=(old, False))
        said["old, with the cache of the new"] = await distributions(updated)
        await updated._llm.reset_prefix_cache()
        said["old again"] = await distributions(updated)
        await fresh.update_weights(old, "1")
        said["old, not repacked"] = await distributions(fresh)
        said["torn"] = await refused(fresh, torn)
        said["a torn engine"] = await refused(fresh, new)
        return said
    finally:
        for e in (updated, fresh):
            await e.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_an_updated_engine_equals_a_fresh_one_and_needs_each_step_for_it(kind, ray_local, tmp_path):
    pytest.importorskip("vllm")
    from trainers.batches import Pack

    architecture, over, faulty = KINDS[kind]
    old, base = (small_model(architecture, tmp_path / f"seed{seed}", seed, **over) for seed in (0, 1))
    with trained(base) as group:
        new, torn = (group.publish(tmp_path / version, version, bucket_mb=0.25) for version in ("1", "torn"))
        file = sorted((tmp_path / "torn").glob("*.safetensors"))[-1]
        file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
        said = in_a_process_of_its_own(compare, old, new, torn, faulty)
        sampled = said["sampled"]
        ids = np.array(PROMPT + sampled.token_ids, np.int32)
        pack = Pack(ids, np.ones(len(ids), np.int8), np.array([len(ids)], np.int32))
        trainer = np.array(group.forward([[[pack]]])[0][0][0])[len(PROMPT) - 1 : -1]
    assert sampled.weight_version == "1" and np.abs(trainer - sampled.logprobs).mean() <= 1e-4
    assert said["seconds"].keys() == {"read", "pack"} and min(said["seconds"].values()) > 0
    assert said["not what was published"][0] == "request" and "not what was published as 1" in said["not what was published"][1]
    assert said["torn"][0] == "engine" and "has other bytes than were published" in said["torn"][1]
    assert said["a torn engine"][0] == "engine" and "is dead" in said["a torn engine"][1]
    differ = lambda a, b: float(np.abs(said[a] - said[b]).max())  # noqa: E731
    assert said["old"].shape == (3, 384) and differ("old", "new") > 0.1
    assert differ("updated", "new") == 0.0
    (ids, logprobs, version), (expected_ids, expected_logprobs, _) = said["samples"]
    assert (ids, logprobs, version) == (expected_ids, expected_logprobs, "1")
    assert differ("old again", "old") == 0.0
    assert differ("old, with the cache of the new", "old") > 0.01
    assert differ("old, not repacked", "old") > 0.01


async def disturbed(old, new, breaking, missing):
    """Requests around an update, folders that are refused or break an engine, and the death of the engine core: (tokens, logprobs, version) of
    the answers, and the errors."""
    one = engine(old, "Breaking")
    pool = EnginePool([one], pause=0.1)
    told = lambda s: (s.token_ids, s.logprobs, s.weight_version)  # noqa: E731
    out = {}
    try:
        out["before"] = told(await pool.generate(PROMPT, GREEDY))
        try:
            await pool.update_weights(missing, "0")
        except EngineError as e:
            out["missing"] = (e.kind, e.message)
        out["after the refusal"] = told(await pool.generate(PROMPT, GREEDY))
        early = [asyncio.create_task(pool.generate(PROMPT[i:], Sampling(max_tokens=150, temperature=0.0))) for i in range(6)]
        while one._gate._inside < 6:
            await asyncio.sleep(0.001)
        update = asyncio.create_task(pool.update_weights(new, "1"))
        while one._gate._open.is_set():
            await asyncio.sleep(0.001)
        out["in flight"] = sum(not t.done() for t in early)
        late = [asyncio.create_task(pool.generate(PROMPT, GREEDY)) for _ in range(3)]
        out["early"] = [told(s) for s in await asyncio.gather(*early)]
        out["late"] = [told(s) for s in await asyncio.gather(*late)]
        await update
        for core in psutil.Process().children(recursive=True):
            with suppress(psutil.ZombieProcess):  # what was killed before
                if "EngineCore" in " ".join([core.name(), *core.cmdline()]):
                    core.send_signal(signal.SIGKILL)
        out["after its death"] = [told(s) for s in await asyncio.gather(*(pool.generate(PROMPT, GREEDY) for _ in range(3)))]
        try:
            await one.update_weights(breaking, "2")
        except EngineError as e:
            out["breaking"] = (e.kind, e.message)
        try:
            await one.generate(PROMPT, GREEDY)
        except EngineError as e:
            out["a broken engine"] = (e.kind, e.message)
        out["after the break"] = told(await pool.generate(PROMPT, GREEDY))
        return out
    finally:
        await pool.close()
        await one.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_updates_amid_requests_faults_and_deaths_leave_every_answer_to_one_version(ray_local, tmp_path):
    pytest.importorskip("vllm")
    old, new = (small_model("qwen3", tmp_path / f"seed{seed}", seed, tie_word_embeddings=True) for seed in (0, 1))
    other = small_model("qwen3", tmp_path / "other", 0, tie_word_embeddings=True, num_hidden_layers=1)
    breaking = shutil.copytree(new, tmp_path / "breaking")
    out = in_a_process_of_its_own(disturbed, old, new, str(breaking), other)
    assert out["before"][2] == "initial" and out["after the refusal"] == out["before"]
    assert out["missing"][0] == "request" and "model.layers.1." in out["missing"][1] and "is missing" in out["missing"][1]
    assert out["in flight"] > 0 and [(len(ids), version) for ids, _, version in out["early"]] == [(150, "initial")] * 6
    assert [version for *_, version in out["late"]] == ["1"] * 3 and out["late"][0][:2] != out["before"][:2]
    assert out["after its death"] == [out["late"][0]] * 3
    assert out["breaking"][0] == "engine" and "half of it" in out["breaking"][1]
    assert out["a broken engine"][0] == "engine"
    assert out["after the break"] == out["late"][0]
