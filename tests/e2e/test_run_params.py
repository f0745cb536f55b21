"""`spell run --param`: values in the command's places, kept as data of the run."""


def test_values_stand_in_the_command_and_are_kept(spell, repo):
    done = spell("run", "-q", "--param", "rate=0.1", "--param", "name=a b=c", "echo ':name:' :rate: :rate: :other:", cwd=repo, check=0)
    assert done.stdout == "a b=c 0.1 0.1 :other:\n", done
    run = spell("info", 1, "--json", check=0).json["run"]
    assert run["params"] == {"rate": "0.1", "name": "a b=c"} and run["command"] == "echo 'a b=c' 0.1 0.1 :other:"
    shown = spell("info", 1, check=0).stdout
    assert "rate=0.1" in shown and "name=a b=c" in shown
    again = spell("rerun", "-q", 1, check=0)
    assert again.stdout == done.stdout and spell("info", 2, "--json", check=0).json["run"]["params"] == run["params"]
    # They are part of what makes two runs the same.
    for key, value, status in (("k", "1", 0), ("k", "1", 0), ("k", "2", 1)):
        conflict = spell("run", "-q", "-b", "--key", key, "--param", f"x={value}", "echo :x:", cwd=repo, check=status)
    assert "key_conflict" in conflict.stderr or "differs in 'command'" in conflict.stderr, conflict


def test_they_are_written_to_a_file_and_read_from_it(spell, repo):
    spell("run", "-q", "--param", "x=1", "--save-command", "saved.yaml", "echo :x:", cwd=repo, check=0)
    assert spell("run", "-q", "-f", "--from-file", "saved.yaml", cwd=repo, check=0).stdout == "1\n"
    (repo / "other.yaml").write_text("param: {x: 7}\ncommand: 'echo :x:'\n")
    assert spell("run", "-q", "-f", "--from-file", "other.yaml", cwd=repo, check=0).stdout == "7\n"


def test_wrong_ones_make_no_run(spell, repo):
    for words, said in ((("--param", "x", "echo :x:"), "give NAME=VALUE"), (("--param", "=1", "echo :x:"), "give NAME=VALUE"),
                        (("--param", "x=1", "echo x"), "the command has no :x:"), (("--param", "x=1", "--param", "x=2", "echo :x:"), "given twice")):
        refused = spell("run", *words, cwd=repo, check=2)
        assert said in refused.stderr and refused.stderr.count("\n") == 1, refused
    assert "parameter's name" in spell("run", "--param", "a b=1", "echo :a b:", cwd=repo, check=1).stderr
    assert spell("ps", "-q", "-a", check=0).stdout == ""
