"""The files of the repository, and what the checks ask of them."""
import functools
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')
COMMENT_OR_TEXT = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'', re.S)


@functools.lru_cache
def files():
    """Every file that is not ignored, relative to the root."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
        names = listed.stdout.decode().split("\0")
    else:
        names = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if "build" not in path.parts[len(ROOT.parts)]]
    return sorted({name for name in names if name and (ROOT / name).is_file()})


def sources(*folders, suffixes=(".hpp", ".cpp")):
    return [name for name in files() if name.endswith(suffixes) and name.startswith(tuple(f"{folder}/" for folder in folders))]


@functools.lru_cache(maxsize=None)
def text(name):
    return (ROOT / name).read_text(errors="replace")


def includes(name):
    """(line, quote, header, condition) of each #include; condition: the innermost `#if` around it."""
    conditions = []
    for number, line in enumerate(text(name).splitlines(), 1):
        directive = line.strip()
        if re.match(r"#\s*if", directive):
            conditions.append(directive)
        elif re.match(r"#\s*endif", directive) and conditions:
            conditions.pop()
        elif found := INCLUDE.match(line):
            yield number, found[1], found[2], " ".join(conditions)


@functools.lru_cache(maxsize=None)
def code(name):
    """The text with comments and the insides of literals blanked; every character keeps its place."""

    def blank(match):
        whole = match[0]
        inner = "".join(c if c == "\n" else " " for c in whole)
        return inner if whole[0] == "/" else whole[0] + inner[1:-1] + whole[-1]

    return COMMENT_OR_TEXT.sub(blank, text(name))


def line_of(content, position):
    return content.count("\n", 0, position) + 1


def layers():
    """Module -> modules it may include, from cmake/layers.cmake."""
    out = {}
    for name, allowed in re.findall(r"^set\(SPELL_LAYER_(\w+)\s*([^)]*)\)", text("cmake/layers.cmake"), re.M):
        out[name] = set(allowed.replace('"', "").split())
    return out
