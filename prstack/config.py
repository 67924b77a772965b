"""Loading the settings of `prstack.settings`.

`conf/` holds thin YAML on top (groups and presets); `load()` composes both with Hydra, applies `key=value`
overrides, and validates the result once. What it returns are plain dataclasses. A wrong key, type or value is a
UserError that names the key and the nearest right one.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import os
import re
import types as pytypes
import typing
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from prstack.errors import UserError
from prstack.settings import Config, WorldConfig

STAGES = ("synthesize", "distill", "sft", "rl", "evaluate", "pretrain")
"""Stages that may have settings of their own (`per_stage`)."""
OF_A_STAGE = ("engine", "agents", "trainer")
"""Sections that they may have them of: those that several stages read. The others are a stage's own already."""


def conf_dir() -> Path:
    """The folder of YAML groups: the installed `conf` package, in a checkout and from a wheel alike."""
    import conf

    return Path(conf.__file__).resolve().parent


def load(overrides: list[str] | None = None) -> Config:
    """Composes and validates the configuration. Raises UserError for the first thing that is wrong."""
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    overrides = _check_overrides(list(overrides or []))
    ConfigStore.instance().store(name="schema", node=dataclasses.asdict(Config()))
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            raw = OmegaConf.to_container(compose("config", overrides=overrides), resolve=True)
    except (OmegaConfBaseException, Exception) as e:
        if isinstance(e, UserError):
            raise
        where = getattr(e, "override", None) or "configuration"
        raise UserError(f"{where}: {' '.join(str(e).split())}") from e
    return from_dict(raw)


def from_dict(raw: dict) -> Config:
    """Validates plain nested dicts (a composed configuration, or a manifest's), `per_stage` included. Raises UserError that names the key."""
    try:
        config = _adapter().validate_python(raw)
    except ValidationError as e:
        raise UserError(_explain(e)) from e
    for stage, own in config.per_stage.items():
        for name, known in ((stage, STAGES), *((section, OF_A_STAGE) for section in own)):
            if name not in known:
                near = nearest(name, known)
                raise UserError(f"per_stage.{stage}: {name} is none of {', '.join(known)}" + (f"; did you mean {near}?" if near else ""))
        for_stage(config, stage)
    return config


def for_stage(config: Config, stage: str) -> Config:
    """What a stage works with: `config`, and over it what `per_stage` has for it. The control is trained as `sft` is. Raises UserError."""
    own = config.per_stage.get("sft" if stage == "control" else stage)
    if not own:
        return config
    try:
        return _adapter().validate_python(_merged(to_dict(config), own))
    except ValidationError as e:
        raise UserError(f"per_stage.{stage}: {_explain(e)}") from e


def _merged(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {key: _merged(below.get(key), value) for key, value in above.items()}


def docs() -> dict[str, str]:
    """Every dotted key and section, and the docstring below its declaration."""
    by_class = {}
    for section in _dataclasses(Config):
        (node,) = ast.parse(inspect.getsource(section)).body
        own = {
            a.target.id: inspect.cleandoc(b.value.value)
            for a, b in zip(node.body, node.body[1:])
            if isinstance(a, ast.AnnAssign) and isinstance(b, ast.Expr) and isinstance(b.value, ast.Constant)
        }
        by_class[node.name] = own | {"": ast.get_docstring(node) or ""}

    def walk(cls: type, prefix: str) -> dict[str, str]:
        out = {}
        for name, hint in typing.get_type_hints(cls).items():
            if dataclasses.is_dataclass(hint):
                out[prefix + name] = by_class[hint.__name__][""]
                out |= walk(hint, f"{prefix}{name}.")
            else:
                out[prefix + name] = " ".join(by_class[cls.__name__].get(name, "").split())
        return out

    return walk(Config, "")


def to_dict(config: Any) -> dict:
    return dataclasses.asdict(config)


_ADAPTER: TypeAdapter | None = None


def _adapter() -> TypeAdapter:
    global _ADAPTER
    if _ADAPTER is None:
        for cls in _dataclasses(Config):
            cls.__pydantic_config__ = ConfigDict(extra="forbid")
        _ADAPTER = TypeAdapter(Config)
    return _ADAPTER


def _dataclasses(cls: type) -> typing.Iterator[type]:
    yield cls
    for hint in typing.get_type_hints(cls).values():
        if dataclasses.is_dataclass(hint):
            yield from _dataclasses(hint)


def keys(cls: type = Config, prefix: str = "") -> dict[str, dataclasses.Field]:
    """Every dotted key and its field."""
    out: dict[str, dataclasses.Field] = {}
    hints = typing.get_type_hints(cls, include_extras=True)
    for f in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[f.name]):
            out |= keys(hints[f.name], f"{prefix}{f.name}.")
        else:
            out[prefix + f.name] = f
    return out


