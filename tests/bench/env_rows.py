"""Environments of runs: what they cost once they are built, and until they are where they are wanted."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

from place import PROGRAMS, Skipped, output_of, place
from resilience_rows import site
from rows import Measures, row


@row("env", "`spell run --pip --setup true`, built before; floor: the same without", "ms", "floor + 60")
def env():
    with place() as here:
        plain = (PROGRAMS / "spell", "run", "-f", "true")
        # pip's own packages are what the environment has: no index is asked.
        asked = (PROGRAMS / "spell", "run", "-f", "-e", "PIP_NO_INDEX=1", "--pip", "pip", "--setup", "pwd", "true")
        output_of(*asked, **here.options)
        yield Measures(lambda: here.milliseconds(*asked), lambda: here.milliseconds(*plain))


@row("env-apt", "`spell run --apt sl --pip true`, built before; floor: the same without", "ms", "floor + 60")
def env_apt():
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Skipped("packages of apt take root, and a machine that has apt")
    with place() as here:
        plain = (PROGRAMS / "spell", "run", "-f", "true")
        asked = (PROGRAMS / "spell", "run", "-f", "-e", "PIP_NO_INDEX=1", "--apt", "sl", "--pip", "pip", "true")
        start = time.perf_counter()
        built = subprocess.run([str(word) for word in asked], capture_output=True, text=True, **here.options)
        if built.returncode != 0:
            raise Skipped(f"the environment cannot be built: {built.stderr.strip().splitlines()[-1:]}")
        yield Measures(lambda: here.milliseconds(*asked), lambda: here.milliseconds(*plain),
                       notes=[f"the first, which builds it: {time.perf_counter() - start:.1f} s"])


@row("env-image", "`spell run --from IMAGE id`, unpacked before: the whole command, its first line among it; floor: the same without; peer: `podman run`", "ms", "150")
def env_image():
    """The image has this machine's own shell in it. Podman as it is set up here, with runc where crun does not run."""
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
    import images
    if why := images.why_not():
        raise Skipped(why)
    with place() as here:
        layout = images.make_image(here.root / "image", images.make_root(here.root / "image-root"))
        plain = (PROGRAMS / "spell", "run", "-f", "id")
        asked = (PROGRAMS / "spell", "run", "-f", "--from", f"oci:{layout}", "id")
        if "uid=" not in output_of(*asked, **here.options):
            raise RuntimeError("the run in the image says nothing")
        asked = (*asked[:4], "oci:uploads/image", asked[5])
        peer, notes = podman(here, layout)
        try:
            yield Measures(lambda: here.milliseconds(*asked), lambda: here.milliseconds(*plain), peer, notes=notes)
        finally:  # it leaves a mount behind
            subprocess.run(["umount", here.root / "podman/overlay"], stderr=subprocess.DEVNULL)


def podman(here, layout):
    """(what measures `podman run` of the image, notes); (None, why not)."""
    if not shutil.which("podman"):
        return None, ["podman is not installed"]
    common = ("podman", "--root", str(here.root / "podman"), "--runroot", str(here.root / "podman-run"))
    pulled = subprocess.run([*common, "pull", "-q", f"oci:{layout}:latest"], capture_output=True, text=True)
    for runtime in ("crun", "runc"):
        # With the limits of open files and processes that a sandbox may insist on.
        words = (*common, "--runtime", runtime, "run", "--rm", "--network", "host", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
                 pulled.stdout.strip(), "id")
        if subprocess.run(words, capture_output=True, text=True).stdout.startswith("uid="):
            return (lambda: here.milliseconds(*words)), [f"podman with {runtime}"]
    return None, ["podman runs nothing here: " + pulled.stderr.strip()[-200:]]


@row("env-once", "20 runs with the same new environment, started together: builds of it", "builds", "1", repeatable=False)
def env_once(count=20):
    with place() as here:
        def figure():
            asked = (PROGRAMS / "spell", "run", "-f", "-b", "--setup", "sleep 1; date +%N > made", "cat $SPELL_ENV/made")
            started = [subprocess.Popen([str(word) for word in asked], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **here.options)
                       for _ in range(count)]
            numbers = [process.communicate()[0].strip() for process in started]
            here.spell("wait", *numbers)
            if len({here.spell("logs", number) for number in numbers}) != 1:
                raise RuntimeError("the runs have different environments")
            logs = [subprocess.run([PROGRAMS / "spell", "logs", "-v", number], capture_output=True, text=True, check=True, **here.options) for number in numbers]
            return sum("Building the environment" in log.stderr for log in logs)
        yield Measures(figure)


@row("env-fetch", "a worker fetches an environment of 1 GB in 1,000 files that it lacks; peer: `cp -a` of it, synced", "MB/s", "0.5 × cp")
def env_fetch(files=1000):
    with site() as here:
        size = files * 1_000_000
        setup = f"head -c {size} /dev/urandom | split -b 1000000 -a 4 -d - part"
        environment = here.service.here.root / "cp"
        environment.mkdir()
        output_of("sh", "-c", setup, cwd=environment)

        def run(name):
            start = time.perf_counter()
            made = json.loads(here.service.spell("run", "-f", "-b", "--json", "-t", name, "--setup", setup, "true"))["run"]
            ended = here.ended(made["id"])
            if ended["status"] != "complete":
                raise RuntimeError(ended["reason"])
            return time.perf_counter() - start

        run(here.box())

        def figure():
            return size / 1e6 / run(here.box())

        def peer():
            copy = environment.with_name("cp-copy")
            start = time.perf_counter()
            output_of("sh", "-c", f"cp -a {environment} {copy} && sync -f {copy}")
            took = time.perf_counter() - start
            shutil.rmtree(copy)
            return size / 1e6 / took

        yield Measures(figure, peer=peer)
