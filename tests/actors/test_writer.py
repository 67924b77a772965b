"""An engine as the writer of reflections: what it is asked, and what becomes of its errors."""

import asyncio

import pytest

from actors.engine import Completion, EngineError
from actors.writer import engine_asks
from prstack.distill.writing import Unanswered


class Engine:
    def __init__(self, error: EngineError | None = None):
        self.error, self.asked = error, []

    async def complete(self, request):
        self.asked.append(request)
        if self.error:
            raise self.error
        return Completion("{}", "stop", 1, 1, "e", 0.0)


def test_what_an_engine_is_asked():
    engine = Engine()
    assert asyncio.run(engine_asks(engine)("the prompt", {"type": "object"}, 7, "t1", 96)) == "{}"
    (r,) = engine.asked
    assert (r.role, r.task, r.schema, r.seed, r.episode, r.max_tokens) == ("writer", "writer.reflect", {"type": "object"}, 7, "t1", 96)
    assert r.messages == [{"role": "user", "content": "the prompt"}]


@pytest.mark.parametrize("kind", ["context", "request", "unavailable"])
def test_every_error_of_an_engine_is_no_answer(kind):
    with pytest.raises(Unanswered, match=f"engine:{kind}"):
        asyncio.run(engine_asks(Engine(EngineError(kind, "no")))("p", {}, 0, "t", 9))
