"""What `prstack submit` renders and refuses, without a Slurm; and with one, whether it takes every preset's script."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from prstack import cli
from prstack.config import groups, load
from prstack.submit.jobs import jobs
from prstack.submit.script import render

CLUSTERS = ("workstation_1x8", "cluster_8x8", "paper")
SITE = ["cluster.partition=debug", "cluster.account=lab", "cluster.setup=module load cuda", "cluster.env.NCCL_IB_HCA=mlx5", "cluster.interface=ib0", "cluster.gpus_per_node=2"]
VARIANTS = {
    "bare": SITE,
    "pyxis": [*SITE, "cluster=pyxis", "cluster.image=registry#lab/prstack:1", "cluster.mounts=[/data:/data]"],
    "apptainer": [*SITE, "cluster=apptainer", "cluster.image=/shared/it's.sif"],
    "array": ["cluster.seeds=[1,2]", "cluster.requeues=0", "ray.dashboard=false"],
    "store": [*SITE, "run_dir=s3://bucket/it's a run?endpoint_override=host:9000&scheme=http", "cluster.seeds=[1,2]"],
    "metrics": ["cluster.metrics=true", "ray.dashboard_host=0.0.0.0"],
}


def scripts(*settings: str, command: str = "run", run_dir: str = "/shared/runs/a run") -> list[str]:
    c = load(list(settings))
    store = (c.run_dir, Path("/shared/staging")) if c.run_dir else ()
    return [render(c, job, Path(run_dir), Path("/shared/work"), "/shared/env/bin/python", *store) for job in jobs(c, command, settings)]


def refused(capsys: pytest.CaptureFixture, *args: str) -> str:
    assert cli.main(["submit", *args, "--dry-run"]) == 2
    err = capsys.readouterr().err.strip().splitlines()
    return err[-1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_shellcheck_finds_nothing(variant, tmp_path):
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed (apt-get install shellcheck)")
    (script,) = scripts(*VARIANTS[variant])
    (tmp_path / "job.sh").write_text(script)
    done = subprocess.run(["shellcheck", str(tmp_path / "job.sh")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("variant", VARIANTS)
def test_bash_can_read_it(variant):
    (script,) = scripts(*VARIANTS[variant])
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "{{" not in script and "{%" not in script


def test_a_script_says_what_the_settings_say():
    (script,) = scripts(*SITE, "cluster.nodes=4", "cluster.time=\"2-00:00:00\"", "cluster.sbatch=['--qos=high']", "preset=smoke", "name='my run'")
    for line in ("--nodes=4", "--partition=debug", "--account=lab", "--gpus-per-node=2", "--time=2-00:00:00", "--qos=high", "--signal=B:USR1@300", "--requeue", "--export=NONE"):
        assert f"#SBATCH {line}\n" in script, line
    assert "export NCCL_IB_HCA=mlx5\n" in script and "export NCCL_SOCKET_IFNAME=ib0\n" in script
    assert "  preset=smoke\n" in script and "cluster." not in script.split("command=(")[1].split(")")[0], "a job's command gets no settings of the cluster"
    assert "--dashboard-host=127.0.0.1" in script and "RAY_enable_metrics_collection=false" in script


def test_dashboard_and_metrics_are_open_only_when_asked_for():
    (script,) = scripts(*VARIANTS["metrics"])
    assert "--dashboard-host=0.0.0.0" in script and "RAY_enable_metrics_collection" not in script


def test_containers_see_the_run_the_working_folder_and_scratch():
    (pyxis,), (apptainer,) = scripts(*VARIANTS["pyxis"]), scripts(*VARIANTS["apptainer"])
    mounts = "/shared/runs/a run:/shared/runs/a run,/shared/work:/shared/work,/tmp:/tmp"
    assert f"--container-mounts='{mounts},/data:/data'" in pyxis and f"--bind '{mounts}'" in apptainer and "--nv " in apptainer
    (pyxis,) = scripts(*VARIANTS["pyxis"], "run_dir=s3://bucket/runs/a")
    assert f"--container-mounts='{mounts},/shared/staging:/shared/staging,/data:/data'" in pyxis


def shown(capsys: pytest.CaptureFixture, *settings: str) -> str:
    """The script of a dry run."""
    assert cli.main(["submit", "run", *settings, "--dry-run"]) == 0
    return capsys.readouterr().out


def evaluated(script: str, name: str, **env: str) -> str:
    """What a variable of the script is in a job: its first lines that set it and what it needs, run by bash."""
    lines = [line for line in script.splitlines() if line.startswith(("shared=", "run_dir=", f"export {name}="))]
    return subprocess.run(["bash", "-uc", "\n".join([*lines, f'printf %s "${name}"'])], env=env, capture_output=True, text=True, check=True).stdout


def test_a_run_in_a_store_goes_by_its_url_and_all_else_lies_in_a_shared_folder(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PRSTACK_STAGING", raising=False)
    url, site = "s3://bucket/runs/a?endpoint_override=host:9000&scheme=http", ("cluster.nodes=2", "name=n", "runs=shared")
    script = shown(capsys, f"run_dir={url}", *site)
    shared = evaluated(script, "shared")
    assert evaluated(script, "run_dir") == url and shared.startswith(f"{tmp_path}/shared/2") and shared.endswith("-n")
    assert script.count("s3:") == 1 and '  run_dir="$run_dir"\n' in script
    assert f"#SBATCH --output={shared}/logs/run/%j.log\n" in script and "logs=$shared/logs/run/" in script and "RAY_AUTH_TOKEN_PATH=$shared/" in script
    assert evaluated(script, "PRSTACK_STAGING") == f"{shared}/staging", "several nodes see it"
    monkeypatch.setenv("PRSTACK_STAGING", "/disk/of all")
    assert evaluated(shown(capsys, f"run_dir={url}", *site), "PRSTACK_STAGING") == "/disk/of all"
    assert evaluated(shown(capsys, f"run_dir={url}", *site, "cluster.env.PRSTACK_STAGING=/other"), "PRSTACK_STAGING") == "/other"
    local = shown(capsys, "run_dir=r", *site)
    assert evaluated(local, "run_dir") == f"{tmp_path}/r" == evaluated(local, "shared") and "PRSTACK_STAGING" not in local
    assert f"'run_dir={url}'" in shown(capsys, f"run_dir={url}", *site, "cluster=ray")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("query", ["", "?endpoint_override=host:9000"])
def test_each_seed_has_a_place_of_its_own_in_the_store(query, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = shown(capsys, f"run_dir=s3://bucket/it's/a{query}", "cluster.seeds=[3,7]")
    assert evaluated(script, "run_dir", SLURM_ARRAY_TASK_ID="7") == f"s3://bucket/it's/a/seed-7{query}"
    assert evaluated(script, "shared", SLURM_ARRAY_TASK_ID="7").endswith("/seed-7")


@pytest.mark.parametrize(
    ("settings", "names", "untils"),
    [
        ((), ["synthesize", "distill", "sft", "rl", "evaluate"], ["synthesize", "distill", "sft", "rl", "report"]),
        (("evaluation.subjects=[sft]",), ["synthesize", "distill", "sft", "evaluate"], ["synthesize", "distill", "sft", "report"]),
        (("until=sft",), ["synthesize", "distill", "sft"], ["synthesize", "distill", "sft"]),
        (("until=evaluate", "evaluation.subjects=[sft,rl]"), ["synthesize", "distill", "sft", "rl", "evaluate"], ["synthesize", "distill", "sft", "rl", "evaluate"]),
        (("until=world",), ["world"], ["world"]),
    ],
)
def test_a_chain_is_one_job_a_stage(settings, names, untils):
    settings = (*settings, "cluster.chain=true", "cluster.nodes=8", "cluster.nodes_of.distill=1")
    chain = jobs(load(list(settings)), "run", settings)
    assert [j.name for j in chain] == names and [j.settings[-1] for j in chain] == [f"until={u}" for u in untils]
    assert [j.after for j in chain] == [False] + [True] * (len(names) - 1)
    assert all(j.nodes == (1 if j.name == "distill" else 8) for j in chain)
    assert all(sum(s.startswith("until=") for s in j.settings) == 1 for j in chain)
    (whole,) = jobs(load([*settings, "cluster=ray"]), "run", settings)
    assert whole.settings == tuple(s for s in settings if not s.startswith("cluster.")), "a Ray cluster gets the loop as one job"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "prstack submit: say what"),
        (["chat"], "one of run, world, synthesize"),
        (["run", "cluster=pyxis"], "cluster.image"),
        (["run", "cluster.env.WANDB_API_KEY=planted"], "cluster.env.WANDB_API_KEY: what looks like a secret"),
        (["run", "engine.endpoint.base_url=https://me:planted@host/v1"], "engine.endpoint.base_url: what looks like a secret"),
        (["run", "run_dir=s3://AKIAKEY:planted@bucket/runs/a"], "a URL holds no user and no key"),
        (["run", "run_dir=s3://bucket/runs/a?secret_key=planted", "cluster=ray"], "a URL holds no user and no key"),
        (["run", "runs=s3://bucket/runs"], "runs=s3://bucket/runs: a folder that all nodes see"),
        (["run", "cluster.env_file=/nowhere"], "cluster.env_file=/nowhere"),
        (["run", "cluster.time=tomorrow"], "cluster.time=tomorrow"),
        (["run", "cluster.scratch=relative"], "cluster.scratch=relative"),
        (["run", "cluster.signal_lead=10"], "synthesis.grace=15"),
        (["distill", "cluster.seeds=[1]"], "has no seed"),
        (["sft", "preset=cluster_8x8", "cluster.nodes=4"], "sft does not fit on 4 nodes of 8 GPUs and 96 CPUs: sft: 32 of 64 ranks"),
        (["run", "preset=cluster_8x8", "engine.vllm_args.tensor_parallel_size=16"], "vLLM engines with 16 GPUs each on one node"),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_submitted(args, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    last = refused(capsys, *args)
    assert said in last and "planted" not in last
    assert not list(tmp_path.iterdir())


def test_a_file_of_keys_that_others_may_read_is_refused(capsys, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("WANDB_API_KEY=planted\n")
    keys.chmod(0o644)
    assert "others may read it" in refused(capsys, "run", f"cluster.env_file={keys}")
    keys.chmod(0o600)
    assert cli.main(["submit", "run", f"cluster.env_file={keys}", "--dry-run"]) == 0
    script = capsys.readouterr().out
    assert f"source {keys}" in script and "planted" not in script


@pytest.mark.parametrize("preset", CLUSTERS)
def test_a_cluster_preset_is_planned_and_rendered(preset, capsys):
    assert cli.main(["sft", "--plan", f"preset={preset}"]) == 0
    assert "30.53 billion" in capsys.readouterr().out
    assert cli.main(["submit", "run", f"preset={preset}", "--dry-run"]) == 0
    c, script = load([f"preset={preset}"]), capsys.readouterr().out
    assert script.count("#!/bin/bash") == len(jobs(c, "run", [])) and f"--gpus-per-node={c.cluster.gpus_per_node}" in script
    assert c.trainer.context >= c.distill.context and c.distill.tokenizer == c.trainer.model


def test_a_plan_is_of_what_its_stage_will_have(capsys):
    assert cli.main(["sft", "--plan", "preset=cluster_8x8", "per_stage.sft.trainer.ranks=32", "per_stage.rl.trainer.ranks=16"]) == 0
    assert "32 ranks: ep 8, tp 2" in capsys.readouterr().out


def test_slurm_takes_the_script_of_every_preset(slurm, tmp_path):
    """Asked for as it is, but for the size of this Slurm's two nodes."""
    size = ["cluster.nodes=2", "cluster.nodes_of={}", "cluster.cpus_per_node=1", "cluster.gpus_per_node=2"]
    for preset in groups()["preset"]:
        settings = [f"preset={preset}", *size]
        for i, script in enumerate(scripts(*settings, run_dir=str(tmp_path))):
            file = tmp_path / f"{preset}-{i}.sbatch"
            file.write_text(script)
            done = subprocess.run(["sbatch", "--test-only", str(file)], env=slurm.env, capture_output=True, text=True)
            assert done.returncode == 0, f"{preset}: {done.stderr}"
    file.write_text(script.replace("--nodes=2", "--nodes=3"))
    refused = subprocess.run(["sbatch", "--test-only", str(file)], env=slurm.env, capture_output=True, text=True)
    assert refused.returncode != 0, "the check can fail"


