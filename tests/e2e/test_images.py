"""Runs in images: unpacked once, shared, and each run's changes its own."""
import json
import os
import re
import shutil
import subprocess

import pytest

import images
import machines
from environments import built, info, log_of
from harness import Place, wait_for

pytestmark = pytest.mark.skipif(images.why_not() is not None, reason=str(images.why_not()))
BUILDS = 180  # seconds


@pytest.fixture
def image(place):
    root = images.make_root(place.work / "root")
    (root / "opt").mkdir()
    (root / "opt/said").write_text("first\n")
    return images.make_image(place.work / "image", root, env=["GREETING=from the image", "PATH=/opt/bin:/usr/bin:/bin"])


@pytest.fixture
def run(place, spell, repo):
    images.skip_unless_they_run(spell)

    def submit(*arguments, **options):
        return spell("run", *arguments, cwd=repo, timeout=BUILDS, **options)
    return submit


def test_a_run_has_the_images_system_and_its_own_code(spell, repo, run, image):
    first = run("--from", f"oci:{image}", "-e", "MINE=yes", ". /etc/os-release; echo $ID $GREETING $MINE; echo $PATH; pwd; cat hello.txt; echo out > made; ls /home 2> /dev/null || true", check=0)
    assert first.stdout == "toy from the image yes\n/opt/bin:/usr/bin:/bin\n/spell\nhello\n"
    log = log_of(spell, 1)
    assert f"Building the environment: image oci:uploads/{image.name}" in log and "Unpacking the image" in log and "Environment built: " in log
    assert spell("ls", "runs/1", check=0).stdout.split()[-1] == "made"
    # The second time nothing is built, whatever is asked of it.
    assert run("--from", f"oci:{image}:latest", "cat /opt/said", check=0).stdout == "first\n"
    assert run("--docker-image", f"oci:{image}", "cat /opt/said", check=0).stdout == "first\n"
    assert not built(spell, 3)
    layer, = info(spell, 3)["environment"]
    assert layer["method"] == "image" and layer["packages"][0].startswith(f"oci:uploads/{image.name}@sha256:")
    assert "Image" in spell("info", 3, check=0).stdout and info(spell, 3)["image"] == f"oci:uploads/{image.name}"


def test_what_a_run_changes_is_its_own_and_gone_with_it(place, spell, run, image):
    changed = run("--from", f"oci:{image}", "echo changed > /opt/said; rm /etc/os-release; mkdir /new; touch /tmp/x /var/tmp/y; cat /opt/said; ls /tmp /var/tmp", check=0)
    assert "changed" in changed.stdout
    again = run("--from", f"oci:{image}", "cat /opt/said; ls -d /new 2> /dev/null; ls /tmp; ls /etc/os-release", check=0)
    assert again.stdout == "first\n/etc/os-release\n"
    assert spell("ls", "runs/1", check=0).stdout.strip() == ""


def test_nothing_of_the_host_is_there_but_devices_and_how_names_are_resolved(place, spell, run, image):
    secret = place.work / "secret"
    secret.write_text("x")
    said = run("--from", f"oci:{image}", f"ls {secret} {place.spell_dir} /usr/share/common-licenses 2>&1; cat /etc/resolv.conf; ls /dev/null; ls /proc/self/exe > /dev/null && echo proc", check=0).stdout
    assert said.count("No such file") == 3 and said.endswith("/dev/null\nproc\n")
    resolver = open("/etc/resolv.conf").read() if os.path.exists("/etc/resolv.conf") else ""
    assert resolver in said


def test_exec_stop_and_mounts_are_as_everywhere(place, spell, repo, run, image):
    (place.work / "data").mkdir()
    (place.work / "data/file").write_text("mounted\n")
    started = run("-b", "--from", f"oci:{image}", "--mount", f"{place.work}/data:/deep/in/there", "cat /deep/in/there/file; echo kept > kept; trap 'exit 3' TERM; sleep 1000 & wait", check=0)
    assert started.stdout.strip() == "1"
    wait_for(lambda: "mounted" in spell("logs", 1, check=0).stdout, what="its log")
    assert spell("exec", 1, "cat", "/etc/os-release", check=0).stdout.startswith("ID=toy")
    spell("stop", 1, check=0)
    wait_for(lambda: info(spell, 1)["status"] == "stopped", what="its end")
    assert spell("ls", "runs/1", check=0).stdout.split()[-1] == "kept"


