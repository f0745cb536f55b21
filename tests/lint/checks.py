"""The checks. Each yields lines "file:line: what is wrong and why"; a check of `fast` needs no compiler."""
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

from tree import ROOT, code, files, includes, layers, line_of, sources, text

PORTABLE = ("base", "model", "net", "git", "spellfs", "proc", "client")
LINUX_HEADERS = re.compile(
    r"^(linux/.*|asm/.*|sched\.h|sys/(epoll|eventfd|signalfd|timerfd|inotify|fanotify|prctl|mount|vfs|syscall|sendfile|pidfd|capability"
    r"|personality|sysinfo|sysmacros|memfd)\.h)$")
STANDARD = set(
    "algorithm any array atomic barrier bit bitset charconv chrono codecvt compare complex concepts condition_variable coroutine cstddef "
    "cstdint cstdio cstdlib cstring ctime deque exception filesystem forward_list fstream functional future initializer_list iomanip ios "
    "iosfwd iostream istream iterator latch limits list locale map memory memory_resource mutex new numbers numeric optional ostream queue "
    "random ranges ratio regex scoped_allocator semaphore set shared_mutex source_location span sstream stack stdexcept stop_token "
    "streambuf string string_view syncstream system_error thread tuple type_traits typeindex typeinfo unordered_map unordered_set utility "
    "valarray variant vector version".split())
# A library and the only folders that may know it.
HOMES = {
    "boost/beast": ("src/net/",),
    "boost/": ("src/net/", "src/service/", "src/worker/", "include/spell/asio.hpp"),
    "git2": ("src/git/",),
    "sqlite3.h": ("src/store/", "src/spellfs/"),
    "zstd": ("src/spellfs/",),
    "openssl/": ("src/base/", "src/net/", "src/git/"),
}


def check_layers():
    """A module includes only the modules below it (cmake/layers.cmake)."""
    allowed = layers()
    for name in sources("src"):
        module = name.split("/")[1]
        if module not in allowed:
            yield f"{name}:1: the folder {module} has no entry in cmake/layers.cmake"
            continue
        for line, quote, header, _ in includes(name):
            if quote != '"':
                continue
            other = header.split("/")[0] if "/" in header else None
            if other == "spell" and module != "supervisor":
                continue
            if other not in allowed:
                yield f'{name}:{line}: "{header}" is no path from src/ or include/'
            elif other != module and other not in allowed[module]:
                if not (header in ("supervisor/protocol.hpp", "supervisor/passing.hpp") and module == "exec"):
                    yield f'{name}:{line}: {module} must not include "{header}"'


def check_public_includes():
    """Public headers include only the standard library; json.hpp and asio.hpp are the opt-in bridges."""
    bridges = {"include/spell/json.hpp": "nlohmann/", "include/spell/asio.hpp": "boost/"}
    for name in sources("include"):
        for line, quote, header, _ in includes(name):
            fine = header.startswith("spell/") if quote == '"' else header in STANDARD
            if not fine and not (name in bridges and header.startswith(bridges[name])):
                yield f"{name}:{line}: a public header must not include {header}"


def check_command_line():
    """The command line stands on the public headers alone."""
    for name in sources("cli/spell"):
        for line, quote, header, _ in includes(name):
            if quote == '"' and not header.startswith("spell/") and not (ROOT / "cli/spell" / header).exists():
                yield f'{name}:{line}: the command line must not include "{header}"; the SDK is its only way'
    for name in sources("cli/spelld"):
        for line, quote, header, _ in includes(name):
            if quote == '"' and header.startswith(("client/", "exec/", "sched/", "store/")):
                yield f'{name}:{line}: spelld must not include "{header}"'


def check_libraries():
    """Each library has one place."""
    for name in sources("src", "cli", "include"):
        for line, quote, header, _ in includes(name):
            if quote != "<":
                continue
            for prefix, homes in HOMES.items():
                if header.startswith(prefix):
                    if not name.startswith(homes):
                        yield f"{name}:{line}: {header} is used in {', '.join(homes)} only"
                    break


def check_portable():
    """What the SDK and the command line are made of keeps to POSIX; Linux's own calls stand behind #ifdef."""
    for name in sources(*(f"src/{module}" for module in PORTABLE), "cli/spell", "include"):
        for line, _, header, condition in includes(name):
            if LINUX_HEADERS.match(header) and "__linux__" not in condition:
                yield f"{name}:{line}: {header} is Linux's alone"


