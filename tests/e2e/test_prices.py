"""What machine types cost, which one a run gets, and when a machine of one's own is cheaper."""
import contextlib
import json
import os
import re
import sqlite3

import pytest

from pool_program import PoolProgram, end_pool


def type_of(spell, name):
    return spell("machine-type", "info", name, "--json", check=0).json["machine_type"]


@pytest.fixture
def pool(place):
    """A pool's program that has no machine to give."""
    pool = PoolProgram(place)
    pool.fail("launch", "echo 'none to be had' >&2; exit 75")
    return pool


@pytest.fixture
def priced(spell, pool):
    """Types that a pool provides: V100 and V100x4 as the catalogue has them, and a spot V100 at a price of its own."""
    for name, *options in (("V100",), ("V100x4",), ("v100-spot", "--spot"), ("cheap", "--spot", "--price", "0.5", "--gpus", "1")):
        spell("machine-type", "add", name, "--pool", pool.path, *options, check=0)
    return spell


def test_a_type_has_prices_of_its_own(spell):
    made = spell("machine-type", "add", "box", "--price", "3.06/h", "--spot-price", "$0.918", "--json", check=0).json["machine_type"]
    assert (made["price"], made["spot_price"], made["hourly"], made["price_from"]) == ("3.06", "0.918", "3.06", "set"), made
    shown = spell("machine-type", "info", "BOX", check=0).stdout
    assert re.search(r"Price +\$3\.06/h, set", shown) and re.search(r"Spot price +\$0\.918/h", shown), shown
    assert re.search(r"box +0 +0 +\$3\.06/h", spell("machine-type", "list", check=0).stdout)
    spell("machine-type", "set", "box", "--spot", "--price", "4", check=0)
    assert type_of(spell, "box")["hourly"] == "0.918"
    assert "$0.918/h (spot; $4.00/h on demand), set" in spell("machine-type", "info", "box", check=0).stdout
    spell("service", "stop", check=0)
    assert type_of(spell, "box")["price"] == "4"
    spell("machine-type", "scale", "box", "--no-prices", check=0)
    assert type_of(spell, "box")["hourly"] is None
    assert re.search(r"Price +not known", spell("machine-type", "info", "box", check=0).stdout)
    assert type_of(spell, "cpu")["price"] is None  # this computer
    spell("machine-type", "set", "box", "--price", "0", check=0)
    assert type_of(spell, "box")["hourly"] == "0"


def test_prices_that_are_none_are_refused(spell):
    spell("machine-type", "add", "box", check=0)
    for price in ("-1", "-0.5", "three", "1e3", "3,06", "10001", "99999999999", "1.", ".5", "1.0000000001", "", "3/m", "--5"):
        for option in ("--price", "--spot-price"):
            refused = spell("machine-type", "set", "box", f"{option}={price}", check=2)
            assert option in refused.stderr and refused.stderr.count("\n") == 1, refused
        assert "--max-price" in spell("machine-types", f"--max-price={price}", check=2).stderr
    assert "exclude" in spell("machine-type", "set", "box", "--price", "1", "--no-prices", check=2).stderr
    assert type_of(spell, "box")["price"] is None
    assert "no machine type 'nothing'" in spell("machine-type", "info", "nothing", check=1).stderr


def test_types_without_a_price_have_the_catalogues(priced):
    spell = priced
    v100 = type_of(spell, "v100")
    assert (v100["price"], v100["spot_price"], v100["hourly"], v100["price_from"], v100["catalogue"]) == ("3.06", "0.918", "3.06", "catalogue (aws, us-east-1)", "V100")
    assert (v100["largest"]["gpus"], v100["gpu"], v100["gpu_memory"], v100["throughput"]) == (1, "V100", 16 << 30, 1)
    spot = type_of(spell, "v100-spot")
    assert (spot["hourly"], spot["catalogue"]) == ("0.918", "V100")
    assert type_of(spell, "cheap")["price_from"] == "set"
    spell("machine-type", "set", "v100-spot", "--price", "2", check=0)  # says nothing of spot
    assert [type_of(spell, "v100-spot")[field] for field in ("hourly", "price", "price_from")] == ["0.918", "2", "catalogue (aws, us-east-1)"]
    spell("machine-type", "add", "h100", check=0)  # one's own
    assert type_of(spell, "h100")["price"] is None
    assert "a price list says what it costs" in spell("machine-type", "set", "CPU", "--price", "1", check=1).stderr
    listed = spell("machine-type", "prices", check=0).stdout
    assert re.search(r"V100x4 +aws +p3\.8xlarge +4 x V100 +\$12\.24/h", listed), listed
    entries = spell("machine-type", "prices", "--json", check=0).json["catalogue"]
    assert next(e for e in entries if e["name"] == "V100")["sources"]


