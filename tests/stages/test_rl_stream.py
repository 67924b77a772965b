"""Rollouts as batches, agreement, what is published and taken up again, over a group of ranks that only says what it is asked."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from prstack.rl.mismatch import Disagreement
from prstack.rl.samples import Rollout, Turn, attach, write_rollouts
from prstack.stages.rl_rollouts import Replayed, mark_advantages, numbers
from prstack.stages.rl_stream import Rollouts, packed
from prstack.store import published
from prstack.store.published import Published
from prstack.types import Persona, Step, Trajectory
from tests.stages.rl_common import configured
from trainers.batches import at_labels, labels_of
from trainers.losses import IGNORE
from trainers.policy import PolicyLoss

LOSS = PolicyLoss(temperature=0.5)


def rollout(task, n, reward, update=1, tokens=6, ends="finished", version="initial"):
    t = Trajectory(f"{task}-{n}-{update}", "u", 0, Persona("", "", []), "q", [], [Step("research", "report", 0, "", "x")], ["x"], [], "finished")
    ids = [(7 * n + i) % 50 + 1 for i in range(tokens + 3)]
    attach(t, [Turn(ids, [0, 0, 0] + [1] * tokens, [0.0] * 3 + [-0.5 - 0.01 * i for i in range(tokens)], version)])
    return Rollout(t.id, update, task, n, ends, reward, {"rubric": reward}, t)


def update_of(update, lengths=(6, 3, 9, 5)):
    """Two groups of which one teaches something, and an episode that counts for nothing."""
    good = [rollout("a", n, reward, update, tokens) for n, (reward, tokens) in enumerate(zip((0.1, 0.9, 0.4, 0.4), lengths, strict=True))]
    flat = [rollout("b", n, 0.2, update) for n in range(3)]
    return [*good, rollout("a", 4, 7.0, update, ends="failed"), *flat]


class Ranks:
    """A group whose log-probabilities are the engine's plus `off`; it keeps what it publishes."""

    def __init__(self, dp=1, off=0.0):
        self.dp, self.off, self.published, self.asked = dp, off, [], []

    def forward(self, shares, reference=False, temperature=1.0):
        assert temperature == 0.5, "that of preset=laptop: the trainer speaks of the policy that sampled"
        self.asked.append(shares)
        off = -3.0 if reference else self.off
        rows = lambda p: [*((p.extra["old_logprobs"] + off * p.loss_mask)[1:]).tolist(), 0.0]  # noqa: E731 - at the position before
        return [[[rows(p) for p in micro] for micro in share] for share in shares]

    def step(self, batch):
        """The metrics of a step over it, from the loss that it brings, in one piece."""
        said = {n: np.concatenate([at_labels(p, p.extra[n]) for p in packs_of(batch)]) for n in packs_of(batch)[0].extra}
        said["mask"] = np.concatenate([labels_of(p) != IGNORE for p in packs_of(batch)])
        said = {n: torch.from_numpy(v).float() for n, v in said.items()}
        targets = int(said["mask"].sum())
        _, found = batch.loss((said["old_logprobs"] + self.off) * said["mask"], said)
        metrics = {n: float(v) if n.endswith("_max") else float(v) / targets for n, v in found.items()}
        batch.loss.check(metrics, targets)
        return metrics | {"targets": targets}

    def publish(self, folder, version, bucket_mb):
        folder.mkdir(parents=True)
        (folder / published.INDEX).write_text(version)
        self.published.append(version)
        return Published(version, str(folder), f"sum of {version}", 10, 0.1)


class Source(Replayed):
    """Rollouts of a folder that are taken for live ones."""

    live = True

    def __init__(self, config, folder):
        super().__init__(config, folder)
        self.served, self.stale = [], False

    def serve(self, weights):
        assert Path(weights.folder).is_dir() and Path(weights.folder).name == weights.version and weights.checksum == f"sum of {weights.version}"
        self.served.append(weights.version)


