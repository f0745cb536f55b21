#include "unavailable.hpp"

#include <algorithm>
#include <string>

namespace spell::cli {

namespace {
constexpr Unavailable unavailable_options[] = {
    {"run", "--checkpoints"},
    {"run", "--with-history"},
    {"run", "--stop-condition"},
    {"run", "--distributed"},
    {"run", "--tensorboard-dir"},
    {"upload", "-c"},
    {"workflow", "--pip"},
    {"workflow", "--apt"},
    {"workflow", "--conda-file"},
    {"hyper", ""},
    {"machine-type", "--instance-type"},
    {"machine-type", "--storage-size"},
};
}  // namespace

std::span<const Unavailable> unavailable() { return unavailable_options; }

bool is_unavailable(std::string_view command, std::string_view option) {
  return std::any_of(
      std::begin(unavailable_options), std::end(unavailable_options),
      [&](const Unavailable& row) { return row.command == command && row.option == option; });
}

Error not_available(std::string_view what) {
  return Error("not_available", std::string(what) + " is not available in this version");
}

}  // namespace spell::cli
