"""A model served by vLLM, as an engine.

One instance owns one `AsyncLLM` (this process and an engine core process beside it) and batches whatever requests
are in flight. It is a plain async class: `ray.remote(VLLMEngine)` hosts it, with `runtime_env()` and a
`max_concurrency` as large as the number of requests that may be in flight.

`complete` renders messages with prstack's chat template or the checkpoint's own (`engine.chat_template`), keeps the prompt within the context by the rule of
`prstack.dialogue.context`, and constrains the answer by a grammar (`prstack.dialogue.grammar`), so that verdicts,
tool calls and reports parse and end, unless the request wants the model's own text. `generate` takes and gives token ids, exactly as sampled.
`update_weights` changes the weights between requests (`actors.weight_update`): each answer is made by one version, which a Sample names.

vLLM reads its environment variables when it is imported; the constructor sets those that are not set, and imports it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import os
import time
from pathlib import Path
from typing import Any

from actors import weight_update
from actors.engine import INITIAL_WEIGHTS, Completion, EngineError, Request, Sample, Sampling, cleaned
from actors.owner import Owner
from prstack.dialogue import context, grammar
from prstack.dialogue.conversation import MAX_CALLS
from prstack.dialogue.model_template import renderer
from prstack.errors import UserError
from prstack.settings import EngineConfig
from prstack.store import published


def runtime_env(threads: int = 1) -> dict[str, Any]:
    """Ray's `runtime_env` for an engine actor on CPU or GPU; `threads` compute threads on CPU."""
    return {
        "env_vars": {
            "OMP_NUM_THREADS": str(threads),
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # several engines may share the cores
            "VLLM_LOGGING_LEVEL": "ERROR",
            "TORCH_CPP_LOG_LEVEL": "ERROR",  # memory is bound to NUMA nodes, which is no news
            "PYTHONWARNINGS": "ignore::FutureWarning",  # vLLM looks at everything in torch.distributed
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # on CPU: the worker inside the engine core, not a third process
            "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
            "TOKENIZERS_PARALLELISM": "false",
        }
    }


