"""A team's service as its people meet it: made, served, logged in to, and what happens when somebody has to leave."""
import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import threading

import pytest

from wrong_clock import Clock
from harness import PATIENCE, need_terminals, wait_for
from team import PASSWORD, Team


def log_in(team, user="ada", *options, **more):
    return team.place.spell("login", team.url, "--user", user, "--password-stdin", *options, input=PASSWORD + "\n", **more)


# Making and serving

def test_init_says_what_comes_next_and_shows_the_password_once(place):
    made = place.program("spelld", "init", "--data", place.root / "d2", "--owner", "acme", "--host", "spell.example", "--admin", "ada", check=0)
    password = next(line.split()[1] for line in made.stdout.splitlines() if line.strip().startswith("Password"))
    assert len(password) == 20
    for word in ("acme", "ada", "Fingerprint", "spelld serve --data", "spell login https://spell.example:8443 --user ada --fingerprint",
                 "spell machine add", "CPU"):
        assert word in made.stdout, word
    data = place.root / "d2"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    for file in [data / "spelld.toml", data / "spell.db", *(data / "keys").iterdir()]:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert password.encode() not in b"".join(file.read_bytes() for file in data.rglob("*") if file.is_file())


def test_init_changes_nothing_that_is_there(place):
    data = place.root / "d2"
    init = ["init", "--data", data, "--admin", "ada"]
    place.program("spelld", *init, check=0)
    before = {file: file.read_bytes() for file in data.rglob("*") if file.is_file()}
    again = place.program("spelld", *init, check=1)
    assert "holds a service already" in again.stderr and "spelld serve --data" in again.stderr
    assert before == {file: file.read_bytes() for file in data.rglob("*") if file.is_file()}
    other = place.root / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    refused = place.program("spelld", "init", "--data", other, check=1)
    assert "not empty" in refused.stderr and "thesis.tex" in refused.stderr and list(other.iterdir()) == [other / "thesis.tex"]


@pytest.mark.parametrize("options, says", [
    (["--owner", "a b"], "team's name"), (["--admin", "Ada"], "lower-case"), (["--admin", "local"], "local"), (["--host", "a b"], "no host name"),
    (["--listen", "8443"], "HOST:PORT"), (["--listen", "x:port"], "HOST:PORT"), (["--password-stdin"], "at least 10 characters")])
def test_init_looks_at_everything_before_it_makes_anything(place, options, says):
    refused = place.program("spelld", "init", "--data", place.root / "d2", *options, input="short\n")
    assert refused.returncode in (1, 2) and says in refused.stderr and len(refused.stderr.splitlines()) == 1, refused
    assert not (place.root / "d2").exists()


def test_an_init_that_was_killed_can_be_done_again(place):
    """However far it came: what it leaves is taken for unfinished, or for done."""
    import random
    for attempt in range(8):
        data = place.root / f"killed{attempt}"
        running = place.start("init", "--data", data, "--admin", "ada", program="spelld")
        wait_for(lambda: data.exists() or running.process.poll() is not None)
        try:
            running.process.wait(random.random() * 0.1)
        except subprocess.TimeoutExpired:
            pass
        if running.process.poll() is None:
            running.signal(signal.SIGKILL)
        running.finish()
        if not (data / "spelld.toml").exists():
            assert place.program("spelld", "serve", "--data", data).returncode == 1
            place.program("spelld", "init", "--data", data, "--admin", "ada", check=0)
        assert sorted(path.name for path in data.iterdir() if path.name != "init-unfinished") == ["keys", "spell.db", "spelld.toml"]


def test_serve_says_why_it_cannot(place, team):
    nothing = place.program("spelld", "serve", "--data", place.root / "nothing", check=1)
    assert "spelld init --data" in nothing.stderr and not (place.root / "nothing").exists()
    twice = place.program("spelld", "serve", "--data", team.data, check=1)
    assert "already" in twice.stderr
    second = place.root / "second"
    place.program("spelld", "init", "--data", second, "--admin", "ada", check=0)
    taken = place.program("spelld", "serve", "--data", second, "--listen", f"127.0.0.1:{team.port}", check=1)
    assert f"127.0.0.1:{team.port}" in taken.stderr and "Address already in use" in taken.stderr, taken
    with open(second / "spelld.toml", "a") as settings:
        settings.write("colour = 'red'\n")
    unknown = place.program("spelld", "serve", "--data", second, check=3)
    assert "'colour' is no setting" in unknown.stderr and "line" in unknown.stderr


