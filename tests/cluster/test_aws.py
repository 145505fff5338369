"""cluster.yaml on an EC2 that is moto's, its machines hosts of the lab: spot machines come, are lost, and go."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
import yaml

from tests.cluster import launcher
from tests.cluster.lab import CLIENT, NETWORK, ROOT, Host, Lab, built, environment
from tests.cluster.launcher import RAY, trials_of

FIRST = 4
"""The least host number that a subnet gives, in AWS and in moto."""

ENDPOINT = f"http://{NETWORK}.{CLIENT}:5000"
BUCKET = "my-bucket"
SERVER = """
import json, sys
import boto3
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instances import InstanceBackend
from moto.server import ThreadedMotoServer

address, region, spot = sys.argv[1:]
run_instances = InstanceBackend.run_instances


def refuse(backend, *arguments, **options):
    if options.get("instance_market_options"):
        raise EC2ClientError("InsufficientInstanceCapacity", "There is no Spot capacity available")
    return run_instances(backend, *arguments, **options)


if spot == "sold out":
    InstanceBackend.run_instances = refuse
ThreadedMotoServer(ip_address=address, port=5000, verbose=False).start()
clients = {name: boto3.client(name, region_name=region) for name in ("ec2", "iam", "s3")}
for line in sys.stdin:
    service, method, arguments = json.loads(line)
    print(json.dumps(getattr(clients[service], method)(**arguments), default=str), flush=True)
"""


class Account:
    """An AWS account, with one subnet, the instance profiles that cluster.yaml names, a bucket, and a group that lets
    the client alone log in: what ``clusters/aws_profile.sh`` makes, as far as moto holds anybody to it.

    moto's server runs at the client; boto3 asks it from there, in the same process.

    Args:
        lab: its client.
        region: where.
        profiles: the instance profiles' names.
        spot: "sold out" where there are no spot machines, which moto knows nothing of; "available" elsewhere.
    """

    def __init__(self, lab: Lab, region: str, profiles: set[str], spot: str) -> None:
        command = [*lab.client.inside, sys.executable, "-c", SERVER, f"{NETWORK}.{CLIENT}", region, spot]
        self._log = lab.folder / "moto.log"
        with self._log.open("wb") as log:
            self._server = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment() | {"AWS_ENDPOINT_URL": ENDPOINT},
            )
        for subnet in self.ask("ec2", "describe_subnets")["Subnets"]:
            self.ask("ec2", "delete_subnet", SubnetId=subnet["SubnetId"])
        network = f"{NETWORK}.0/24"
        vpc = self.ask("ec2", "create_vpc", CidrBlock=network)["Vpc"]["VpcId"]
        self.ask("ec2", "create_subnet", VpcId=vpc, CidrBlock=network, AvailabilityZone=f"{region}a")
        for profile in sorted(profiles):
            self.ask("iam", "create_instance_profile", InstanceProfileName=profile)
        made = self.ask("ec2", "create_security_group", GroupName="tune-fmnist", Description="tune-fmnist", VpcId=vpc)
        self.group: str = made["GroupId"]
        ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": f"{NETWORK}.{CLIENT}/32"}]}
        among = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": self.group}]}
        self.ask("ec2", "authorize_security_group_ingress", GroupId=self.group, IpPermissions=[ssh, among])
        where = {"LocationConstraint": region}
        self.ask("s3", "create_bucket", Bucket=BUCKET, CreateBucketConfiguration=where)
        # The key pair that Ray makes where there is none; no machine here would get its public part.
        name = f"ray-autoscaler_{region}"
        public = (lab.folder / "key.pub").read_text()
        self.ask("ec2", "import_key_pair", KeyName=name, PublicKeyMaterial=public)
        private = lab.client.path(f"/root/.ssh/{name}.pem")
        private.write_bytes((lab.folder / "key").read_bytes())
        private.chmod(0o600)

    def ask(self, service: str, method: str, **arguments: Any) -> dict[str, Any]:
        """Return what a method of boto3's returns."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps([service, method, arguments]), file=self._server.stdin, flush=True)
        line = self._server.stdout.readline()
        assert line, self._log.read_text()[-2000:]
        answer: dict[str, Any] = json.loads(line)
        return answer

    def instances(self) -> list[dict[str, Any]]:
        """Return all instances that there ever were, by the time of their launch."""
        reservations = self.ask("ec2", "describe_instances")["Reservations"]
        found = [one for reservation in reservations for one in reservation["Instances"]]
        return sorted(found, key=lambda one: str(one["LaunchTime"]))

    def running(self) -> list[dict[str, Any]]:
        return [one for one in self.instances() if one["State"]["Name"] == "running"]

    def close(self) -> None:
        self._server.communicate()


