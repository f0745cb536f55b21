"""Stand-ins for aws, gcloud and ssh on PATH. They keep what they are told in a folder and answer in the words of the real ones
(https://docs.aws.amazon.com/cli/latest/reference/ec2/, https://cloud.google.com/sdk/gcloud/reference/compute/instances)."""
import json

HEAD = """#!/usr/bin/python3
import json, os, pathlib, subprocess, sys
folder = pathlib.Path({folder!r})
arguments = sys.argv[1:]
with open(folder / "calls", "a") as calls:
    calls.write(json.dumps([pathlib.Path(sys.argv[0]).name, *arguments]) + "\\n")
error = folder / "error"
if error.exists():
    sys.exit(error.read_text())
state = folder / "instances.json"
there = json.loads(state.read_text()) if state.exists() else {{}}
after = lambda name: arguments[arguments.index(name) + 1]
def keep():
    state.write_text(json.dumps(there))
"""
AWS = """
if "run-instances" in arguments:
    token = after("--client-token")
    known = [one for one, made in there.items() if made["token"] == token]
    one = known[0] if known else f"i-{len(there):08x}"
    if not known:
        data = pathlib.Path(after("--user-data").removeprefix("file://"))
        tags = arguments[arguments.index("--tag-specifications") + 1]
        assert tags.startswith("ResourceType=instance,Tags=[{") and data.stat().st_mode & 0o077 == 0, (tags, oct(data.stat().st_mode))
        pairs = [pair.split(",Value=") for pair in tags.removeprefix("ResourceType=instance,Tags=[{Key=").removesuffix("}]").split("},{Key=")]
        there[one] = {"token": token, "tags": dict(pairs), "data": data.read_text(), "state": "pending"}
        keep()
    print(one)
elif "describe-instances" in arguments:
    wanted = [filter.removeprefix("Name=").split(",Values=") for filter in arguments if filter.startswith("Name=")]
    def fits(made):
        return all(made["state"] in values.split(",") if name == "instance-state-name" else made["tags"].get(name.removeprefix("tag:")) == values
                   for name, values in wanted)
    found = {one: made for one, made in there.items() if fits(made)}
    print("\\t".join(found if "InstanceId" in after("--query") else [made["tags"]["spell-machine"] for made in found.values()]))
elif "describe-images" in arguments:
    print("/dev/xvda")
elif "terminate-instances" in arguments:
    for one in arguments[arguments.index("--instance-ids") + 1:]:
        there[one]["state"] = "shutting-down"
    keep()
else:
    sys.exit("usage: aws")
"""
GCLOUD = """
verb = arguments[arguments.index("instances") + 1]
if verb == "create":
    name = arguments[arguments.index("create") + 1]
    assert after("--zone")
    data = pathlib.Path(after("--metadata-from-file").removeprefix("startup-script="))
    assert data.stat().st_mode & 0o077 == 0
    if name in there:
        sys.exit(f"ERROR: (gcloud.compute.instances.create) Could not fetch resource:\\n - The resource 'projects/p/zones/z/instances/{name}' already exists")
    there[name] = {"tag": after("--labels").removeprefix("spell-pool="), "data": data.read_text()}
    keep()
elif verb == "list":
    tag = after("--filter").removeprefix("labels.spell-pool=")
    for name, made in there.items():
        if made["tag"] == tag:
            print(name)
elif verb == "delete":
    name = arguments[arguments.index("delete") + 1]
    if not there.pop(name, None):
        sys.exit(f"ERROR: (gcloud.compute.instances.delete) The resource 'projects/p/zones/z/instances/{name}' was not found")
    keep()
"""
# What it is told to do elsewhere it does here, at home in a folder of the host's own.
SSH = """
host, command = arguments[arguments.index("--") + 1:]
home = folder / "hosts" / host
if not home.exists():
    print(f"ssh: connect to host {host} port 22: Connection timed out", file=sys.stderr)
    sys.exit(255)
sys.exit(subprocess.run(["/bin/sh", "-c", command], env={**os.environ, "HOME": str(home)}, cwd=home).returncode)
"""


class Cloud:
    """The folder of the stand-ins; first in PATH of what `place` starts from here on."""

    def __init__(self, place):
        self.folder = place.root / "cloud"
        (self.folder / "hosts").mkdir(parents=True)
        for name, body in {"aws": AWS, "gcloud": GCLOUD, "ssh": SSH}.items():
            program = self.folder / name
            program.write_text(HEAD.format(folder=str(self.folder)) + body)
            program.chmod(0o755)
        place.environment["PATH"] = f"{self.folder}:{place.environment['PATH']}"

    def calls(self):
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def instances(self):
        path = self.folder / "instances.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def fail(self, words):
        """What the next calls say before they end with 1; "": they work again."""
        (self.folder / "error").write_text(words) if words else (self.folder / "error").unlink()
