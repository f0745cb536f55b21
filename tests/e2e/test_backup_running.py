"""What a run has finished writing is safe while it runs, and there when its machine is not."""
import os
import signal
import threading

import pytest

from harness import wait_for
from machines import Machine, gate, spell as team_spell, submit, wait_run
from team import Team
from test_mounts import whole_log

# Goes on until the file `go` is there.
UNTIL_GO = "while [ ! -e go ]; do sleep 0.02; done"


def entries(spell, path, *options):
    listed = spell("ls", path, "--json", *options)
    return {entry["path"]: entry for entry in listed.json["entries"]} if listed.returncode == 0 else {}


def record(spell, number):
    return spell("info", number, "--json", check=0).json["run"]


def is_running(spell, number):
    return record(spell, number)["status"] == "running"


def folder_of(place, number):
    """The run's own /spell, once its command runs. Of the only run."""
    wait_for(lambda: is_running(place.spell, number))
    runs = place.spell_dir / "worker/runs"
    return wait_for(lambda: next((run / "spell" for run in runs.iterdir() if (run / "spell").exists() and not run.name.startswith(".")), None)
                    if runs.exists() else None, what="the run's folder")


def begin(place, command, *options, cwd=None):
    place.spell("run", "-f", "-b", *options, command, cwd=cwd, check=0)
    return 1


def test_what_is_closed_is_safe_while_the_run_goes_on(place, spell, repo):
    begin(place, f"echo first > one; mkdir new; echo second > new/two; {UNTIL_GO}; echo third > three", cwd=repo)
    wait_for(lambda: {"one", "new"} <= entries(spell, "runs/1").keys())
    assert is_running(spell, 1)
    spell("cp", "runs/1/new/two", "two", check=0)
    assert (place.work / "two").read_text() == "second\n"
    run = record(spell, 1)
    assert run["output_files"] == 2 and run["output_bytes"] == 13 and run["outputs"]
    # Another version of a file takes the place of the one before.
    mine = folder_of(place, 1)
    (mine / "one").write_text("first, but better\n")
    wait_for(lambda: entries(spell, "runs/1").get("one", {}).get("size") == 18)
    (mine / "new/two").unlink()
    wait_for(lambda: "two" not in entries(spell, "runs/1/new"))
    assert is_running(spell, 1)
    (mine / "go").touch()
    spell("wait", 1, check=0)
    assert entries(spell, "runs/1").keys() == {"one", "new", "three", "go"}
    assert "in the middle of writing" not in whole_log(spell, 1)


def test_a_folder_of_eight_files_is_there_whole_or_not_at_all(place, spell, repo):
    begin(place, UNTIL_GO, cwd=repo)
    mine, seen, over = folder_of(place, 1), [], threading.Event()

    def look():
        while not over.is_set():
            seen.append(len(entries(spell, "runs/1/model")))

    looker = threading.Thread(target=look)
    looker.start()
    try:
        (mine / "model").mkdir()
        for part in range(8):
            (mine / f"model/part-{part}").write_bytes(os.urandom(200_000))
        wait_for(lambda: 8 in seen)
    finally:
        over.set()
        looker.join()
    assert set(seen) <= {0, 8}, seen
    assert is_running(spell, 1)
    (mine / "go").touch()
    spell("wait", 1, check=0)


def test_a_file_that_stays_open_and_grows_is_safe_as_far_as_it_is(place, spell, repo):
    (repo / "grow.sh").write_text(f"exec 3> curve.csv 4> held.bin\necho 1,0.5 >&3\necho half >&4\n{UNTIL_GO}\necho 2,0.4 >&3\n"
                                  "while [ ! -e end ]; do sleep 0.02; done\n")
    place.git("add", "grow.sh", cwd=repo)
    begin(place, "bash grow.sh", cwd=repo)
    wait_for(lambda: entries(spell, "runs/1").get("curve.csv", {}).get("size") == 6)
    (folder_of(place, 1) / "go").touch()
    wait_for(lambda: entries(spell, "runs/1").get("curve.csv", {}).get("size") == 12)
    # What is open for writing, and of another kind, is nothing yet.
    assert "held.bin" not in entries(spell, "runs/1") and is_running(spell, 1)
    (folder_of(place, 1) / "end").touch()
    spell("wait", 1, check=0)
    assert entries(spell, "runs/1")["held.bin"]["size"] == 5


