"""Conda packages. The program that makes their folder is one made here, which says what the real ones say: Debian has none of them."""
import pytest

import images
from environments import built, info, log_of
from harness import wait_for

BUILDS = 180  # seconds
needs_images = pytest.mark.skipif(images.why_not() is not None, reason=str(images.why_not()))

MICROMAMBA = r"""#!/bin/bash
# micromamba create -y -p PREFIX (-f ENVIRONMENT.yml | --file EXPLICIT) | env export -p PREFIX --explicit
set -e
case $1 in
create)
  prefix=$4 file=$6
  grep -q broken "$file" && { echo "error    libmamba Could not solve for environment specs"; exit 1; }
  mkdir -p "$prefix/bin"
  if [ "$(head -n 1 "$file")" = @EXPLICIT ]; then
    tail -n +2 "$file" > "$prefix/explicit"
  else
    sed -n 's|^ *- *\(toy\).*|https://host/noarch/\1-1.0-0.conda|p' "$file" > "$prefix/explicit"
  fi
  printf '#!/bin/sh\ncat /spell-env/conda/explicit\n' > "$prefix/bin/toy"
  chmod 755 "$prefix/bin/toy"
  ;;
env) printf '# platform\n@EXPLICIT\n'; cat "$4/explicit" ;;
esac
"""


@pytest.fixture
def image(place):
    root = images.make_root(place.work / "root", (*images.PROGRAMS, "grep", "head", "sed", "tail"))
    (root / "usr/bin/micromamba").write_text(MICROMAMBA)
    (root / "usr/bin/micromamba").chmod(0o755)
    return images.make_image(place.work / "image", root)


@pytest.fixture
def run(place, spell, repo, image):
    images.skip_unless_they_run(spell)
    (repo / "environment.yml").write_text("name: mine\ndependencies:\n  - toy\n")
    place.git("add", ".", cwd=repo)
    place.git("commit", "-qm", "environment", cwd=repo)
    return lambda *arguments, **options: spell("run", "--from", f"oci:{image}", *arguments, cwd=repo, timeout=BUILDS, **options)


@needs_images
def test_conda_packages_are_made_once_and_recorded(place, spell, repo, run):
    first = run("--conda-file", "environment.yml", "toy; command -v toy", check=0)
    assert first.stdout == "https://host/noarch/toy-1.0-0.conda\n/spell-env/conda/bin/toy\n"
    assert "Building the environment: conda create -f environment.yml" in log_of(spell, 1)
    assert [(layer["method"], layer["packages"]) for layer in info(spell, 1)["environment"]][1] == ("conda", ["https://host/noarch/toy-1.0-0.conda"])
    # Other code, the same file: the same environment.
    (repo / "hello.txt").write_text("changed\n")
    assert run("--conda-file", "environment.yml", "toy", check=0).stdout.startswith("https://")
    assert not built(spell, 2)
    # Another file, another one; where it is does not count.
    (repo / "environment.yml").write_text("name: mine\ndependencies:\n  - toy=2\n")
    run("--conda-file", "environment.yml", "toy", check=0)
    assert built(spell, 3)
    # What was recorded is what a run of the same is given, though its layer is gone.
    for layer in spell("env", "list", "--json", check=0).json["environments"]:
        if layer["method"] == "conda":
            spell("env", "rm", layer["name"], check=0)
    assert spell("rerun", 1, check=0, timeout=BUILDS).stdout == first.stdout
    assert built(spell, 4)


@needs_images
def test_what_fails_is_said_with_the_tools_own_words(place, spell, repo, run):
    (repo / "environment.yml").write_text("dependencies: [broken]\n")
    failed = run("--conda-file", "environment.yml", "true", check=125)
    assert info(spell, 1)["status"] == "build_failed"
    assert "conda failed (exit code 1): error    libmamba Could not solve" in failed.stderr + log_of(spell, 1)


@needs_images
@pytest.mark.parametrize("text,said", [("dependencies:\n - toy\n - pip:\n   - numpy\n", "--pip-req"), ("", "asks for no package")])
def test_wrong_files_are_refused(spell, repo, run, text, said):
    (repo / "environment.yml").write_text(text)
    refused = run("--json", "--conda-file", "environment.yml", "true", check=1)
    assert '"invalid_requirements"' in refused.stderr and said in refused.stderr
    assert "there is no such file in the commit" in run("--conda-file", "none.yml", "true", check=1).stderr
    assert spell("ps", "--json", check=0).json["runs"] == []


def test_a_machine_without_conda_is_given_no_such_run(place, spell, repo):
    (repo / "environment.yml").write_text("dependencies: [toy]\n")
    place.git("add", ".", cwd=repo)
    machine, = wait_for(lambda: [one for one in spell("machine", "list", "--json", check=0).json["machines"] if one["capabilities"]], what="the machine")
    if not machine["capabilities"]["lacks_for_conda"]:
        pytest.skip("this machine has conda")
    refused = spell("run", "--json", "--conda-file", "environment.yml", "true", cwd=repo)
    assert refused.returncode != 0 and "can have conda packages: " in refused.stderr and "neither micromamba nor mamba nor conda" in refused.stderr
    assert spell("ps", "--json", check=0).json["runs"] == []
