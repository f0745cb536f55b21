"""A pool's program for tests: its machines are files, and what it does next stands in other files."""
import json
import os

from harness import wait_for

PROGRAM = r"""#!/bin/sh
set -eu
cd '{folder}'
echo "$1 ${{SPELL_POOL_NAME:-}}" >> calls
if [ "$1" = launch ]; then cat > "told.$SPELL_POOL_NAME"; env > "environment.$SPELL_POOL_NAME"; fi
for moment in before after; do
  if [ "$moment" = after ]; then
    case "$1" in
      launch) : > "machines/$SPELL_POOL_NAME" ;;
      terminate) rm -f "machines/$SPELL_POOL_NAME" ;;
      list) printf '{{"machines": ['; ls machines | sed 's/.*/{{"name": "&"}}/' | paste -sd , - | tr -d '\n'; echo ']}}' ;;
    esac
  fi
  # Whoever is told to wait there says that he does.
  if [ -e "wait.$1.$moment" ]; then
    echo "$SPELL_POOL_NAME" > "waiting.$1.$moment"
    while [ -e "wait.$1.$moment" ]; do sleep 0.05; done
  fi
  if [ "$moment" = before ] && [ -e "fails.$1" ]; then
    . "./fails.$1"
  fi
done
"""


class PoolProgram:
    def __init__(self, place, name="pool"):
        self.folder = place.root / name
        (self.folder / "machines").mkdir(parents=True, mode=0o700)
        self.path = self.folder / "program"
        self.path.write_text(PROGRAM.format(folder=self.folder))
        self.path.chmod(0o755)

    def machines(self):
        return sorted(os.listdir(self.folder / "machines"))

    def calls(self, action):
        calls = self.folder / "calls"
        return [line.split()[1:] for line in calls.read_text().splitlines() if line.split()[0] == action] if calls.exists() else []

    def fail(self, action, script):
        """Lines of sh before it does anything; "": it does not fail any more."""
        path = self.folder / f"fails.{action}"
        path.write_text(script + "\n") if script else path.unlink(missing_ok=True)

    def hold(self, action, moment):
        (self.folder / f"wait.{action}.{moment}").touch()

    def release(self, action, moment):
        (self.folder / f"wait.{action}.{moment}").unlink(missing_ok=True)

    def wait_held(self, action, moment):
        """Until a call waits there."""
        told = self.folder / f"waiting.{action}.{moment}"
        wait_for(told.exists, what=f"{action} to be {moment} its deed")
        told.unlink()
        return self


def machines_of(spell, kind):
    listed = json.loads(spell("machine", "list", "--json", check=0).stdout)["machines"]
    return [machine for machine in listed if machine["pool"] == kind]


def end_pool(spell, kind):
    """Ends all of its machines, and waits until none is left."""
    spell("machine-type", "scale", kind, "--min-machines", "0", "--max-machines", "0", check=0)
    for machine in machines_of(spell, kind):
        if machine["phase"] != "ending":
            spell("machine", "remove", "-f", machine["name"])
    wait_for(lambda: not machines_of(spell, kind), what=f"the machines of {kind} to end")