def test_layers_lie_on_the_image(spell, repo, run, image):
    said = run("--from", f"oci:{image}", "--setup", "cat /opt/said > made; . /etc/os-release; echo $ID >> made; touch /opt/by-setup", "cat $SPELL_ENV/made; ls /opt", check=0)
    assert said.stdout == "first\ntoy\nsaid\n"
    assert [layer["method"] for layer in info(spell, 1)["environment"]] == ["image", "setup"]
    # The same command on the machine's own system is another layer.
    assert run("--setup", "cat /etc/os-release > made", "grep -c . $SPELL_ENV/made > /dev/null && echo own", check=0).stdout == "own\n"


def test_pip_uses_the_images_python(place, spell, repo, run):
    from test_environments import make_wheel
    real = os.path.realpath("/usr/bin/python3")
    name = os.path.basename(real)
    if subprocess.run(["/usr/bin/python3", "-c", "import ensurepip, venv"]).returncode != 0:
        pytest.skip("this machine has no python3-venv")
    root = images.make_root(place.work / "root", (*images.PROGRAMS, real))
    shutil.copytree(f"/usr/lib/{name}", root / f"usr/lib/{name}", symlinks=True, ignore=shutil.ignore_patterns("test", "idlelib", "__pycache__", "*.a"))
    for module in (root / f"usr/lib/{name}/lib-dynload").glob("*.so"):
        images.add_program(root, str(module))
    shutil.copytree("/usr/share/python-wheels", root / "usr/share/python-wheels")
    (root / "usr/bin/python3").symlink_to(f"/usr/bin/{name}")  # absolute: of the image's root
    layout = images.make_image(place.work / "image", root)
    make_wheel(root / "wheels", "spelltoy", "1.0", "def says():\n    print('toy', version)\n")
    images.make_image(layout, root)
    said = run("--from", f"oci:{layout}", "-e", "PIP_NO_INDEX=1", "-e", "PIP_FIND_LINKS=/wheels", "--pip", "spelltoy", "spelltoy-says; command -v python", check=0)
    assert said.stdout == "toy 1.0\n/spell-env/venv/bin/python\n"


def test_an_archive_and_one_of_several_images(place, spell, run, image):
    archive = place.work / "image.tar"
    subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", f"oci:{image}:latest", f"docker-archive:{archive}:toy:1"], check=True)
    assert run("--from", f"docker-archive:{archive}", "cat /opt/said", check=0).stdout == "first\n"
    other = images.make_root(place.work / "other")
    (other / "said").write_text("second\n")
    images.make_image(image, other, tag="other")
    assert run("--from", f"oci:{image}:other", "cat /said", check=0).stdout == "second\n"
    failed = run("--from", f"oci:{image}:none", "true", check=125)
    assert info(spell, 3)["status"] == "build_failed" and "none" in failed.stderr + log_of(spell, 3)


def test_a_rerun_has_the_image_that_the_run_had(place, spell, repo, run, image):
    run("--from", f"oci:{image}", "cat /opt/said", check=0)
    (place.work / "root/opt/said").write_text("changed\n")
    shutil.rmtree(image)
    images.make_image(image, place.work / "root")
    assert run("--from", f"oci:{image}", "cat /opt/said", check=0).stdout == "changed\n"
    assert spell("rerun", 1, check=0, timeout=BUILDS).stdout == "first\n"


def test_an_image_of_a_run_is_waited_for(place, spell, repo, run, image):
    shutil.copytree(image, repo / "image")
    place.git("add", ".", cwd=repo)
    run("-b", "cp -r image out", check=0)
    assert run("--from", "oci:runs/1/out", "cat /opt/said", check=0).stdout == "first\n"


@pytest.mark.parametrize("asked,said", [("", "a value"), ("-x", "is none"), ("a b", "is none"), ("dir:/x", "one machine has"), ("oci:uploads/none", "there is no resource uploads/none"),
                                        ("oci:./none", "none"), ("oci:uploads/x:", "no tag")])
def test_wrong_images_are_refused_before_anything_runs(spell, run, asked, said):
    refused = run(f"--from={asked}", "true")
    assert refused.returncode in (1, 2) and said in refused.stderr
    assert spell("ps", "--json", check=0).json["runs"] == []


def test_an_image_that_cannot_be_pulled(spell, run):
    failed = run("--from", "localhost:1/none:1", "true", check=125)
    assert info(spell, 1)["status"] == "build_failed"
    log = log_of(spell, 1)
    assert "the environment cannot be built: image failed" in log + failed.stderr and "connection refused" in log
    assert spell("env", "list", "--json", check=0).json["environments"] == []


