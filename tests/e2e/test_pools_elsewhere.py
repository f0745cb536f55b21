"""The pools that launch machines elsewhere, against stand-ins for the vendors' command lines."""
import json
import subprocess

import pytest

from cloud_programs import Cloud
from harness import BUILD, PATIENCE, processes_of, wait_for
from machines import spell as spell_of
from machines import submit
from pool_program import end_pool, machines_of
from team import Team

TOKEN = "spj_" + "5" * 64 + "." + "a" * 64
OPTIONS = {"aws": {"REGION": "eu-west-1", "INSTANCE_TYPE": "p3.2xlarge", "IMAGE": "ami-1", "DISK": "200"},
           "gcp": {"PROJECT": "p", "ZONE": "europe-west4-a", "MACHINE_TYPE": "n1-standard-8", "ACCELERATOR": "type=nvidia-tesla-t4,count=1"}}


@pytest.fixture
def cloud(place):
    return Cloud(place)


def call(place, pool, action, name="v100-spot-1", token=TOKEN, **changes):
    (place.root / "f").mkdir(exist_ok=True)
    environment = {**place.environment, "SPELL_POOL_TYPE": "v100-spot", "SPELL_POOL_OWNER": "acme", "SPELL_POOL_TAG": "spell-1-2", "SPELL_POOL_SPOT": "1",
                   "SPELL_POOL_FOLDER": str(place.root / "f"), "SPELL_POOL_WORKER": "", "SPELL_POOL_PERSONAL": "0"}
    if name and action != "list":
        environment["SPELL_POOL_NAME"] = name
    if action == "launch":
        environment |= {"SPELL_POOL_URL": "https://spell.example.org:8443",
                        "SPELL_POOL_INSTALL": "curl -fsSk --pinnedpubkey 'sha256//abc=' https://spell.example.org:8443/install/worker.sh | sh"}
    environment |= {f"SPELL_POOL_OPTION_{key}": value for key, value in OPTIONS.get(pool, {}).items()}
    environment |= {key: value for key, value in changes.items() if value is not None}
    for key in [key for key, value in changes.items() if value is None]:
        environment.pop(key, None)
    return subprocess.run([BUILD / "libexec/spell/pools" / pool, action], env=environment, cwd=place.root / "f", timeout=PATIENCE,
                          input=token + "\n" if action == "launch" else "", capture_output=True, text=True)


def names(place, pool):
    listed = call(place, pool, "list")
    assert listed.returncode == 0, listed
    return [machine["name"] for machine in json.loads(listed.stdout)["machines"]]


@pytest.mark.parametrize("pool", OPTIONS)
def test_a_machine_of_a_cloud(place, cloud, pool):
    assert names(place, pool) == []
    for _ in range(2):  # again: nothing new
        made = call(place, pool, "launch")
        assert made.returncode == 0, made
    made, = cloud.instances().values()
    script = made["data"]
    assert subprocess.run(["sh", "-n"], input=script, text=True, check=False).returncode == 0
    assert TOKEN in script and "spell-worker join 'https://spell.example.org:8443' -" in script and "--pinnedpubkey 'sha256//abc='" in script, script
    # Nowhere but there.
    assert "spj_" not in (cloud.folder / "calls").read_text() and list((place.root / "f").iterdir()) == []
    told = next(call for call in cloud.calls() if "run-instances" in call or "create" in call)
    if pool == "aws":
        assert told[told.index("--client-token") + 1] == "v100-spot-1" and told[told.index("--instance-initiated-shutdown-behavior") + 1] == "terminate"
        assert told[told.index("--instance-market-options") + 1].startswith("MarketType=spot")
        assert "DeviceName=/dev/xvda,Ebs={VolumeSize=200,DeleteOnTermination=true}" in told
    else:
        assert told[told.index("--provisioning-model") + 1] == "SPOT" and told[told.index("--instance-termination-action") + 1] == "DELETE"
    assert names(place, pool) == ["v100-spot-1"]
    assert call(place, pool, "launch", "v100-spot-2", SPELL_POOL_SPOT="0").returncode == 0
    told = [call for call in cloud.calls() if "run-instances" in call or "create" in call][-1]
    assert "--provisioning-model" not in told and "--instance-market-options" not in told
    # Those of other services are theirs.
    assert json.loads(call(place, pool, "list", SPELL_POOL_TAG="spell-other").stdout) == {"machines": []}
    for _ in range(2):
        ended = call(place, pool, "terminate")
        assert ended.returncode == 0, ended
    assert names(place, pool) == ["v100-spot-2"]