class VLLMEngine:
    """Implements `actors.engine.Engine`. `settings`: an EngineConfig, or its fields as a dict."""

    exact_tokens = True

    def __init__(self, settings: EngineConfig | dict, model_dir: str | Path):
        """Loads the model, which takes seconds to minutes. Raises UserError for settings that the model cannot have."""
        self.settings = settings if isinstance(settings, EngineConfig) else EngineConfig(**settings)
        self.model_dir = Path(model_dir)
        self.name = f"vllm:{self.settings.model}"
        self.weight_version = INITIAL_WEIGHTS
        self.update_seconds: dict[str, float] = {}
        """Of the last update of the weights (`WeightUpdate.load_folder`)."""
        self.renderer = renderer(self.model_dir, self.settings.chat_template)
        self._check_context()
        self._ids = itertools.count()
        self._gate, self._changing = weight_update.Gate(), asyncio.Lock()
        self._stopped = False
        for key, value in runtime_env()["env_vars"].items():
            os.environ.setdefault(key, value)
        self._llm = _start(self.settings, self.model_dir)

    async def ready(self) -> str:
        """The version of the weights, as soon as the model answers. An engine core that has died is started again,
        with the weights of the model's directory. Raises EngineError."""
        if self._dead():
            async with self._changing:
                if self._dead():
                    self._restart()
        await self.generate([self.renderer.end_of_turn_id], Sampling(max_tokens=1))
        return self.weight_version

    async def update_weights(self, folder: str | Path, version: str, checksum: str = "") -> None:
        """Serves the weights in `folder` (safetensors files with Hugging Face names) and calls them `version`; an engine that has this version
        already does nothing. Requests in flight end first, later ones wait. With a `checksum` they must be, byte for byte, what was published
        as this version (`prstack.store.published`).

        Raises EngineError: "request" for a folder that is not this model's, with everything as it was; "engine" when the update failed on its
        way, and then the engine is dead, until `ready` starts it again with the weights of the model's directory.
        """
        if version == INITIAL_WEIGHTS:
            raise EngineError("request", f"{self.name}: {version!r} names the weights that an engine starts with; give the update a version of its own")
        async with self._changing:
            if self._dead():
                raise EngineError("engine", f"{self.name} is dead")
            if version == self.weight_version:
                return
            try:
                checksums = published.read(Path(folder), version, checksum) if checksum else None
                await asyncio.to_thread(weight_update.check, Path(folder), self.model_dir, checksums)
            except UserError as e:
                raise EngineError("request", f"{self.name}: {e}") from e
            async with self._gate.closed():
                await self._load(Path(folder).absolute(), version, checksums)

    async def complete(self, request: Request) -> Completion:
        """One assistant turn. Raises EngineError: "context", "request" or "engine"."""
        start = time.perf_counter()
        max_tokens = min(request.max_tokens or self.settings.max_tokens, self.settings.max_model_len // 2)
        prompt = self._prompt(request, self.settings.max_model_len - max_tokens)
        params = {
            "max_tokens": max_tokens,
            "temperature": self.settings.temperature if request.temperature is None else request.temperature,
            "top_p": self.settings.top_p,
            "seed": request.seed,
            "stop_token_ids": [self.renderer.end_of_turn_id],
        }
        out, version = await self._run(prompt, params, self._form(request, max_tokens), request.episode or request.task)
        return Completion(
            text=cleaned(out.text, request.schema is not None),
            finish_reason="length" if out.finish_reason == "length" else "stop",
            prompt_tokens=len(prompt),
            completion_tokens=len(out.token_ids),
            engine=self.name,
            seconds=time.perf_counter() - start,
            weight_version=version,
        )

    async def generate(self, token_ids: list[int], sampling: Sampling) -> Sample:
        """Samples after `token_ids`. Raises EngineError: "context" when prompt and answer do not fit, "engine"."""
        left = self.settings.max_model_len - len(token_ids)
        if left < sampling.max_tokens:
            raise EngineError("context", f"{len(token_ids)} + {sampling.max_tokens} tokens; the engine has {self.settings.max_model_len}")
        params = {**dataclasses.asdict(sampling), "logprobs": 0, "detokenize": False}
        out, version = await self._run(token_ids, params, None, "generate")
        ids = list(out.token_ids)
        logprobs = [entry[token].logprob for token, entry in zip(ids, out.logprobs, strict=True)]
        return Sample(ids, logprobs, "length" if out.finish_reason == "length" else "stop", version)

    async def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "model": str(self.model_dir),
            "dtype": self.settings.dtype,
            "chat_template": self.settings.chat_template,
            "max_model_len": self.settings.max_model_len,
            "exact_tokens": self.exact_tokens,
            "weight_version": self.weight_version,
            "pid": os.getpid(),
        }

    async def shutdown(self) -> None:
        """Ends the engine core process. vLLM's client is let go of at once: at the end of the interpreter its `__del__` would find no modules left."""
        self._stopped = True
        if self._llm is not None:
            self._llm.shutdown()
            self._llm = None

    def _dead(self) -> bool:
        return self._stopped or self._llm.errored

    def _restart(self) -> None:
        if self._llm is not None:
            self._llm.shutdown()
        self.weight_version = INITIAL_WEIGHTS
        try:
            self._llm = _start(self.settings, self.model_dir)
        except Exception as e:
            raise EngineError("engine", f"{self.name} does not start again: {e}") from e
        self._stopped = False

    async def _load(self, folder: Path, version: str, checksums: dict[str, str] | None) -> None:
        """New weights while no request is in flight. What stops on its way, cancelled included, stops the engine core as well: half of the
        weights must serve nobody."""
        try:
            await self._llm.pause_generation(mode="abort", clear_cache=True)  # ends what callers have given up, and empties the prefix cache
            ranks = await self._llm.collective_rpc("load_folder", args=(str(folder), weight_update.is_tied(self.model_dir), checksums))
            await self._llm.resume_generation()
        except BaseException as e:
            self._stopped = True
            self._llm.shutdown()
            if isinstance(e, Exception):
                raise EngineError("engine", f"{self.name} stopped in an update to weights {version}: {e}") from e
            raise
        self.weight_version, self.update_seconds = version, ranks[0]

    def _check_context(self) -> None:
        config = json.loads((self.model_dir / "config.json").read_text(encoding="utf-8"))
        longest = config.get("max_position_embeddings")
        if longest and self.settings.max_model_len > longest:
            raise UserError(f"engine.max_model_len={self.settings.max_model_len}: {self.settings.model} has a context of {longest} tokens")

    def _prompt(self, request: Request, budget: int) -> list[int]:
        # Under a schema no tool can be called, so the model is not told of any.
        tools = None if request.schema is not None else request.tools
        counted, tokens = None, []

        def count(messages: list[dict]) -> int:
            nonlocal counted, tokens
            counted, tokens = messages, self.renderer.prompt(messages, tools)
            return len(tokens)

        try:
            messages = context.fit(request.messages, budget, count)
        except context.DoesNotFit as e:
            raise EngineError("context", f"{request.task}: {e}") from e
        except ValueError as e:
            raise EngineError("request", f"{request.task}: {e}") from e
        return tokens if messages is counted else self.renderer.prompt(messages, tools)

    def _form(self, request: Request, max_tokens: int) -> str | None:
        if not request.constrained:
            return None
        try:
            if request.schema is not None:
                return grammar.reply_format(request.schema)
            if request.tools or request.report == "required" or request.tool_choice == "required":
                calls = MAX_CALLS if self.settings.parallel_calls else 1
                return grammar.turn_format(request.tools or [], request.tool_choice, request.report, max_tokens, calls)
        except ValueError as e:
            raise EngineError("request", f"{request.task}: {e}") from e
        return None

    async def _run(self, token_ids: list[int], params: dict, form: str | None, label: str) -> tuple[Any, str]:
        """The finished output of one request, and the version of the weights that made it. Cancelling the call aborts the request in vLLM."""
        from vllm import SamplingParams
        from vllm.exceptions import VLLMClientError
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        form = StructuredOutputsParams(structural_tag=form) if form else None
        try:
            sampling = SamplingParams(**params, structured_outputs=form, output_kind=RequestOutputKind.FINAL_ONLY)
            async with self._gate.passing():
                if self._stopped:
                    raise EngineError("engine", f"{self.name} has stopped")
                version = self.weight_version
                outputs = self._llm.generate({"prompt_token_ids": token_ids}, sampling, f"{label}-{next(self._ids)}")
                (done,) = [output async for output in outputs]
        except (EngineDeadError, EngineGenerateError) as e:
            raise EngineError("engine", f"{self.name}: {e}") from e
        except (VLLMClientError, ValueError) as e:
            raise EngineError("request", f"{label}: {e}") from e
        return done.outputs[0], version