# Logging in

def test_a_login_pins_the_authority_and_becomes_the_default(place, team):
    refused = log_in(team)
    assert refused.returncode == 1 and team.fingerprint in refused.stderr and "--fingerprint" in refused.stderr, refused
    wrong = log_in(team, "ada", "--fingerprint", "0" * 64)
    assert wrong.returncode == 1 and "another authority" in wrong.stderr, wrong
    system = log_in(team, "ada", "--system-ca")
    assert system.returncode == 1 and "not to be trusted" in system.stderr, system
    known = place.spell_dir / "services.json"
    assert not known.exists()
    done = log_in(team, "ada", "--fingerprint", team.fingerprint, check=0)
    assert "--service local" in done.stderr and "spell logout" in done.stderr and "acme" in done.stderr, done
    assert stat.S_IMODE(known.stat().st_mode) == 0o600
    identity = place.spell("whoami", "--json", check=0).json["identity"]
    assert (identity["user"]["name"], identity["user"]["role"], identity["owner"]) == ("ada", "administrator", "acme")
    assert place.spell("status", "--json", check=0).json["service"]["location"].startswith("https://127.0.0.1:")
    assert place.spell("whoami", "-q", "--service", "local", check=0).stdout.strip() != "ada"
    place.spell("service", "stop", "--service", "local", check=0)
    token = json.loads(known.read_text())["services"][team.url]["token"]
    assert team.request("GET", "/v1/user", token=token)[0] == 200
    assert token not in place.spell("access-tokens", "list", "--json", check=0).stdout
    out = place.spell("logout", check=0)
    assert "this computer" in out.stderr
    assert team.request("GET", "/v1/user", token=token)[0] == 401
    assert place.spell("logout").returncode == 1
    # The fingerprint is kept: the next login asks for nothing but the password.
    log_in(team, check=0)


def test_a_login_on_a_terminal_shows_the_fingerprint_and_never_the_password(place, team):
    need_terminals()
    master, slave = os.openpty()
    process = subprocess.Popen([place.programs / "spell", "login", team.url], env=place.environment, stdin=slave, stdout=slave, stderr=slave,
                               start_new_session=True)
    os.close(slave)
    shown = b""

    def answer(question, text):
        nonlocal shown
        while question not in shown:
            shown += os.read(master, 4096)
        os.write(master, text)
    answer(b"Is it the same?", b"y\n")
    answer(b"User", b"ada\n")
    answer(b"Password of ada", PASSWORD.encode() + b"\n")
    try:
        while piece := os.read(master, 4096):
            shown += piece
    except OSError:
        pass  # the other end is closed
    os.close(master)
    assert process.wait(PATIENCE) == 0, shown
    assert team.fingerprint.encode() in shown and PASSWORD.encode() not in shown
    place.spell("whoami", check=0)


def test_wrong_passwords_are_refused_alike_and_slowed(team):
    """How long one waits the unit tests say; here guess until it happens: the right password is not looked at then either."""
    team.add_user("bob")
    messages = set()
    for user in ("ada", "nobody-of-that-name"):
        for guess in range(50):
            status, headers, answer = team.request("POST", "/v1/login", {"user": user, "password": "not the right one"})
            if status == 429:
                break
            assert (status, answer["error"]["code"]) == (401, "wrong_password")
            messages.add(answer["error"]["message"])
        assert guess >= 5 and answer["error"]["code"] == "too_many_attempts" and 1 <= int(headers["Retry-After"]) <= 60, (guess, answer)
    assert len(messages) == 1
    assert team.log_in("bob", PASSWORD)
    login = ["login", team.url, "--user", "ada", "--password-stdin", "--fingerprint", team.fingerprint]
    said = [team.place.spell(*login, input="not the right one\n", check=1).stderr for _ in range(12)]
    assert any("try again in" in line for line in said), said


