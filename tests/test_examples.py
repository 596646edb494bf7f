"""The batch script and the manifest: that the one does what it says, against stand-ins for Slurm, Ray and Fathom, and
that the other has the fields of a RayJob. Neither has met a real Slurm or Kubernetes here."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "examples" / "slurm" / "study.sbatch"

# What each command of the cluster does here: says how it was called, and lives as long as the real one would.
STAND_INS = {
    "scontrol": 'echo "scontrol $*" >>"$LOG"; [ "$1" = show ] && printf "node1\\nnode2\\n"; exit 0',
    "srun": 'echo "srun $*" >>"$LOG"; while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"',
    "ray": 'echo "ray $*" >>"$LOG"; [ "$1" = status ] && exit 0; exec sleep 60',
    "hostname": "echo 10.0.0.1 10.0.0.2",
    "fathom": 'echo "fathom $*" >>"$LOG"; trap "exit 75" USR2; touch "$LOG.started"; '
    "for i in $(seq ${STEPS}); do sleep 0.05; done; exit ${STATUS:-0}",
}


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a batch shell of two nodes."""
    for name, body in STAND_INS.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
    told = {"SLURM_JOB_ID": "42", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_CPUS_PER_TASK": "8", "FATHOM_WAIT": "0.05"}
    told |= {"SLURM_GPUS_ON_NODE": "4", "LOG": str(tmp_path / "log"), "STEPS": "600"}
    return {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", **told}


def log(slurm: dict[str, str]) -> str:
    path = Path(slurm["LOG"])
    return path.read_text() if path.exists() else ""


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@needs_bash
@pytest.mark.parametrize("status", [0, 3])
def test_the_batch_script_starts_ray_on_every_node_and_ends_as_the_study_does(
    slurm: dict[str, str], status: int
) -> None:
    command = ["bash", str(SCRIPT), "quickstart", "/shared/out", "--threads", "2"]
    done = subprocess.run(command, env={**slurm, "STEPS": "1", "STATUS": str(status)}, timeout=60, capture_output=True)
    assert done.returncode == status, done.stderr
    said = log(slurm)
    assert "fathom run quickstart --out /shared/out --engine ray:10.0.0.1:20042 --threads 2" in said
    assert "--nodelist=node1 ray start --head --node-ip-address=10.0.0.1 --port=20042" in said
    assert "--nodelist=node2 ray start --address=10.0.0.1:20042 --num-cpus=8 --num-gpus=4" in said
    assert "requeue" not in said


@needs_bash
def test_the_batch_script_hands_sigusr2_on_and_has_the_job_queued_again(slurm: dict[str, str]) -> None:
    process = subprocess.Popen(["bash", str(SCRIPT), "quickstart", "/shared/out"], env=slurm)
    while not Path(slurm["LOG"] + ".started").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGUSR2)
    assert process.wait(timeout=20) == 75
    assert "scontrol requeue 42" in log(slurm)


@needs_bash
def test_the_batch_script_says_what_it_expects(slurm: dict[str, str]) -> None:
    done = subprocess.run(["bash", str(SCRIPT)], env=slurm, capture_output=True, text=True)
    assert done.returncode != 0
    assert "expected: sbatch study.sbatch STUDY OUT" in done.stderr
    wanted = {"--requeue", "--signal=B:USR2@120", "--open-mode=append"}
    assert wanted <= {line.split()[1] for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH")}


def test_the_manifest_has_the_fields_of_a_ray_job() -> None:
    from importlib.metadata import version

    manifest = yaml.safe_load((ROOT / "examples" / "kuberay" / "rayjob.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayJob")
    spec = manifest["spec"]
    assert set(spec) == {
        "entrypoint", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "backoffLimit", "submissionMode",
        "rayClusterSpec"}  # fmt: skip
    assert "--engine ray" in spec["entrypoint"]
    cluster = spec["rayClusterSpec"]
    assert cluster["rayVersion"] == version("ray")
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert all(isinstance(value, str) for group in groups for value in group["rayStartParams"].values())
    for group in groups:  # all see one folder, and none phones home
        (container,) = group["template"]["spec"]["containers"]
        assert container["volumeMounts"] == [{"name": "shared", "mountPath": "/shared"}]
        assert group["template"]["spec"]["volumes"][0]["name"] == "shared"
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
    (worker,) = cluster["workerGroupSpecs"]
    assert worker["minReplicas"] <= worker["replicas"] <= worker["maxReplicas"]