def test_without_root_too(repo, image):
    other = Place(prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"], own_programs=True)
    try:
        shutil.copytree(image, other.work / "image")
        subprocess.run(["chown", "-R", "65534:65534", other.root], check=True)
        ended = other.spell("run", "-f", "--from", f"oci:{other.work}/image", "cat /opt/said; echo new > /opt/said; cat /opt/said; id -u; echo x > made", timeout=BUILDS)
        if "cannot be had on this machine" in ended.stderr or "can run in an image: " in ended.stderr:
            pytest.skip("no user namespaces here")
        assert ended.stdout == "first\nnew\n65534\n", ended
        assert other.spell("ls", "runs/1", check=0).stdout.split()[-1] == "made"
    finally:
        assert not other.close()


def test_a_run_with_a_user_of_its_own(team, repo, image):
    box = machines.Machine(team, "own", users=True)
    try:
        shown = machines.spell(team, "machine", "info", "own", "--json", check=0).json["machine"]
        if shown["capabilities"]["isolation"] != "users":
            pytest.skip(f"runs cannot have users of their own here: {shown['notes']}")
        images.skip_where_none_run(shown)
        command = "id -u; cat /opt/said; (echo x > /opt/said) 2> /dev/null || echo refused; touch /tmp/x /var/tmp/x /dev/shm/x made; cat $SPELL_ENV/said"
        ended = machines.spell(team, "run", "-f", "-t", "own", "--from", f"oci:{image}", "--setup", "id -u > said", command, cwd=repo, timeout=BUILDS, check=0)
        assert re.fullmatch(r"([1-9]\d*)\nfirst\nrefused\n\1\n", ended.stdout), ended
        # Its programs are its maker's: nothing of it is run by root.
        refused = machines.spell(team, "run", "-f", "-t", "own", "--from", f"oci:{image}", "--apt", "sl", "true", cwd=repo, timeout=BUILDS)
        assert "whose runs have users of their own" in refused.stderr + machines.spell(team, "logs", "-v", 2).stderr
    finally:
        box.close()


def test_a_gpus_driver_is_there_as_the_machine_says(team, repo, image):
    smi, driver, cdi = (team.place.root / name for name in ("smi", "driver", "cdi"))
    smi.write_text("#!/bin/sh\nfor i in 0 1; do echo \"$i, GPU-$i, Tesla V100, 16384, 1$i, 2$i, 38, 109.39\"; done\n")
    smi.chmod(0o755)
    driver.mkdir()
    (driver / "libcuda.so.535.1").write_text("driver\n")
    (driver / "libcuda.so.1").symlink_to("libcuda.so.535.1")
    cdi.mkdir()
    mount = {"hostPath": f"{driver}/libcuda.so.535.1", "containerPath": "/usr/lib/nvidia/libcuda.so.535.1", "options": ["ro"]}
    (cdi / "nvidia.json").write_text(json.dumps({"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [{"name": "all", "containerEdits": {"env": ["SAID=of the device"]}}],
                                                 "containerEdits": {"mounts": [mount], "hooks": [{"hookName": "createContainer", "path": "/usr/bin/nvidia-ctk", "args": [
                                                     "nvidia-ctk", "hook", "update-ldcache", "--folder", "/usr/lib/nvidia"]}]}}))
    rig = machines.Machine(team, "rig", "--serves", "V100", config=f'nvidia-smi = "{smi}"\ncdi = "{cdi}"\n')
    try:
        images.skip_where_none_run(machines.spell(team, "machine", "info", "rig", "--json", check=0).json["machine"])
        said = machines.spell(team, "run", "-f", "-t", "V100", "--from", f"oci:{image}", "cat /usr/lib/nvidia/libcuda.so.1; echo $LD_LIBRARY_PATH $SAID $CUDA_VISIBLE_DEVICES",
                              cwd=repo, timeout=BUILDS, check=0)
        assert said.stdout == "driver\n/usr/lib/nvidia of the device GPU-0\n"
        (cdi / "nvidia.json").unlink()
        said = machines.spell(team, "run", "-f", "-t", "V100", "--from", "oci:uploads/image", "ls /usr/lib/nvidia 2> /dev/null || echo none", cwd=repo, timeout=BUILDS, check=0)
        assert said.stdout == "none\n"
        assert "nvidia-ctk cdi generate" in machines.spell(team, "logs", "-v", 2, check=0).stderr
    finally:
        rig.close()


def test_defaults_of_a_project_and_what_makes_it_again(spell, repo, run, image):
    run("--from", f"oci:{image}", "true", check=0)
    exported = spell("env", "export", 1, check=0).stdout
    assert exported == f'image = "oci:uploads/{image.name}"\n'
    (repo / "spell.toml").write_text(exported)
    assert run("-f", "cat /opt/said", check=0).stdout == "first\n"
    assert run("-f", "--no-defaults", "ls /opt/said").returncode != 0
    (repo / "spell.toml").write_text(f'image = "oci:{image}"\n')
    assert "is a path of a computer" in run("-f", "true", check=3).stderr
