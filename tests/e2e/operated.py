"""A team's service of a Place, reached at its own socket, where this user is an administrator."""
import os
import subprocess

from harness import BUILD


class Operated:
    """`settings`: lines for spelld.toml."""

    def __init__(self, place, settings="", with_worker=True):
        self.place, self.data = place, place.root / "team"
        made = place.start("init", "--data", self.data, "--owner", "team", "--host", "localhost", "--admin", "ada",
                           "--listen", "127.0.0.1:0", "--json", program="spelld").finish()
        assert made.returncode == 0, made
        self.made = made.json["service"]
        self.address = f"unix:{self.data}/spelld.sock"
        self.with_worker = with_worker
        place.environment["SPELL_OWNER"] = "team"
        self.serve(settings)

    def serve(self, settings=""):
        """Starts the service; lines of `settings` take the place of those that begin alike."""
        path = self.data / "spelld.toml"
        names = {line.partition("=")[0].strip() for line in settings.splitlines()}
        kept = [line for line in path.read_text().splitlines() if line.partition("=")[0].strip() not in names]
        path.write_text("\n".join([*kept, settings]) + "\n")
        ready, told = os.pipe()
        os.set_inheritable(told, True)
        self.log = self.place.root / "team.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([str(BUILD / "bin/spelld"), "serve", "--data", str(self.data), "--ready-fd", str(told),
                                             *(["--with-worker"] if self.with_worker else [])], env=self.place.environment,
                                            pass_fds=[told], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        os.close(told)
        with os.fdopen(ready) as pipe:
            word, _, port = pipe.readline().strip().partition(" ")
        assert word == "ready", self.log.read_text()
        self.port = int(port)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(20) == 0, self.log.read_text()

    def spell(self, *arguments, **options):
        return self.place.spell("--service", self.address, *arguments, **options)

    def run(self, *arguments, **options):
        """Submits in the background, and waits; the run's number."""
        number = self.spell("run", "-b", "--json", *arguments[:-1], arguments[-1], check=0, cwd=options.pop("cwd", None)).json["run"]["id"]
        self.spell("wait", number, **options)
        return number