def test_passwd(place, team):
    bob = team.add_user("bob")
    log_in(team, "bob", "--fingerprint", team.fingerprint, check=0)
    access = place.spell("access-tokens", "create", "nightly", "--days", "30", check=0).stdout.strip()
    assert place.spell("passwd", "--password-stdin", input="wrong\nanother long one\n").returncode == 1
    assert place.spell("passwd", "--password-stdin", input=PASSWORD + "\nshort\n").returncode == 1
    place.spell("passwd", "--password-stdin", input=PASSWORD + "\nanother long one\n", check=0)
    place.spell("whoami", check=0)
    assert team.request("GET", "/v1/user", token=bob)[0] == 401  # the other login
    assert team.request("GET", "/v1/user", token=access)[0] == 200
    assert team.request("POST", "/v1/login", {"user": "bob", "password": PASSWORD})[0] == 401
    assert team.log_in("bob", "another long one")


def test_a_lost_password(place, team):
    """No administrator can log in any more: the service's own user still can, by its socket."""
    reset = place.spell("user", "reset", "ada", "--service", team.socket, check=0)
    password = reset.stdout.split()[-1]
    assert team.request("GET", "/v1/user", token=team.token)[0] == 401
    team.token = team.log_in("ada", password)
    assert place.spell("whoami", "-q", "--service", team.socket, check=0).stdout.strip() == "local"
    rows = team.spell("audit", "--json", check=0).json["audit"]
    assert [row["user"] for row in rows if row["action"] == "user.reset"] == ["local"]


# People

def test_users_by_hand(place, team):
    added = team.spell("user", "add", "bob", "--role", "viewer", check=0)
    bobs = added.stdout.split()[-1]
    bob = team.log_in("bob", bobs)
    assert [user["name"] for user in team.spell("user", "list", "--json", check=0).json["users"]] == ["ada", "bob"]
    refused = team.spell("run", "-f", "true", token=bob)
    assert refused.returncode == 1 and "takes the role member" in refused.stderr and "bob is viewer" in refused.stderr
    team.spell("user", "role", "bob", "member", check=0)
    assert team.request("GET", "/v1/user", token=bob)[2]["identity"]["user"]["role"] == "member"
    assert "takes the role administrator" in team.spell("user", "add", "eve", token=bob, check=1).stderr
    assert "already" in team.spell("user", "add", "bob", check=1).stderr
    assert "lower-case" in team.spell("user", "add", "Bob", check=1).stderr
    assert "administrator, member or viewer" in team.spell("user", "role", "bob", "king", check=1).stderr
    assert "there is no user 'eve'" in team.spell("user", "disable", "eve", check=1).stderr
    for last in (("disable", "ada"), ("role", "ada", "member")):
        assert "last administrator" in team.spell("user", *last, check=1).stderr
    team.spell("user", "disable", "bob", check=0)
    assert "not valid" in team.spell("whoami", token=bob, check=1).stderr
    team.spell("user", "disable", "bob", "--undo", check=0)
    assert team.request("GET", "/v1/user", token=bob)[0] == 401  # a token that has ended does not come back
    # Nor does a machine get in with what he has made for it; an administrator that is one no more is as any other.
    for name, words in (("box", ("role", "bob", "member")), ("desk", ("disable", "bob"))):
        team.spell("user", "role", "bob", "administrator", check=0)
        token = team.spell("machine", "add", name, "--json", token=team.log_in("bob", bobs), check=0).json["token"]
        assert team.request("POST", "/v1/join", {}, token)[2]["error"]["code"] == "invalid_request"
        team.spell("user", *words, check=0)
        assert team.request("POST", "/v1/join", {}, token)[2]["error"]["code"] == "unauthorized"
    actions = [row["action"].removeprefix("user.") for row in team.spell("audit", "-a", "user", "--json", check=0).json["audit"]]
    assert actions == ["add", "add", "role", "disable", "enable", "role", "role", "role", "disable"]


