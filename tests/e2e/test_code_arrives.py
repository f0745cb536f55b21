"""The code that a run finds is the commit of its folder, byte for byte, and nothing of the user's is touched for it."""
import hashlib
import os
import random
import shutil
import stat
import subprocess

import pytest

from git_https import GitHost


def rev_parse(place, folder, ref="HEAD"):
    return subprocess.run(["git", "rev-parse", ref], cwd=folder, env=place.environment, capture_output=True, text=True, check=True).stdout.strip()


def every_byte(folder):
    """{path: all that could be noticed about it}"""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in [".", *folders, *files]:
            path = os.path.join(parent, name)
            info, content = os.lstat(path), ""
            if stat.S_ISREG(info.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            found[path] = (info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, content)
    return found


def seen_by_run(spell, folder, *options):
    """{path: what a run of this folder finds there}: "-rwxr-xr-x SHA-256" of a file, "-> target" of a link."""
    command = r"""cd "$SPELL_ROOT"; find . -mindepth 1 -type f -printf '%M %P\n' | while read -r mode path; do
        echo "$path|$mode $(sha256sum < "$path" | cut -c -64)"; done; find . -type l -printf '%P|-> %l\n'"""
    output = spell("run", "-f", *options, command, cwd=folder, check=0).stdout
    return dict(line.split("|", 1) for line in output.splitlines())


def plain(content, mode="-rw-r--r--"):
    return f"{mode} {hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def rich(place):
    """A repository with a file of every kind, and changes of every kind on top of its last commit."""
    folder = place.make_repository("rich", {"changed": "old\n", "deleted": "d\n", "same": "s\n", "dir/deep": "x\n", "mode": "m\n"})
    (folder / "tool.sh").write_text("#!/bin/sh\necho tool\n")
    (folder / "tool.sh").chmod(0o755)
    (folder / "empty").write_bytes(b"")
    (folder / "binary").write_bytes(bytes(range(256)) * 300)
    (folder / "crlf").write_bytes(b"a\r\nb\r\n")
    (folder / "link").symlink_to("dir/deep")
    (folder / "dangling").symlink_to("/no/such/file")
    (folder / "a name with späces").write_text("n")
    place.git("add", ".", cwd=folder)
    place.git("commit", "-q", "-m", "rich", cwd=folder)
    return folder


RICH = {"changed": plain(b"old\n"), "deleted": plain(b"d\n"), "same": plain(b"s\n"), "dir/deep": plain(b"x\n"), "mode": plain(b"m\n"),
        "tool.sh": plain(b"#!/bin/sh\necho tool\n", "-rwxr-xr-x"), "empty": plain(b""), "binary": plain(bytes(range(256)) * 300),
        "crlf": plain(b"a\r\nb\r\n"), "link": "-> dir/deep", "dangling": "-> /no/such/file", "a name with späces": plain(b"n")}


def change(place, folder):
    (folder / "changed").write_text("new\n")
    (folder / "deleted").unlink()
    (folder / "mode").chmod(0o755)
    (folder / "staged").write_text("staged\n")
    (folder / "staged and changed").write_text("first\n")
    place.git("add", "staged", "staged and changed", cwd=folder)
    (folder / "staged and changed").write_text("second\n")
    (folder / "untracked").write_text("u\n")


CHANGED = {**RICH, "changed": plain(b"new\n"), "mode": plain(b"m\n", "-rwxr-xr-x"), "staged": plain(b"staged\n"),
           "staged and changed": plain(b"second\n")}
del CHANGED["deleted"]


def test_a_commit_arrives_as_it_is(place, spell, rich):
    assert seen_by_run(spell, rich) == RICH
    run = spell("info", 1, "--json", check=0).json["run"]
    assert (run["git_commit"], run["git_base_commit"]) == (rev_parse(place, rich), "")


def test_changes_go_along_and_nothing_of_the_users_is_touched(place, spell, rich):
    change(place, rich)
    before = every_byte(rich)
    assert seen_by_run(spell, rich) == CHANGED
    assert seen_by_run(spell, rich, "--include-untracked") == {**CHANGED, "untracked": plain(b"u\n")}
    assert seen_by_run(spell, rich, "-c", rev_parse(place, rich)) == RICH
    spell("run", "--require-clean", "true", cwd=rich, check=6)
    assert every_byte(rich) == before


def test_a_snapshot_is_a_function_of_its_content(place, spell, rich):
    change(place, rich)
    commits = []
    for touched in (False, True):
        if touched:
            os.utime(rich / "changed", (1, 1))
        spell("run", "true", cwd=rich, check=0)
        run = spell("info", len(commits) + 1, "--json", check=0).json["run"]
        assert run["git_base_commit"] == rev_parse(place, rich)
        commits.append(run["git_commit"])
    assert commits[0] == commits[1] != rev_parse(place, rich)
    (rich / "changed").write_text("other\n")
    spell("run", "true", cwd=rich, check=0)
    assert spell("info", 3, "--json", check=0).json["run"]["git_commit"] not in commits


def test_the_users_own_git_settings_do_not_matter(place, spell, rich):
    (place.home / ".gitconfig").write_text("[core]\n\tautocrlf = true\n\tquotePath = true\n\tfileMode = false\n[diff]\n\tnoprefix = true\n"
                                           "\texternal = /bin/false\n[commit]\n\tgpgSign = true\n[status]\n\tshowUntrackedFiles = no\n")
    (rich / ".git/hooks/pre-commit").write_text("#!/bin/sh\ntouch /tmp/hooked; exit 1\n")
    (rich / ".git/hooks/pre-commit").chmod(0o755)
    (rich / "changed").write_text("new\n")
    assert seen_by_run(spell, rich) == {**RICH, "changed": plain(b"new\n")}
    assert not os.path.exists("/tmp/hooked")


def test_a_worktree_and_a_shallow_clone(place, spell, rich):
    place.git("worktree", "add", "-q", "-b", "side", place.work / "tree", cwd=rich)
    (place.work / "tree/changed").write_text("new\n")
    assert seen_by_run(spell, place.work / "tree") == {**RICH, "changed": plain(b"new\n")}
    place.git("clone", "-q", "--depth", "1", f"file://{rich}", place.work / "shallow", cwd=place.work)
    assert seen_by_run(spell, place.work / "shallow") == RICH


def test_a_submodule_is_an_empty_folder_and_no_output(place, spell, rich, repo):
    place.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", f"file://{repo}", "lib", cwd=rich)
    place.git("commit", "-q", "-m", "lib", cwd=rich)
    result = spell("run", "ls -A lib | wc -l; ls -d lib", cwd=rich, check=0)
    assert result.stdout == "0\nlib\n" and "submodules lib" in result.stderr
    assert spell("ls", "--json", "runs/1", check=0).json["entries"] == []


def test_which_folder(place, spell, rich):
    command = 'pwd; echo "$SPELL_ROOT"; ls'
    assert spell("run", command, cwd=rich / "dir", check=0).stdout == "/spell/dir\n/spell\ndeep\n"
    assert spell("rerun", 1, cwd=place.work, check=0).stdout == "/spell/dir\n/spell\ndeep\n"
    ignored = rich / "not in/the commit"
    ignored.mkdir(parents=True)
    assert spell("run", "pwd", cwd=ignored, check=0).stdout == "/spell/not in/the commit\n"
    assert spell("ls", "--json", "runs/3", check=0).json["entries"] == []
    spell("run", "touch made", cwd=ignored, check=0)
    assert "made" in spell("ls", "runs/4/not in/the commit", check=0).stdout


def test_a_folder_that_cannot_be_named(place, spell, rich):
    folder = os.fsencode(rich) + b"/bad\xff"
    os.mkdir(folder)
    refused = spell("run", "pwd", cwd=folder, check=4)
    assert "UTF-8" in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert spell("ps", "--json").json["runs"] == []


def test_what_stays_behind_is_named_once(place, spell, rich):
    (rich / ".gitignore").write_text("/data/\n*.log\n")
    place.git("add", ".gitignore", cwd=rich)
    place.git("commit", "-q", "-m", "ignore", cwd=rich)
    (rich / "data").mkdir()
    for name in ("data/a", "data/b", "some.log", "new file"):
        (rich / name).write_text("x")
    result = spell("run", "ls", cwd=rich, check=0)
    assert result.stderr.count("data/") == 1 and "ignored" in result.stderr
    assert result.stderr.count("new file") == 1 and "--include-untracked" in result.stderr
    assert "data" not in result.stdout and "new file" not in result.stdout
    everything = spell("run", "--include-untracked", "ls", cwd=rich, check=0)
    assert "new file\n" in everything.stdout
    assert "data\n" not in everything.stdout and "some.log" not in everything.stdout
    assert "new file" not in everything.stderr


def test_an_older_commit(place, spell, repo):
    first = rev_parse(place, repo)
    (repo / "hello.txt").write_text("second\n")
    place.git("commit", "-q", "-a", "-m", "second", cwd=repo)
    place.git("tag", "-a", "-m", "t", "v1", first, cwd=repo)
    (repo / "hello.txt").write_text("uncommitted\n")
    for ref in ("HEAD~1", first, first[:10], "v1", "HEAD^"):
        assert spell("run", "-c", ref, "cat hello.txt", cwd=repo, check=0).stdout == "hello\n"
    runs = spell("ps", "--json", check=0).json["runs"]
    assert {run["git_commit"] for run in runs} == {first}
    assert {run["description"] for run in runs} == {"first"}


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_code_by_url(place, spell, repo, scheme):
    (repo / "hello.txt").write_text("second\n")
    place.git("commit", "-q", "-a", "-m", "second", cwd=repo)
    place.git("branch", "old", "HEAD~1", cwd=repo)
    (repo / "hello.txt").write_text("uncommitted\n")
    url = f"{scheme}{repo}"
    assert spell("run", "--github-url", url, "cat hello.txt", cwd=place.work, check=0).stdout == "second\n"
    assert spell("run", "--github-url", url, "--github-ref", "old", "pwd; cat hello.txt", cwd=repo / "sub", check=0).stdout == "/spell\nhello\n"
    assert spell("info", 2, "--json", check=0).json["run"]["github_url"] == url
    assert "nothing" in spell("run", "--github-url", f"{scheme}{place.work}/nothing", "true", check=1).stderr
    assert "'gone'" in spell("run", "--github-url", url, "--github-ref", "gone", "true", check=5).stderr
    assert len(spell("ps", "--json").json["runs"]) == 2


@pytest.fixture
def host(place):
    """A Git host, and a command line that trusts it: where the system's authorities are that host's own."""
    bundle = "/etc/ssl/certs/ca-certificates.crt"  # see docs/dependencies.md
    authority = place.root / "authority.pem"
    authority.touch()
    private = ["unshare", "--mount", "sh", "-c", f'mount --bind {authority} {bundle} && exec "$@"', "-"]
    tried = subprocess.run([*private, "true"], capture_output=True, text=True)
    if tried.returncode or not shutil.which("openssl"):
        pytest.skip(f"needs root, openssl and ca-certificates for an authority of its own: {tried.stderr.strip()}")

    def trusting(*arguments, **options):
        place.prefix = private
        try:
            return place.spell(*arguments, **options)
        finally:
            place.prefix = []
    host = GitHost(place.work, authority)
    host.spell = trusting
    yield host
    host.close()


def test_code_by_https(place, spell, repo, host):
    (repo / "hello.txt").write_text("second\n")
    place.git("commit", "-q", "-a", "-m", "second", cwd=repo)
    place.git("branch", "old", "HEAD~1", cwd=repo)
    spell("status", check=0)  # the service is everybody's
    url = f"{host.url}/repo/.git"
    assert host.spell("run", "--github-url", url, "cat hello.txt", check=0).stdout == "second\n"
    assert host.spell("run", "--github-url", url, "--github-ref", "old", "cat hello.txt sub/deep.txt", check=0).stdout == "hello\ndeep\n"
    assert spell("info", 2, "--json", check=0).json["run"]["github_url"] == url
    asked = len(host.asked)
    for wrong, says in ((f"{host.url}/nothing/.git", "404"), (url.replace("/repo", "/private/repo"), "authenticat"),
                        (url.replace("localhost", "127.0.0.1"), "certificate")):
        refused = host.spell("run", "--github-url", wrong, "true")
        assert refused.returncode == 1 and says in refused.stderr and len(refused.stderr.splitlines()) == 1, refused
    assert len(host.asked) == asked + 2
    refused = host.spell("run", "--github-url", url.replace("https://", "https://ada:hunter2@"), "true", check=1)
    assert "without" in refused.stderr and "hunter2" not in refused.stderr, refused
    # An authority that is unknown is no authority.
    asked = len(host.asked)
    refused = spell("run", "--github-url", url, "true", check=1)
    assert "certificate" in refused.stderr and len(refused.stderr.splitlines()) == 1, refused
    assert len(host.asked) == asked
    assert len(spell("ps", "--json").json["runs"]) == 2


def test_no_commit_yet(place, spell):
    folder = place.work / "fresh"
    folder.mkdir()
    place.git("init", "-q", cwd=folder)
    for options in ([], ["-f"]):
        assert "no commit" in spell("run", *options, "true", cwd=folder, check=5).stderr
    assert spell("ps", "--json").json["runs"] == []


def test_no_repository(place, spell):
    assert "-f" in spell("run", "true", cwd=place.work, check=4).stderr
    assert spell("run", "-f", "ls -A; pwd", cwd=place.work, check=0).stdout == "/spell\n"
    spell("run", "-f", "-c", "HEAD", "true", cwd=place.work, check=4)


def test_an_unchanged_repository_is_not_sent_again(place, spell):
    folder = place.make_repository("large")
    noise = random.Random(1)
    for number in range(50):
        (folder / f"part{number}").write_bytes(noise.randbytes(1 << 20))
    place.git("add", ".", cwd=folder)
    place.git("commit", "-q", "-m", "50 MB", cwd=folder)

    def sent(*arguments):
        """What the command line writes to the service, and in all to files."""
        trace = place.root / "trace"
        subprocess.run(["strace", "-f", "-qq", "-e", "trace=write,writev,sendto,sendmsg,pwrite64,sendfile,copy_file_range", "-o", trace, "--",
                        "spell", "run", "-b", *arguments], cwd=folder, env=place.environment, check=True, capture_output=True, timeout=60)
        results = [line.rsplit("= ", 1)[-1] for line in trace.read_text(errors="replace").splitlines()]
        return sum(int(size) for size in results if size.isdigit())

    spell("ps", check=0)  # the service is there, so nothing is counted of it
    assert sent("true") > 50 << 20
    assert sent("true") < 8192
    (folder / "hello.txt").write_text("changed\n")
    assert sent("cat hello.txt") < 32768
    spell("wait", 1, 2, 3, check=0)
    assert spell("logs", 3, check=0).stdout == "changed\n"
    code = sum(file.stat().st_size for file in (place.spell_dir / "code").rglob("*") if file.is_file())
    assert code < 52 << 20


def test_rerun_takes_the_commit_of_then(place, spell, repo):
    (repo / "hello.txt").write_text("uncommitted then\n")
    spell("run", "cat hello.txt", cwd=repo, check=0)
    (repo / "hello.txt").write_text("committed later\n")
    place.git("commit", "-q", "-a", "-m", "later", cwd=repo)
    place.git("gc", "-q", "--prune=now", cwd=repo)
    assert spell("rerun", 1, cwd=repo, check=0).stdout == "uncommitted then\n"
    repo.rename(place.work / "gone")
    assert spell("rerun", 1, cwd=place.work, check=0).stdout == "uncommitted then\n"


def test_a_setting_asks_for_clean_repositories(place, repo):
    (repo / "hello.txt").write_text("changed\n")
    settings = place.spell_dir / "config.toml"
    place.spell("run", "cat hello.txt", cwd=repo, check=0)
    settings.write_text("include_uncommitted = false\n")
    refused = place.spell("run", "cat hello.txt", cwd=repo, check=6)
    assert "uncommitted" in refused.stderr.lower(), refused.stderr
    for wrong, said in (("include_uncommited = false", "there is include_uncommitted"), ("include_uncommitted = 0", "true or false"), ("x", "line 1")):
        settings.write_text(wrong + "\n")
        refused = place.spell("run", "true", cwd=repo, check=3)
        assert said in refused.stderr and "config.toml, line 1" in refused.stderr, refused.stderr
    assert place.spell("ps", "-q", check=0).stdout.split() == ["1"]
