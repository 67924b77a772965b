"""The configuration: every mistake is one error that names the key and the nearest right one."""

import pytest
from omegaconf import OmegaConf

from prstack import config
from prstack.config import (
    conf_dir,
    docs,
    for_stage,
    from_dict,
    groups,
    keys,
    load,
    nearest,
    source_folder,
    to_dict,
    type_name,
)
from prstack.errors import UserError
from prstack.settings import Config
from prstack.stages.models import resolve_tokenizer


def error(*overrides: str) -> str:
    with pytest.raises(UserError) as e:
        load(list(overrides))
    message = str(e.value)
    assert "\n" not in message, "one line"
    return message


def test_defaults_and_overrides():
    assert load() == load(["preset=laptop"]), "what is there without a preset"
    assert (load().agents, load().ray) == (Config().agents, Config().ray)
    c = load(
        [
            "preset=smoke",
            "world=tau_retail",
            "engine=vllm",
            "synthesis.episodes=7",
            "engine.temperature=0",
            "agents.mistakes.vague_plan=0.5",
        ]
    )
    assert (c.world.kind, c.engine.name, c.synthesis.episodes, c.agents.mistakes.vague_plan) == ("tau_retail", "vllm", 7, 0.5)
    assert c.synthesis.part_episodes == 4 and c.engine.temperature == 0.0  # from the preset; an int where a float is meant
    assert load(["run_dir=runs/a b", "engine.user=null", "view.id=0123"]).run_dir == "runs/a b"


@pytest.mark.parametrize(
    "text", ["1234", "1e5", "true", "a,b", "a(b)", "x=y", "it's", "{a:1}", "[a]", "C:\\x\\", "~/runs", "a b ", "日本", "\\'"]
)
def test_a_text_key_takes_any_text(text):
    assert load([f"view.id={text}"]).view.id == text


def test_text_can_be_quoted_null_or_a_reference(monkeypatch):
    monkeypatch.setenv("PRSTACK_TEST_NAME", "night")
    assert load(["name='a b'"]).name == "a b"
    assert load(["name=${oc.env:PRSTACK_TEST_NAME}"]).name == "night"
    assert load(["run_dir=null"]).run_dir is None