@pytest.mark.slow
def test_a_chain_of_arrays_runs_in_order_each_task_after_its_own(slurm, tmp_path, monkeypatch, capsys):
    """Slurm is real; what runs in the jobs stands in for Ray and the command."""
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    size = ["cluster.cpus_per_node=1", "cluster.nodes=1", "cluster.nodes_of.sft=2", "cluster.chain=true", "cluster.seeds=[3,7]"]
    python = Path(__file__).with_name("stand_in.sh")
    assert cli.main(["submit", "run", "preset=smoke", "until=sft", *size, f"cluster.python={python}", f"run_dir={tmp_path / 'r'}"]) == 0
    last = capsys.readouterr().out.split("sft: job ")[1].split()[0]
    slurm.wait_for(last, ("COMPLETED", "FAILED", "CANCELLED"), 90)
    slurm.wait_until(lambda: not slurm.command("squeue", "-h"), "end of the chain", 60)
    for seed in (3, 7):
        assert (tmp_path / "r" / f"seed-{seed}" / "order").read_text().splitlines() == ["synthesize on 1", "distill on 1", "sft on 2"]
    assert sorted(p.name for p in (tmp_path / "r" / "logs").iterdir()) == ["distill", "sft", "synthesize"]
    assert len(list((tmp_path / "r" / "submit").glob("*.sbatch"))) == 3
