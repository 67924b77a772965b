"""`prstack rl` that is asked to stop: play is broken off, steps that have begun end, and nothing that was trained is lost."""

import asyncio
import os
import signal
import threading
import time

import pytest

from prstack.errors import Terminated
from prstack.stages.rl_stream import Rollouts
from prstack.stages.stopping import Stop, StoppingRunner, first_signal_asks
from prstack.stages.training import restarting, stopped
from tests.stages.rl_common import configured
from tests.stages.test_rl_stream import Ranks, Source, dump, packs_of  # noqa: F401 - a fixture
from trainers.launch import RankLost
from trainers.loop import train
from trainers.policy import PolicyLoss


@pytest.fixture
def stop():
    return Stop("rl", "play is broken off")


def soon(number=signal.SIGTERM, seconds=0.2):
    threading.Timer(seconds, os.kill, (os.getpid(), number)).start()


def test_what_a_runner_runs_ends_with_the_request_and_what_it_is_given_later_is_not_begun(stop, capfd):
    told = []

    async def play(name):
        told.append(f"{name} begins")
        try:
            await asyncio.sleep(60)
        finally:
            told.append(f"{name} ends")

    async def close():
        await asyncio.sleep(0)
        return "closed"

    start = time.monotonic()
    with StoppingRunner(stop) as runner:
        assert runner.run(asyncio.sleep(0, "answer")) == "answer"
        with first_signal_asks(stop.ask):
            soon()
            with pytest.raises(asyncio.CancelledError):
                runner.run(play("one"))
            with pytest.raises(asyncio.CancelledError):
                runner.run(play("two"))
        assert runner.run_to_its_end(close()) == "closed"
    assert time.monotonic() - start < 30 and told == ["one begins", "one ends"]
    assert "rl: SIGTERM, play is broken off (another signal ends it at once)" in capfd.readouterr().err
    assert isinstance(stop.ended("here"), Terminated) and str(stop.ended("here")) == "here"


def test_ctrl_c_ends_as_ctrl_c(stop):
    with first_signal_asks(stop.ask):
        assert not stop.asked()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked()
    assert type(stop.ended("here")) is KeyboardInterrupt


class Playing(Source):
    """Rollouts of a folder, of which those of the update `hangs` are at play until they are broken off; `position` moves on as queries are asked."""

    def __init__(self, config, folder, runner, hangs=0):
        super().__init__(config, folder)
        self.runner, self.hangs, self.position = runner, hangs, 0

    def rollouts(self, update):
        self.position += 2
        self.runner.run(asyncio.sleep(60 if update == self.hangs else 0))
        return super().rollouts(update)

    def serve(self, weights):
        self.runner.run(asyncio.sleep(0))
        super().serve(weights)

    def state(self):
        return {"position": self.position}

    def restore(self, state):
        self.position = state["position"] if state else 0


class Trained(Ranks):
    """Ranks that also take steps and keep what they save; in step `signals` SIGTERM comes."""

    def __init__(self, signals=0):
        super().__init__()
        self.steps, self.saved, self.signals = 0, [], signals

    def step(self, shares, lr, loss):
        self.steps += 1
        if self.steps == self.signals:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"loss": 1.0, "tokens": 1, "targets": 1, "seconds": 1.0, "distance": 0.0, "distance_max": 0.0, "approx_kl": 0.0}

    def save(self, folder, state, keep):
        self.saved.append(state)


def trained(dump, stop, ranks, hangs=0):  # noqa: F811
    """Three updates of two steps each, a checkpoint after the last; what the source and the stream are left with."""
    config = configured("rl.minibatches=2", "trainer.steps=6", "trainer.checkpoint_every=6")
    with StoppingRunner(stop) as runner, first_signal_asks(stop.ask):
        source, seen = Playing(config, dump, runner, hangs), []
        stream = Rollouts(source, ranks, config, PolicyLoss(), dump.parent / "weights", stop=stop)
        if hangs:
            soon()
        train(ranks, stream, config.trainer, dump.parent, seen.append, stop=stream.asked_to_stop)
    return source, stream, [m["step"] for m in seen]


def test_play_is_broken_off_and_its_queries_are_asked_again(dump, stop):  # noqa: F811
    ranks, start = Trained(), time.monotonic()
    source, stream, steps = trained(dump, stop, ranks, hangs=2)
    assert time.monotonic() - start < 30 and steps == [1, 2]
    assert ranks.saved == [{"step": 2, "data": {"update": 1, "position": 2}, "steps": 6}], "not the queries that were given up"
    assert source.served == ["update-1"] and stream.asked_to_stop()


def test_the_steps_of_an_update_end_and_nothing_is_published(dump, stop):  # noqa: F811
    ranks = Trained(signals=3)
    source, _, steps = trained(dump, stop, ranks)
    assert steps == [1, 2, 3, 4]
    assert ranks.saved == [{"step": 4, "data": {"update": 2, "position": 4}, "steps": 6}]
    assert source.served == ranks.published == ["update-1"]


def test_before_the_first_update_nothing_is_written(dump, stop):  # noqa: F811
    ranks = Trained()
    source, _, steps = trained(dump, stop, ranks, hangs=1)
    assert (steps, ranks.saved, source.position) == ([], [], 0)


def test_a_broken_off_coroutine_without_a_request_is_an_error(dump, stop):  # noqa: F811
    config = configured()
    with StoppingRunner(stop) as runner:
        source = Playing(config, dump, runner)
        source.rollouts = lambda update: runner.run(_cancelled())
        with pytest.raises(asyncio.CancelledError):
            next(Rollouts(source, Ranks(), config, PolicyLoss(), dump.parent / "weights", stop=stop))


async def _cancelled():
    raise asyncio.CancelledError


class Folder:
    name = "sft"

    def __init__(self, folder):
        self.folder = folder


def test_a_rank_that_is_lost_after_the_request_has_no_new_ranks_started(stop, tmp_path, capsys):
    """A signal to all processes ends the ranks as well: then the newest checkpoint is what there is."""
    attempts = []

    def attempt():
        attempts.append(1)
        stop.ask(signal.SIGTERM)
        raise RankLost("rank 0 died in save (killed, or out of memory); start again")

    with pytest.raises(Terminated, match=r"^sft has trained nothing yet$"):
        restarting(Folder(tmp_path), 2, stop, attempt)
    assert len(attempts) == 1 and "sft: rank 0 died in save (killed, or out of memory); steps after" in capsys.readouterr().out
    saved = tmp_path / "checkpoints" / "step-00000004"
    saved.mkdir(parents=True)
    (saved / "progress.json").write_text('{"step": 4, "steps": 12}')
    assert str(stopped(stop, Folder(tmp_path))) == f"sft is trained to step 4 of 12, checkpoint {saved}"