def test_what_append_names_is_saved_while_it_grows(place, spell, repo):
    (repo / "grow.sh").write_text(f"mkdir deep; exec 3> curve.csv 4> deep/held.bin\necho 1,0.5 >&3\necho half >&4\n{UNTIL_GO}\necho more >&4\n"
                                  "while [ ! -e end ]; do sleep 0.02; done\n")
    place.git("add", "grow.sh", cwd=repo)
    refused = spell("run", "-f", "-b", "--append", "", "true", cwd=repo)
    assert refused.returncode != 0 and "append" in refused.stderr and ".gitignore" in refused.stderr, refused
    begin(place, "bash grow.sh", "--append", "*.bin", "--append", "!*.csv", cwd=repo)
    wait_for(lambda: entries(spell, "runs/1/deep").get("held.bin", {}).get("size") == 5)
    (folder_of(place, 1) / "go").touch()
    wait_for(lambda: entries(spell, "runs/1/deep").get("held.bin", {}).get("size") == 10)
    # Taken back: a table that is open is nothing yet.
    assert "curve.csv" not in entries(spell, "runs/1") and is_running(spell, 1)
    assert record(spell, 1)["append"] == ["*.bin", "!*.csv"]
    assert "*.bin, !*.csv" in spell("info", 1, check=0).stdout
    # What was cut off in the middle is whole as far as it is; the other is not.
    spell("stop", 1, check=0)
    spell("wait", 1)
    assert entries(spell, "runs/1/deep")["held.bin"]["size"] == 10
    assert entries(spell, "runs/1/.incomplete").keys() == {"curve.csv"}


def test_what_waits_for_the_rate_is_shown_until_it_is_safe(place):
    team = Team(place)
    box = Machine(team, "slow", config='backup-rate = "2M"\n')
    try:
        number = submit(team, "-m", "slow", f"touch began; {UNTIL_GO}")
        mine = gate(box, number)
        (mine / "big").write_bytes(os.urandom(16_000_000))
        spell = lambda *words, **options: team_spell(team, *words, **options)
        waits = wait_for(lambda: (record(spell, number)["backlog"] or {}).get("files") and record(spell, number)["backlog"])
        assert waits["bytes"] == 16_000_000, waits
        stats = spell("stats", number, check=0).stdout
        assert "Backup: 15.3 MiB not safe yet, the oldest for" in stats, stats
        assert "Not safe yet" in spell("info", number, check=0).stdout
        wait_for(lambda: "big" in entries(spell, f"runs/{number}"))
        wait_for(lambda: record(spell, number)["backlog"]["files"] == 0)
        (mine / "go").touch()
        assert wait_run(team, number, "complete")["backlog"] is None
    finally:
        box.close()
    (box.folder / "worker.toml").write_text('backup-rate = "fast"\n')
    bad = box.worker("run")
    assert bad.returncode == 3 and "worker.toml, line 1: backup-rate must be bytes a second" in bad.stderr, bad
    (box.folder / "worker.toml").write_text("")
    bad = box.worker("run", "--backup-rate", "0")
    assert bad.returncode == 3 and "--backup-rate 0: give bytes a second" in bad.stderr, bad


def test_what_is_left_out_at_the_end_is_left_out_before(place, spell):
    repo = place.make_repository("ignoring", {".spellignore": "*.tmp\n", "tracked": "as it was\n"})
    begin(place, f"echo x > a.tmp; mkdir __pycache__; echo x > __pycache__/x; echo y > out; {UNTIL_GO}", cwd=repo)
    wait_for(lambda: "out" in entries(spell, "runs/1"))
    assert entries(spell, "runs/1").keys() == {"out"}
    (folder_of(place, 1) / "go").touch()
    spell("wait", 1, check=0)
    assert entries(spell, "runs/1").keys() == {"out", "go"}


