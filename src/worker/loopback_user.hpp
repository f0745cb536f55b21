// Who is at the other end of a connection over this machine's loopback, which TCP itself does not
// say. Source: sock_diag(7).
#pragma once
#include <cstdint>
#include <optional>

namespace spell::worker {

/// The user who has connected from port `from` to port `to` of 127.0.0.1; nothing where the system
/// does not know such a connection. Thread-safe; does not block.
std::optional<std::uint32_t> loopback_user(int from, int to);

}  // namespace spell::worker
