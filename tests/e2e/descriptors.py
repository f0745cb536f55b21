"""The command line in a shell that was told what to do with its descriptors."""
import subprocess

from harness import BUILD, PATIENCE


def with_descriptors(place, command, cwd):
    """The exit status of `spell`, and what the shell's stderr got."""
    script = f'{command.replace("spell", str(BUILD / "bin/spell"))}; echo "${{PIPESTATUS[0]}}" >&3'
    result = subprocess.run(["bash", "-c", f"exec 3>&1; {script}"], cwd=cwd, env=place.environment, capture_output=True, text=True, timeout=PATIENCE)
    return int(result.stdout.split()[-1]), result.stderr
