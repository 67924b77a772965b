"""Prompts by the chat template that a checkpoint brings along, for a model that was trained elsewhere (`engine.chat_template=model`).

1. The template is `chat_template.jinja` of the checkpoint's folder, or what `tokenizer_config.json` holds; of several named ones
   `tool_use` writes what has tools, `default` the rest.
2. Special tokens that are spelled out in messages and tool schemas are marked as plain characters before the template sees them, since
   such templates write their own role markers in expressions. The rest is done as in `prstack.dialogue.render`.
3. The arguments of earlier calls go in as objects where they are JSON objects, as most templates want them.
4. A probe conversation says at the start whether the template can be used: it must show a tool, its result, and a call in the form that
   `prstack.dialogue.parse` reads.

The prompts are for models that are given messages. They need not be append-only: Qwen3's template leaves out the reasoning of
earlier questions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from prstack.dialogue.parse import TAGS, parse_assistant
from prstack.dialogue.render import _PLAIN, Renderer, _compile, _scrub
from prstack.errors import UserError

_NEVER = re.compile(r"(?!)")
_TOOL = {
    "type": "function",
    "function": {
        "name": "probe_tool",
        "description": "Probes.",
        "parameters": {"type": "object", "properties": {"query": {"type": "string", "description": "What."}}, "required": ["query"]},
    },
}
_CALL = {"type": "function", "id": "c1", "function": {"name": "probe_tool", "arguments": '{"query": "probed argument"}'}}
_PROBE = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "u"},
    {"role": "assistant", "content": "", "tool_calls": [_CALL]},
    {"role": "tool", "tool_call_id": "c1", "name": "probe_tool", "content": "probed result"},
]


def renderer(folder: Path | str, chat_template: str) -> Renderer:
    """What writes the prompts of a checkpoint's engine: by prstack's template, or (`model`) by the checkpoint's own. Raises UserError."""
    return ModelRenderer(folder) if chat_template == "model" else Renderer(folder)


class ModelRenderer(Renderer):
    """Renders prompts with tokenizer and chat template of a Hugging Face folder."""

    def __init__(self, folder: Path | str):
        """Raises UserError for a template that is missing, shows no tools, or writes tool calls in another form."""
        super().__init__(folder)
        self.folder = Path(folder)
        config = _json(self.folder / "tokenizer_config.json")
        self._names = {key: _token(config.get(key)) for key in ("bos_token", "eos_token", "pad_token", "unk_token")}
        self._names["strftime_now"] = lambda form: datetime.now().strftime(form)
        try:
            self._by_tools = {has: _compile(source, _NEVER) for has, source in _sources(self.folder, config).items()}
        except TemplateError as e:
            raise UserError(f"{self.folder}: its chat template cannot be read ({e}); engine.chat_template=prstack does without it") from e
        self._check()

    def _text(self, messages: list[dict], tools: list[dict] | None, add_generation_prompt: bool) -> str:
        if not messages:
            raise ValueError("a conversation has at least one message")
        plain = self._plain(_scrub([_with_objects(m) for m in messages]))
        try:
            return self._by_tools[bool(tools)].render(
                messages=plain, tools=self._plain(_scrub(tools)) or None, add_generation_prompt=add_generation_prompt, **self._names
            )
        except (TemplateError, TypeError, KeyError, AttributeError) as e:  # whatever a template of someone else's meets in a message
            raise ValueError(f"the conversation cannot be rendered by the template of {self.folder.name}: {e}") from e

    def _plain(self, value: Any) -> Any:
        """The same value with the special tokens in its strings marked as plain characters."""
        return _strings(value, lambda text: self._special.sub(lambda m: m[0][0] + _PLAIN + m[0][1:], text))

    def _check(self) -> None:
        """Raises UserError where the template cannot carry tools, or the tokenizer takes prstack's tags for control tokens."""
        if lost := [tag for tag in TAGS if tag in self.special_ids]:
            raise self._unfit(f"{lost[0]} is a special token there, which does not show in what a model writes")
        try:
            before, whole = self._text(_PROBE[:2], [_TOOL], True), self._text(_PROBE, [_TOOL], False)
        except ValueError as e:
            raise self._unfit(str(e)) from e
        if "probe_tool" not in before:
            raise self._unfit("it does not show tools to the model")
        call = parse_assistant(whole[whole.rfind("<tool_call>") :]).tool_call if "<tool_call>" in whole else None
        if call is None or (call.name, _object(call.arguments)) != ("probe_tool", {"query": "probed argument"}):
            raise self._unfit('it does not write tool calls as <tool_call>{"name": …, "arguments": …}</tool_call>')
        if "probed result" not in whole:
            raise self._unfit("it does not show the results of tools to the model")

    def _unfit(self, reason: str) -> UserError:
        return UserError(f"engine.chat_template=model: the chat template of {self.folder} cannot be used ({reason}); use engine.chat_template=prstack")


def _sources(folder: Path, config: dict) -> dict[bool, str]:
    """Whether there are tools → the template's text. Raises UserError where there is none."""
    file = folder / "chat_template.jinja"
    found = file.read_text(encoding="utf-8") if file.is_file() else config.get("chat_template")
    if isinstance(found, list):
        named = {t["name"]: t["template"] for t in found}
        default = named.get("default") or next(iter(named.values()), None)
        found, with_tools = default, named.get("tool_use", default)
    else:
        with_tools = found
    if not found:
        raise UserError(f"engine.chat_template=model: {folder} has no chat template; use engine.chat_template=prstack")
    return {False: found, True: with_tools}


def _json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        raise UserError(f"{path}: cannot be read ({e})") from e


def _token(value: Any) -> str | None:
    """A token of the configuration, which holds it as text or as an object with its text."""
    return value.get("content") if isinstance(value, dict) else value


def _with_objects(message: dict) -> dict:
    """The message with the arguments of its calls as objects, where they are."""
    if not message.get("tool_calls"):
        return message
    calls = [{**c, "function": {**c["function"], "arguments": _object(c["function"]["arguments"])}} for c in message["tool_calls"]]
    return {**message, "tool_calls": calls}


def _object(arguments: Any) -> Any:
    """JSON text of an object as that object; anything else as it is."""
    try:
        value = json.loads(arguments)
    except (TypeError, ValueError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments


def _strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {k: _strings(v, change) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_strings(v, change) for v in value]
    return value
