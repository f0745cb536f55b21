// A layer of packages of the machine's own distribution: what their installation has changed in the
// system's folders, as a tree that can be kept and brought elsewhere.
//
//   root/     usr, etc, var, …: laid over the machine's folders of the same names
//   changes   what files cannot say, each ended by a NUL: "wPATH" is not there any more, "oPATH" is
//             a folder that hides the machine's. In an overlay these are devices and attributes.
//
// All files are root's there, without set-user-id bits and capabilities: runs are given none.
#pragma once
#include <stop_token>
#include <string>
#include <vector>

#include "exec/supervised.hpp"
#include "spell/result.hpp"

namespace spell::worker {

inline constexpr const char *system_root = "root", *system_changes = "changes";

/// Why runs cannot have packages on this machine, and what would help; "": they can.
std::string lacks_for_packages(const exec::Capabilities&, const std::string& root = "/");

/// What such a layer depends on: the packages that the machine has, and the files that every
/// installation writes anew (its users, the libraries that it knows). In hex.
Result<std::string> system_fingerprint(const std::string& root = "/");

/// Makes of `tree`/root, the upper folder of an overlay, what can be kept. What belongs to the
/// machine, or says nothing to others (logs, lists, caches), goes, and so does each file of which
/// the machine's own may be read by root alone. Errors: `canceled`, those of the disk.
Result<> pack_system(const std::string& tree, std::stop_token stop, const std::string& root = "/");
/// Makes of it what can be laid over a system, durably. Follows no links, and leads nowhere else.
/// Error `damaged`, those of the disk.
Result<> unpack_system(const std::string& tree);

/// Where the build finds its files, below the temporary folder.
inline constexpr const char* installed_file = "packages.txt";
/// The shell command that installs them. `tmp`: the temporary folder, as the build sees it; it is
/// everybody's. `exactly`: not what was asked for, but what was installed then.
std::string install_script(const std::vector<std::string>& asked,
                           const std::vector<std::string>& exactly, const std::string& tmp);
/// NAME=VALUE: nothing of the run's.
std::vector<std::string> install_environment(const std::string& tmp);

}  // namespace spell::worker