def test_a_price_list_goes_before_the_catalogue(priced, place):
    spell, path = priced, place.root / "prices.csv"
    path.write_text("# ours\nname,price,spot_price\nV100,2.50,0.80\np3.8xlarge,10,\nelsewhere,7,\n")
    assert spell("machine-type", "prices", path, check=0).stdout == "3 prices loaded\n"
    assert [type_of(spell, name)["price"] for name in ("v100", "v100x4", "cheap")] == ["2.5", "10", "0.5"]
    assert type_of(spell, "v100-spot")["hourly"] == "0.8"
    assert type_of(spell, "v100")["price_from"] == "price list"
    listed = spell("machine-type", "prices", check=0).stdout
    assert re.search(r"V100 +aws +p3\.2xlarge +1 x V100 +\$2\.50/h +\$0\.80/h +price list", listed), listed
    assert re.search(r"elsewhere .*\$7\.00/h", listed), listed
    spell("service", "stop", check=0)
    assert type_of(spell, "v100")["price"] == "2.5"
    for text, says in (("name,price\nv100,-3\n", "line 2: '-3' is not a price"), ("name,cost\n", "line 1: there is no column 'cost'"),
                       ("name,price\nv100,1\n\nV100,2\n", "line 4: 'v100' is in line 2 already"), ("name,price\nv100,99999\n", "line 2:"), (" \n", "is empty"),
                       ("name,price\n", "has no price"), ("# none\n", "has no price"), ("name,price\n" + "#\n" * 400_000, "larger than 1 MiB")):
        path.write_text(text)
        refused = spell("machine-type", "prices", path, check=1)
        assert f"{path}" in refused.stderr and says in refused.stderr, refused
    assert "cannot read" in spell("machine-type", "prices", path.with_name("none.csv"), check=1).stderr
    assert "cannot read" in spell("machine-type", "prices", place.root, check=1).stderr
    assert type_of(spell, "v100")["price"] == "2.5"
    assert "exclude" in spell("machine-type", "prices", "--drop", path, check=2).stderr
    spell("machine-type", "prices", "--drop", check=0)
    assert type_of(spell, "v100")["price"] == "3.06"


def test_the_types_that_fit_come_with_their_prices(priced):
    spell = priced
    shown = spell("machine-types", "--gpu", "V100", check=0).stdout
    assert [line.split()[0] for line in shown.splitlines()[1:] if not line.startswith(" ")] == ["v100-spot", "v100", "v100x4"], shown
    assert "$0.918/h" in shown and "1 x V100 of 16 GB" in shown and "launched when wanted" in shown, shown
    names = lambda *options: [t["name"] for t in spell("machine-types", *options, "--json", check=0).json["machine_types"]]  # noqa: E731
    assert names("--gpu", "V100:4") == ["v100x4"]
    assert names("--gpu", "V100", "--spot", "never") == ["v100", "v100x4"]
    assert names("--gpu-memory", "16G", "--spot", "only", "--max-price", "5/h") == ["v100-spot"]
    assert names("--gpu", "V100", "--prefer", "fastest") == ["v100-spot", "v100", "v100x4"]  # one GPU is as fast anywhere
    assert names("--gpu", "V100:4", "--prefer", "fastest") == ["v100x4"]
    assert names("--prefer", "cheapest")[0] == names("--spot", "never")[0] == "CPU"  # no GPU is asked for
    assert names("--gpu", "V100", "--spot", "never", "--prefer", "value") == ["v100", "v100x4"]
    # As they are sold: 16 of 17 and 61 of 65 are enough, 61 of 66 are not.
    assert names("--gpu-memory", "17G", "--memory", "65G") == ["v100-spot", "v100", "v100x4"]
    assert names("--gpu-memory", "17G", "--memory", "66G") == ["v100x4"]
    explained = spell("machine-types", "--gpu", "V100", "--max-price", "1", "--explain", check=0).stdout
    assert re.search(r"v100-spot +yes", explained) and re.search(r"v100x4 +no +\$12\.24 an hour", explained), explained
    selection = spell("machine-types", "--gpu", "V100", "--max-price", "1", "--explain", "--json", check=0).json["selection"]
    assert [t["name"] for t in selection["fit"]] == ["v100-spot"] and {"name": "v100x4", "reason": "$12.24 an hour"} in selection["excluded"]
    none = spell("machine-types", "--gpu", "V100:2", "--max-price", "5", check=1).stderr
    assert "v100: at most 1 of 2 GPUs" in none and "without the highest price v100x4 would do" in none, none
    assert "did you mean V100" in spell("machine-types", "--gpu", "V10", check=1).stderr
    assert "unknown_gpu" in spell("machine-types", "--gpu", "V100|quantum", "--json", check=1).stderr
    assert "no machine type fits" in spell("machine-types", "--gpu", "H100", check=1).stderr  # the catalogue knows it


