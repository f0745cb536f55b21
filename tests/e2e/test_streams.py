"""Inside a running run: commands, and what it uses."""
import fcntl
import hashlib
import json
import os
import random
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

import pytest

from harness import need_terminals, wait_for
from test_cli_terminal import Terminal

SLEEPER = "echo ready; exec sleep 1000"


def start_run(place, command=SLEEPER, *options):
    """The number of a run that has printed `ready`."""
    folder = place.work / "repo"
    if not folder.exists():
        place.make_repository()
    number = place.spell("run", "-b", "-q", *options, command, cwd=folder, check=0).stdout.strip()
    wait_for(lambda: "ready" in place.spell("logs", number).stdout, what="the run's first output")
    return number


@pytest.fixture
def run(place):
    return start_run(place)


def processes_with(text):
    """Those whose command line holds the text, wherever."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and text.encode() in open(f"/proc/{entry}/cmdline", "rb").read() and int(entry) != os.getpid():
                found.append(int(entry))
        except OSError:
            continue
    return found


# ---- exec

def test_a_command_sees_what_the_run_sees(place):
    number = start_run(place, "echo made > here.txt; " + SLEEPER, "-e", "FRUIT=apple")
    inside = place.spell("exec", number, "cat here.txt; pwd; echo $FRUIT $SPELL_ROOT; exit 7", check=7)
    lines = inside.stdout.split("\n")
    assert lines[0] == "made" and lines[2].startswith("apple ")
    assert place.spell("exec", "-e", "FRUIT=pear", number, "echo $FRUIT", check=0).stdout == "pear\n"


def test_output_errors_and_input_are_what_they_were_byte_for_byte(place, run):
    blob = bytes(range(256)) * 20_000  # 5 MB: many windows
    echoed = place.spell("exec", run, "cat", input=blob, check=0)
    assert hashlib.sha256(echoed.bytes).hexdigest() == hashlib.sha256(blob).hexdigest()
    both = place.spell("exec", run, "sh", "-c", "echo out; echo err >&2", check=0)
    assert (both.stdout, both.stderr) == ("out\n", "err\n")


def test_the_exit_status_is_the_commands_own(place, run):
    assert place.spell("exec", run, "true").returncode == 0
    assert place.spell("exec", run, "exit 200").returncode == 200
    assert place.spell("exec", run, "kill -TERM $$").returncode == 128 + signal.SIGTERM
    assert place.spell("exec", run, "no-such-program-here").returncode == 127


def test_a_terminal_has_its_size_and_takes_keys(place, run):
    screen = Terminal(place, "exec", "-t", run, "bash --norc --noprofile -i", cwd=place.work, columns=93)
    screen.wait_for("# ")  # the shell's prompt
    screen.type("stty size; tty\r")
    screen.wait_for("24 93")
    screen.wait_for("/dev/pts/")
    screen.type("sleep 98769\r")
    wait_for(lambda: processes_with("98769"), what="the sleep")
    screen.type("\x03")  # ^C ends the sleep, not the shell
    wait_for(lambda: not processes_with("98769"), what="the sleep's end")
    fcntl.ioctl(screen.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 117, 0, 0))
    screen.type("until [ \"$(stty size)\" = '31 117' ]; do sleep 0.05; done; echo wid''er\r")
    screen.wait_for("wider")
    screen.type("sleep 98767\r")
    wait_for(lambda: processes_with("98767"), what="the second sleep")
    screen.type("\x1a")  # ^Z stops it, and not what is here
    screen.wait_for("Stopped")
    screen.type("echo al''ive; exit 5\rexit 5\r")  # the shell asks once what is to become of its job
    screen.wait_for("alive")
    assert screen.finish() == 5


def test_a_terminal_is_there_also_where_none_is_here(place, run):
    need_terminals()
    inside = place.spell("exec", "-t", run, "test -t 0 && test -t 1 && tty && stty size", check=0)
    assert inside.stdout.startswith("/dev/pts/") and inside.stdout.endswith("\r\n24 80\r\n"), inside


def test_signals_reach_the_command(place, run):
    inside = place.start("exec", run, "trap 'echo got it; exit 9' INT; echo here; while :; do sleep 0.1; done")
    inside.wait_output("here")
    os.kill(inside.process.pid, signal.SIGINT)
    result = inside.finish()
    assert (result.returncode, "got it" in result.stdout) == (9, True)


def test_who_is_killed_leaves_nothing_inside(place, run):
    inside = place.start("exec", run, "echo here; sleep 98761 & sleep 98762")
    inside.wait_output("here")
    wait_for(lambda: processes_with("98762"))
    inside.signal(signal.SIGKILL)
    wait_for(lambda: not processes_with("98761") and not processes_with("98762"), what="the end of the command")
    assert place.spell("info", run, "--json").json["run"]["status"] == "running"


def test_one_that_floods_is_noticed_when_it_is_killed(place, run):
    """Its input is not read, so both directions are held up: its end must be seen all the same."""
    flood = subprocess.Popen([place.programs / "spell", "exec", run, "echo here; exec sleep 98763"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, env=place.environment, cwd=place.work)
    assert flood.stdout.read(5) == b"here\n"
    os.set_blocking(flood.stdin.fileno(), False)
    sent = 0
    idle = 0
    while idle < 5:
        try:
            sent += os.write(flood.stdin.fileno(), b"x" * 65536)
            idle = 0
        except BlockingIOError:
            idle += 1
            time.sleep(0.05)
    assert sent < 8 << 20
    flood.kill()
    flood.wait()
    wait_for(lambda: not processes_with("98763"), what="the end of the command")
    for end in (flood.stdin, flood.stdout):
        end.close()


def flooded(place, run, command, **options):
    """A command that has been sent more than it takes."""
    flood = subprocess.Popen([place.programs / "spell", "exec", run, command], stdin=subprocess.PIPE, env=place.environment,
                             cwd=place.work, **options)
    os.set_blocking(flood.stdin.fileno(), False)
    wait_for(lambda: stuck(flood.stdin), what="everything on the way to be full")
    return flood


def stuck(pipe):
    try:
        while os.write(pipe.fileno(), b"x" * 65536):
            pass
    except BlockingIOError:
        return not select.select([], [pipe], [], 0.5)[1]


def test_interrupting_one_that_takes_no_input_ends_it(place, run):
    flood = flooded(place, run, "exec sleep 98766")
    flood.send_signal(signal.SIGINT)
    assert flood.wait(60) == 130
    flood.stdin.close()


def test_one_whose_output_nobody_wants_ends_although_its_input_is_full(place, run):
    flood = flooded(place, run, "cat", stdout=subprocess.PIPE, restore_signals=False)  # EPIPE, not a signal
    flood.stdout.close()
    assert flood.wait(60) == 141
    flood.stdin.close()


def test_a_command_that_is_too_long_is_refused_in_a_line(place, run):
    refused = place.spell("exec", run, "echo", *["x" * 100_000] * 2, check=1)
    assert "longer than 128 KiB" in refused.stderr and refused.stderr.count("\n") == 1
    assert place.spell("exec", run, "echo", "x" * 100_000, check=0).stdout == "x" * 100_000 + "\n"


def test_the_run_s_end_is_the_command_s(place, run):
    inside = place.start("exec", run, "echo here; exec sleep 98764")
    inside.wait_output("here")
    place.spell("kill", run, check=0)
    result = inside.finish()
    assert result.returncode == 1 and "ended" in result.stderr
    wait_for(lambda: not processes_with("98764"))


def test_output_that_nobody_reads_holds_the_command_up(place, run):
    reader = subprocess.Popen([place.programs / "spell", "exec", run, "exec yes"], stdout=subprocess.PIPE, env=place.environment,
                              cwd=place.work)
    assert reader.stdout.read(4) == b"y\ny\n"
    sizes = lambda: [int(open(f"/proc/{pid}/statm").read().split()[1]) * 4096
                     for pid in [reader.pid, *processes_with(str(place.spell_dir))]]
    time.sleep(1)
    before = sizes()
    time.sleep(1)
    assert max(after - was for was, after in zip(before, sizes())) < 20 << 20
    reader.kill()
    reader.wait()
    reader.stdout.close()
    assert place.spell("exec", run, "echo fine", check=0).stdout == "fine\n"


def test_the_service_s_death_ends_the_command_and_not_the_run(place, run):
    inside = place.start("exec", run, "echo here; exec sleep 98765")
    inside.wait_output("here")
    os.kill(place.service_pid(), signal.SIGKILL)
    assert inside.finish().returncode == 1
    wait_for(lambda: not processes_with("98765"), what="the end of the command")
    # The service is back, and meets its machine again in a moment.
    wait_for(lambda: place.spell("exec", run, "echo again").stdout == "again\n", what="a command in the run")


def test_what_is_not_running_is_refused_in_a_line(place, run):
    place.spell("kill", run, check=0)
    place.spell("wait", run)
    for arguments in (["exec", run, "true"], ["stats", run]):
        refused = place.spell(*arguments)
        assert refused.returncode == 1 and "ended" in refused.stderr and refused.stderr.count("\n") == 1, refused
        assert json.loads(place.spell(*arguments[:1], "--json", *arguments[1:]).stderr)["error"]["code"] == "run_not_running"
    assert place.spell("exec", "999", "true").returncode == 1
    for wrong in (["exec", run], ["exec"], ["exec", "x", "true"], ["stats"]):
        assert place.spell(*wrong).returncode == 2, wrong


def test_many_at_once(place, run):
    several = [place.start("exec", run, f"echo {i}; cat") for i in range(40)]
    for i, inside in enumerate(several):
        inside.wait_output(f"{i}\n")
    assert all(inside.finish().returncode == 0 for inside in several)


# ---- stats and top

def test_figures_of_what_a_run_does(place):
    number = start_run(place, "echo ready; while :; do :; done")
    sample = place.spell("stats", "--json", number, check=0).json["stats"]
    assert sample["run"] == int(number) and sample["cpu_millis"] > 300 and sample["memory"] > 100_000
    assert sample["processes"] >= 1 and sample["memory_total"] > sample["memory"]
    shown = place.spell("stats", number, check=0).stdout
    assert "CORES" in shown and "MEMORY" in shown
    top = place.spell("top", "--json", check=0).json["stats"]
    assert [stats["run"] for stats in top] == [int(number)]
    assert number in place.spell("top", check=0).stdout


def test_followed_figures_end_with_the_run(place, run):
    figures = place.start("stats", "-f", "--json", run)
    figures.wait_output('"cpu_millis"')
    place.spell("stop", run, check=0)
    assert figures.finish().returncode == 0


# ---- forward

# A server whose connections say by their first byte what they want; it prints its port.
SERVER = """
import hashlib, socket, struct, sys, threading, time

