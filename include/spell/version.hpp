#pragma once
namespace spell {
/// "0.1.0"
const char* version() noexcept;
}  // namespace spell