def test_the_end_sends_nothing_that_is_safe(place, spell, repo):
    begin(place, f"head -c 30000000 /dev/urandom > big; {UNTIL_GO}", cwd=repo)
    wait_for(lambda: "big" in entries(spell, "runs/1"))
    (folder_of(place, 1) / "go").touch()
    spell("wait", 1, check=0)
    said = next(line for line in whole_log(spell, 1).splitlines() if "Saved 2 files" in line)
    assert "30.0 MB deduplicated" in said or "28.6 MiB deduplicated" in said, said


@pytest.mark.parametrize("how", ["kill -9 of the service", "twice"])
def test_it_goes_on_over_kill_9(place, spell, repo, how):
    begin(place, UNTIL_GO, cwd=repo)
    mine = folder_of(place, 1)
    (mine / "before").write_text("before")
    wait_for(lambda: "before" in entries(spell, "runs/1"))
    for number in range(2 if how == "twice" else 1):
        os.kill(place.service_pid(), signal.SIGKILL)
        (mine / f"meanwhile-{number}").write_text("meanwhile")
        wait_for(lambda: f"meanwhile-{number}" in entries(spell, "runs/1"))
        (mine / f"after-{number}").write_text("after")
        wait_for(lambda: f"after-{number}" in entries(spell, "runs/1"))
    assert "before" in entries(spell, "runs/1") and is_running(spell, 1)
    (mine / "go").touch()
    spell("wait", 1, check=0)
    assert {"before", "meanwhile-0", "after-0", "go"} <= entries(spell, "runs/1").keys()


def test_followers_see_it_live(place, spell, repo):
    begin(place, UNTIL_GO, cwd=repo)
    mine = folder_of(place, 1)
    follower = place.start("ls", "-f", "runs/1/checkpoints", "--json")
    (mine / "checkpoints").mkdir()
    for step in range(3):
        (mine / f"checkpoints/.step-{step}.part").write_text(f"weights {step}")
        (mine / f"checkpoints/.step-{step}.part").rename(mine / f"checkpoints/step-{step}")
        follower.wait_output(f'"path":"step-{step}"')
        assert is_running(spell, 1)
    (mine / "go").touch()
    assert follower.finish().returncode == 0
    refused = spell("ls", "-f", "uploads")
    assert refused.returncode == 2 and "runs/ID" in refused.stderr


def test_what_was_open_at_an_end_by_force_is_put_aside(place, spell, repo):
    (repo / "tear.py").write_text("import os, sys, time\nopen('whole', 'w').write('finished')\n"
                                  "open('model', 'w').write('version 1')\nopen('ready-1', 'w').close()\n"
                                  "while not os.path.exists('go'): time.sleep(0.02)\n"
                                  "f = open('model', 'w'); f.write('vers'); f.flush()\nnew = open('fresh', 'w'); new.write('torn'); new.flush()\n"
                                  "os.rename('.ready', 'ready-2')\nwhile True: time.sleep(1)\n")
    (repo / ".ready").write_text("")
    place.git("add", "-A", cwd=repo)
    begin(place, "exec python3 tear.py", cwd=repo)
    wait_for(lambda: {"model", "whole"} <= entries(spell, "runs/1").keys())
    mine = folder_of(place, 1)
    (mine / "go").touch()
    # Taken up in its order: what came before it has been heard of.
    wait_for(lambda: "ready-2" in entries(spell, "runs/1"))
    spell("stop", 1, check=0)
    spell("wait", 1)
    run = record(spell, 1)
    assert run["status"] == "stopped", run
    assert entries(spell, "runs/1/.incomplete").keys() == {"model", "fresh"}, whole_log(spell, 1)
    assert {"model", "whole"} <= entries(spell, "runs/1").keys() and "fresh" not in entries(spell, "runs/1")
    spell("cp", "runs/1/model", "model", check=0)
    assert (place.work / "model").read_text() == "version 1"
    spell("cp", "runs/1/.incomplete/model", "torn", check=0)
    assert (place.work / "torn").read_text() == "vers"
    assert "2 files may have been in the middle of writing" in whole_log(spell, 1)