def serve(line):
    kind = line.recv(1)
    if kind == b"e":  # sends back what comes, as it comes
        while data := line.recv(65536):
            line.sendall(data)
    elif kind == b"h":  # the hash of all that came, after its end
        total = hashlib.sha256()
        while data := line.recv(65536):
            total.update(data)
        line.sendall(total.hexdigest().encode())
    elif kind == b"f":  # floods whoever reads
        while True:
            line.sendall(bytes(65536))
    elif kind == b"r":  # breaks off
        line.sendall(b"half of it")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif kind == b"w":  # says in the log how it ended
        line.sendall(b"here")
        try:
            print("ended" if line.recv(1) == b"" else "more", flush=True)
        except ConnectionResetError:
            print("broken off", flush=True)
    elif kind == b"q":  # the last words of the run
        line.sendall(b"x" * 350_000)
        line.shutdown(socket.SHUT_WR)
        gone.set()
    line.close()

gone = threading.Event()
listener = socket.create_server(("127.0.0.1", 0), backlog=200)
def accept():
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
threading.Thread(target=accept, daemon=True).start()
print(f"ready on {listener.getsockname()[1]}.", flush=True)
gone.wait()
"""


@pytest.fixture
def server(place):
    """A run's number and the port that it listens on."""
    place.make_repository("repo", {"server.py": SERVER})
    number = start_run(place, "exec /usr/bin/python3 server.py")
    return number, int(place.spell("logs", number, check=0).stdout.split("ready on ")[1].split(".")[0])


