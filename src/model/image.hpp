// What a run may name as the image that it runs in. Pure.
#pragma once
#include <string>
#include <string_view>

#include "spell/result.hpp"

namespace spell::model {

/// Where a build finds the image that a resource holds.
inline constexpr std::string_view image_source = "/spell-image";

struct Image {
  std::string transport{};  ///< "docker" (a registry), "oci", "oci-archive", "docker-archive"
  std::string name{};       ///< in a registry: "debian:12"; else the resource that holds it
  std::string tag{};        ///< which of those that are in it; "": the only one
  bool in_registry() const { return transport == "docker"; }
};

/// "debian:12", "docker://ghcr.io/x/y@sha256:…", "oci:uploads/x", "oci:runs/7/image:latest",
/// "docker-archive:uploads/x.tar". Error `invalid_request`, which says what there is.
Result<Image> parse_image(std::string_view text);

/// The resource that an image is in; "": it is in a registry, or none.
std::string image_resource(const std::string& text);

/// The name of the same image by its digest, "sha256:…".
std::string pinned_image(const Image&, const std::string& digest);
bool is_digest(std::string_view text);

}  // namespace spell::model
