"""Owners of a team's service: whose runs there are. What belongs to one is not there for who does not belong to it."""
import pytest

from machines import Machine, submit, wait_run
from team import PASSWORD, Team


@pytest.fixture
def team(place):
    made = Team(place)
    yield made
    if made.running.process.poll() is None:
        made.stop()


def number_of(made):
    return made.json["run"]["id"]


def test_numbers_count_for_each_owner_and_members_see_their_own_owners_alone(team):
    ada, spell = team.token, team.spell
    box = Machine(team, "box")
    bob = team.add_user("bob")  # of the team
    made = spell("owner", "add", "lab", "--json", check=0).json["owner"]
    assert made == {"name": "lab", "own": False, "last_run": 0, "members": []}
    assert spell("user", "add", "eve", "--owner", "lab", "--password-stdin", input=PASSWORD + "\n").returncode == 0
    eve, lab = team.log_in("eve", PASSWORD), {"SPELL_OWNER": "lab"}
    bench = Machine(team, "bench", owner="lab")
    try:
        # Each counts from 1, on machines of its own.
        for token, machine, env in ((bob, "box", None), (eve, "bench", None), (ada, "box", None), (ada, "bench", lab)):
            run = spell("run", "-f", "-b", "--json", "hostname > name.txt; echo it is $SPELL_MACHINE", token=token, env=env, check=0).json["run"]
            assert run["id"] == (1 if token != ada else 2)
            spell("wait", run["id"], token=token, env=env, check=0)
            assert f"it is {machine}" in spell("logs", run["id"], token=token, env=env, check=0).stdout

        # Each sees his owner's runs; the other's are not there, by whatever way he asks.
        assert [r["creator"] for r in spell("ps", "--json", token=bob, check=0).json["runs"]] == ["bob", "ada"]
        assert [r["creator"] for r in spell("ps", "--json", token=eve, check=0).json["runs"]] == ["eve", "ada"]
        assert "it is bench" in spell("logs", 1, token=eve, check=0).stdout
        for token, other in ((bob, "lab"), (eve, "acme")):
            for words in (["ps"], ["logs", 1], ["info", 1], ["ls", "runs"], ["kill", 1], ["machine", "list"], ["status"], ["run", "-f", "-b", "true"]):
                refused = spell(*words, token=token, env={"SPELL_OWNER": other}, check=1)
                assert f"there is no owner '{other}' here that you belong to" in refused.stderr, refused
            # The same words as for one that there is not.
            nothing = spell("ps", token=token, env={"SPELL_OWNER": "nobody"}, check=1)
            assert nothing.stderr.replace("nobody", other) == spell("ps", token=token, env={"SPELL_OWNER": other}, check=1).stderr
        assert [m["name"] for m in spell("machine", "list", "--json", token=eve, check=0).json["machines"]] == ["bench"]
        assert [m["name"] for m in spell("status", "--json", token=eve, check=0).json["service"]["machines"]] == ["bench"]
        assert {u["name"] for u in spell("user", "list", "--json", token=bob, check=0).json["users"]} == {"ada", "bob"}
        assert "box" not in spell("run", "-f", "-t", "gpu", "true", token=eve, check=1).stderr
        assert "no machine serves 'box'" in spell("run", "-f", "-m", "box", "true", token=eve, check=1).stderr
        assert [o["name"] for o in spell("owner", "list", "--json", token=eve, check=0).json["owners"]] == ["lab"]
        figures = [team.request("GET", "/metrics", token=token)[2].decode() for token in (ada, bob, eve)]
        assert [[f'"{name}"' in text for name in ("box", "bench")] for text in figures] == [[True, True], [True, False], [False, True]]
        assert [o["last_run"] for o in spell("owner", "list", "--json", check=0).json["owners"]] == [2, 2]
        identity = team.request("GET", "/v1/user", token=eve)[2]["identity"]
        assert (identity["owner"], identity["owners"]) == ("lab", ["lab"])

        # Numbers and owners outlive the service.
        team.stop()
        team.start()
        assert number_of(spell("run", "-f", "-b", "--json", "true", token=eve, check=0)) == 3
        assert number_of(spell("run", "-f", "-b", "--json", "true", token=bob, check=0)) == 3
    finally:
        box.close()
        bench.close()