def test_tokens_by_hand(place, team):
    bob = team.add_user("bob")
    made = team.spell("access-tokens", "create", "nightly", token=bob, check=0)
    secret = made.stdout.strip()
    assert secret.startswith("spu_") and len(secret) == 68
    listed = team.spell("access-tokens", "list", "--json", token=secret, check=0).json["tokens"]
    assert [token["kind"] for token in listed] == ["login", "access"]
    nightly = listed[1]["id"]
    assert team.request("GET", f"/v1/tokens?user=ada", token=bob)[0] == 403
    mine = team.request("GET", "/v1/tokens", token=team.token)[2]["tokens"][0]["id"]
    assert team.request("DELETE", f"/v1/tokens/{mine}", token=bob)[0] == 404
    team.spell("access-tokens", "revoke", nightly, token=secret, check=0)  # it ends itself, and still gets its answer
    assert "not valid" in team.spell("whoami", token=secret, check=1).stderr
    stored = (team.data / "spell.db").read_bytes() + (team.data / "spell.db-wal").read_bytes()
    assert bob.encode() not in stored and secret.encode() not in stored
    other = Team(place, name="other", owner="others")
    assert team.request("GET", "/v1/user", token=other.token)[0] == 401


def test_a_token_makes_none_that_outlives_it(place, team):
    bob = team.add_user("bob")
    create = lambda token, *options: team.spell("access-tokens", "create", "more", *options, token=token)
    short = create(bob, "--days", "2").stdout.strip()
    for options in ((), ("--days", "3")):
        refused = create(short, *options)
        assert refused.returncode == 1 and "makes none that ends later" in refused.stderr and len(refused.stderr.splitlines()) == 1, refused
    assert create(short, "--days", "1").returncode == 0
    # What a login makes, or a token without an end, may last.
    endless = create(bob).stdout.strip()
    assert create(endless).returncode == 0


def test_members_change_their_own_things_alone(place):
    team = Team(place, "--with-worker")
    bob, eve, zoe = team.add_user("bob"), team.add_user("eve"), team.add_user("zoe", "viewer")
    started = team.spell("run", "-f", "-b", "sleep 1000", token=bob, check=0)
    number = started.stdout.strip()
    for words in (("stop", number), ("kill", number), ("label", number, "x"), ("archive", number)):
        refused = team.spell(*words, token=eve, check=1)
        assert "belongs to bob" in refused.stderr, refused
    assert "takes the role member" in team.spell("kill", number, token=zoe, check=1).stderr
    assert team.spell("info", number, "--json", token=zoe, check=0).json["run"]["creator"] == "bob"
    (place.work / "file").write_text("bob's\n")
    team.spell("upload", "file", "-n", "x", token=bob, check=0)
    (place.work / "file").write_text("eve's\n")
    assert "belongs to bob" in team.spell("upload", "file", "-n", "x", token=eve, check=1).stderr
    assert "belongs to bob" in team.spell("rm", "-f", "uploads/x", token=eve, check=1).stderr
    team.spell("link", "data", "uploads/x", token=bob, check=0)
    assert "belongs to bob" in team.spell("unlink", "data", token=eve, check=1).stderr
    team.spell("project", "create", "p", token=bob, check=0)
    assert "belongs to bob" in team.spell("project", "edit", "p", "--name", "q", token=eve, check=1).stderr
    assert "belongs to bob" in team.spell("project", "add-runs", "p", number, token=eve, check=1).stderr
    # An administrator may, and what was done is noted.
    team.spell("kill", number, check=0)
    team.spell("wait", number)
    assert team.spell("rm", "-f", number, token=eve).returncode == 1
    team.spell("rm", "-f", number, token=bob, check=0)
    noted = [(row["user"], row["action"], row["thing"]) for row in team.spell("audit", "-a", "run", "--json", check=0).json["audit"]]
    assert noted == [("ada", "run.kill", f"runs/{number}"), ("bob", "run.delete", f"runs/{number}")]


def test_the_first_line_names_the_service(place):
    team = Team(place, "--with-worker")
    told = team.spell("run", "-f", "echo hello", check=0)
    assert f"#1 at 127.0.0.1:{team.port}" in told.stderr and told.stdout == "hello\n", told
    assert team.spell("info", "1", "--json", check=0).json["run"]["creator"] == "ada"