LAUNCHER = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *_: None)
open("model", "w").write("whole")
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.02)
writer = subprocess.Popen(["sh", "-c", "exec > model; touch begun; while :; do echo part; sleep 0.01; done"], start_new_session=False)
writer.wait()
time.sleep(1.2)  # what came long after the stop is its own
open("final", "w").write("of the launcher")
sys.exit(1)
"""


def test_what_a_stop_has_torn_is_put_aside_though_the_launcher_goes_on(place, spell, repo):
    (repo / "launch.py").write_text(LAUNCHER)
    place.git("add", "launch.py", cwd=repo)
    begin(place, "exec python3 launch.py", cwd=repo)
    wait_for(lambda: {"ready", "model"} <= entries(spell, "runs/1").keys())
    mine = folder_of(place, 1)
    (mine / "go").touch()
    wait_for((mine / "begun").exists)
    spell("stop", 1, check=0)
    spell("wait", 1)
    run = record(spell, 1)
    assert (run["status"], run["user_exit_code"], run["user_signal"]) == ("stopped", 1, None), run
    assert entries(spell, "runs/1/.incomplete").keys() == {"model"}, whole_log(spell, 1)
    assert {"ready", "final"} <= entries(spell, "runs/1").keys()
    spell("cp", "runs/1/model", "model", check=0)
    assert (place.work / "model").read_text() == "whole"


class TestOnAMachine:
    @pytest.fixture
    def team(self, place):
        return Team(place)

    def entries(self, team, number):
        return entries(lambda *words, **options: team_spell(team, *words, **options), f"runs/{number}")

    def test_a_run_whose_machine_is_lost_has_its_files(self, team):
        box = Machine(team, "box", "--lost-after", "2")
        try:
            number = submit(team, "-m", "box", f"echo saved > early; touch began; {UNTIL_GO}; echo saved > late")
            mine = gate(box, number)
            wait_for(lambda: "early" in self.entries(team, number))
            box.kill()
            run = wait_run(team, number, "interrupted")
            assert run["reason_code"] == "machine_lost" and run["output_files"] == 2, run
            assert self.entries(team, number).keys() == {"early", "began"}
            team_spell(team, "cp", f"runs/{number}/early", "early", check=0)
            assert (team.place.work / "early").read_text() == "saved\n"
            assert "Backed up while it ran: 2 files, 6 B, in runs/" in whole_log(lambda *w, **o: team_spell(team, *w, **o), number)
            # It is there again, and brings what it has.
            box.start()
            (mine / "meanwhile").write_text("more")
            wait_for(lambda: "meanwhile" in self.entries(team, number))
            (mine / "go").touch()
            wait_for(lambda: "late" in self.entries(team, number))
            box.wait_empty()
        finally:
            box.close()

    def test_kill_9_of_the_worker_and_of_the_service(self, team):
        box = Machine(team, "box")
        try:
            number = submit(team, "-m", "box", f"echo saved > early; touch began; {UNTIL_GO}; echo saved > late")
            mine = gate(box, number)
            wait_for(lambda: "early" in self.entries(team, number))
            box.kill()
            (mine / "unwatched").write_text("nobody looks")
            box.start()
            wait_for(lambda: "unwatched" in self.entries(team, number))
            team.stop(signal.SIGKILL)
            (mine / "alone").write_text("no service")
            team.start()
            wait_for(lambda: "alone" in self.entries(team, number))
            (mine / "go").touch()
            wait_run(team, number, "complete")
            assert {"early", "unwatched", "alone", "late"} <= self.entries(team, number).keys()
            box.wait_empty()
        finally:
            box.close()