def test_uploads_links_projects_and_secrets_are_an_owners(team):
    lab = {"SPELL_OWNER": "lab"}
    team.spell("owner", "add", "lab", check=0)
    file = team.place.root / "data.txt"
    file.write_text("of the team")
    team.spell("upload", file, check=0)
    team.spell("link", "d", "uploads/data.txt", check=0)
    team.spell("project", "create", "thesis", check=0)
    team.spell("secret", "set", "TOKEN", input="correct horse", check=0)
    assert "data.txt" not in team.spell("ls", "uploads", env=lab, check=0).stdout
    assert team.spell("cp", "uploads/data.txt", team.place.root / "x", env=lab, check=1).stderr
    assert team.spell("link", "--json", env=lab, check=0).json["links"] == []
    assert team.spell("project", "list", "--json", env=lab, check=0).json["projects"] == []
    assert team.spell("secret", "list", "--json", env=lab, check=0).json["secrets"] == []
    # Names are free for each; bytes are kept once, but what another has sent is not had by its hash.
    file.write_text("of the lab")
    team.spell("upload", file, env=lab, check=0)
    team.spell("machine-type", "add", "--name", "gpu", "--gpus", "4", check=0)
    team.spell("machine-type", "add", "--name", "gpu", "--gpus", "1", env=lab, check=0)
    for env, content, gpus in ((None, "of the team", 4), (lab, "of the lab", 1)):
        target = team.place.root / f"got-{gpus}"
        team.spell("cp", "uploads/data.txt", target, env=env, check=0)
        assert target.read_text() == content
        types = team.spell("machine-type", "list", "--json", env=env, check=0).json["machine_types"]
        assert [t["gives"]["gpus"] for t in types if t["name"] == "gpu"] == [gpus]


def test_members_come_and_go(team):
    bob = team.add_user("bob")
    spell = team.spell
    spell("owner", "add", "lab", "-m", "bob", check=0)
    assert spell("owner", "list", "-q", token=bob, check=0).stdout.split() == ["acme", "lab"]
    assert spell("owner", "members", "lab", "-q", token=bob, check=0).stdout == "lab\n"
    # Who is taken out is out at once, also of what he has open.
    machine = Machine(team, "box")
    run = submit(team, "echo begun; sleep 1000")
    follower = team.place.start("logs", "-f", str(run), env=team.environment(bob))
    follower.wait_output("begun")
    assert spell("owner", "members", "acme", "--remove", "bob", "--json", check=0).json["owner"]["members"] == ["ada"]
    assert "there is no owner 'acme'" in follower.finish().stderr
    assert spell("whoami", "--json", token=bob, check=0).json["identity"]["owners"] == ["lab"]
    spell("kill", run, check=0)
    wait_run(team, run)
    machine.close()
    # Nobody is left without an owner.
    refused = spell("owner", "members", "lab", "--remove", "bob", check=1)
    assert "bob belongs to no other owner than lab; `spell user disable bob` locks him out" in refused.stderr
    assert spell("owner", "members", "lab", "--json", check=0).json["owner"]["members"] == ["bob"]
    actions = [(e["action"], e["thing"], e["detail"]) for e in spell("audit", "--action", "owner", "--json", check=0).json["audit"]]
    assert actions == [("owner.add", "lab", "bob"), ("owner.remove-member", "acme", "bob")]


def test_the_owner_that_is_meant(team):
    spell = team.place.spell
    team.spell("owner", "add", "lab", check=0)
    assert "there is no login" in spell("owner", "use", "lab", "--service", team.url, check=1).stderr
    spell("login", team.url, "--user", "ada", "--password-stdin", "--fingerprint", team.fingerprint, input=PASSWORD + "\n", check=0)
    assert "Runs of  acme" in spell("whoami", check=0).stdout
    assert "that you belong to" in spell("owner", "use", "nobody", check=1).stderr
    assert "Commands mean the runs of lab" in spell("owner", "use", "lab", check=0).stderr
    assert "Runs of  lab" in spell("whoami", check=0).stdout
    assert spell("status", "--json", check=0).json["service"]["owner"] == "lab"
    assert spell("status", "--json", env={"SPELL_OWNER": "acme"}, check=0).json["service"]["owner"] == "acme"


def test_wrong_words(team):
    bob = team.add_user("bob")
    for words, status, says in ((["add"], 2, "NAME"), (["add", "a b"], 1, "name"), (["add", "public"], 1, "there is an owner 'public' already"),
                                (["add", "acme"], 1, "there is an owner 'acme' already"), (["add", "x", "-m", "nobody"], 1, "there is no user 'nobody'"),
                                (["members", "nobody"], 1, "there is no owner 'nobody'"), (["members", "acme", "--add", "nobody"], 1, "no user 'nobody'"),
                                (["members", "nobody", "--add", "bob"], 1, "no owner 'nobody'"), (["frobnicate"], 2, "unknown command")):
        refused = team.spell("owner", *words, check=status)
        assert says in refused.stderr and len(refused.stderr.splitlines()) == 1, refused
    assert "takes the role administrator" in team.spell("owner", "add", "mine", token=bob, check=1).stderr
    assert "takes the role administrator" in team.spell("owner", "members", "acme", "--add", "bob", token=bob, check=1).stderr
    assert "no owner 'nobody'" in team.spell("user", "add", "zoe", "--owner", "nobody", check=1).stderr
    assert [o["name"] for o in team.spell("owner", "list", "--json", check=0).json["owners"]] == ["acme"]


def test_a_personal_service_has_one_owner(spell):
    assert "personal service" in spell("owner", "add", "lab", check=1).stderr
    assert [o["own"] for o in spell("owner", "list", "--json", check=0).json["owners"]] == [True]
    assert "there is no owner 'lab'" in spell("ps", env={"SPELL_OWNER": "lab"}, check=1).stderr