def test_an_override_beats_a_preset_whatever_the_order():
    assert load(["synthesis.episodes=9", "preset=smoke"]).synthesis.episodes == 9


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("synthesis.episods=5", ["unknown key synthesis.episods", "did you mean synthesis.episodes?"]),
        ("episodes=5", ["unknown key episodes", "did you mean synthesis.episodes?"]),
        ("engin=vllm", ["unknown key engin", "did you mean engine?"]),
        ("world.sed=1", ["unknown key world.sed", "did you mean world.seed?"]),
        ("+synthesis.new=5", ["unknown key synthesis.new"]),
        ("~synthesis.episods", ["key=value"]),
        ("synthesis=5", ["synthesis is a section", "synthesis.episodes"]),
        ("engine=vlm", ["engine=vlm", "did you mean engine=vllm?", "expert, openai, vllm"]),
        ("world=tau", ["world=tau", "did you mean world=tau_retail?"]),
        ("preset=laptob", ["did you mean preset=laptop?"]),
        ("episodes", ["'episodes'", "key=value"]),
        ("=5", ["key=value"]),
        ("synthesis.episodes=many", ["synthesis.episodes=many", "int > 0"]),
        ("synthesis.episodes=0", ["synthesis.episodes=0", "int > 0"]),
        ("synthesis.episodes=-3", ["synthesis.episodes=-3", "int > 0"]),
        ("synthesis.episodes=2.5", ["synthesis.episodes=2.5", "int > 0"]),
        ("synthesis.episodes=null", ["synthesis.episodes=None", "int > 0"]),
        ("synthesis.episodes=[1,2]", ["synthesis.episodes=", "int > 0"]),
        ("synthesis.episodes={a:1}", ["synthesis.episodes", "int > 0"]),
        ("engine.dtype=bfloat", ["engine.dtype=bfloat", "did you mean bfloat16?"]),
        ("engine.user=experts", ["engine.user=experts", "did you mean expert?"]),
        ("engine.top_p=1.5", ["engine.top_p=1.5", "float >= 0 and <= 1"]),
        ("engine.temperature=hot", ["engine.temperature=hot", "float >= 0"]),
        ("agents.max_seconds=0", ["agents.max_seconds=0", "float > 0"]),
        ("ray.dashboard=perhaps", ["ray.dashboard=perhaps", "bool"]),
        ("distill.filters.terminations=[approved,done]", ["distill.filters.terminations", "done"]),
        ("distill.filters.terminations=approved", ["distill.filters.terminations=approved", "list"]),
        ("distill.wrong_actions=drp", ["distill.wrong_actions=drp", "did you mean drop?"]),
        ("tracking.wandb=on", ["tracking.wandb"]),
        ("world.seed=${oc.env:HOME", ["world.seed"]),
        ("per_stage.lr.trainer.ranks=2", ["per_stage.lr: lr is none of", "rl"]),
        ("per_stage.rl.traner.ranks=2", ["per_stage.rl: traner is none of", "did you mean trainer?"]),
        ("per_stage.rl.trainer.rank=2", ["per_stage.rl: unknown key trainer.rank", "did you mean trainer.ranks?"]),
        ("per_stage.rl.trainer.ranks=0", ["per_stage.rl: trainer.ranks=0", "int > 0"]),
        ("per_stage.rl.run_dir=elsewhere", ["per_stage.rl: run_dir is none of"]),
    ],
)
def test_each_mistake_is_named_with_the_nearest_right_one(override, parts):
    message = error(override)
    for part in parts:
        assert part in message, message


def test_the_whole_command_is_checked_not_its_first_key_only():
    assert "world.sead" in error("synthesis.episodes=5", "preset=smoke", "world.sead=1")


def test_a_stage_may_have_settings_of_its_own():
    c = load(["per_stage.rl.trainer.ranks=4", "per_stage.rl.engine.vllm_args.a.b=1", "per_stage.sft.trainer.lr=0.5", "engine.vllm_args.a.c=2", "trainer.ranks=2"])
    rl, sft = for_stage(c, "rl"), for_stage(c, "sft")
    assert (rl.trainer.ranks, sft.trainer.ranks, sft.trainer.lr, rl.trainer.lr) == (4, 2, 0.5, c.trainer.lr)
    assert rl.engine.vllm_args == {"a": {"b": 1, "c": 2}} and sft.engine.vllm_args == c.engine.vllm_args == {"a": {"c": 2}}
    assert for_stage(c, "control") == sft, "the control is trained as sft is"
    assert for_stage(c, "synthesize") is c and from_dict(to_dict(c)) == c


def test_what_vllm_takes_passes_through():
    c = load(["engine.vllm_args.tensor_parallel_size=2", "engine.vllm_args.nested.deep=x"])
    assert c.engine.vllm_args == {"tensor_parallel_size": 2, "nested": {"deep": "x"}}


def test_from_dict_is_the_inverse_of_to_dict_and_names_what_is_wrong():
    c = load(["preset=smoke"])
    assert from_dict(to_dict(c)) == c
    raw = to_dict(c)
    raw["synthesis"]["episods"] = 3
    with pytest.raises(UserError, match=r"unknown key synthesis\.episods; did you mean synthesis\.episodes\?"):
        from_dict(raw)
    with pytest.raises(UserError, match=r"world"):
        from_dict(to_dict(c) | {"world": 5})


def shipped() -> list[str]:
    return [f"{group}={option}" for group, options in groups().items() for option in options]


