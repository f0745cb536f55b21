#include "model/image.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/text.hpp"
#include "model/error_code.hpp"

namespace spell::model {

namespace {

constexpr std::size_t longest_image = 500;
constexpr std::string_view of_resources[] = {"oci", "oci-archive", "docker-archive"};

Error wrong_image(std::string_view text, const std::string& why) {
  return base::error(
      "invalid_request",
      "'" + one_line(std::string(text), 100) + "' " + why +
          ": give an image of a registry (debian:12, docker://HOST/NAME:TAG), or "
          "one that was uploaded (oci:uploads/NAME[:TAG], docker-archive:uploads/FILE)");
}

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/// What skopeo takes for a name and nothing else: no option, no path.
bool is_name(std::string_view text) {
  return !text.empty() && is_letter(text[0]) && text.find("..") == text.npos &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return is_letter(c) || std::string_view("._:/@-").find(c) != std::string_view::npos;
         });
}

}  // namespace

Result<Image> parse_image(std::string_view text) {
  if (text.size() > longest_image) return wrong_image(text, "is longer than 500 bytes");
  Image out;
  constexpr std::string_view registry = "docker://";
  for (auto transport : of_resources) {
    if (!text.starts_with(transport) || text.substr(transport.size(), 1) != ":") continue;
    auto rest = text.substr(transport.size() + 1);
    out.transport = transport;
    out.name = rest.substr(0, rest.find(':'));
    if (out.name.size() < rest.size()) {
      out.tag = rest.substr(out.name.size() + 1);
      if (!is_name(out.tag)) return wrong_image(text, "has no tag behind its last ':'");
    }
    if (out.name.empty() || out.name[0] == '/' || out.name[0] == '.')
      return wrong_image(text, "names no resource");
    return out;
  }
  if (text.starts_with(registry)) text.remove_prefix(registry.size());
  out.transport = "docker";
  out.name = text;
  if (!is_name(text)) return wrong_image(text, "is none");
  for (std::string_view other :
       {"dir:", "docker-daemon:", "containers-storage:", "ostree:", "sif:"})
    if (text.starts_with(other))
      return wrong_image(text, "is what one machine has, which others cannot fetch");
  return out;
}

std::string image_resource(const std::string& text) {
  if (text.empty()) return {};
  auto image = parse_image(text);
  return image && !image->in_registry() ? image->name : "";
}

bool is_digest(std::string_view text) {
  constexpr std::string_view algorithm = "sha256:";
  return text.size() == algorithm.size() + 64 && text.starts_with(algorithm) &&
         text.substr(algorithm.size()).find_first_not_of("0123456789abcdef") == text.npos;
}

std::string pinned_image(const Image& image, const std::string& digest) {
  auto name = image.name.substr(0, image.name.find('@'));
  // A ':' before the last '/' is that of a port.
  if (auto colon = name.rfind(':'); colon != name.npos && name.find('/', colon) == name.npos)
    name.resize(colon);
  return name + "@" + digest;
}

}  // namespace spell::model