@pytest.mark.parametrize("pool, words, code", [
    ("aws", "\nAn error occurred (InsufficientInstanceCapacity) when calling the RunInstances operation (reached max retries: 2): We currently do not have "
            "sufficient p3.2xlarge capacity\n", 75),
    ("aws", "\nUnable to locate credentials. You can configure credentials by running \"aws configure\".\n", 78),
    ("aws", "\nAn error occurred (InvalidAMIID.NotFound) when calling the RunInstances operation: The image id '[ami-1]' does not exist\n", 78),
    ("aws", "\nCould not connect to the endpoint URL: \"https://ec2.eu-west-1.amazonaws.com/\"\n", 1),
    ("gcp", "ERROR: (gcloud.compute.instances.create) Could not fetch resource:\n - The zone 'projects/p/zones/z' does not have enough resources available "
            "to fulfill the request.\n", 75),
    ("gcp", "ERROR: (gcloud.compute.instances.create) You do not currently have an active account selected.\n", 78),
    ("gcp", "ERROR: gcloud crashed (TransportError): timed out\n", 1)])
def test_what_a_cloud_says_is_passed_on(place, cloud, pool, words, code):
    cloud.fail(words)
    for action in ("launch", "terminate", "list"):
        refused = call(place, pool, action)
        assert refused.returncode == code and not refused.stdout, refused
        assert refused.stderr.strip() == words.strip().splitlines()[-1].strip(), refused
    cloud.fail("")
    assert names(place, pool) == []


def test_options_that_are_missing_are_named(place, cloud):
    for pool, options in OPTIONS.items():
        for option in list(options)[:3]:
            refused = call(place, pool, "launch", **{f"SPELL_POOL_OPTION_{option}": None})
            assert refused.returncode == 78 and f"option {option.lower()}" in refused.stderr, refused
        refused = call(place, pool, "launch", SPELL_POOL_INSTALL="", SPELL_POOL_URL="unix:/x")
        assert refused.returncode == 78 and "cannot join" in refused.stderr, refused
    assert cloud.instances() == {}
    assert call(place, "ssh", "launch").returncode == 78
    for hosts in ("-oProxyCommand=x", "a;b", "$(x)"):
        refused = call(place, "ssh", "launch", SPELL_POOL_OPTION_HOSTS=hosts)
        assert refused.returncode == 78 and "is no host" in refused.stderr, refused
    assert not [told for told in cloud.calls() if told[0] == "ssh" or "create" in told or "run-instances" in told]


def test_computers_of_a_list(place, cloud):
    """They join, take runs, and are ended there; each is one machine's at a time, and one that does not answer costs no run."""
    for host in ("ada@one", "two"):
        (cloud.folder / "hosts" / host).mkdir(mode=0o700)
    team = Team(place, "--pool-check", "1")
    spell = lambda *arguments, **options: spell_of(team, *arguments, **options)
    spell("machine-type", "add", "lab", "--pool", "ssh", "--pool-option", "hosts=away ada@one,two", "--max-machines", "3", "--launch-timeout", "50", check=0)
    number = submit(team, "-t", "lab", "exec sleep 1000")
    wait_for(lambda: '"running"' in spell("info", number, "--json", check=0).stdout, what="the run to begin")
    machine = next(one for one in machines_of(spell, "lab") if one["phase"] == "up")
    folder, = [path for path in (cloud.folder / "hosts").glob("*/.spell-pool/*/*") if path.name == machine["name"]]
    assert folder.is_relative_to(cloud.folder / "hosts/ada@one")
    calls = (cloud.folder / "calls").read_text()
    assert "spj_" not in calls and "away" in calls
    # The host that does not answer stays with the machine that was tried there: nobody can say that it is gone.
    ending = [one["name"] for one in machines_of(spell, "lab") if one["phase"] == "ending"]
    assert len(ending) == 1
    (cloud.folder / "hosts/away").mkdir(mode=0o700)
    spell("kill", number, check=0)
    spell("wait", number)
    end_pool(spell, "lab")
    assert not list((cloud.folder / "hosts").glob("*/.spell-pool/*/*"))
    assert not [line for line in processes_of(cloud.folder / "hosts").values() if "spell-" in line]
    assert not list((team.data / "pools/acme/lab/hosts").iterdir())
