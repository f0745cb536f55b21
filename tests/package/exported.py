"""The names that libspell.so exports, as libspell.names in this folder lists them: `exported.py LIBRARY > libspell.names` renews it."""
import re
import subprocess
import sys

STRING = "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >"
# In this order: the later ones have the earlier in them.
SHORT = [(re.escape(STRING), "std::string"), (r"std::basic_string_view<char, std::char_traits<char> >", "std::string_view"),
         (r"nlohmann::json_abi_v[0-9_]+::basic_json<.*?std::vector<unsigned char, std::allocator<unsigned char> > >", "nlohmann::json"),
         (r", std::allocator<[\w:]+ > >", ">"), (r", std::allocator<[\w:]+> >", ">"), (re.escape("[abi:cxx11]"), "")]


def symbols(library, *options):
    """(letter, demangled name) of what is defined; `options` of nm: "-D" is what a shared library exports, "-g" what others see of an archive."""
    listed = subprocess.run(["nm", "-C", "--defined-only", "--without-symbol-versions", *options, str(library)], capture_output=True, text=True, check=True)
    found = (re.fullmatch(r"[0-9a-f]+ (\w) (.+)", line) for line in listed.stdout.splitlines())
    return {(line[1], line[2]) for line in found if line}


def shown(name):
    for pattern, text in SHORT:
        name = re.sub(pattern, text, name)
    return name


def exported(library):
    """One line a function. What a compiler may make or leave out (weak) is none of it."""
    return sorted({shown(name) for letter, name in symbols(library, "-D") if letter not in "Ww"})


if __name__ == "__main__":
    print("\n".join(exported(sys.argv[1])))