def test_a_run_gets_the_type_that_fits_best(priced, repo, place):
    spell = priced

    def made(*options):
        run = spell("run", "-f", "-b", *options, "--json", "true", cwd=repo, check=0).json["run"]
        with contextlib.closing(sqlite3.connect(f"file:{place.spell_dir}/spell.db?mode=ro", uri=True)) as database:
            asked = json.loads(database.execute("SELECT request FROM run WHERE number = ?", (run["id"],)).fetchone()[0])
        return run["machine_type"], asked.get("gpus"), asked.get("gpu_name", "")

    def run(*options):
        return made(*options)[0]

    assert made("--gpu", "V100|A100:4") == ("v100x4", 4, "V100")
    assert made("--gpu", "T4:8|V100:4|V100:8") == ("v100x4", 4, "V100")
    assert made("--gpu", "0", "--prefer", "power") == ("v100x4", 0, "")
    for options in (("--explain",), ("--spot", "never"), ("--spot", "auto"), ("--prefer", "cheapest"), ("--explain", "--cpus", "1")):
        assert run(*options).lower() in ("", "cpu"), options
    assert run("--gpu", "V100", "--spot", "never", "--max-price", "5/h") == "v100"
    assert run("--gpu-memory", "16G", "--cpus", "8", "--memory", "60G", "--spot", "auto", "--prefer", "cheapest") == "v100-spot"
    assert made("--gpu", "V100", "--prefer", "fastest") == ("v100-spot", 1, "V100")
    spell("machine-type", "add", "unserved", "--gpus", "16", check=0)
    assert "unserved: no machine serves it" in spell("run", "-f", "-b", "--gpu", "16", "--spot", "auto", "true", cwd=repo, check=1).stderr
    assert run("-t", "V100X4") == "V100X4"  # as it was asked for; case does not matter
    said = spell("run", "-f", "-b", "--gpu", "V100", "--explain", "true", cwd=repo, check=0)
    assert "Machine type v100-spot, the cheapest of 3 that fit: 1 x V100 of 16 GB" in said.stderr, said
    assert re.search(r"cheap +no +its GPUs are not known", said.stderr), said
    number = said.stdout.strip()
    quiet = spell("run", "-f", "-b", "-q", "--gpu", "V100", "--explain", "true", cwd=repo, check=0)
    assert re.fullmatch(r"\d+\n", quiet.stdout) and re.search(r"v100-spot +yes", quiet.stderr), quiet
    assert "the default" in spell("run", "-b", "--explain", "true", cwd=repo, check=0).stderr
    reason = spell("info", number, "--json", check=0).json["run"]["reason"]
    assert reason.startswith("waiting for a v100-spot machine: "), reason
    before = spell("ps", "-q", "-a", check=0).stdout
    for options, status, says in (
            (("-t", "V100", "--max-price", "5"), 2, "-t V100 names the machine type, --max-price 5 chooses one"),
            (("-m", "box", "--gpu", "V100|T4"), 2, "-m box names"), (("-t", "V100", "--explain"), 2, "--explain"),
            (("--gpu", "0", "--gpu-memory", "16G"), 2, "exclude each other"), (("--spot", "maybe"), 2, "auto, only or never"),
            (("--prefer", "luck"), 2, "cheapest, fastest"), (("--max-price", "-5"), 2, "--max-price"), (("--gpu", "V100:0"), 2, "--gpu"),
            (("--gpu", "V100", "--max-price", "0.10"), 1, "without the highest price v100-spot would do"),
            (("--gpu", "V1000"), 1, "did you mean V100"), (("--gpu", "V100", "--spot", "never", "--max-price", "1"), 1, "no spot")):
        refused = spell("run", "-f", "-b", *options, "true", cwd=repo, check=status)
        assert says in refused.stderr and refused.stderr.count("\n") == 1, refused
    assert spell("ps", "-q", "-a", check=0).stdout == before
    # A number alone is how much of the machine a run wants, as ever.
    assert "machine type" not in spell("run", "-b", "-q", "--cpus", "1", "true", cwd=repo, check=0).stderr.lower()