def groups() -> dict[str, list[str]]:
    """Config groups (folders of conf/) and their options."""
    return {d.name: sorted(p.stem for p in d.glob("*.yaml")) for d in sorted(conf_dir().iterdir()) if any(d.glob("*.yaml"))}


def type_name(key: str) -> str:
    """The type of a key as a user reads it: `int > 0`, `expert | vllm`, …"""
    cls: Any = Config
    *parents, last = key.split(".")
    for p in parents:
        cls = typing.get_type_hints(cls)[p]
    return _show_type(typing.get_type_hints(cls, include_extras=True)[last])


def _show_type(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        meta = args[1].metadata
        limits = [f"{sign} {getattr(m, name)}" for m in meta for name, sign in (("gt", ">"), ("ge", ">="), ("le", "<=")) if hasattr(m, name)]
        return " and ".join([f"{_show_type(args[0])} {limits[0]}", *limits[1:]]) if limits else _show_type(args[0])
    if origin is Literal:
        return " | ".join(map(str, args))
    if origin in (typing.Union, pytypes.UnionType):
        return " | ".join("null" if a is type(None) else _show_type(a) for a in args)
    if origin in (list, dict):
        return f"{origin.__name__} of {_show_type(args[-1])}"
    return getattr(hint, "__name__", str(hint))


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """The known name that is most like `word`, or an empty string."""
    known = list(known)
    begins = [k for k in known if len(word) > 1 and k.startswith(word)]
    close = begins if len(begins) == 1 else difflib.get_close_matches(word, known, n=1, cutoff=0.5) or begins
    if close:
        return close[0]
    tails = {k.rsplit(".", 1)[-1]: k for k in known}
    close = difflib.get_close_matches(word.rsplit(".", 1)[-1], list(tails), n=1, cutoff=0.6)
    return tails[close[0]] if close else ""


def _check_overrides(overrides: list[str]) -> list[str]:
    """The overrides as Hydra takes them. Raises UserError for a key or group option that does not exist."""
    out = []
    known, options = keys(), groups()
    free = [k for k, f in known.items() if "dict" in str(f.type)]
    for item in overrides:
        key, eq, value = item.partition("=")
        out.append(item)
        key = key.lstrip("+~")
        if any(key.startswith(f + ".") for f in free):
            out[-1] = "++" + item.lstrip("+")
        elif key in known and type_name(key) in ("str", "str | null"):
            out[-1] = f"{key}={_as_text(value)}"
        if not eq or not key:
            raise UserError(f"{item!r}: settings are written key=value (for example synthesis.episodes=50)")
        if key in options:
            if value not in options[key]:
                near = nearest(value, options[key])
                raise UserError(
                    f"{key}={value}: no such {key}" + (f"; did you mean {key}={near}?" if near else "") + f" (there are: {', '.join(options[key])})"
                )
        elif key not in known and not any(key.startswith(f + ".") for f in free):
            if any(k.startswith(key + ".") for k in known):
                raise UserError(f"{key} is a section; set one of its keys: {', '.join(k for k in known if k.startswith(key + '.'))}")
            near = nearest(key, [*known, *options])
            raise UserError(f"unknown key {key}" + (f"; did you mean {near}?" if near else "") + " (`prstack <command> --help` lists the keys)")
    return out


def _as_text(value: str) -> str:
    """A value of a text key as Hydra reads it back unchanged: ids like 1e5 and paths with commas are text as well."""
    if value in ("", "null") or value[0] in "'\"$":
        return value
    return "'" + re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + (r"\'" if m[2] else ""), value) + "'"


def _explain(e: ValidationError) -> str:
    first = e.errors(include_url=False)[0]
    known = keys()
    parts = [str(p) for p in first["loc"]]
    key = ".".join(parts)
    while parts and ".".join(parts) not in known:
        parts.pop()
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        near = nearest(key, known)
        return f"unknown key {key}" + (f"; did you mean {near}?" if near else "")
    if not parts:
        return f"configuration: {key}: {first['msg']}"
    name = ".".join(parts)
    want = type_name(name)
    choices = [w for w in want.split(" | ") if w != "null"]
    near = nearest(str(first["input"]), choices) if len(choices) > 1 else ""
    return f"{name}={first['input']}: expected {want}" + (f"; did you mean {near}?" if near else "")


def fingerprint(section: Any, *without: str) -> dict:
    """A section as a dict, less the keys that do not decide what is made."""
    return {k: v for k, v in dataclasses.asdict(section).items() if k not in without}


def source_folder(world: WorldConfig) -> Path:
    """The folder of a real world's source files. Raises UserError that says where it was looked for."""
    roots = [os.environ.get("PRSTACK_DATA"), "data", "../shared/data"]
    tried = [Path(world.path)] if world.path else [Path(r) / world.kind for r in roots if r]
    for path in tried:
        if path.is_dir():
            return path
    raise UserError(
        f"world={world.kind}: no source files at {', '.join(map(str, tried))}; give world.path=FOLDER or set PRSTACK_DATA to the folder that holds {world.kind}/"
    )