@pytest.mark.parametrize("choice", shipped())
def test_every_shipped_option_loads(choice):
    group, option = choice.split("=")
    c = load([choice])
    raw = OmegaConf.to_container(OmegaConf.load(conf_dir() / group / f"{option}.yaml")) or {}
    raw.pop("defaults", None)
    section = to_dict(c) if group == "preset" else to_dict(c)[group]

    def check(wanted: dict, found: dict, path: str) -> None:
        for key, value in wanted.items():
            if isinstance(value, dict) and isinstance(found[key], dict):
                check(value, found[key], f"{path}{key}.")
            else:
                assert found[key] == value, f"{path}{key}"

    check(raw, section, f"{choice}: ")


@pytest.mark.parametrize("preset", [p for p in groups()["preset"] if p not in ("world_9m", "workstation_1x8", "cluster_8x8", "paper")])
def test_the_parts_of_every_preset_of_a_run_fit_each_other(preset):
    c = load([f"preset={preset}"])
    assert c.name == preset
    assert resolve_tokenizer(c.distill.tokenizer) == resolve_tokenizer(c.trainer.model)
    assert c.trainer.context >= c.distill.context
    assert {"sft", "no_check", "expert"} <= set(c.evaluation.subjects) and c.evaluation.compare in c.evaluation.subjects
    assert c.world.seed != c.evaluation.world_seed


def test_a_preset_is_built_on_another_one():
    laptop, smoke = load(["preset=laptop"]), load(["preset=smoke"])
    assert smoke.trainer.model == laptop.trainer.model and smoke.world.valid_share == laptop.world.valid_share
    assert (smoke.synthesis.episodes, smoke.trainer.steps, smoke.evaluation.queries) == (12, 4, 4)


def test_every_yaml_file_is_an_option_or_the_root():
    files = {p.relative_to(conf_dir()).as_posix() for p in conf_dir().rglob("*.yaml")}
    assert files == {"config.yaml"} | {f"{g}/{o}.yaml" for g, options in groups().items() for o in options}


def test_every_key_and_section_is_documented():
    documented = docs()
    missing = [k for k in keys() if not documented.get(k)]
    assert not missing, f"no docstring under {missing}"
    sections = {k.rpartition(".")[0] for k in keys() if "." in k}
    assert not [s for s in sections if not documented.get(s)]
    assert not set(documented) - set(keys()) - sections


@pytest.mark.parametrize("key", list(keys()))
def test_every_key_has_a_type_that_can_be_read(key):
    name = type_name(key)
    assert name and "typing" not in name and "<class" not in name and "Annotated" not in name


def test_nearest():
    assert nearest("epsiodes", ["synthesis.episodes", "seed"]) == "synthesis.episodes"
    assert nearest("syn", ["synthesize", "view"]) == "synthesize"
    assert nearest("qqqqqq", ["synthesis.episodes"]) == ""
    assert nearest("", ["a"]) == ""


def test_source_folder_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRSTACK_DATA", str(tmp_path / "d"))
    world = config.WorldConfig(kind="tau_retail")
    with pytest.raises(UserError, match=r"world.path=FOLDER") as e:
        source_folder(world)
    assert str(tmp_path / "d" / "tau_retail") in str(e.value)
    (tmp_path / "d" / "tau_retail").mkdir(parents=True)
    assert source_folder(world) == tmp_path / "d" / "tau_retail"
    with pytest.raises(UserError, match=r"nowhere"):
        source_folder(config.WorldConfig(kind="tau_retail", path="nowhere"))


def test_an_error_inside_a_loaded_file_is_an_error_of_ours(monkeypatch, tmp_path):
    """A group file of one's own with an unknown key: the key is named."""
    import shutil

    shutil.copytree(conf_dir(), tmp_path / "conf")
    (tmp_path / "conf" / "preset" / "mine.yaml").write_text("# @package _global_\nsynthesis:\n  episods: 3\n")
    monkeypatch.setattr(config, "conf_dir", lambda: tmp_path / "conf")
    assert "synthesis.episods" in error("preset=mine")