def _start(settings: EngineConfig, model_dir: Path) -> Any:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform
    from vllm.v1.engine.async_llm import AsyncLLM

    args: dict[str, Any] = {
        "model": str(model_dir),
        "served_model_name": settings.model,
        "dtype": settings.dtype,
        "max_model_len": settings.max_model_len,
        "generation_config": "vllm",  # sampling is what the request says, not what the model's directory suggests
        "structured_outputs_config": {"backend": "xgrammar"},
        "logprobs_mode": "processed_logprobs",  # of what is sampled from, as reinforcement learning needs them
        "worker_extension_cls": weight_update.WORKER,
        "additional_config": Owner(),  # so that vLLM's processes end with this one
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    if current_platform.is_cpu():
        args |= {
            "enforce_eager": True,  # compiling takes a minute and gains little
            "block_size": 32,  # blocks of 128 tokens would rarely be reused between short turns
            "kv_cache_memory_bytes": settings.kv_cache_mb << 20,
            # Between the chunks of a prompt vLLM 0.32.0 rewinds a seeded request's generator, which a CPU generator
            # refuses ("CPU Generator does not use offset"), and the engine core dies.
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(settings.max_model_len, 2048),
            "distributed_executor_backend": "uni",  # the worker lives in the engine core's process
        }
    return AsyncLLM.from_engine_args(AsyncEngineArgs(**(args | settings.vllm_args)))
