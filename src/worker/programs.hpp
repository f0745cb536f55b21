// Where programs are, as a shell would find them. Looks at the file system, starts nothing.
#pragma once
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace spell::worker {

/// The PATH of an environment of NAME=VALUE; "": it has none.
std::string path_of(const std::vector<std::string>& environment);

/// The first of `names` that is in `path`, a PATH, of which only absolute folders count: its path
/// there; "": none is. `root`: the folder that is "/" there, in which its links are followed; "":
/// this machine's.
std::string find_program(std::initializer_list<const char*> names, const std::string& path,
                         const std::string& root = "");
/// Where it is without links, likewise; "": it is not there.
std::string real_program(const std::string& program, const std::string& root = "");

}  // namespace spell::worker
