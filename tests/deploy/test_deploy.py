"""The files in deploy/: of the form that Ray, KubeRay, Slurm, Docker and Grafana want, with commands that exist."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

from autosing.cli.main import app
from autosing.cluster.meters import COUNTERS
from autosing.pipeline.settings import parse_project

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERAY = Path(__file__).parent / "kuberay-rayjob.schema.json"


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")))


def ray_schema() -> Any:
    """Returns the schema of cluster files that Ray ships."""
    found = importlib.util.find_spec("ray")
    assert found is not None and found.origin is not None
    return json.loads(Path(found.origin).with_name("autoscaler").joinpath("ray-schema.json").read_text())


def tool(name: str) -> str:
    """Returns where a linter is; skips the test where it is not installed."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return found or pytest.skip(f"{name} is not installed")


def understood(words: Sequence[str]) -> dict[str, Any]:
    """Returns the arguments of a command line of autosing; fails where it is none."""
    program, name, *arguments = words
    assert program == "autosing"
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    found: dict[str, Any] = command.make_context(name, arguments).params
    return found


def test_the_cluster_file_is_what_ray_wants() -> None:
    (cluster,) = documents("ray-cluster.yaml")
    jsonschema.validate(cluster, ray_schema())
    kinds = cluster["available_node_types"]
    assert cluster["head_node_type"] in kinds and kinds["head"]["resources"]["CPU"] == 0
    spot = {n for n, kind in kinds.items() if "InstanceMarketOptions" in kind["node_config"]}
    assert spot == {*kinds} - {"head"}
    starts = [cluster[f"{who}_start_ray_commands"][-1] for who in ("head", "worker")]
    assert all(line.startswith("ray start ") for line in starts) and "--dashboard-host=127.0.0.1" in starts[0]


def test_the_check_of_the_cluster_file_can_fail() -> None:
    (cluster,) = documents("ray-cluster.yaml")
    with pytest.raises(jsonschema.ValidationError, match="min_worker"):
        jsonschema.validate({**cluster, "min_worker": 1}, ray_schema())


def test_the_ray_job_is_what_kuberay_wants_and_runs_a_command_that_exists() -> None:
    settings, job = documents("kuberay-rayjob.yaml")
    jsonschema.validate(job, json.loads(KUBERAY.read_text()))
    told = understood(shlex.split(job["spec"]["entrypoint"]))
    assert told["address"] == "auto"
    project = parse_project(settings["data"]["datasets.yaml"])
    assert told["dataset"] in project.datasets
    cluster = job["spec"]["rayClusterSpec"]
    (head,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    assert told["config"] == f"{head['volumeMounts'][0]['mountPath']}/datasets.yaml"
    assert cluster["authOptions"] == {"mode": "token"}
    groups = cluster["workerGroupSpecs"]
    assert told["gpu_workers"] == next(g["maxReplicas"] for g in groups if g["groupName"] == "gpu")


def test_the_check_of_the_ray_job_can_fail() -> None:
    _, job = documents("kuberay-rayjob.yaml")
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["rayStartParams"] = {"num-cpus": 1}
    with pytest.raises(jsonschema.ValidationError, match="is not of type 'string'"):
        jsonschema.validate(job, json.loads(KUBERAY.read_text()))


PRETENDED = {
    "scontrol": "echo node1; echo node2; echo node3",
    "srun": 'echo "srun $*" >>"$TOLD"; exec sleep 30',
    "ray": 'echo "ray $*" >>"$TOLD"',
    "autosing": (
        'for _ in {1..200}; do (($(grep -c ^srun "$TOLD") == 2)) && break; sleep 0.1; done; '
        'printf "%s\\n" autosing "$@" >"$TOLD.autosing"; env | grep ^RAY_AUTH >>"$TOLD.autosing"; exit 3'
    ),
}
"""What stands for Slurm, Ray and this package; they write down how they were called. As the end of the run ends the
workers, it waits until these have."""


def test_the_slurm_script_starts_a_head_and_workers_and_ends_as_the_run_does(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "activate").write_text("")
    for name, body in PRETENDED.items():
        file = tmp_path / "bin" / name
        file.write_text(f"#!/bin/bash\n{body}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    slurm = {
        "SLURM_CPUS_PER_TASK": "8",
        "SLURM_GPUS_ON_NODE": "2",
        "SLURM_JOB_NUM_NODES": "3",
        "SLURM_JOB_NODELIST": "x",
    }
    mine = {"VENV": str(tmp_path), "STAGES": "f0 mel", "DATASET": "/shared/my songs", "TOLD": str(tmp_path / "told")}
    path = f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = ["bash", str(DEPLOY / "slurm.sh")]
    done = subprocess.run(script, env={"PATH": path, **slurm, **mine}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    head, workers = sorted(line for line in (tmp_path / "told").read_text().splitlines() if line.startswith("srun"))
    assert "--nodelist=node1 ray start --block --num-cpus=8 --num-gpus=2" in head and "--head --port=6379" in head
    assert "--nodes=2 --ntasks=2 --exclude=node1 ray start" in workers and workers.endswith("--address=node1:6379")
    *words, one, other = (tmp_path / "told.autosing").read_text().splitlines()
    assert {one, other} > {"RAY_AUTH_MODE=token"} and re.search(r"RAY_AUTH_TOKEN=[0-9a-f]{64}", f"{one} {other}")
    run = understood(words)
    assert run["dataset"] == "/shared/my songs" and run["stages"] == ["f0", "mel"] and run["address"] == "node1:6379"
    assert (run["workers"], run["gpu_workers"]) == (24, 6)


def test_the_slurm_script_passes_the_shells_own_check_and_shellcheck() -> None:
    subprocess.run(["bash", "-n", str(DEPLOY / "slurm.sh")], check=True)
    checked = subprocess.run([tool("shellcheck"), str(DEPLOY / "slurm.sh")], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_the_image_runs_without_root_and_is_made_of_files_that_exist() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["1000"]
    copied = [line.split()[1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    kept = [line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")]
    assert all((DEPLOY.parent / name).exists() for name in (*copied, *kept)) and {*copied} - {"."} <= {*kept}


def test_the_dockerfile_passes_hadolint() -> None:
    checked = subprocess.run([tool("hadolint"), str(DEPLOY / "Dockerfile")], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_the_dashboard_shows_all_that_a_run_exports_and_nothing_else() -> None:
    board = json.loads((DEPLOY / "grafana" / "autosing.json").read_text())
    shown = {name for p in board["panels"] for t in p["targets"] for name in re.findall(r"ray_\w+", t["expr"])}
    assert shown == {f"ray_{name}_total" for name in COUNTERS}
    assert len({p["id"] for p in board["panels"]}) == len(board["panels"])
