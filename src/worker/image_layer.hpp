// An image as a layer: how it is fetched and unpacked, and what a run in it finds there.
//
//   rootfs/       its files, all of them its owner's who unpacked it; devices are left out
//   config.json   what it says of itself (the image configuration of the OCI image specification)
//
// It is unpacked once, by the programs of this machine (skopeo, umoci), under a supervisor like all
// builds; other machines fetch the layer. An image is anybody's: what its files say is not trusted.
#pragma once
#include <string>
#include <vector>

#include "exec/supervised.hpp"
#include "model/image.hpp"

namespace spell::worker {

inline constexpr const char *image_root = "rootfs", *image_config = "config.json";

/// Why runs cannot have images on this machine, and what would help; "": they can.
std::string lacks_for_images(const exec::Capabilities&,
                             const std::vector<std::string>& environment);

/// The shell command that fetches and unpacks it, below the current folder. `tmp`: the temporary
/// folder. `digest`: of what is to be fetched, "sha256:…"; "": what its name stands for now. Leaves
/// the image by its digest in `tmp`/packages.txt.
std::string image_script(const model::Image&, const std::string& digest, const std::string& tmp);

/// NAME=VALUE: what programs in the image find, of the machine (`base`) what is not about its own
/// system. `user`: who runs them. `tree`: the layer; what cannot be read there is left out.
std::vector<std::string> image_environment(const std::string& tree,
                                           const std::vector<std::string>& base,
                                           const std::string& home, const std::string& user);

/// The root of what runs in it: with packages over it, `system`, a layer of apt, or "". What is
/// changed goes to `place`, which is made anew.
Result<exec::RootSpec> make_image_root(const std::string& tree, const std::string& system,
                                       const std::string& place);

}  // namespace spell::worker
