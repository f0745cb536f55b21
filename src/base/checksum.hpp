// XXH3, 64 bits (xxhash.com): finds damage at the speed of memory. No protection against intent.
#pragma once
#include <cstdint>
#include <memory>
#include <string_view>

namespace spell::base {

std::uint64_t checksum(std::string_view bytes);

/// Of bytes that come in pieces.
class Checksum {
 public:
  Checksum();
  ~Checksum();
  Checksum(Checksum&&) noexcept;
  Checksum& operator=(Checksum&&) noexcept;
  void add(std::string_view bytes);
  /// Of all so far; more may be added.
  std::uint64_t value() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace spell::base
