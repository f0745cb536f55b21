"""What a run's log and record say of its environment."""


def log_of(spell, number):
    return spell("logs", "-v", number, check=0).stderr


def built(spell, number):
    return "Building the environment" in log_of(spell, number)


def info(spell, number):
    return spell("info", number, "--json", check=0).json["run"]
