import pytest

from harness import BUILD, Place
from machines import Machine
from team import Team


@pytest.fixture
def place():
    """A user's world of its own; at the end nothing may be left of it."""
    if not (BUILD / "bin/spell").exists():
        pytest.fail(f"there is no {BUILD}/bin/spell; SPELL_BUILD names the build folder")
    place = Place()
    yield place
    complaints = place.close()
    assert not complaints, "\n".join(complaints)


@pytest.fixture
def spell_dir(place):
    return place.spell_dir


@pytest.fixture
def spell(place):
    """spell(*arguments, input=, env=, cwd=, check=, timeout=) -> Result"""
    return place.spell


@pytest.fixture
def repo(place):
    """A small Git repository."""
    return place.make_repository()


@pytest.fixture
def team(place):
    """A team's service on loopback, and a token of its administrator."""
    return Team(place)


@pytest.fixture
def boxes(team):
    """Two machines that serve the type `spot`, which the file's own `team` declares."""
    made = [Machine(team, name, "--serves", "spot") for name in ("box", "spare")]
    yield made
    for machine in made:
        machine.close()
