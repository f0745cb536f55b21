#pragma once
namespace spell {
/// "0.1.0"
const char* version() noexcept;
/// Number of the API's protocol: a client and a service of the same number understand each other.
int api_protocol() noexcept;
}  // namespace spell