@pytest.fixture
def dump(tmp_path):
    for update in (1, 2, 3):
        rollouts = update_of(update)
        for r in rollouts:
            r.used = r.task == "a" and r.outcome != "failed"
        write_rollouts(rollouts, tmp_path / "rollouts", update)
    return tmp_path / "rollouts"


def stream(dump, ranks, *overrides, label=""):
    config = configured(*overrides)
    source = Source(config, dump)
    return Rollouts(source, ranks, config, LOSS, dump.parent / "weights", label), source


def packs_of(batch):
    return [p for share in batch.shares for micro in share for p in micro]


def learned(batch):
    """Sampled tokens with what the loss is told of them, whatever the packs."""
    rows = []
    for p in packs_of(batch):
        at = np.flatnonzero(p.loss_mask)
        rows += zip(p.input_ids[at].tolist(), *(p.extra[name][at].tolist() for name in sorted(p.extra)), strict=True)
    return sorted(rows)


@pytest.mark.parametrize("dp", [1, 2])
def test_a_batch_holds_every_used_episode_once_with_its_advantage(dump, dp):
    s, _ = stream(dump, Ranks(dp))
    batch = next(s)
    assert len(batch.shares) == dp and len({len(share) for share in batch.shares}) == 1
    rewards = [0.1, 0.9, 0.4, 0.4]
    norm = (np.array(rewards) - np.mean(rewards)) / (np.std(rewards, ddof=1) + 1e-4)
    expected = []
    for n, tokens in enumerate((6, 3, 9, 5)):
        r = rollout("a", n, 0, tokens=tokens).trajectory.steps[0]
        expected += [(i, np.float32(norm[n]), np.float32(lp)) for i, m, lp in zip(r.token_ids, r.loss_mask, r.logprobs, strict=True) if m]
    assert learned(batch) == sorted(expected)
    assert all(sum(p.segment_lengths) == len(p.input_ids) <= 24 for p in packs_of(batch))


def test_minibatches_share_the_episodes_out(dump):
    whole = learned(next(stream(dump, Ranks())[0]))
    s, source = stream(dump, Ranks(), "rl.minibatches=2")
    first, second = next(s), next(s)
    assert sorted(learned(first) + learned(second)) == whole and learned(first) and learned(second)
    # What is said of the update goes with its first step; weights are published after its last.
    ranks = Ranks()
    s, source = stream(dump, ranks, "rl.minibatches=2")
    first = next(s)
    assert {"reward", "mismatch/mean"} <= s.after_step(ranks.step(first)).keys() and not source.served
    assert first.loss.max_mismatch == 1e-4 and next(s).loss.max_mismatch == 0, "after a step the weights are others than have sampled"
    said = s.after_step({})
    assert source.served == ["update-1"] and said["update"] == 1 and "reward" not in said and "seconds/publish" in said
    assert s.steps(1.0) == 6


def test_weights_are_published_after_every_update_but_the_last_and_one_older_version_stays_to_be_written_over(dump):
    ranks = Ranks()
    s, source = stream(dump, ranks)
    for _ in range(3):
        s.after_step(ranks.step(next(s)))
    assert source.served == ranks.published == ["update-1", "update-2"]
    assert {p.name: (p / published.INDEX).read_text() for p in (dump.parent / "weights").iterdir()} == {"update-2": "update-2", published.SPARE: "update-1"}


def test_what_is_taken_up_again_publishes_the_checkpoints_weights_first(dump):
    s, _ = stream(dump, Ranks())
    s.after_step(Ranks().step(next(s)))
    state = json.loads(json.dumps(s.state()))
    again, source = stream(dump, Ranks(), label="-restart-1")
    again.restore(state)
    batch = next(again)
    assert source.served == ["update-1-restart-1"] and {p.name.partition("-2")[1] for p in packs_of(batch) if p.extra["advantages"].any()} == {"-2"}
    fresh, source = stream(dump, Ranks())
    source.stale = True  # engines that have served another attempt, which left no checkpoint
    next(fresh)
    assert source.served == ["update-0"]