def test_disabling_ends_what_is_open_and_lets_runs_go_on(place):
    team = Team(place, "--with-worker")
    bob = team.add_user("bob")
    team.spell("run", "-f", "-b", "echo begun; while [ ! -e /spell/stop ]; do sleep 0.1; done", token=bob, check=0)
    made = team.spell("workflow", "create", "-b", "--json", "echo begun; sleep 1000", token=bob, check=0).json["workflow"]["run"]
    for number in (1, made):
        wait_for(lambda: team.request("GET", f"/v1/owners/acme/runs/{number}", token=bob)[2]["run"]["status"] == "running")
    workflow = team.spell("exec", made, 'printf %s "$SPELL_TOKEN"', token=bob, check=0).stdout
    assert workflow.startswith("spw_")
    ends, begun = [], [threading.Event() for _ in range(3)]

    def hold(path, at, token):
        connection = team.connect()
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        if at != 1:
            answer = connection.getresponse()
            answer.read(1)
            begun[at].set()
            try:
                answer.read()
            except Exception as problem:
                ends.append(type(problem).__name__)
            else:
                ends.append("end of the body")
        else:
            begun[1].set()
            try:
                ends.append(connection.getresponse().status)
            except Exception as problem:
                ends.append(type(problem).__name__)
    run = team.request("GET", "/v1/owners/acme/runs/1", token=bob)[2]["run"]
    threads = [threading.Thread(target=hold, args=("/v1/owners/acme/runs/1/log?format=jsonl&follow=1", 0, bob)),
               threading.Thread(target=hold, args=(f"/v1/owners/acme/runs/1?version={run['version'] + 100}&wait_ms=60000", 1, bob)),
               threading.Thread(target=hold, args=(f"/v1/owners/acme/runs/{made}/log?format=jsonl&follow=1", 2, workflow))]
    for thread in threads:
        thread.start()
    for event in begun:
        assert event.wait(PATIENCE)
    status, _, answer = team.request("PATCH", "/v1/users/bob", {"disabled": True}, team.token)
    assert status == 200, answer
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "what was open goes on"
    assert 200 not in ends
    assert team.request("GET", "/v1/user", token=bob)[0] == 401
    assert team.request("GET", f"/v1/owners/acme/runs/{made}", token=workflow)[0] == 401
    for number in (1, made):
        assert team.request("GET", f"/v1/owners/acme/runs/{number}", token=team.token)[2]["run"]["status"] == "running"
        team.spell("stop", number, check=0)
        team.spell("wait", number)


def test_who_is_disabled_is_thrown_out_of_a_run(place):
    team = Team(place, "--with-worker")
    bob = team.add_user("bob")
    number = team.spell("run", "-f", "-b", "-q", "sleep 1000", token=bob, check=0).stdout.strip()
    wait_for(lambda: team.request("GET", f"/v1/owners/acme/runs/{number}", token=bob)[2]["run"]["status"] == "running")
    inside = place.start("exec", number, "bash", "-c", "echo inside; sleep 2000", env=team.environment(bob))
    inside.wait_output("inside")
    team.spell("user", "disable", "bob", check=0)
    out = inside.finish()
    assert out.returncode not in (0, None) and out.stderr, out
    team.spell("kill", number, check=0)
    team.spell("wait", number)


@pytest.mark.parametrize("how", ["demoted", "revoked"])
def test_what_is_open_ends_when_its_user_may_do_less(place, how):
    """Commands inside a run, forwarded ports, followed logs: of a viewer what he may still see goes on, of who is out nothing does."""
    team = Team(place, "--with-worker")
    bob = team.add_user("bob")
    mine = team.spell("access-tokens", "list", "--json", token=bob, check=0).json["tokens"][0]["id"]
    number = team.spell("run", "-f", "-b", "-q", "echo begun; while [ ! -e /spell/stop ]; do sleep 0.05; done; echo done", token=bob, check=0).stdout.strip()
    wait_for(lambda: "begun" in team.spell("logs", number).stdout)
    inside = place.start("exec", number, "bash", "-c", "echo inside; sleep 2000", env=team.environment(bob))
    forward = place.start("forward", number, "0:9", env=team.environment(bob))
    follower = place.start("logs", "-f", number, env=team.environment(bob))
    inside.wait_output("inside")
    forward.wait_output("127.0.0.1")
    follower.wait_output("begun")
    if how == "demoted":
        team.spell("user", "role", "bob", "viewer", check=0)
    else:
        team.spell("access-tokens", "revoke", mine, check=0)
    out = inside.finish()
    assert out.returncode not in (0, None) and out.stderr, out
    team.spell("exec", number, "touch /spell/stop")  # may end with the run
    followed = follower.finish()
    if how == "demoted":
        assert followed.returncode == 0 and followed.stdout == "begun\ndone\n", followed
        assert "takes the role member" in team.spell("exec", number, "true", token=bob, check=1).stderr
    else:
        assert followed.returncode != 0 and "not valid" in followed.stderr, followed
    forward.signal(signal.SIGTERM)
    team.spell("wait", number, check=0)


