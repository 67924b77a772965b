"""A model that is trained, at play: single turns over exact tokens, so that what was sampled is what is trained.

`PolicyPool` stands where `actors.rollout.play` expects a pool. For each episode it holds one growing list of tokens:

1. The first prompt is the rendered conversation. Later ones are the tokens so far, and what the new messages (tool results, requests) and the
   opening of the next turn add to them. A turn that was sampled stays as it was sampled: it is never rendered from its text again.
2. What the new messages add is found by rendering the whole conversation: what stands behind its last assistant turn. That the rendering of the
   prompt before is a prefix of it is asserted at every turn, and that the messages themselves only grow.
3. A turn that was cut off has no end-of-turn token; the next prompt begins with one, which was not sampled and is not learned.
4. Sampled tokens come with their log-probabilities under the distribution that they were drawn from: the logits over the temperature, without
   nucleus sampling.

Nothing is left out of a context to make room, as `prstack.dialogue.context` does elsewhere: an episode that outgrows it is at its end
(EngineError "context"). Invariants (tested): every prompt begins with all that the episode's engine has been given and has sampled; the mask
is 1 exactly on sampled tokens.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from actors.engine import Completion, EngineError, Request, Sampling, cleaned
from actors.router import call
from prstack.dialogue.render import Renderer
from prstack.errors import UserError
from prstack.rl.samples import Turn

TOP_P = 1.0
"""Another would cut off tokens that the trainer knows of."""
_PROBE = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "u"},
    {"role": "assistant", "reasoning_content": "probed reasoning", "content": "a"},
    {"role": "user", "content": "v"},
    {"role": "assistant", "reasoning_content": "more", "content": "b"},
    {"role": "user", "content": "w"},
]


@dataclass(slots=True)
class _Episode:
    messages: list[dict] = field(default_factory=list)
    """Those of the last prompt."""
    rendered: list[int] = field(default_factory=list)
    """The last prompt as the renderer writes it, sampled turns included."""
    tokens: list[int] = field(default_factory=list)
    """The last prompt as it was asked, and what was sampled after it."""
    turns: list[Turn] = field(default_factory=list)
    defect: str = ""
    """What broke the rule that prompts only grow."""


class PolicyPool:
    """`complete` for `actors.rollout.play`, made of exact `generate` calls of `pool` (an EnginePool). `context`: the longest an episode may grow,
    in tokens. Raises UserError for a renderer that rewrites earlier turns."""

    def __init__(self, pool: Any, renderer: Renderer, context: int, name: str = "policy", temperature: float = 1.0):
        check_append_only(renderer)
        self.pool, self.renderer, self.context, self.name, self.temperature = pool, renderer, context, name, temperature
        self._episodes: dict[str, _Episode] = {}

    async def ready(self) -> None:
        """Waits until an engine answers. Raises UserError where one does not give the tokens that it sampled, and EngineError."""
        await self.pool.ready()
        for engine in self.pool.engines:
            said = await call(engine, "describe")
            if not said.get("exact_tokens"):
                raise UserError(f"the engine {said.get('name', engine)} does not return the tokens that it sampled, so nothing can be trained on them; use vLLM")

    async def complete(self, request: Request) -> Completion:
        """The next turn of `request.episode`. Raises EngineError: "context" when the episode has no room left, "request" for what would not be
        the model's own text, and those of `generate`."""
        if request.constrained or request.schema is not None:
            raise EngineError("request", f"{request.task}: what a grammar lets through is not sampled from the policy")
        start = time.perf_counter()
        episode = self._episodes.setdefault(request.episode, _Episode())
        rendered, learned = self.renderer.opened(request.messages, request.tools)
        try:
            added = self._added(episode, request, rendered, learned)
        except AssertionError as e:
            episode.defect = str(e)
            raise
        prompt = episode.tokens + added
        left = self.context - len(prompt)
        if left < 1:
            raise EngineError("context", f"{request.task}: {len(prompt)} tokens, the context is {self.context}")
        sampling = Sampling(
            max_tokens=min(request.max_tokens or left, left),
            temperature=self.temperature,
            top_p=TOP_P,
            seed=request.seed,
            stop_token_ids=[self.renderer.end_of_turn_id],
        )
        sample = await self.pool.generate(prompt, sampling, request.episode)
        ids = sample.token_ids
        # From here on nothing waits, so that an episode that is cancelled has all of a turn or nothing.
        episode.messages, episode.rendered, episode.tokens = list(request.messages), rendered, prompt + ids
        episode.turns.append(Turn(added + ids, [0] * len(added) + [1] * len(ids), [0.0] * len(added) + sample.logprobs, sample.weight_version))
        return Completion(
            text=cleaned(self.renderer.decode(ids), is_json=False),
            finish_reason=sample.finish_reason,
            prompt_tokens=len(prompt),
            completion_tokens=len(ids),
            engine=self.name,
            seconds=time.perf_counter() - start,
            weight_version=sample.weight_version,
        )

    def take(self, episode: str) -> list[Turn]:
        """The turns of an episode that has ended, in order; the pool forgets it. Raises AssertionError when its prompts did not only grow, whatever
        has become of that error since."""
        found = self._episodes.pop(episode, _Episode())
        if found.defect:
            raise AssertionError(found.defect)
        return found.turns

    def _added(self, episode: _Episode, request: Request, rendered: list[int], learned: list[int]) -> list[int]:
        """What the conversation has to say after the tokens so far: what stands behind its last assistant turn (`learned` is 1 on those). Raises
        AssertionError where it is no continuation of them."""
        if not episode.turns:
            return rendered
        before = len(episode.messages)
        grown = request.messages[:before] == episode.messages and len(request.messages) > before + 1 and request.messages[before]["role"] == "assistant"
        if not grown:
            raise AssertionError(f"episode {request.episode}: its messages do not continue those of the turn before")
        last = len(learned) - 1 - learned[::-1].index(1)
        end = self.renderer.end_of_turn_id
        if rendered[: len(episode.rendered)] != episode.rendered or last < len(episode.rendered) or rendered[last] != end:
            raise AssertionError(f"episode {request.episode}: the chat template has rewritten earlier turns")
        return ([] if episode.tokens[-1] == end else [end]) + rendered[last + 1 :]


def check_append_only(renderer: Renderer) -> None:
    """Raises UserError for a chat template that renders a turn otherwise once others follow, such as one that drops earlier reasoning."""
    prompts: Sequence[list[int]] = [renderer.prompt(_PROBE[:n]) for n in (2, 4, 6)]
    closed = [renderer.render(_PROBE[:n]).input_ids for n in (3, 5)]
    for short, turn, long in zip(prompts, closed, prompts[1:], strict=False):
        if turn[: len(short)] != short or long[: len(turn)] != turn:
            raise UserError(
                "this chat template rewrites earlier turns (drops their reasoning, for example), so that what was sampled would not be what is trained; "
                "use distill.chat_template=prstack or qwen3"
            )
