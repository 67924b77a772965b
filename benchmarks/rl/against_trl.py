"""One step of reinforcement learning beside TRL's GRPOTrainer: wall time, and CPU time of its parts.

Both sides start from the same checkpoint and ask the same prompts, one turn each, `GROUP` answers a prompt. Every answer has the same number
of tokens (neither side lets a sequence end earlier), the reward is the share of distinct tokens, and the loss is GRPO with token-level
normalisation, bounds 1 − 0.2 and 1 + 0.28 and no KL, in fp32 with AdamW. Each side runs in a process of its own.

Ours is the stage's own way from the second update on: publish, the engine's update with its checksum, play, a step that compares trainer and
engine; with the trainer on one rank with all threads and on a rank a core, of which the faster counts. TRL generates with transformers, in
batches or by its continuous batching, on one rank with all threads or data-parallel on a rank a core; the fastest that works counts. Its vLLM
mode is not tried: TRL 1.16 needs an accelerator for it.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import cpu_between, cpu_times
from benchmarks.processes import ALIKE, DidNotWork, apart, for_trl, local_ray, where

GROUP, LR = 8, 1e-5
TRL_WAYS = [(False, False), (False, True), (True, False)]
"""Whether answers are made by continuous batching, and whether on a rank a core (data-parallel) or on one rank."""


@dataclass(slots=True)
class Job:
    """What one side is asked to do; goes to its process as JSON."""

    side: str
    base: str
    prompts: list[str]
    """Of one step; every step asks the same."""
    answer: int
    """Tokens of each answer."""
    warm: int
    steps: int
    threads: int
    ranks: int = 1
    continuous: bool = False

    @property
    def label(self) -> str:
        on = where(self.ranks, self.threads)
        return f"ours, {on}" if self.side == "ours" else f"TRL, {on}, {'continuous batching' if self.continuous else 'generate'}"


@dataclass(slots=True)
class Step:
    """Seconds and CPU seconds of a step and of its parts; `play` is the making of answers, the rest of `wall` and `cpu` is training."""

    wall: float
    cpu: float
    play: float
    play_cpu: float
    generated: int
    trained: int
    """Tokens that went through the training pass, prompts included."""
    publish: float = 0.0


@dataclass(slots=True)
class Found:
    """The steps of one way that were timed."""

    job: Job
    steps: list[Step]
    mismatch: float = 0.0
    """Largest of the mean differences between trainer and engine, in nats."""

    def mean(self, name: str) -> float:
        return float(np.mean([getattr(s, name) for s in self.steps]))


@dataclass(slots=True)
class Meter:
    """CPU and wall time since the last look, and since the beginning of play."""

    steps: list[Step] = field(default_factory=list)
    _then: float = 0.0
    _cpu: dict[int, float] = field(default_factory=dict)
    play: float = 0.0
    play_cpu: float = 0.0

    def start(self) -> None:
        self._then, self._cpu, self.play, self.play_cpu = time.perf_counter(), cpu_times(), 0.0, 0.0

    def playing(self, play: Any) -> Any:
        """Calls it, and counts its time as play."""
        then, cpu = time.perf_counter(), cpu_times()
        try:
            return play()
        finally:
            self.play += time.perf_counter() - then
            self.play_cpu += cpu_between(cpu, cpu_times())

    def lap(self, generated: int, trained: int, **more: float) -> None:
        wall, cpu = time.perf_counter() - self._then, cpu_between(self._cpu, cpu_times())
        self.steps.append(Step(wall, cpu, self.play, self.play_cpu, generated, trained, **more))
        self.start()


def distinct(ids: list[int]) -> float:
    """The reward: the share of distinct tokens of an answer."""
    return len(set(ids)) / len(ids)


# --- one side, in a process of its own -----------------------------------------------------------------------------------
def ours(job: Job) -> dict[str, Any]:
    import trainers  # noqa: F401 - the import hook comes before anything that imports megatron
    from actors.router import EnginePool
    from actors.vllm_engine import VLLMEngine
    from benchmarks.rl.single_turn import Asked
    from prstack.config import load
    from prstack.stages.rl_stream import Rollouts
    from trainers.launch import Local, RayGroup
    from trainers.layout import Layout
    from trainers.loop import train
    from trainers.policy import PolicyLoss
    from trainers.worker import Setup

    class Full(VLLMEngine):
        """Answers do not end before their last token."""

        async def _run(self, token_ids: list[int], params: dict, form: str | None, label: str) -> tuple[Any, str]:
            return await super()._run(token_ids, params | {"ignore_eos": True}, form, label)

    total = job.warm + job.steps + 1  # nothing is published after the last, so that it is no step like the others
    context = 4096  # of a pack, as in preset=laptop
    config = load(["preset=smoke", "rl.temperature=1", f"rl.updates={total}", f"rl.queries={len(job.prompts)}", f"rl.group={GROUP}", f"rl.lr={LR}"])
    config.trainer.context, config.trainer.micro_batch, config.trainer.dtype = context, 1, "float32"
    config.trainer.lr, config.trainer.steps, config.trainer.warmup, config.trainer.checkpoint_every = LR, total, 0, total + 1
    if job.ranks > 1:
        local_ray(job.ranks)
    meter, said = Meter(), []
    with tempfile.TemporaryDirectory() as scratch, asyncio.Runner() as runner:
        engine = Full({"name": "vllm", "model": Path(job.base).name, "dtype": "float32", "max_model_len": context}, job.base)
        try:
            with Local(job.threads) if job.ranks == 1 else RayGroup(job.ranks, job.threads) as group:
                group.setup(Setup(job.base, Layout(job.ranks, ep=job.ranks), context=context))
                source = Asked(EnginePool([engine]), runner, job.base, job.prompts, GROUP, job.answer, distinct, meter.playing)
                stream = Rollouts(source, group, config, PolicyLoss("grpo"), Path(scratch) / "weights")

                def on_step(row: dict[str, Any]) -> None:
                    said.append(row)
                    meter.lap(row["targets"], row["tokens"], publish=row.get("seconds/publish", 0.0))

                runner.run(engine.ready())
                meter.start()
                train(group, stream, config.trainer, Path(scratch) / "checkpoints", on_step)
        finally:
            runner.run(engine.shutdown())
    return {"steps": [asdict(s) for s in meter.steps[job.warm : -1]], "mismatch": max(row["mismatch/mean"] for row in said)}


def theirs(job: Job) -> dict[str, Any] | None:
    """The same by TRL; None on ranks other than the first."""
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    tokenizer = PreTrainedTokenizerFast.from_pretrained(job.base)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = for_trl(job.base, job.threads)
    answers = len(job.prompts) * GROUP
    prompt_tokens = sum(map(len, tokenizer(job.prompts, add_special_tokens=False)["input_ids"])) * GROUP
    meter, first = Meter(), int(os.environ.get("RANK", "0")) == 0

    class Timed(GRPOTrainer):
        def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
            found = meter.playing(lambda: super(Timed, self)._generate_single_turn(*args, **kwargs))
            short = [len(ids) for ids in found[0] if len(ids) != job.answer]
            if short:
                raise SystemExit(f"answers of {short[:5]} tokens instead of {job.answer}")
            return found

    class Watch(TrainerCallback):
        def on_step_begin(self, *_: object, **__: object) -> None:
            if not meter.steps:
                meter.start()

        def on_step_end(self, *_: object, **__: object) -> None:
            meter.lap(answers * job.answer, answers * job.answer + prompt_tokens)

    with tempfile.TemporaryDirectory() as scratch:
        config = GRPOConfig(
            output_dir=scratch,
            max_steps=job.warm + job.steps,
            per_device_train_batch_size=answers // job.ranks,
            num_generations=GROUP,
            max_completion_length=job.answer,
            learning_rate=LR,
            beta=0.0,
            epsilon=0.2,
            epsilon_high=0.28,
            loss_type="dapo",
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            generation_kwargs={"min_new_tokens": job.answer},
            use_transformers_continuous_batching=job.continuous,
            **ALIKE,
        )
        reward = lambda completion_ids, **_: [distinct(ids) for ids in completion_ids]  # noqa: E731
        trainer = Timed(
            model=model,
            reward_funcs=reward,
            args=config,
            train_dataset=Dataset.from_dict({"prompt": job.prompts}),
            processing_class=tokenizer,
            callbacks=[Watch()],
        )
        trainer.train()
    return {"steps": [asdict(s) for s in meter.steps[job.warm :]], "mismatch": 0.0} if first else None


# --- both sides ----------------------------------------------------------------------------------------------------------
def run(job: Job) -> Found | None:
    """What a way measured, in a process of its own; None with a line of why where it cannot work like that."""
    threads = job.ranks * job.threads if job.side == "ours" else job.threads  # our engine has all of them, while the ranks wait
    try:
        said = apart("benchmarks.rl", "--job", asdict(job), threads, job.ranks if job.side == "theirs" else 1)
    except DidNotWork as e:
        print(f"{job.label}: does not work: {e}", flush=True)
        return None
    found = Found(job, [Step(**s) for s in said["steps"]], said["mismatch"])
    if job.side == "theirs" and job.ranks > 1:  # the other ranks do the same, beside this process
        for step in found.steps:
            step.cpu, step.play_cpu = step.cpu * job.ranks, step.play_cpu * job.ranks
    print(f"{job.label}: {found.mean('wall'):.2f} s and {found.mean('cpu'):.2f} CPU-s a step, {found.mean('play'):.2f} s of it play", flush=True)
    return found


def compare(base: Path, queries: int, prompt: int, answer: int, warm: int, steps: int, cores: int) -> tuple[list[Found], Found, Found]:
    """All ways of both sides, and the fastest of each. Raises SystemExit where a side has none that works."""
    from transformers import PreTrainedTokenizerFast

    from trainers.spec import ModelSpec

    tokenizer, spec = PreTrainedTokenizerFast.from_pretrained(base), ModelSpec.from_hf(base)
    rng = np.random.default_rng(0)
    words = [w for w in (tokenizer.decode([int(i)]) for i in rng.integers(300, spec.vocab, 4000)) if w.strip().isalpha()]
    prompts = [" ".join(rng.choice(words, prompt // 2).tolist()) for _ in range(queries)]
    common = {"base": str(base), "prompts": prompts, "answer": answer, "warm": warm, "steps": steps}
    jobs = [Job("ours", threads=cores, **common)]
    if cores > 1 and spec.experts and spec.experts % cores == 0:
        jobs.append(Job("ours", threads=1, ranks=cores, **common))
    for continuous, spread in TRL_WAYS:
        if not spread or cores > 1:
            jobs.append(Job("theirs", threads=1 if spread else cores, ranks=cores if spread else 1, continuous=continuous, **common))
    found = [f for job in jobs if (f := run(job))]
    best = [min((f for f in found if f.job.side == side), key=lambda f: f.mean("wall"), default=None) for side in ("ours", "theirs")]
    if None in best:
        raise SystemExit("one side does not work here: there is nothing to compare")
    return found, best[0], best[1]