def check_pure():
    """sched and model see no clock and no randomness: time and ids are parameters."""
    impure = re.compile(r"\b(unix_us|boot_ns|boot_id|clock_gettime|gettimeofday|random_bytes|rand|random|time)\s*\(|::now\s*\(|\bId::make\s*\(\s*\)"
                        r"|\bmt19937|\brandom_device|<random>")
    for name in sources("src/sched", "src/model"):
        for found in impure.finditer(code(name)):
            yield f"{name}:{line_of(code(name), found.start())}: {found[0].strip()} in code that must be a function of its parameters"


def check_state():
    """The SDK keeps nothing that is not in an object, but for what is named here, and leaves the process's signals alone."""
    kept = {"src/client/send_metric.cpp": {"the_worker"}}  # one connection: as its header says
    within = re.compile(r"\b(?:static|thread_local)\s+(?!const\b|constexpr\b|inline\b|assert\b)(?:thread_local\s+)?([^;(={]*?)(\w+)\s*[;={]")
    # clang-format leaves what stands in a namespace at the line's beginning.
    outside = re.compile(r"^(?!(?:static|thread_local|const|constexpr|inline constexpr|using|typedef|namespace|class|struct|enum|union|template|extern|"
                         r"friend|return|public|private|else|if|for|while|do|case|default)\b)((?:[\w:]+(?:<[^;{}()]*>)?[\s*&]+)+)(\w+)(?:\[\w*\])?\s*(?:;|=(?!=)|\{[^\n]*\};)", re.M)
    handlers = re.compile(r"\b(?:sigaction|sigvec|bsd_signal|signalfd|signal_set)\b|(?<![\w.>:])(?:::|std::)?signal\s*\(\s*SIG")
    for name in sources("src/client", "src/net", "src/git", "include"):
        content = code(name)
        for pattern in (within, outside):
            for found in pattern.finditer(content):
                declared = f"{found[1]}{found[2]}".split()
                if found[2] not in kept.get(name, ()) and "const" not in declared and "constexpr" not in declared:
                    yield f"{name}:{line_of(content, found.start())}: {found[2]} outlives every object: put it in one"
        for found in handlers.finditer(content):
            yield f"{name}:{line_of(content, found.start())}: {found[0]}: what a signal does is the program's own matter"


OWN_FUNCTION = re.compile(r"(?!using\b|template\b|static_assert\b|struct\b|class\b)[a-zA-Z_][\w:<>,&*\s]*?[ *&](\w+)\(")


def names_of_its_own(name):
    """The functions of a file that no other can call: (line, name)."""
    depth, outside = 0, None  # braces that are open; how many were before the namespace that has no name
    for number, line in enumerate(code(name).splitlines(), 1):
        if line.startswith("namespace {"):
            outside = depth
        # clang-format leaves what stands in a namespace at the line's beginning.
        elif (outside is not None or line.startswith("static ")) and (found := OWN_FUNCTION.match(line)):
            yield number, found[1]
        depth += line.count("{") - line.count("}")
        if depth == outside:
            outside = None


def check_names():
    """What a file has for itself alone has a name of its own in its module: files are compiled together, and a call must not find another's."""
    declared = re.compile(r"^(?!using\b|friend\b|return\b|#)[a-zA-Z_][\w:<>,&*\s\[\]]*?[ *&](\w+)\(", re.M)
    folders = {name.rpartition("/")[0] for name in sources("src", "cli", "tests/unit", suffixes=(".cpp",))}
    for folder in sorted(folders):
        files = {name: code(name) for name in sources(folder, suffixes=(".cpp",))}
        module = folder.split("/")[-1]
        seen = (folder, "include", *(f"src/{other}" for other in layers().get(module, ()) if folder.startswith("src/")))
        known = {found[1]: header for header in sources(*seen, suffixes=(".hpp",)) for found in declared.finditer(code(header))}
        first = {}
        for name, content in files.items():
            for line, own in sorted(set(names_of_its_own(name))):
                if first.setdefault(own, name) != name:
                    yield f"{name}:{line}: {own}() stands in {first[own]} too: it is one function, or there are two names"
                elif own in known and any(re.search(rf"(?<![\w.>:]){own}\(", other) for at, other in files.items() if at != name):
                    yield f"{name}:{line}: {own}() stands in {known[own]} too"


