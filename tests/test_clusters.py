"""The clusters' files, as far as they can be judged without a cluster: Ray and this package take what they say."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tune_fmnist import cluster
from tune_fmnist.base.errors import InputError
from tune_fmnist.workflow.options import Options

ROOT = Path(__file__).resolve().parent.parent
AWS, ONPREM = ROOT / "cluster.yaml", ROOT / "clusters" / "onprem.yaml"
KUBERAY, SLURM = ROOT / "clusters" / "kuberay.yaml", ROOT / "clusters" / "slurm.sbatch"
ALL = (AWS, ONPREM, KUBERAY, SLURM)
VERSIONS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
HEALTH = {
    "RAY_health_check_initial_delay_ms",
    "RAY_health_check_period_ms",
    "RAY_health_check_timeout_ms",
    "RAY_health_check_failure_threshold",
}


def read(file: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return config


def shell(file: Path) -> list[str]:
    """Return the shell commands of a launcher's file."""
    config = read(file)
    names = ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands")
    return [command for name in names for command in config[name]]


@pytest.mark.parametrize("file", [AWS, ONPREM], ids=lambda file: file.name)
def test_ray_takes_it(file: Path) -> None:
    config = prepare_config(read(file))
    validate_config(config)
    with pytest.raises(Exception, match="colour"):
        validate_config(config | {"colour": "red"})
    assert config["head_node_type"] in config["available_node_types"]


@pytest.mark.parametrize("file", ALL, ids=lambda file: file.name)
def test_a_user_edits_three_places_at_most(file: Path) -> None:
    marks = re.findall(r"EDIT (\d)", file.read_text())
    assert marks == [str(number + 1) for number in range(len(marks))]
    assert 2 <= len(marks) <= 3


@pytest.mark.parametrize("file", ALL, ids=lambda file: file.name)
def test_a_lost_node_costs_seconds_and_nobody_gets_in_or_is_told(file: Path) -> None:
    text = file.read_text()
    found = {name: int(value) for name, value in re.findall(r'(RAY_health_check_\w+)(?:=|, value: ")(\d+)', text)}
    assert found.keys() == HEALTH
    assert found["RAY_health_check_period_ms"] * found["RAY_health_check_failure_threshold"] <= 5_000
    assert re.search(r'RAY_USAGE_STATS_ENABLED(=0|, value: "0")', text)
    assert re.search(r"RAY_AUTH_MODE=token|authOptions: {mode: token}", text)
    assert "include-dashboard" in text or file is SLURM


@pytest.mark.parametrize("file", [AWS, ONPREM], ids=lambda file: file.name)
def test_its_commands_are_shell(file: Path) -> None:
    for command in shell(file):
        subprocess.run(["bash", "-n", "-c", command], check=True)
    project = [source for source in read(file)["file_mounts"].values() if not source.startswith("~")]
    assert all((ROOT / source).exists() for source in project)
    assert {"tune_fmnist", "search_spaces", "pyproject.toml", "constraints.txt"} <= set(project)
    assert any("--constraint constraints.txt" in command for command in shell(file))


