"""Users' own tools, by import path (`tools.extra=[my_package.tools:stock]`), beside the four.

1. `package.module:name` names a tool (a function or an object, see `OwnTool`), or a class or function that makes one when it is
   called without arguments.
2. When it is loaded, its schema is checked (`schemas.fault`), its name must be free, and it must take the arguments that its
   schema names. What is wrong is a UserError that names the tool.
3. When a model calls it, the arguments are checked as those of the four are. Its text is neutralised and cut like a web page's
   (`results.MAX_PAGE`), and whatever it raises becomes an error that a model can read.

A text in one of the formats of `prstack.tools.results` is evidence, as if one of the four had written it: a tool that gives
`results.format_product(…)` shows products that a report may pitch. Other texts support no claim of a report.
"""

from __future__ import annotations

import copy
import inspect
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from prstack.errors import UserError
from prstack.plugins import import_callable
from prstack.tools import results, schemas
from prstack.tools.neutralise import one_line
from prstack.tools.toolbox import ToolError
from prstack.world.world import World

KEY = "tools.extra"
MAX_ERROR = 300
"""Longest message of an own tool's ToolError that a model sees, in characters."""
log = logging.getLogger(__name__)


class OwnTool(Protocol):
    """What a user writes: a function with an attribute `schema`, or an object of a class like this one.

    `schema` is OpenAI's tools format; `prstack.tools.schemas.KEYWORDS` lists what an argument may be. The call gets the world,
    which it only reads, and the arguments by name, already checked; optional ones are left out where the model gave none, so they
    need defaults. It returns the text that the model sees. To say what the model should do instead, it raises
    `prstack.tools.toolbox.ToolError(code, message)`. The same call should give the same text each time: an episode that is played
    again is to be the same. Calls of one tool come one at a time.
    """

    schema: dict

    def __call__(self, world: World, **arguments: Any) -> str: ...


@dataclass(slots=True)
class Own:
    """An own tool that passed the checks of `load`."""

    name: str
    schema: dict
    tool: OwnTool
    path: str
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def answer(self, world: World, arguments: str) -> str:
        """The text of a call, whose JSON text is `arguments`. Raises schemas.BadArguments and ToolError, nothing else."""
        given = schemas.check(self.schema["function"]["parameters"], arguments)
        try:
            with self._lock:
                text = self.tool(world, **given)
            if not isinstance(text, str):
                raise TypeError(f"it returned {type(text).__name__}, not text")
        except ToolError as e:
            raise ToolError(one_line(str(e.code), 40) or "tool_failed", one_line(str(e), MAX_ERROR)) from e
        except Exception as e:
            log.warning("%s: %s failed: %s: %s", KEY, self.path, type(e).__name__, e)
            raise ToolError("tool_failed", f"{self.name} failed ({type(e).__name__}); try another call") from e
        return results.page_text(text) or "no result"


def load(paths: Sequence[str]) -> list[Own]:
    """The tools of `tools.extra`, in its order. Raises UserError that names the tool for the first one that cannot be used."""
    taken = {name: "prstack" for name in schemas.PARAMETERS}
    out = []
    for path in paths:
        own = _checked(path, _made(path))
        if own.name in taken:
            raise UserError(f"{KEY}: {path}: the name {own.name} is taken by {taken[own.name]}; give the tool another name")
        taken[own.name] = path
        out.append(own)
    return out


def all_schemas(paths: Sequence[str]) -> list[dict]:
    """The schemas that a toolbox with these own tools has, without a world. Raises UserError as `load` does."""
    return [*schemas.SCHEMAS, *(t.schema for t in load(paths))]


def fingerprint(paths: Sequence[str]) -> dict:
    """What own tools add to the inputs of a stage that plays episodes: nothing, where there are none."""
    return {"tools": [{"path": t.path, "schema": t.schema} for t in load(paths)]} if paths else {}


def _made(path: str) -> Any:
    """The tool that an import path names, or what the factory that it names makes."""
    found = import_callable(path, KEY)
    if hasattr(found, "schema") and not inspect.isclass(found):
        return found
    try:
        return found()
    except Exception as e:  # the user's own code
        hint = "" if inspect.isclass(found) else f"; {found!r} has no attribute schema, so it was called to make a tool"
        raise UserError(f"{KEY}: {path}: it could not be made ({type(e).__name__}: {e}){hint}") from e


def _checked(path: str, tool: Any) -> Own:
    schema = getattr(tool, "schema", None)
    if schema is None or not callable(tool):
        raise UserError(f"{KEY}: {path}: a tool has an attribute schema and can be called; {type(tool).__name__} is not so")
    if problem := schemas.fault(schema):
        name = schema.get("function") if isinstance(schema, dict) else None
        name = name.get("name") if isinstance(name, dict) else None
        raise UserError(f"{KEY}: {path}{f' ({name})' if isinstance(name, str) else ''}: {problem}")
    function = schema["function"]
    properties, required = function["parameters"]["properties"], function["parameters"].get("required", [])
    try:
        signature = inspect.signature(tool)
    except (ValueError, TypeError):  # some callables written in C have none
        signature = None
    for names in (properties, required) if signature else ():
        try:
            signature.bind(None, **dict.fromkeys(names))
        except TypeError as e:
            raise UserError(f"{KEY}: {path} ({function['name']}): it must take the world and the arguments of its schema ({e})") from e
    return Own(function["name"], copy.deepcopy(schema), tool, path)
