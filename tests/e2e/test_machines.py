"""`spell machine` and `spell machine-type`, as the owner of a box types them."""


def test_a_machine_is_added_listed_changed_and_removed(spell, place):
    added = spell("machine", "add", "Box", "--serves", "V100", "--machine-type", "k80", "--cpus", "4", "--memory", "16G", "--gpu", "2",
                  "--allow", "ada", check=0)
    line = added.stdout.splitlines()[-1].strip()
    assert line.startswith("echo spj_") and line.endswith(f"| spell-worker join unix:{place.spell_dir}/spelld.sock -"), added
    join = spell("machine", "get-token", "box", "--json", check=0).json
    assert join["token"].startswith("spj_") and join["url"].startswith("unix:") and join["machine"] == "box"
    assert spell("machine", "get-token", "box", "-q", check=0).stdout.startswith("spj_")
    info = spell("machine", "info", "box", "--json", check=0).json["machine"]
    assert (info["joined"], info["serves"], info["allow"]) == (False, ["k80", "v100"], ["ada"])
    assert "has not joined yet" in spell("machine", "info", "box", check=0).stdout
    assert "box" in spell("machine", "list", "-q", check=0).stdout.split()
    assert spell("machine", "drain", "box", "--json", check=0).json["machine"]["drained"]
    assert "not joined, drained" in spell("machine", "list", check=0).stdout
    assert not spell("machine", "resume", "box", "--json", check=0).json["machine"]["drained"]
    assert spell("machine", "rename", "box", "desk", "-q", check=0).stdout == "desk\n"
    assert "no machine 'box'" in spell("machine", "info", "box", check=1).stderr
    assert spell("machine", "remove", "desk", check=0).stdout == "desk has been removed\n"
    assert "desk" not in spell("machine", "list", check=0).stdout


def test_machine_types(spell):
    assert spell("machine-type", "add", "--name", "V100x4", "--gpus", "4", "--lost-after", "60", "--spot", "--json",
                 check=0).json["machine_type"]["gives"] == {"cpus": 0, "memory": 0, "gpus": 4, "managing": 0}
    assert "--serves v100x4" in spell("cluster", "scale", "v100x4", "--cpus", "8", check=0).stdout
    listed = spell("machine-types", check=0).stdout
    assert "v100x4" in listed and "8 cores, 4 GPUs" in listed and "CPU" in listed
    assert spell("machine-type", "get-token", "v100x4", "-q", check=0).stdout.startswith("spj_")
    assert spell("machine-type", "delete", "v100x4", "-q", check=0).stdout == "v100x4\n"
    assert "no machine type" in spell("machine-type", "delete", "v100x4", check=1).stderr


def test_wrong_words(spell, place):
    name = spell("status", "--json").json["service"]["machines"][0]["name"]
    for arguments, status, says in ((["add"], 2, "NAME"), (["add", "a b"], 1, "name"), (["add", "x", "--cpus", "many"], 2, "--cpus"),
                                    (["add", "x", "--memory", "-1"], 2, "--memory"), (["add", "CPU"], 1, "is the name of"), (["add", "runs"], 1, "is the name of"),
                                    (["add", name], 1, "is the name of"), (["remove", name], 1, "own machine"),
                                    (["rename", name, "other"], 1, "own machine"), (["drain", "nobody"], 1, "no machine 'nobody'"),
                                    (["nothing"], 2, "unknown command")):
        refused = spell("machine", *arguments, check=status)
        assert says in refused.stderr, refused
    assert "nothing to change" in spell("machine-type", "scale", "x", check=2).stderr
    assert [m["name"] for m in spell("machine", "list", "--json", check=0).json["machines"]] == [name]


def test_a_drained_computer_gets_no_runs_also_after_a_restart(spell, repo):
    name = spell("status", "--json").json["service"]["machines"][0]["name"]
    spell("machine", "drain", name, check=0)
    spell("service", "stop", check=0)
    run = spell("run", "-b", "-q", "true", cwd=repo, check=0).stdout.strip()
    assert spell("info", run, "--json", check=0).json["run"]["reason"] == "waiting for a CPU machine: 1 drained"
    spell("machine", "resume", name, check=0)
    spell("wait", run, check=0)
    spell("service", "stop", check=0)
    assert not spell("machine", "info", name, "--json", check=0).json["machine"]["drained"]


def test_a_run_takes_as_many_cores_as_it_asks_for(spell, repo):
    machine = spell("status", "--json").json["service"]["machines"][0]
    places = machine["places"]
    refused = spell("run", "--cpus", str(places + 1), "true", cwd=repo, check=1)
    assert f"{places + 1} cores: {machine['name']} has {places}" in refused.stderr
    assert "GPU" in spell("run", "--gpu", "A100:1", "true", cwd=repo, check=1).stderr
    assert "no GPU is called 'x'" in spell("run", "--gpu", "x", "true", cwd=repo, check=1).stderr
    assert "gpu 'x'" in spell("run", "-t", "CPU", "--gpu", "x", "true", cwd=repo, check=1).stderr
    all_of_it = spell("run", "-b", "-q", "--cpus", str(places), "sleep 1000", cwd=repo, check=0).stdout.strip()
    waits = spell("run", "-b", "-q", "true", cwd=repo, check=0).stdout.strip()
    reason = spell("info", waits, "--json", check=0).json["run"]["reason"]
    assert reason == f"waiting for a CPU machine: {places} of {places} places busy"
    spell("kill", all_of_it, check=0)
    spell("wait", waits, check=0)


def test_the_types_that_fit_come_ranked_with_what_speaks_for_them(spell):
    spell("run", "-q", "-f", "true", check=0)  # this computer's worker is there
    spell("machine-type", "add", "ours", "--gpus", "2", "--memory", "32G", check=0)
    listed = spell("machine-type", "list", "--cpus", "1", "--json", check=0).json["machine_types"]
    assert [each["name"] for each in listed] == ["CPU"] and "1 of 1 machine connected" in listed[0]["reason"], listed
    assert spell("machine-types", "--cpus", "1", "-q", check=0).stdout == "CPU\n"
    shown = spell("machine-type", "list", "--gpu", "2", check=0).stdout
    assert "ours" in shown and "2 x GPU" in shown and "no machine serves it yet" in shown and "CPU" not in shown, shown
    assert spell("machine-type", "list", "-q", check=0).stdout.split() == ["CPU", "ours"]
    none = spell("machine-type", "list", "--gpu", "3", check=1)
    assert "CPU: no GPU" in none.stderr and "ours: at most 2 of 3 GPUs" in none.stderr, none
    assert "its GPUs are not known" in spell("machine-type", "list", "--gpu", "A100:1", check=1).stderr
    assert "ours: its price is not known" in spell("machine-type", "list", "--gpu", "2", "--max-price", "1.50", check=1).stderr
    assert spell("machine-types", "--max-price", "0", "-q", check=0).stdout == "CPU\n"  # this computer costs nothing
    assert "no_machine_type" in spell("machine-type", "list", "--spot", "only", "--json", check=1).stderr
    for words in (("--gpu", "x:0"), ("--gpu", ":2"), ("--gpu-memory", "x"), ("--max-price", "1.x"), ("--max-price", "-1"), ("--prefer", "luck"), ("--spot", "only", "--no-spot"),
                  ("--cpus", "x")):
        refused = spell("machine-type", "list", *words, check=2)
        assert words[0] in refused.stderr and refused.stderr.count("\n") == 1, refused