@pytest.mark.parametrize("recompute", [False, True])
def test_engine_and_trainer_that_disagree_stop_it_before_a_step(dump, recompute):
    how = ["rl.updates=1", *(["rl.old_logprobs=recompute"] if recompute else [])]

    def first_step(off, *overrides):
        ranks = Ranks(off=off)
        s, _ = stream(dump, ranks, *how, *overrides)
        said = s.after_step(ranks.step(next(s)))
        assert bool(ranks.asked) == recompute, "no pass of its own"
        return said

    said = first_step(5e-5)
    assert said["mismatch/mean"] == pytest.approx(5e-5, rel=0.01) == said["mismatch/largest"]
    assert said["mismatch/kl"] == pytest.approx(5e-5**2 / 2, abs=1e-9) and said["mismatch/max_ratio"] == pytest.approx(1 + 5e-5, rel=1e-6)
    with pytest.raises(Disagreement, match=r"engine and trainer disagree beyond rl\.max_mismatch=0\.0001"):
        first_step(1e-3)
    first_step(1e-3, "rl.max_mismatch=0.01")


def test_weights_of_another_course_are_said_and_stop_nothing(dump):
    config, ranks = configured(), Ranks(off=1e-3)
    replay = Rollouts(Replayed(config, dump), ranks, config, LOSS, dump.parent / "none")
    said = replay.after_step(ranks.step(next(replay)))
    assert said["mismatch/mean"] == pytest.approx(1e-3, rel=0.01) and not (dump.parent / "none").exists()


def test_recomputed_probabilities_replace_the_engines_and_bring_a_weight(dump):
    off = 0.05
    engine = learned(next(stream(dump, Ranks())[0]))
    again = learned(next(stream(dump, Ranks(off=off), "rl.old_logprobs=recompute", "rl.max_mismatch=1")[0]))
    for (token, advantage, old), (token2, advantage2, new, weight) in zip(engine, again, strict=True):
        assert (token, advantage) == (token2, advantage2) and new == pytest.approx(old + off, abs=1e-5) and weight == pytest.approx(np.exp(off), rel=1e-4)
    capped = learned(next(stream(dump, Ranks(off=2.0), "rl.old_logprobs=recompute", "rl.max_mismatch=9", "rl.tis_cap=1.5")[0]))
    assert {row[-1] for row in capped} == {1.5}


def test_a_reference_is_asked_only_when_its_divergence_has_a_weight(dump):
    ranks = Ranks(dp=2)
    plain, with_reference = learned(next(stream(dump, ranks)[0])), learned(next(stream(dump, ranks, "rl.kl=0.01")[0]))
    assert len(ranks.asked) == 1 and [row[:3] for row in with_reference] == plain
    assert [row[3] for row in with_reference] == pytest.approx([row[2] - 3.0 for row in plain])


def test_packs_do_not_change_what_is_learned():
    from prstack.rl.samples import sequence

    episodes = [sequence(r) for r in update_of(1)[:4]]
    alone, together = packed(episodes, 4, 24), packed(episodes, 1, 64)
    assert (len(alone), len(together)) == (4, 1) and len(together[0].segment_lengths) == 4
    rows = lambda packs: sorted((p.input_ids[a:b].tolist(), p.loss_mask[a:b].tolist()) for p in packs for a, b in zip(np.cumsum(p.segment_lengths) - p.segment_lengths, np.cumsum(p.segment_lengths), strict=True))  # noqa: E731
    assert rows(alone) == rows(together)


def test_only_compared_episodes_get_an_advantage():
    from prstack.rl.advantages import mean
    from prstack.rl.groups import Group

    rollouts = update_of(1)[:5]
    mark_advantages([Group("a", rollouts)], mean)
    assert [r.used for r in rollouts] == [True] * 4 + [False] and rollouts[4].advantage == 0
    assert [r.advantage for r in rollouts[:4]] == pytest.approx([-0.35, 0.45, -0.05, -0.05])
    said = numbers(rollouts)
    assert said["episodes"] == 5 and said["episode/sampled_tokens"] == pytest.approx((6 + 3 + 9 + 5 + 6) / 5) and said["reward/rubric"] == said["reward"]
