// What is common to the ways of speaking to a supervisor: specs, and its socket. Private to this
// module.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/fd.hpp"

namespace spell::exec {

/// Fields of a spec; refuses what the form cannot carry.
class SpecWriter {
 public:
  SpecWriter();
  void put(std::string_view key, std::string_view value);
  template <class Number>
  requires std::is_integral_v<Number>
  void put(std::string_view key, Number value) { put(key, std::to_string(value)); }
  Result<std::string> finish() &&;

 private:
  std::string text_, bad_;
};

/// An anonymous file: a spec may hold secrets and must not lie on a disk.
Result<base::Fd> file_with(std::string_view bytes);
/// A connection to the supervisor of the run in this folder.
Result<base::Fd> connect_supervisor(const std::string& folder);

}  // namespace spell::exec
