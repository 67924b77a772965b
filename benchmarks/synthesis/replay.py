"""The recorded calls of a loop, straight into an engine of their own: the speed that the loop is held against.

A process of its own, without Ray, makes the same VLLMEngine and gives its AsyncLLM the same prompts and grammars, in order of arrival,
with as many in flight as the loop had when each came, and from the stretch on as many as the loop has episodes. Lengths are forced to
the recorded ones: a sequence ends at its length and nowhere else (end-of-turn is an ordinary token). What the loop was cut off in goes
on to the most that it may have, since the replay is cut off as well: the stretch that counts goes from the call with which the loop's
began to the last one, with a full batch in flight all the time.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import cpu_between, cpu_times
from benchmarks.synthesis.journal import Call, Journal, Stretch
from prstack.errors import UserError
from prstack.settings import EngineConfig

PATIENCE = 1200.0
"""Seconds that a replay may take."""


def replay(settings: EngineConfig, model: Path, played: Stretch, in_flight: int) -> Stretch:
    """The same calls in an engine alone. Raises RuntimeError when its process fails, UserError when it takes too long."""
    from actors.vllm_engine import runtime_env

    first = first_in(played)
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "calls.pickle", Path(folder) / "replayed.pickle"
        asked.write_bytes(pickle.dumps((dataclasses.asdict(settings), str(model), played.calls, first, in_flight)))
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.synthesis.replay", str(asked), str(answered), str(os.getpid())],
            env=os.environ | runtime_env(os.cpu_count() or 1)["env_vars"],
            cwd=Path(__file__).parents[2],
        )
        try:
            if code := process.wait(timeout=PATIENCE):
                raise RuntimeError(f"the replay ended with code {code}")
        except subprocess.TimeoutExpired as e:
            raise UserError(f"the machine is too slow or too busy: the replay has not ended within {PATIENCE:g} seconds") from e
        finally:
            process.kill()
            process.wait()
        return pickle.loads(answered.read_bytes())


def first_in(played: Stretch) -> int:
    """The first call that arrived in the stretch. Raises RuntimeError where the stretch is too short to compare."""
    first = next((i for i, c in enumerate(played.calls) if c.arrival >= played.start), len(played.calls))
    if len(played.calls) - first < 2:
        raise RuntimeError(f"{len(played.calls) - first} calls arrived in the stretch; give it more time")
    return first


def room(calls: Sequence[Call], first: int, in_flight: int) -> list[int]:
    """How many calls may be in flight with each call: before the stretch as many as in the loop, which began bit by bit."""
    before = [sum(c.end is None or c.end > calls[n].arrival for c in calls[: n + 1]) for n in range(first)]
    return [*before, *[in_flight] * (len(calls) - first)]


async def run(llm: Any, calls: Sequence[Call], first: int, in_flight: int) -> Stretch:
    """Gives an AsyncLLM the calls in their order; the stretch from the arrival of call `first` to that of the last one."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    journal, most = Journal(llm), room(calls, first, in_flight)
    edges: list[tuple[float, int, dict[int, float]]] = []
    running: set[asyncio.Task] = set()

    async def one(n: int, call: Call) -> None:
        length = call.tokens if call.end is not None else call.most
        sampling = SamplingParams(
            max_tokens=length,
            ignore_eos=True,
            temperature=call.temperature,
            top_p=call.top_p,
            seed=call.seed,
            structured_outputs=StructuredOutputsParams(structural_tag=call.form) if call.form else None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        (out,) = [out async for out in journal.generate({"prompt_token_ids": call.prompt}, sampling, f"replay-{n}")]
        if (written := len(out.outputs[0].token_ids)) != length:
            raise RuntimeError(f"call {n}: {written} tokens instead of {length}")

    try:
        for n, call in enumerate(calls):
            while len(running) >= most[n]:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            if n in (first, len(calls) - 1):
                edges.append((*journal.mark(), cpu_times()))
            running.add(asyncio.create_task(one(n, call)))
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    (start, tokens, before), (end, tokens_then, after) = edges
    return Stretch(journal.calls, start, end, tokens_then - tokens, cpu_between(before, after))


def main(asked: str, answered: str, owner: str) -> None:
    from actors.owner import end_with
    from actors.vllm_engine import VLLMEngine

    end_with(int(owner))
    settings, model, calls, first, in_flight = pickle.loads(Path(asked).read_bytes())

    async def go() -> Stretch:
        engine = VLLMEngine(settings, model)
        try:
            await engine.ready()
            return await run(engine._llm, calls, first, in_flight)
        finally:
            await engine.shutdown()

    stretch = asyncio.run(go())
    Path(answered).write_bytes(pickle.dumps(stretch))
    gc.collect()  # while the interpreter is whole: AsyncLLM's finaliser needs its modules


if __name__ == "__main__":
    from benchmarks.synthesis import replay as this  # records are of the module's own name, not of __main__

    this.main(*sys.argv[1:])