def start_forward(place, number, ports):
    """The program, and the port here."""
    forward = place.start("forward", "-q", number, ports)
    return forward, int(forward.wait_output("\n").split(b":")[1])


def connect(port, greeting=b"", timeout=60):
    line = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    line.sendall(greeting)
    return line


def read_all(line):
    pieces = []
    while piece := line.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def refuses(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_port_of_a_run_is_reached_from_here(place, server):
    number, port = server
    shown = place.start("forward", number, f"0:{port}")
    words = shown.wait_output("\n").decode()
    assert words.startswith("127.0.0.1:") and words.endswith(f" leads to port {port} of run {number} (^C ends it)\n"), words
    here = int(words.split(":")[1].split()[0])
    with connect(here, b"e") as line:
        for word in (b"one", b"two"):
            line.sendall(word)
            assert line.recv(100) == word
        line.shutdown(socket.SHUT_WR)  # the end of one direction leaves the other open
        assert read_all(line) == b""
    with connect(here, b"hquestion") as line:
        line.shutdown(socket.SHUT_WR)
        assert read_all(line).decode() == hashlib.sha256(b"question").hexdigest()
    told = place.start("forward", "--json", number, f"0:{port}")
    told.wait_output("}}")
    assert json.loads(told.wait_output("\n"))["forward"] | {"local_port": 0} == {"run": int(number), "port": port, "local_port": 0}


def test_large_data_goes_both_ways_at_once(place, server):
    here = start_forward(place, server[0], f"0:{server[1]}")[1]
    blob = random.Random(7).randbytes(24 << 20)
    with connect(here, b"e") as line:
        def send():
            line.sendall(blob)
            line.shutdown(socket.SHUT_WR)
        sender = threading.Thread(target=send)
        sender.start()
        back = read_all(line)
        sender.join()
    assert hashlib.sha256(back).hexdigest() == hashlib.sha256(blob).hexdigest()


def test_a_hundred_connections_at_once(place, server):
    forward, here = start_forward(place, server[0], f"0:{server[1]}")
    lines = [connect(here) for _ in range(100)]
    blobs = [random.Random(i).randbytes(100_000 + i) for i in range(100)]
    answers = {}

    def ask(i):
        lines[i].sendall(b"e" if i % 2 else b"h")
        lines[i].sendall(blobs[i])
        lines[i].shutdown(socket.SHUT_WR)
        answers[i] = read_all(lines[i])
        lines[i].close()
    threads = [threading.Thread(target=ask, args=(i,), daemon=True) for i in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    wrong = [i for i in range(100) if answers.get(i) != (blobs[i] if i % 2 else hashlib.sha256(blobs[i]).hexdigest().encode())]
    assert not wrong, forward.output("stderr")
    wait_for(lambda: stream_sockets(place) == 0, what="the connections' end everywhere")


def stream_sockets(place):
    """Descriptors of the service that are connected TCP sockets."""
    count, folder = 0, f"/proc/{place.service_pid()}"
    words = [line.split() for line in open(f"{folder}/net/tcp").readlines()[1:]]
    inodes = {word[9] for word in words if word[3] != "0A"}  # which listens
    for fd in os.listdir(f"{folder}/fd"):
        try:
            target = os.readlink(f"{folder}/fd/{fd}")
        except OSError:
            continue
        count += target.startswith("socket:[") and target[8:-1] in inodes
    return count


def test_what_breaks_off_there_breaks_off_here_and_the_other_way_round(place, server):
    number, port = server
    here = start_forward(place, number, f"0:{port}")[1]
    with connect(here, b"r") as line, pytest.raises(ConnectionResetError):
        read_all(line)
        line.sendall(b"x")
    line = connect(here, b"w")
    assert line.recv(4) == b"here"
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()
    wait_for(lambda: "broken off" in place.spell("logs", number).stdout, what="the server to see it")
    line = connect(here, b"w")
    assert line.recv(4) == b"here"
    line.close()
    wait_for(lambda: "ended" in place.spell("logs", number).stdout, what="the server to see the end")
    # One that sends for ever is ended by who has gone without reading it all.
    line = connect(here, b"f")
    assert line.recv(10)
    line.close()
    wait_for(lambda: stream_sockets(place) == 0, what="the end of what nobody reads")


def test_who_does_not_read_holds_up_himself_alone(place, server):
    here = start_forward(place, server[0], f"0:{server[1]}")[1]
    with connect(here, b"f") as stuck:
        assert stuck.recv(10)
        for _ in range(3):
            with connect(here, b"e" + bytes(500_000)) as line:
                line.shutdown(socket.SHUT_WR)
                assert len(read_all(line)) == 500_000


def test_a_wrong_port_is_told_and_others_go_on(place, server):
    with socket.socket() as late:
        late.bind(("127.0.0.1", 0))  # and does not listen
        wrong = late.getsockname()[1]
        forward, here = start_forward(place, server[0], f"0:{wrong}")
        with connect(here) as line, pytest.raises(ConnectionResetError):
            line.recv(1)
        assert f"nothing listens on port {wrong} of machine " in forward.wait_output("\n", stream="stderr").decode()
        late.listen()
        with connect(here, b"hello") as line:
            peer = late.accept()[0]
            assert peer.recv(5) == b"hello"
            peer.close()
            assert line.recv(1) == b""
    forward.signal(signal.SIGINT)
    assert forward.finish().returncode == 130


def test_what_cannot_be_forwarded_is_refused_in_a_line(place, run):
    for words in ([run], ["8888"], [run, "0"], [run, "70000"], [run, "1:2:3"], [run, "x"], [run, ":80"], [run, "80:"], ["x", "80"], [run, "-1"]):
        refused = place.spell("forward", *words)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused
    assert "run 999" in place.spell("forward", "999", "8888", check=1).stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = place.spell("forward", "--json", run, port, check=1)
        assert json.loads(refused.stderr)["error"]["code"] == "port_in_use"
    place.spell("kill", run, check=0)
    place.spell("wait", run)
    refused = place.spell("forward", "--json", run, "0:8888", check=1)
    assert json.loads(refused.stderr)["error"]["code"] == "run_not_running"


def test_the_run_s_end_is_the_forward_s(place, server):
    number, port = server
    forward, here = start_forward(place, number, f"0:{port}")
    line = connect(here, b"w")
    assert line.recv(4) == b"here"
    place.spell("kill", number, check=0)
    result = forward.finish()
    assert result.returncode == 0, result
    assert refuses(here)
    line.close()


def test_the_last_words_of_a_run_arrive(place, server):
    number, port = server
    forward, here = start_forward(place, number, f"0:{port}")
    with connect(here, b"q") as line:
        place.spell("wait", number, check=0)  # it has ended long before all was read
        assert len(read_all(line)) == 350_000
    assert forward.finish().returncode == 0


def test_interrupted_it_leaves_no_listener(place, server):
    number, port = server
    forward, here = start_forward(place, number, f"0:{port}")
    line = connect(here, b"w")
    assert line.recv(4) == b"here"
    forward.signal(signal.SIGINT)
    assert forward.finish().returncode == 130
    assert refuses(here)
    wait_for(lambda: "broken off" in place.spell("logs", number).stdout, what="the server to see it")
    line.close()
    assert start_forward(place, number, f"{here}:{port}")[1] == here  # and can be had again at once


def test_the_service_s_death_ends_it_with_a_word(place, server):
    number, port = server
    forward, here = start_forward(place, number, f"0:{port}")
    with connect(here, b"w") as line:
        assert line.recv(4) == b"here"
        os.kill(place.service_pid(), signal.SIGKILL)
        result = forward.finish()
        assert (result.returncode, result.stderr.count("\n")) == (1, 1) and "connection to the run was lost" in result.stderr, result
        with pytest.raises(ConnectionResetError):
            line.recv(1)
    assert refuses(here)
    # The run goes on; the service is back, and meets its machine again in a moment.
    wait_for(lambda: place.spell("exec", number, "true").returncode == 0, what="a command in the run")
    with connect(start_forward(place, number, f"{here}:{port}")[1], b"e!") as line:
        assert line.recv(1) == b"!"
