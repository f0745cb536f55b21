"""The pages of docs/ are true: their blocks are run in their order, and every spell command they name exists with its options."""
import os
import re
import shutil
import subprocess

import pytest

from harness import SOURCE

PAGES = sorted(page.name for page in (SOURCE / "docs").glob("*.md"))


def text_of(page):
    return (SOURCE / "docs" / page).read_text()


@pytest.mark.parametrize("page", ["runs.md", "resources.md", "machine-types.md", "workflows.md"])
def test_its_blocks_run(place, repo, page):
    if not shutil.which("curl"):
        pytest.skip("there is no curl here")
    programs = os.path.join(os.environ["SPELL_BUILD"], "bin")
    environment = {**place.environment, "PATH": programs + ":" + os.environ["PATH"]}
    for block in re.findall(r"```sh\n(.*?)```", text_of(page), re.S):
        done = subprocess.run(["bash", "-exc", block], cwd=repo, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_its_commands_exist(spell, page):
    def offered(*words):
        return {line.split("\t")[0] for line in spell("__complete", *words, check=0).stdout.splitlines()}

    def options(*words):
        return set(re.findall(r"--[a-z][a-z-]+", spell(*words, "--help", check=0).stdout))
    top, known = offered(""), {}
    for quoted in re.findall(r"`(spell [^`]+)`", text_of(page)):
        for call in re.split(r"[|;&]|, (?=spell )", quoted):
            words = call.split()
            if len(words) < 2 or words[0] != "spell" or not re.fullmatch(r"[a-z][a-z-]+", words[1]):
                continue
            command = words[1]
            assert command in top, f"{page}: {quoted}"
            inner = offered(command, "")
            path = [command]
            if len(words) > 2 and words[2] in inner and re.fullmatch(r"[a-z-]+", words[2]):
                path.append(words[2])
            if tuple(path) not in known:
                known[tuple(path)] = options(*path)
            if len(path) == 1 and not known[tuple(path)]:
                continue  # a command of commands, by itself
            for option in re.findall(r"(?<!\S)\[?(--[a-z][a-z-]+)", call):
                assert option in known[tuple(path)] | {"--version"}, f"{page}: {quoted}: {option}"