@pytest.fixture
def lab_of_aws() -> Iterator[Lab]:
    """As many hosts as the test may ask machines for."""
    if find_spec("moto") is None:
        pytest.skip("moto is not installed: pip install 'tune-fmnist[cluster]'")
    with built(6, FIRST) as lab:
        for host in lab.hosts:
            # What an instance profile and Amazon's own addresses are elsewhere.
            host.path("/root/.bashrc").write_text(f"export AWS_ENDPOINT_URL={ENDPOINT}\n")
        yield lab


@pytest.fixture
def account(lab_of_aws: Lab, request: pytest.FixtureRequest) -> Iterator[Account]:
    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    types = config["available_node_types"].values()
    profiles = {node["node_config"]["IamInstanceProfile"]["Name"] for node in types}
    account = Account(lab_of_aws, config["provider"]["region"], profiles, getattr(request, "param", "available"))
    yield account
    account.close()


def command(lab: Lab, *arguments: object) -> None:
    """Run ``tune-fmnist cluster`` at the client, whose AWS is the account's."""
    launcher.command(lab, *arguments, AWS_ENDPOINT_URL=ENDPOINT)


def submit(lab: Lab, file: str, name: str) -> None:
    """Start a search that does not end by itself; each trial fills a machine, whose GPU is not there."""
    options = (
        *("--model", "ann", "--trials", 1000, "--max-epochs", 3, "--limit-train", 10000, "--scheduler", "fifo"),
        # Short trials: there is always one that waits for a node.
        *("--searcher", "random"),
        *("--cpus-per-trial", 4, "--gpus-per-trial", 0, "--max-concurrent", 1, "--storage", f"s3://{BUCKET}/searches"),
    )
    command(lab, "submit", file, "--", *options, "--name", name)


def host_of(lab: Lab, instance: dict[str, Any]) -> Host:
    return lab.host(int(instance["PrivateIpAddress"].rpartition(".")[2]))


def is_spot(instance: dict[str, Any]) -> bool:
    return instance.get("InstanceLifecycle") == "spot"


