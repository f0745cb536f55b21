"""Images made here: of this machine's own programs, so that no registry is asked."""
import os
import pathlib
import shutil
import subprocess

PROGRAMS = ("bash", "cat", "chmod", "date", "dd", "env", "id", "ls", "mkdir", "rm", "sh", "sleep", "stat", "touch", "true")


def why_not():
    """Why none can be made; None: they can."""
    missing = [tool for tool in ("skopeo", "umoci", "ldd") if not shutil.which(tool)]
    return f"images take {' and '.join(missing)}" if missing else None


def skip_where_none_run(machine):
    import pytest  # not for who only makes images
    if lacks := machine["capabilities"]["lacks_for_images"]:
        pytest.skip(f"no images here: {lacks}")


def skip_unless_they_run(spell):
    """Of a personal service's own machine, once that has said what it can do."""
    from harness import wait_for
    machine, = wait_for(lambda: [one for one in spell("machine", "list", "--json", check=0).json["machines"] if one["capabilities"]], what="the machine")
    skip_where_none_run(machine)


def add_program(root, program):
    """With the libraries that it needs, where it looks for them."""
    target = root / "usr/bin" / os.path.basename(program)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(program, target)
    said = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    for word in said.split():
        if word.startswith("/") and os.path.exists(word):
            library = root / word[1:]
            library.parent.mkdir(parents=True, exist_ok=True)
            if not library.exists():
                shutil.copy(word, library)


def make_root(root, programs=PROGRAMS):
    root.mkdir(parents=True)
    for folder in ("usr/bin", "usr/lib", "usr/lib64", "etc"):
        (root / folder).mkdir(parents=True)
    for link in ("bin", "lib", "lib64"):
        (root / link).symlink_to(f"usr/{link}")
    for program in programs:
        add_program(root, shutil.which(program))
    (root / "etc/os-release").write_text("ID=toy\nVERSION_ID=1\n")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/resolv.conf").symlink_to("../run/nowhere")
    (root / "tmp").mkdir(mode=0o1777)
    (root / "root").mkdir()
    return root


def umoci(*arguments):
    done = subprocess.run(["umoci", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def make_image(layout, root, env=(), tag="latest"):
    """An OCI image layout of this root, or one more tag in it."""
    if not pathlib.Path(layout).exists():
        umoci("init", "--layout", layout)
    image = f"{layout}:{tag}"
    umoci("new", "--image", image)
    umoci("insert", "--rootless", "--image", image, root, "/")
    for variable in env:
        umoci("config", "--image", image, "--config.env", variable)
    return layout
