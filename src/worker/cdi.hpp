// What a run in an image needs of its machine's devices: the driver's libraries, which are the
// machine's and not the image's. As the machine's specifications say (Container Device Interface,
// github.com/cncf-tags/container-device-interface, in JSON; `nvidia-ctk cdi generate` writes one).
// The devices themselves every run finds in /dev.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "exec/supervised.hpp"

namespace spell::worker {

/// Where specifications lie; later ones count instead of earlier ones of the same kind.
std::vector<std::string> cdi_folders();

struct DeviceEdits {
  std::vector<exec::BindSpec> binds{};
  std::vector<std::pair<std::string, std::string>> links{};  ///< target, absolute path in the run
  std::vector<std::string> env{};                            ///< NAME=VALUE
  std::vector<std::string> libraries{};                      ///< folders for LD_LIBRARY_PATH
  std::vector<std::string> notices{};                        ///< what was not done, a line each
};

/// Those for these GPUs, by their ids, of all specifications of the kind "…/gpu"; nothing where
/// there is none. Error `mount_failed`: a specification that cannot be read, or names what is not
/// there.
Result<DeviceEdits> gpu_edits(const std::vector<std::string>& folders,
                              const std::vector<std::string>& gpus);

}  // namespace spell::worker