# Certificates

def test_a_renewed_certificate_changes_nothing(place, team):
    log_in(team, "ada", "--fingerprint", team.fingerprint, check=0)
    file = team.data / "keys" / "service.pem"
    before = file.read_bytes()
    install_line = lambda name: team.spell("machine", "add", name, "--json", check=0).json["install"]
    install = install_line("box")
    file.unlink()
    team.running.signal(signal.SIGHUP)
    team.running.wait_output("the certificate has been renewed", stream="stderr")
    assert file.read_bytes() != before and stat.S_IMODE(file.stat().st_mode) == 0o600
    place.spell("whoami", check=0)
    # What is to be pasted on a machine names the key that is shown now.
    renewed = install_line("another")
    assert renewed != install
    team.stop()
    team.start()
    assert install_line("third").replace(str(team.port), "") == renewed.replace(str(team.port), "")
    team.stop()
    file.unlink()
    team.start()
    place.spell("whoami", check=0)


def test_another_authority_is_refused_with_the_way_out(place, team):
    log_in(team, "ada", "--fingerprint", team.fingerprint, check=0)
    other = Team(place, name="other")
    team.stop()
    other.stop()
    other.port = team.port
    other.start()
    place.environment.update(LANG="C.UTF-8")
    refused = place.spell("whoami")
    assert refused.returncode == 1 and "another authority" in refused.stderr and "nothing was sent" in refused.stderr, refused
    assert "--fingerprint" in refused.stderr and len(refused.stderr.splitlines()) == 1
    # The administrator has said so:
    place.spell("login", team.url, "--user", "ada", "--password-stdin", "--fingerprint", other.fingerprint, input=PASSWORD + "\n", check=0)
    place.spell("whoami", check=0)


def test_a_certificate_that_is_given(place, team):
    """From files of somebody else's authority, read again on SIGHUP; a bad one changes nothing."""
    other = Team(place, name="other")
    other.stop()
    certificate, key = place.root / "chain.pem", place.root / "key.pem"
    shutil.copy(other.data / "keys" / "service.pem", certificate)
    shutil.copy(other.data / "keys" / "service.pem", key)
    team.stop()
    team.options = ("--certificate", certificate, "--key", key)
    team.start()
    team.fingerprint = other.fingerprint
    team.spell("whoami", check=0)
    certificate.write_text("nonsense")
    team.running.signal(signal.SIGHUP)
    team.running.wait_output("could not be renewed", stream="stderr")
    team.spell("whoami", check=0)
    team.stop()
    refused = place.program("spelld", "serve", "--data", team.data, "--certificate", certificate, "--key", key, check=1)
    assert "certificate" in refused.stderr
    assert place.program("spelld", "serve", "--data", team.data, "--certificate", certificate).returncode == 2


def test_clocks_differ(place, team):
    clock = Clock(place)
    hour, day = 3600, 24 * 3600
    for offset, fine in ((-hour, True), (hour, True), (-20 * hour, True), (400 * day, False), (-3 * day, False)):
        clock.set(offset)
        process = subprocess.run([place.programs / "spell", "whoami", "-q"], capture_output=True, text=True, timeout=PATIENCE,
                                 env={**place.environment, **team.environment(), **clock.environment})
        assert (process.returncode == 0) == fine, (offset, process)
        if not fine:
            assert "clock" in process.stderr, process.stderr
