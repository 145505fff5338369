"""The clusters' files, as far as they can be judged without a cluster: Ray and this package take what they say."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
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


def test_aws_lets_in_whom_the_user_names_and_buys_spot_first_with_on_demand_behind() -> None:
    config = read(AWS)
    types = config["available_node_types"]
    head, spot, bought = (types[name] for name in ("head", "worker_spot", "worker_on_demand"))
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert spot["node_config"].pop("InstanceMarketOptions") == {"MarketType": "spot"}
    assert spot.pop("priority") > 0
    assert spot == bought
    assert bought["min_workers"] == 0
    assert bought["max_workers"] == config["max_workers"]
    for node in types.values():
        assert node["node_config"]["SecurityGroupIds"] == [cluster._PLACEHOLDER], "Ray's own group is open to the world"
    assert head["node_config"]["IamInstanceProfile"] == {"Name": "tune-fmnist-head"}
    assert bought["node_config"]["IamInstanceProfile"] == {"Name": "tune-fmnist-worker"}


@pytest.fixture
def aws(tmp_path: Path) -> Callable[..., tuple[int, list[list[str]]]]:
    """Run ``aws_profile.sh`` with a stand-in for Amazon's command, which needs an account; return what it is given."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "aws").write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "with open(os.environ['SAID'], 'a') as file:\n"
        "    print(json.dumps(sys.argv[1:]), file=file)\n"
        "print('arn:of:worker' if 'get-role' in sys.argv else 'sg-1')\n"
    )
    (tmp_path / "bin" / "curl").write_text("#!/bin/sh\necho 203.0.113.7\n")
    for program in (tmp_path / "bin").iterdir():
        program.chmod(0o755)
    said = tmp_path / "said"

    def run(*arguments: str) -> tuple[int, list[list[str]]]:
        said.write_text("")
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "SAID": str(said)}
        script = ROOT / "clusters" / "aws_profile.sh"
        done = subprocess.run([script, *arguments], cwd=ROOT, env=environment, check=False, capture_output=True)
        return done.returncode, [json.loads(line) for line in said.read_text().splitlines()]

    return run


def rights(calls: list[list[str]], role: str) -> list[dict[str, Any]]:
    """Return the statements of a role's policy."""
    (call,) = [call for call in calls if call[1] == "put-role-policy" and role in call]
    statements: list[dict[str, Any]] = json.loads(call[call.index("--policy-document") + 1])["Statement"]
    assert all(one["Effect"] == "Allow" for one in statements)
    return statements


def test_workers_may_use_the_bucket_and_the_head_alone_may_start_machines(aws: Any) -> None:
    status, calls = aws("my-bucket", "198.51.100.0/24")
    assert status == 0
    worker = rights(calls, "tune-fmnist-worker")
    for one in worker:
        actions = one["Action"] if isinstance(one["Action"], list) else [one["Action"]]
        assert all(re.fullmatch(r"s3:(List|Get|Put|Delete|Abort)\w+", action) for action in actions)
        assert re.fullmatch(r"arn:aws:s3:::my-bucket(/\*)?", one["Resource"])
    more = [one for one in rights(calls, "tune-fmnist-head") if one not in worker]
    (passes,) = [one for one in more if "iam:PassRole" in one["Action"]]
    assert passes["Resource"] == "arn:of:worker"
    ends = [one for one in more if "ec2:TerminateInstances" in one["Action"]]
    assert [list(one["Condition"]) for one in ends] == [["StringLike"]]
    assert not any("attach-role-policy" in call for call in calls), "Amazon's own policies allow far more"
    profiles = [call[call.index("--role-name") + 1] for call in calls if "add-role-to-instance-profile" in call]
    assert profiles == ["tune-fmnist-worker", "tune-fmnist-head"]


@pytest.mark.parametrize(
    ("given", "cidr"),
    [
        ((), "203.0.113.7/32"),
        (("198.51.100.9",), "198.51.100.9/32"),
        (("198.51.100.0/24",), "198.51.100.0/24"),
        (("0.0.0.0/0",), None),
        (("128.0.0.0/1",), None),
        (("::/0",), None),
        (("home",), None),
    ],
)
def test_port_22_is_open_to_an_address_that_is_never_the_world(aws: Any, given: tuple[str, ...], cidr: str) -> None:
    status, calls = aws("my-bucket", *given)
    rules = [call for call in calls if "authorize-security-group-ingress" in call]
    if cidr is None:
        assert (status, calls) == (2, [])
        return
    ssh, among = rules
    assert ssh[-4:] == ["--port", "22", "--cidr", cidr]
    assert among[-2:] == ["--source-group", "sg-1"]
    assert {call[call.index("--region") + 1] for call in rules} == {read(AWS)["provider"]["region"]}


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