def check_coroutines():
    """No co_await inside braces and no braced or capturing temporary beside it: g++ 12 destroys such temporaries twice."""
    for name in sources("src", "cli", "include", "tests", "examples"):
        content = code(name)
        for found in re.finditer(r"\bco_await\b", content):
            end = expression_end(content, found.end())
            start = statement_start(content, found.start())
            statement = content[start:end]
            before, after = content[start:found.start()], content[found.end():end]
            if "{" in after or unmatched_brace(before):
                yield f"{name}:{line_of(content, found.start())}: name the object before the co_await: {' '.join(statement.split())[:80]}"


def expression_end(content, position):
    """The ';' of the statement, or the ')' of the condition that the expression is in."""
    depth = 0
    for at in range(position, len(content)):
        c = content[at]
        if depth == 0 and c in ";)}":
            return at
        depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(c, 0)
    return len(content)


def statement_start(content, position):
    """The end of what precedes the statement, seen from inside it: a ';' or a brace of a block."""
    depth = 0
    for at in range(position - 1, -1, -1):
        c = content[at]
        if c == "}":
            if depth == 0 and opens_block(content, matching_open(content, at)):
                return at + 1
            depth += 1
        elif c == "{":
            if depth > 0:
                depth -= 1
            elif opens_block(content, at):
                return at + 1
        elif c == ";" and depth == 0:
            return at + 1
    return 0


def matching_open(content, close):
    depth = 0
    for at in range(close, -1, -1):
        depth += {"}": 1, "{": -1}.get(content[at], 0)
        if depth == 0:
            return at
    return 0


def opens_block(content, at):
    before = content[:at].rstrip()
    return bool(before.endswith((")", ";", "{", "}", ">")) or re.search(r"\b(else|do|try|mutable|noexcept|const)$", before))


def unmatched_brace(before):
    return before.count("{") > before.count("}")


# How the code was made is not its reader's business. (Spelled so that this line is no find of its own.)
FORBIDDEN = [re.compile(pattern, re.I) for pattern in (
    r"(?<![\w./-])/wor[k]/", r"\bsub-?agen[t]s?\b", r"\bissue[ ]#?\d", r"\bsession #?\d", r"\b(this|previous|last|next) sessio[n]\b",
    r"\bclaud[e]\b", r"\banthropi[c]\b", r"\bchatgp[t]\b", r"\b(as an|large language|language) mode[l]\b", r"\bAI[- ](generated|assistant)",
    r"\b(my|your|the) brie[f]\b", r"\btmp/brie[f]", r"\bcolleagu[e]\b", r"\bTOD[O]\b", r"\bFIXM[E]\b")]
BINARY = (".png", ".jpg", ".gif", ".zst", ".pack", ".bin", ".gz")


def check_words():
    """No word of how the code was made, and nothing left to do."""
    for name in files():
        if name.endswith(BINARY) or "/golden/" in name or "/corpus/" in name:
            continue
        content = text(name)
        if "\0" in content:
            continue
        for pattern in FORBIDDEN:
            for found in pattern.finditer(content):
                yield f"{name}:{line_of(content, found.start())}: '{found[0]}' has no place in the repository"


def check_headers_alone():
    """Every public header compiles by itself."""
    names = sources("include")

    def compile_one(name):
        command = ["g++", "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Iinclude", "-x", "c++", "-"]
        done = subprocess.run(command, input=f'#include "{name.removeprefix("include/")}"\n', cwd=ROOT, capture_output=True, text=True)
        return None if done.returncode == 0 else f"{name}:1: does not compile alone: {(done.stderr.splitlines() or ['?'])[0]}"

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from filter(None, pool.map(compile_one, names))


FAST = (check_layers, check_public_includes, check_command_line, check_libraries, check_portable, check_pure, check_state, check_coroutines,
        check_names, check_words)
SLOW = (check_headers_alone,)


def report():
    """What is worth knowing and no failure: long files, files that clang-format would change."""
    for name in sources("src", "cli", "include", "tests"):
        length = text(name).count("\n")
        if length > 500:
            yield f"{name}: {length} lines"
    names = sources("src", "cli", "include", "tests")
    if not shutil.which("clang-format"):
        return
    done = subprocess.run(["clang-format", "--dry-run", *names], cwd=ROOT, capture_output=True, text=True)
    if changed := set(re.findall(r"^(\S+?):\d+:\d+: warning:", done.stderr, re.M)):
        yield f"clang-format would change {len(changed)} of {len(names)} files"
