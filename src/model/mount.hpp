// Mounts of a run: where they may appear, and what they were resolved to. Pure.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/run.hpp"

namespace spell::model {

inline constexpr std::size_t max_mounts = 50;

/// Where a run that manages a workflow finds a personal service's socket.
inline constexpr std::string_view service_folder = "/spell-service";

/// Where a build finds what it is made of, and where a run finds the program that was built for it.
inline constexpr std::string_view build_source = "/spell-build/source",
                                  build_sdk = "/spell-build/sdk", built_program = "/spell-program";

/// What a resource begins with that is a folder of the machine itself: "machine:/data".
inline constexpr std::string_view machine_scheme = "machine:";
/// The path of a resource without what says nothing ("runs/3/" is "runs/3"). Error `invalid_mount`:
/// no path of a resource, or "s3://…", which this version does not have.
Result<std::string> mount_resource(const std::string& resource);
/// The run of which these are outputs, "runs/7/x" or "runs/7+/x" (`of_chain`: what the run has
/// saved that its chain ends with).
struct RunOutputs {
  std::int64_t run = 0;
  bool of_chain = false;
};
/// None: it is no path of a run's.
std::optional<RunOutputs> run_outputs(std::string_view resource);
/// Where a mount appears in the run, absolute and without "." and "..". `folder`: the run's working
/// folder, below which relative ones lie. Error `invalid_mount`, which names the target.
Result<std::string> mount_target(const Mount&, const std::string& folder);
/// Those of all mounts of a request, in their order; also looks at what they are to each other.
Result<std::vector<std::string>> mount_targets(const RunRequest&);
/// "invalid_mount: Cannot mount resource 'X': not a valid resource (why)".
Error not_mountable(const std::string& resource, const std::string& why);

/// A mount of a run as the service hands it to the machine.
struct ResolvedMount {
  std::string resource{};  ///< as asked
  std::string at{};        ///< absolute
  std::string type{};      ///< "file", "folder", "machine" (what the machine shares)
  std::string node{};      ///< its SpellFS name; "": an empty file, or not known yet
  std::string below{};     ///< what is meant is at this path of `node`, a folder
  std::int64_t run = 0;    ///< not resolved: what this run will have saved
  std::int64_t size = 0, files = 0, mode = 0, modified_us = 0;
};
/// For a run's record.
std::string write_mounts(const std::vector<ResolvedMount>&);
/// Error `damaged`.
Result<std::vector<ResolvedMount>> read_mounts(const std::string& text);

/// Whether there is something that its mounts are resolved to: an image in a resource is one, too.
bool mounts_anything(const RunRequest&);

/// Of which runs these are outputs; each once, in order.
std::vector<std::int64_t> runs_mounted(const std::vector<ResolvedMount>&);

/// Whether no one of the mounts that are files has another one in it.
Result<> check_nesting(const std::vector<ResolvedMount>&);

}  // namespace spell::model
