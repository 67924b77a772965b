"""`prstack <command> [key=value …]`: the commands, their help, and what happens to errors.

What a user can fix (UserError) is one line and exit code 2; anything else is a traceback, because it is a defect.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from prstack import __version__, config
from prstack.errors import Terminated, UserError
from prstack.settings import Config, SearchConfig, ServeConfig, ViewConfig


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    what: str
    sections: tuple[str, ...]
    """Sections of the configuration that its help lists."""
    act: Callable[[Config, list[str]], int]
    positional: str = ""
    """What may stand beside settings, as its help shows it."""
    most: int = 1
    """How many of that."""
    flags: tuple[str, ...] = ()
    """Flags, which `act` finds among its targets."""
    passes_on: bool = False
    """Whether it finds the settings there as well, as they were given."""


def main(argv: list[str] | None = None) -> int:
    """Entry point of the console script; returns the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return _dispatch(args)
    except UserError as e:
        print(f"prstack: {_printable(str(e))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as e:
        what = f"stopped: {e}" if str(e) else "stopped"
        print(f"prstack: {what}; the same command takes the run up again", file=sys.stderr)
        return 143 if isinstance(e, Terminated) else 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _printable(text: str) -> str:
    """Without what a terminal would obey: the words of a source may stand in an error."""
    return "".join(c if c in "\n\t" or c.isprintable() else "\ufffd" for c in text)


SHORT = {
    name: (section, tuple(f.name for f in dataclasses.fields(cls)))
    for name, section, cls in (("view", "view", ViewConfig), ("world search", "search", SearchConfig), ("world serve", "serve", ServeConfig))
}
"""Settings that only one command reads may be written short there: command → their section and names."""


def _terminate(*_: object) -> None:
    raise Terminated


def _dispatch(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if args[0] in ("-V", "--version"):
        print(f"prstack {__version__}")
        return 0
    name, rest = args[0], args[1:]
    command = COMMANDS.get(name)
    if command is None:
        near = config.nearest(name, COMMANDS)
        raise UserError(f"no command is called {name}" + (f"; did you mean {near}?" if near else "") + f" (there are: {', '.join(COMMANDS)})")
    if "-h" in rest or "--help" in rest:
        print(_help(name, command))
        return 0
    targets = [a for a in rest if "=" not in a and not a.startswith("-")]
    if len(targets) > (command.most if command.positional else 0):
        raise UserError(f"{targets[-1]!r}: settings are written key=value (`prstack {name} --help`)")
    flags = [a for a in rest if a.startswith("-")]
    if wrong := [f for f in flags if f not in command.flags]:
        raise UserError(f"{wrong[0]}: there are no flags but {' and '.join(('--help', *command.flags))}; settings are written key=value")
    overrides = [a for a in rest if a not in targets and a not in flags]
    section, keys = SHORT.get(" ".join([name, *targets[: name == "world"]]), ("", ()))
    overrides = [f"{section}.{o}" if o.partition("=")[0] in keys else o for o in overrides]
    return command.act(config.load(overrides), targets + flags + (overrides if command.passes_on else []))


def _open_run(c: Config, command: str, stages: list[str]):
    """The run directory and tracker of a command that makes something."""
    from prstack.report.tracking import Tracker
    from prstack.store.rundir import RunDir

    key = {k: v for k, v in config.to_dict(c).items() if k not in ("run_dir", "runs", "store_every", "until", "tracking", "ray", "cluster", "search", "serve", "view")}
    run_dir = c.run_dir
    inputs = {"distill": ("distill.input", c.distill.input), "sft": ("trainer.input", c.trainer.input), "rl": ("", None), "evaluate": ("", None)}
    if command in inputs and not run_dir and not inputs[command][1]:
        latest = RunDir.latest(c.runs)
        if latest is None:
            own = f" or {inputs[command][0]}=" if inputs[command][0] else ""
            raise UserError(f"there is no run under {c.runs}/ yet; give run_dir={own}, or make one with `prstack run`")
        run_dir = str(latest)
    run, resumed = RunDir.open(run_dir, c.runs, c.name, command, key, c.store_every)
    where = f"{run.url}, worked on in {_relative(run.path)}" if run.url else _relative(run.path)
    print(f"{'taking up again' if resumed else 'run'}: {where} ({' → '.join(stages)})", flush=True)
    return run, Tracker(run.path, c.tracking, run.path.name, config.to_dict(c))


def _stages(c: Config, command: str, names: list[str]) -> int:
    import importlib

    from prstack.report.tables import print_summary
    from prstack.stages.cluster import check_placement, one_session

    run, tracker = _open_run(c, command, names)
    try:
        with one_session():
            check_placement(c, names)
            for name in names:
                importlib.import_module(f"prstack.stages.{name}").run(config.for_stage(c, name), run, tracker)
        run.finish()
    finally:
        tracker.close()
        stored = run.close()
    print_summary(run.path)
    return 0 if stored else 2


LOOP = ("world", "synthesize", "distill", "sft", "control", "rl", "evaluate", "report")
"""The stages of `run`, by module."""


def _run(c: Config, _: list[str]) -> int:
    return _stages(c, "run", _loop(c))


def _loop(c: Config) -> list[str]:
    """The loop up to `until`. The shuffled control, and what `rl` makes, are trained when they are to be evaluated."""
    names = LOOP[: LOOP.index(c.until) + 1]
    left_out = {stage for stage, subject in (("control", "sft_shuffled"), ("rl", "rl")) if subject not in c.evaluation.subjects and stage != c.until}
    return [n for n in names if n not in left_out]


def _submit(c: Config, targets: list[str]) -> int:
    from prstack.stages.submit import submit

    words = [t for t in targets if "=" not in t and not t.startswith("-")]
    if not words:
        raise UserError("prstack submit: say what, for example prstack submit run preset=cluster_8x8 --dry-run")
    settings = [t for t in targets if "=" in t]
    return submit(c, words[0], settings, _loop(c) if words[0] == "run" else [words[0]], dry_run="--dry-run" in targets)


def _world(c: Config, targets: list[str]) -> int:
    """Without a word, or with `import`, a world is made; the other words look at one."""
    word, rest = (targets[0], targets[1:]) if targets else ("", [])
    if word not in ("", "import", "stats", "search", "serve"):
        near = config.nearest(word, ("import", "stats", "search", "serve"))
        raise UserError(f"prstack world {word}: " + (f"did you mean {near}?" if near else "expected import, stats, search, serve or settings (key=value)"))
    if (word == "search") != bool(rest) and word in ("", "import", "search"):
        raise UserError('prstack world search: give what to look for, for example prstack world search "quiet blender" max_price=80' if word == "search" else f"{rest[0]!r}: settings are written key=value (`prstack world --help`)")
    if word == "import" and c.world.kind == "generated":
        raise UserError("prstack world import: say what: world=amazon, webshop, shoppingbench, tau_retail or table, with world.path=FOLDER or world.mapping=FILE (docs/worlds.md)")
    if word in ("", "import"):
        return _stages(c, "world", ["world"])
    from prstack.stages import browse, serve

    if word == "search":
        return browse.search(c, rest[0])
    return serve.serve(c, rest) if word == "serve" else browse.stats(c, rest[0] if rest else None)


def _synthesize(c: Config, _: list[str]) -> int:
    return _stages(c, "synthesize", ["synthesize"])


def _distill(c: Config, targets: list[str]) -> int:
    if targets and targets != ["import"]:
        raise UserError(f"prstack distill {targets[0]}: expected import or settings (key=value)")
    return _stages(c, "distill", ["import_trajectories" if targets else "distill"])


def _sft(c: Config, flags: list[str]) -> int:
    if "--plan" not in flags:
        return _stages(c, "sft", ["sft"])
    from prstack.stages.training_plan import plan
    from prstack.store.rundir import RunDir

    latest = RunDir.find(None, c.run_dir, c.runs)
    packs = Path(c.trainer.input) if c.trainer.input else latest / "distill" / "packed" if latest else None
    return plan(config.for_stage(c, "sft"), packs if packs and (c.trainer.input or packs.is_dir()) else None)


def _rl(c: Config, _: list[str]) -> int:
    return _stages(c, "rl", ["rl"])


def _evaluate(c: Config, _: list[str]) -> int:
    return _stages(c, "evaluate", ["evaluate"])


def _pretrain(c: Config, _: list[str]) -> int:
    return _stages(c, "pretrain", ["pretrain"])


def _report(c: Config, targets: list[str]) -> int:
    from prstack.stages.report import report

    report(c, _named(c, targets))
    return 0


def _upcycle(c: Config, targets: list[str]) -> int:
    from prstack.stages.upcycle import upcycle

    return upcycle(c, targets)


def _chat(c: Config, targets: list[str]) -> int:
    from prstack.stages.chat import chat

    return chat(c, targets)


def _view(c: Config, targets: list[str]) -> int:
    from prstack.stages.view import view

    return view(c, _named(c, targets))


def _named(c: Config, targets: list[str]) -> Path | None:
    """The run that a command is told to read."""
    from prstack.store.rundir import RunDir

    return RunDir.find(targets[0], None, c.runs) if targets else None


def _doctor(c: Config, _: list[str]) -> int:
    from prstack.stages.doctor import doctor

    return doctor(c)


def _selftest(c: Config, targets: list[str]) -> int:
    from prstack.stages.selftest import selftest

    return selftest(c, targets)


MAKING = ("name", "run_dir", "runs", "store_every", "seed")
COMMANDS = {
    "run": Command(
        "the whole loop: world → synthesis → distillation → sft → rl → evaluation → report",
        (*MAKING, "until", "per_stage", "world", "engine", "tools", "web", "agents", "synthesis", "distill", "trainer", "rl", "evaluation", "reward", "tracking", "ray"),
        _run,
    ),
    "world": Command(
        "make or import the shopping environment; look at it, search it, serve its tools",
        (*MAKING, "world", "search", "serve", "tools", "web", "tracking"),
        _world,
        "import | stats [RUN] | search QUERY | serve [RUN]",
        2,
    ),
    "synthesize": Command(
        "play episodes: behaviour histories → trajectories", (*MAKING, "world", "engine", "tools", "web", "agents", "synthesis", "tracking", "ray"), _synthesize
    ),
    "distill": Command(
        "trajectories → a training set; import takes others' conversations",
        ("run_dir", "runs", "store_every", "distill", "engine", "agents.prompts", "tools", "tracking", "ray"),
        _distill,
        "import",
    ),
    "sft": Command("a training set → a fine-tuned model", ("run_dir", "runs", "store_every", "trainer", "plan", "tracking", "ray"), _sft, flags=("--plan",)),
    "rl": Command(
        "a model trained on its own episodes, with live tools and rewards",
        ("run_dir", "runs", "store_every", "seed", "rl", "reward", "trainer", "distill.chat_template", "engine", "tools", "web", "tracking", "ray"),
        _rl,
    ),
    "evaluate": Command(
        "models on held-out users, with live tools, beside controls",
        ("run_dir", "runs", "store_every", "seed", "evaluation", "reward", "trainer.model", "world", "engine", "tools", "web", "tracking", "ray"),
        _evaluate,
    ),
    "report": Command("what a run made, learned and scored, as one page", ("run_dir", "runs"), _report, "RUN"),
    "pretrain": Command(
        "world text → a small base model, from random weights", ("name", "run_dir", "runs", "store_every", "pretrain", "trainer", "tracking", "ray"), _pretrain
    ),
    "submit": Command(
        "a command on other machines: through Slurm, or as a job of a Ray cluster",
        ("name", "run_dir", "runs", "cluster", "ray"),
        _submit,
        "COMMAND",
        flags=("--dry-run",),
        passes_on=True,
    ),
    "upcycle": Command("a dense model → a mixture of experts of the same function", ("upcycle",), _upcycle),
    "chat": Command("talk to a model as the shopping agent, with live tools", ("run_dir", "runs", "chat", "engine", "tools", "web"), _chat, "RUN"),
    "view": Command("read trajectories, in the terminal or as a page", ("run_dir", "runs", "view"), _view, "RUN"),
    "selftest": Command("does this machine's trainer compute what transformers computes: the parity report", ("selftest", "ray"), _selftest, "gpu"),
    "doctor": Command("what this machine can run, and what is missing", ("runs", "doctor"), _doctor),
}


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = ["prstack: the open training stack for e-commerce deep-research agents", "", "usage: prstack <command> [key=value …]", ""]
    lines += [f"  {name:<{width}}  {c.what}" for name, c in COMMANDS.items()]
    lines += ["", "`prstack <command> --help` lists its keys. A first run: prstack run preset=smoke"]
    return "\n".join(lines)


def _help(name: str, command: Command) -> str:
    docs, keys, defaults = config.docs(), config.keys(), config.to_dict(Config())
    beside = "".join(f"[{word}] " for word in (command.positional, *command.flags) if word)
    lines = [f"prstack {name}: {command.what}", "", f"usage: prstack {name} {beside}[key=value …]"]
    chosen = {g: options for g, options in config.groups().items() if g in command.sections or (g == "preset" and {"world", "trainer"} & set(command.sections))}
    if chosen:
        lines += ["", "groups (several keys at once)"]
        lines += [f"  {g}={' | '.join(options)}" for g, options in chosen.items()]
    for section in command.sections:
        inside = [k for k in keys if k == section or k.startswith(section + ".")]
        if inside != [section]:
            lines += ["", f"{section}: {docs[section]}"]
        elif not any(line == "keys" for line in lines):
            lines += ["", "keys"]
        for key in inside:
            value: object = defaults
            for part in key.split("."):
                value = value[part]
            lines += [f"  {key}={_show(value)}  ({config.type_name(key)})", f"      {docs[key]}"]
    return "\n".join(lines)


def _show(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return "[" + ",".join(map(str, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _relative(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