def test_setup_can_be_run_again_and_sets_each_nodes_environment(tmp_path: Path) -> None:
    """The commands that need no network, run twice with a home of their own."""
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "bin" / "python").symlink_to(sys.executable)
    for file in (AWS, ONPREM):
        for command in read(file)["setup_commands"] * 2:
            if "pip install" not in command:
                subprocess.run(["bash", "-c", command], check=True, env={**os.environ, "HOME": str(tmp_path)})
    bashrc = (tmp_path / ".bashrc").read_text()
    assert bashrc.count("\n") == 1
    done = subprocess.run(
        ["bash", "-c", ". ~/.bashrc; echo $RAY_AUTH_MODE $RAY_USAGE_STATS_ENABLED $PATH"],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["token", "0", f"{tmp_path}/env/bin:/usr/bin:/bin"]


def test_aws_opens_ssh_alone_and_buys_spot_first_with_on_demand_behind() -> None:
    config = read(AWS)
    assert config["provider"]["security_group"].keys() == {"GroupName"}, "Ray's own rules: SSH, and the group itself"
    types = config["available_node_types"]
    head, spot, bought = (types[name] for name in ("head", "worker_spot", "worker_on_demand"))
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert spot["node_config"].pop("InstanceMarketOptions") == {"MarketType": "spot"}
    assert spot.pop("priority") > 0
    assert spot == bought
    assert bought["min_workers"] == 0
    assert bought["max_workers"] == config["max_workers"]
    for node in types.values():
        assert node["node_config"]["IamInstanceProfile"] == {"Name": "tune-fmnist"}, "checkpoints go to S3 from each"


def test_aws_takes_its_machines() -> None:
    botocore = pytest.importorskip("botocore.session", reason="botocore comes with the extra aws")
    from botocore.validate import ParamValidator

    shape = botocore.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    for node in read(AWS)["available_node_types"].values():
        wanted = node["node_config"] | {"MinCount": 1, "MaxCount": 1}
        assert not ParamValidator().validate(wanted, shape).has_errors()
    report = ParamValidator().validate(wanted | {"InstanceTyp": "x"}, shape)
    assert "InstanceTyp" in report.generate_report()


def test_versions_are_those_of_the_constraints() -> None:
    assert read(KUBERAY)["spec"]["rayVersion"] == VERSIONS["ray"]
    dockerfile = (ROOT / "clusters" / "Dockerfile").read_text()
    assert f"FROM rayproject/ray:{VERSIONS['ray']}-py3" in dockerfile
    assert "--constraint constraints.txt" in dockerfile


def test_kuberay_workers_have_what_a_trial_asks_for() -> None:
    spec = read(KUBERAY)["spec"]
    assert spec["enableInTreeAutoscaling"] is True
    (group,) = spec["workerGroupSpecs"]
    assert group["minReplicas"] == group["replicas"] == 0 < group["maxReplicas"]
    (worker,) = group["template"]["spec"]["containers"]
    (head,) = spec["headGroupSpec"]["template"]["spec"]["containers"]
    assert worker["image"] == head["image"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


@pytest.mark.parametrize("file", ALL, ids=lambda file: file.name)
def test_the_searches_it_names_are_searches(file: Path) -> None:
    text = re.sub(r"\\\n#?\s*", " ", file.read_text())
    lines = re.findall(r"(?:cluster submit \S+ --|tune_fmnist\.search|search=\()([^\n)]*)", text)
    assert lines
    for line in lines:
        words = [word for word in shlex.split(line, comments=True) if not word.startswith("$")]
        given = {word[2:].replace("-", "_") for word in words if word.startswith("--")}
        assert given <= Options.model_fields.keys(), line


def test_scripts_are_shell() -> None:
    for script in (SLURM, ROOT / "clusters" / "aws_profile.sh"):
        subprocess.run(["bash", "-n", script], check=True)
    assert (ROOT / "clusters" / "aws_profile.sh").stat().st_mode & stat.S_IXUSR
    lines = SLURM.read_text().splitlines()
    assert all(line.startswith("#") for line in lines[: max(i for i, line in enumerate(lines) if "#SBATCH" in line)])


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a stand-in for Ray's launcher, which needs hosts, writes its arguments and environment."""
    package = tmp_path / "stand-in" / "ray" / "scripts"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package.parent / "__init__.py").touch()
    (package / "scripts.py").write_text(
        "import os, sys\n"
        "with open(os.environ['SAID'], 'a') as file:\n"
        "    names = ('RAY_UP_enable_autoscaler_v2', 'RAY_USAGE_STATS_ENABLED')\n"
        "    print([os.environ.get(name) for name in names], sys.argv[1:], file=file)\n"
        "sys.exit(int('ray status' in sys.argv))\n"
    )
    said = tmp_path / "said"
    home = tmp_path / "home"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").touch()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SAID", str(said))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stand-in"))
    monkeypatch.chdir(tmp_path)
    return said


def test_up_on_own_machines_uses_the_autoscaler_that_starts_them(said: Path) -> None:
    cluster.main("up", ONPREM)
    lines = said.read_text().splitlines()
    assert lines[-1] == f"['0', '0'] ['up', '{ONPREM}', '--yes']"
    cluster.main("up", AWS)
    assert said.read_text().splitlines()[-1].startswith("[None, '0'] ['up', ")


def test_submitted_search_outlives_the_connection(said: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.main("submit", AWS, ["--model", "ann", "--name", "a b's"[0:1], "--space", "my space.toml"])
    assert "search a runs" in capsys.readouterr().out
    line = said.read_text()
    assert "setsid nohup python -m tune_fmnist.search --address auto --model ann --name a --space" in line
    assert "--results-dir ~/results > ~/results/a.log 2>&1 < /dev/null &" in line


def test_names_cannot_lead_elsewhere(said: Path) -> None:
    for action, more, key in (
        ("submit", ["--name", "x; rm"], "--name"),
        ("fetch", ["x y"], "NAME"),
        ("status", ["$(x)"], "NAME"),
    ):
        with pytest.raises(InputError, match=f"^{key}: invalid value {re.escape(repr(more[-1]))}; use letters"):
            cluster.main(action, AWS, more)
    with pytest.raises(InputError, match=r"^NAME: missing; name the search to fetch$"):
        cluster.main("fetch", AWS)
    with pytest.raises(InputError, match=r"^ACTION: invalid value 'start'; use up, submit, status, fetch or down$"):
        cluster.main("start", AWS)
    assert not said.exists()


def test_what_is_no_clusters_file_is_told(tmp_path: Path) -> None:
    for text in ("", "a: [", "provider: 3"):
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(InputError, match=r"x\.yaml: is not a cluster's file"):
            cluster.main("up", tmp_path / "x.yaml")