def test_a_slurm_job_is_one_command_whether_it_is_requeued_or_not(tmp_path: Path) -> None:
    """With ``--resume`` and a model, a search is begun or gone on with; ``test_mirror`` shows it on S3."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").touch()
    # Stand-ins for what needs a cluster; srun tells what it is to run.
    for name, line in (
        # More than a pipe holds: who reads the first line only ends it by a signal, which is an error there.
        ("scontrol", "seq -f n%g 20000"),
        ("getent", "echo 10.0.0.1"),
        ("srun", 'echo "$@"'),
    ):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)
    script = re.sub(r"(?m)^storage=\S+", "storage=s3://bucket/searches", SLURM.read_text())
    (tmp_path / "python").symlink_to(sys.executable)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_NODELIST": "n", "SLURM_NNODES": "2"}
    done = subprocess.run(
        ["bash", "-c", f"umask 022\n{script}"],
        cwd=tmp_path,
        env=environment | {"SLURM_CPUS_PER_TASK": "4", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    _, _, line = done.stdout.strip().partition(" -- python -m tune_fmnist.search ")
    assert line == (
        "--address 10.0.0.1:6379 --storage s3://bucket/searches --name night --model cnn --trials 200 --resume"
    )
    assert stat.S_IMODE((tmp_path / ".ray" / "auth_token").stat().st_mode) == 0o600


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
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SAID", str(said))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stand-in"))
    monkeypatch.chdir(tmp_path)
    return said


def test_up_on_own_machines_uses_the_autoscaler_that_starts_them(said: Path) -> None:
    cluster.main("up", ONPREM)
    lines = said.read_text().splitlines()
    assert lines[-1] == f"['0', '0'] ['up', '{ONPREM}', '--yes']"
    token = said.parent / "home" / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    edited = said.parent / "cluster.yaml"
    edited.write_text(AWS.read_text().replace(cluster._PLACEHOLDER, "sg-00000000000000001"))
    cluster.main("up", edited)
    assert said.read_text().splitlines()[-1].startswith("[None, '0'] ['up', ")


def test_up_on_aws_waits_for_who_may_log_in(said: Path) -> None:
    with pytest.raises(
        InputError, match=r"cluster\.yaml: SecurityGroupIds: 'sg-\w+' is a placeholder; put in the group"
    ):
        cluster.main("up", AWS)
    assert not said.exists()


def test_submitted_search_outlives_the_connection(said: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.main("submit", AWS, ["--model", "ann", "--name", "a b's"[0:1]])
    assert "search a runs" in capsys.readouterr().out
    line = said.read_text()
    assert "setsid nohup python -m tune_fmnist.search --address auto --model ann --name a --results-dir" in line
    assert "--results-dir ~/results > ~/results/a.log 2>&1 < /dev/null &" in line


def test_what_is_the_users_own_is_brought_to_the_head(said: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = said.parent / "my images"
    folder.mkdir()
    shutil.copy(ROOT / "examples" / "resnet.py", said.parent / "shipped.py")
    monkeypatch.syspath_prepend(said.parent)
    cluster.main("submit", AWS, ["--model", "shipped:ResNet", "--dataset", "my images", "--name", "n"])
    lines = said.read_text().splitlines()
    there = [line for line in lines if "rsync-up" in line]
    assert f"'{said.parent / 'shipped.py'}', '~/own/n/shipped.py'" in there[0]
    assert f"'{folder}/', '~/own/n/my images/'" in there[1]
    assert "env PYTHONPATH=~/own/n python -m tune_fmnist.search" in lines[-1]
    assert "--name n --dataset 'own/n/my images' --results-dir" in lines[-1].replace("\\", "")


def test_a_space_and_a_searcher_are_brought_to_the_head(said: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "search_spaces" / "ann.toml", said.parent / "my space.toml")
    source = "from optuna.samplers import RandomSampler\ndef sampler(seed):\n    return RandomSampler(seed)\n"
    (said.parent / "drawing.py").write_text(source)
    monkeypatch.syspath_prepend(said.parent)
    given = ["--model", "ann", "--space", "my space.toml", "--searcher", "drawing:sampler", "--name", "n"]
    cluster.main("submit", AWS, given)
    lines = said.read_text().splitlines()
    there = [line for line in lines if "rsync-up" in line]
    assert f"'{said.parent / 'drawing.py'}', '~/own/n/drawing.py'" in there[0]
    assert f"'{said.parent / 'my space.toml'}', '~/own/n/my space.toml'" in there[1]
    assert "--name n --space 'own/n/my space.toml' --results-dir" in lines[-1].replace("\\", "")


def test_a_space_that_cannot_be_used_is_refused_before_anything_is_submitted(said: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: --space: "):
        cluster.main("submit", AWS, ["--model", "ann", "--space", "none.toml", "--name", "n"])
    assert not said.exists()


@pytest.mark.parametrize("name", [["--name", "night"], ["--name=night"], ["--name", "day", "--name=night"]])
def test_a_name_is_understood_as_search_does(said: Path, capsys: pytest.CaptureFixture[str], name: list[str]) -> None:
    file = said.parent / "my cluster.yaml"
    file.write_text(ONPREM.read_text())
    cluster.main("submit", file, ["--model", "ann", *name])
    assert capsys.readouterr().out == f"search night runs; see: tune-fmnist cluster status '{file}' night\n"
    assert (
        f"--address auto --model ann {' '.join(name)} --results-dir ~/results > ~/results/night.log" in said.read_text()
    )


def test_a_search_without_a_name_gets_one(said: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.main("submit", AWS, ["--model=cnn"])
    (name,) = re.findall(r"search (search-[\d-]+) runs", capsys.readouterr().out)
    assert f"--model=cnn --name {name} --results-dir" in said.read_text()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--modell", "ann"], "No such option: --modell"),
        (["--model", "rnn"], "^--model: invalid value 'rnn'; "),
        (["--model", "ann", "--trials", "0"], "^--trials: invalid value 0; must be at least 1$"),
        (["--model", "ann", "--trials"], "--trials"),
        (["--model", "ann", "more"], "more"),
        (["--name", "night"], "^--model: missing; use ann, cnn, or MODULE:CLASS of your own$"),
        ([], "^--model: missing; use ann, cnn, or MODULE:CLASS of your own$"),
        (["--resume"], "^--name: missing; name the search that --resume goes on with$"),
        (["--model", "ann", "--results-dir", "/data"], "^--results-dir: invalid value '/data'; leave it out: "),
        (["--resume", "--name=../night"], r"^--name: '\.\./night' is not a folder's name; "),
    ],
)
def test_what_search_does_not_take_is_not_submitted(said: Path, options: list[str], says: str) -> None:
    with pytest.raises((InputError, typer.TyperException), match=says):
        cluster.main("submit", AWS, options)
    assert not said.exists()


NO_NAMES = ("..", ".", ".hidden", "a/b", "/", "a\nb", "\x1b[2J", "n" * 101, "x y", "$(x)", "x; rm", "a'b", "~", "*", "")


@pytest.mark.parametrize("name", NO_NAMES)
@pytest.mark.parametrize("action", ["submit", "status", "fetch"])
def test_names_cannot_lead_elsewhere(said: Path, action: str, name: str) -> None:
    more, key = (["--model", "ann", "--name", name], "--name") if action == "submit" else ([name], "NAME")
    with pytest.raises(InputError) as caught:
        cluster.main(action, AWS, more)
    assert caught.value.key == key
    assert len(str(caught.value).splitlines()) == 1
    assert sorted(path.name for path in said.parent.iterdir()) == ["home", "stand-in"], "nothing is made or run"


def test_what_is_no_action_is_told(said: Path) -> None:
    with pytest.raises(InputError, match=r"^NAME: missing; name the search to fetch$"):
        cluster.main("fetch", AWS)
    with pytest.raises(InputError, match=r"^ACTION: invalid value 'start'; use up, submit, status, fetch or down$"):
        cluster.main("start", AWS)
    assert not said.exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not a cluster's file"),
        ("a: [", "is not a cluster's file"),
        ("provider: 3", "is not a cluster's file"),
        ("provider: {type: local}", r"provider\.worker_ips: missing; see cluster\.yaml"),
        ("provider: {type: local, worker_ips: [192.0.2.2]}", "auth: missing; see "),
        ("provider: {type: local, worker_ips: []}\nauth: you", "auth: invalid value 'you': must be "),
        ("provider: {type: local, worker_ips: []}\nauth: {}", r"auth\.ssh_user: missing; see "),
        ("provider: {type: local, worker_ips: 3}\nauth: {ssh_user: you}", r"provider\.worker_ips: invalid value 3: "),
    ],
)
@pytest.mark.parametrize("action", ["up", "down"])
def test_what_is_no_clusters_file_is_told(said: Path, action: str, text: str, says: str) -> None:
    file = said.parent / "x.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=rf"x\.yaml: {says}"):
        cluster.main(action, file)
    assert not said.exists(), "Ray was asked before"