@pytest.mark.faults
def test_spot_machines_come_with_the_load_are_replaced_and_go(lab_of_aws: Lab, account: Account) -> None:
    lab, file = lab_of_aws, "/root/cluster.yaml"
    lab.client.path(file).write_text(launcher.aws(account.group))
    command(lab, "up", file)
    (first,) = account.running()
    assert first["InstanceType"] == "m7i.large"
    assert not is_spot(first)
    _only_ssh_is_open(account, first)
    head = host_of(lab, first)

    def await_trial(on: dict[str, Any], *searches: str) -> None:
        name = host_of(lab, on).name

        def works() -> bool:
            return any(row["node"] == name for search in searches for row in trials_of(head, search))

        lab.await_true(works, f"a trial on {name}")

    def await_machines(count: int, why: str) -> dict[str, Any]:
        lab.await_true(lambda: len(account.running()) == count, why)
        return account.running()[-1]

    submit(lab, file, "night")
    lost = await_machines(2, "a machine for the search")
    assert is_spot(lost)
    assert lost["InstanceType"] == "g6.xlarge"
    assert lost["SecurityGroups"] == first["SecurityGroups"]
    profiles = [one["IamInstanceProfile"]["Arn"].rpartition("/")[2] for one in (first, lost)]
    assert profiles == ["tune-fmnist-head", "tune-fmnist-worker"]
    await_trial(lost, "night")

    submit(lab, file, "more")
    second = await_machines(3, "a machine for the second search")
    await_trial(second, "more")

    account.ask("ec2", "terminate_instances", InstanceIds=[lost["InstanceId"]])
    host_of(lab, lost).run("pkill", "-9", "-f", RAY)
    before = len(trials_of(head, "night"))
    third = await_machines(3, "a machine in place of the lost one")
    # Whichever waits may take the machine that is left.
    await_trial(third, "night", "more")
    lab.await_true(lambda: len(trials_of(head, "night")) >= before + 2, "trials after the loss")

    head.run("pkill", "-TERM", "-f", "tune_fmnist.search")
    lab.await_true(lambda: not head.processes("tune_fmnist.search"), "the searches' end")
    for search in ("night", "more"):
        rows = trials_of(head, search)
        assert {row["status"] for row in rows} <= {"completed", "running"}, [row["reason"] for row in rows]
    stored = account.ask("s3", "list_objects_v2", Bucket=BUCKET)["Contents"]
    assert {f"searches/{search}/trials.parquet" for search in ("night", "more")} <= {one["Key"] for one in stored}

    assert await_machines(1, "no machine without load")["InstanceId"] == first["InstanceId"]
    bought = account.instances()[1:]
    assert [one["InstanceId"] for one in bought] == [one["InstanceId"] for one in (lost, second, third)]
    assert all(is_spot(one) for one in bought)
    command(lab, "down", file)
    assert not account.running()


def _only_ssh_is_open(account: Account, instance: dict[str, Any]) -> None:
    """Assert that port 22 is open to the client, and all ports to the machines themselves, and nothing else."""
    (group,) = instance["SecurityGroups"]
    assert group["GroupName"] == "tune-fmnist"
    (found,) = account.ask("ec2", "describe_security_groups", GroupIds=[group["GroupId"]])["SecurityGroups"]
    world = [rule for rule in found["IpPermissions"] if rule["IpRanges"] or rule["Ipv6Ranges"] or rule["PrefixListIds"]]
    assert [(rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in world] == [("tcp", 22, 22)]
    assert [one["CidrIp"] for one in world[0]["IpRanges"]] == [f"{NETWORK}.{CLIENT}/32"]
    assert not world[0]["Ipv6Ranges"] + world[0]["PrefixListIds"]
    peers = {pair["GroupId"] for rule in found["IpPermissions"] for pair in rule["UserIdGroupPairs"]}
    assert peers == {group["GroupId"]}


@pytest.mark.faults
@pytest.mark.parametrize("account", ["sold out"], indirect=True)
def test_full_price_is_paid_when_the_user_says_so(lab_of_aws: Lab, account: Account) -> None:
    lab, file = lab_of_aws, "/root/cluster.yaml"
    lab.client.path(file).write_text(launcher.aws(account.group))
    command(lab, "up", file)
    (first,) = account.running()
    head = host_of(lab, first)
    submit(lab, file, "night")
    # What Ray's autoscaler does with the third refusal is what it does with all.
    count = "grep -c 'Failed to launch.*(InsufficientInstanceCapacity)' /tmp/ray/session_latest/logs/monitor.log; true"
    lab.await_true(lambda: int(head.run("bash", "-c", count).stdout) >= 3, "three spot machines are asked for")
    assert len(account.running()) == 1, "Ray has learned to take the other type: cluster.yaml says that it does not"

    config = yaml.safe_load(lab.client.path(file).read_text())
    config["available_node_types"]["worker_spot"]["priority"] = -1
    lab.client.path(file).write_text(yaml.safe_dump(config))
    command(lab, "up", file)
    lab.await_true(lambda: len(account.running()) == 2, "a machine at full price")
    bought = account.running()[-1]
    assert bought["InstanceType"] == "g6.xlarge"
    assert not is_spot(bought)
    assert head.processes("tune_fmnist.search"), "the second `up` ended the search"
    command(lab, "down", file)
    assert not account.running()