def test_a_type_is_not_deleted_while_runs_wait_for_it(priced, repo):
    spell = priced
    run = spell("run", "-f", "-b", "-q", "-t", "cheap", "true", cwd=repo, check=0).stdout.strip()
    end_pool(spell, "cheap")
    refused = spell("machine-type", "delete", "cheap", check=1).stderr
    assert f"1 run waits for a machine of type 'cheap', and nothing else serves it: `spell kill {run}` first" in refused, refused
    spell("kill", run, check=0)
    spell("machine-type", "delete", "cheap", check=0)


def test_what_runs_have_measured_counts(spell, repo):
    program = os.path.join(os.environ["SPELL_BUILD"], "bin", "spell")
    spell("run", "-f", f"{program} send-metric images_per_s 100; {program} send-metric images_per_s 150", cwd=repo, check=0)
    reason, = [t["reason"] for t in spell("machine-types", "--measured", "images_per_s", "--prefer", "value", "--json", check=0).json["machine_types"]]
    assert "150 images_per_s in 1 run" in reason, reason
    reason, = [t["reason"] for t in spell("machine-types", "--measured", "other", "--json", check=0).json["machine_types"]]
    assert "images" not in reason, reason
    assert "--measured" in spell("machine-types", "--measured", "", check=2).stderr


def test_a_machine_of_ones_own_is_cheaper_after_so_many_hours(priced):
    spell = priced
    compare = lambda *options, check=0: spell("machine-types", "compare", *options, check=check)  # noqa: E731
    shown = compare("V100", "mybox", "--purchase", "2000", "--throughput", "0.8")
    assert re.search(r"spot +\$0\.918/h +\$0\.7344/h +2,723 h", shown.stdout), shown
    assert re.search(r"on demand +\$3\.06/h +\$2\.448/h +817 h", shown.stdout), shown
    assert "mybox does 80 % of the work of v100 in an hour" in shown.stderr, shown
    # The catalogue knows how fast a 2080 Ti is; power and the share of use are counted.
    priced_rows = json.loads(compare("v100", "2080Ti", "--purchase", "2000", "--json").stdout)["comparison"]["prices"]
    assert [round(row["hours"]) for row in priced_rows] == [817, 2723]
    full = compare("V100", "2080Ti", "--purchase", "$2000", "--years", "3", "--power", "0.45kW", "--electricity", "0.30", "--share", "33%", "--json")
    rows = json.loads(full.stdout)["comparison"]["prices"]
    assert round(rows[1]["hours"]) == 3337 and rows[1]["power"] == "0.135000000"  # 2000 / (0.7344 - 0.135)
    assert round(rows[1]["days"]) == round(3336.7 / 0.33 / 24) and rows[1]["own"].startswith("0.365")
    assert "AT 33 %" in compare("V100", "mybox", "--purchase", "2000", "--share", "33").stdout
    assert "never" in compare("V100", "mybox", "--purchase", "2000", "--power", "100kW", "--electricity", "1").stdout
    assert "never" in compare("V100", "mybox", "--purchase", "9000000", "--throughput", "0.000000001", "--share", "1").stdout
    assert "taken to be as fast" in compare("V100", "mybox", "--purchase", "2000").stderr
    for options, status, says in ((("V100",), 2, "TYPE and MINE"), (("V100", "mybox"), 2, "--purchase is missing"),
                                  (("V100", "mybox", "--purchase", "-1"), 2, "--purchase"), (("V100", "mybox", "--purchase", "0"), 2, "--purchase"),
                                  (("V100", "mybox", "--purchase", "1", "--share", "101"), 2, "--share"), (("V100", "mybox", "--purchase", "1", "--share", "0"), 2, "--share"),
                                  (("V100", "mybox", "--purchase", "1", "--years", "x"), 2, "--years"),
                                  (("V100", "mybox", "--purchase", "1", "--power", "100"), 2, "--electricity"),
                                  (("V101", "mybox", "--purchase", "1"), 1, "did you mean V100"), (("P100", "mybox", "--purchase", "1"), 1, "is not known")):
        refused = compare(*options, check=status)
        assert says in refused.stderr and refused.stderr.count("\n") == 1, refused
