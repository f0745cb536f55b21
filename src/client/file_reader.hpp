// The bytes of a stored file, in order and once, over lost connections: what is missing is asked
// for as a range.
#pragma once
#include <functional>
#include <string>
#include <string_view>

#include "client/connection.hpp"

namespace spell::detail {

/// Calls `sink` with piece after piece; its error ends the reading. `announced` hears the file's
/// size first, if it is known. Error `resource_changed` when the file became another one meanwhile.
Result<> read_resource(Connection&, const std::string& path,
                       const std::function<Result<>(std::string_view)>& sink, const Limit&,
                       const std::function<Result<>(std::int64_t size)>& announced = {});

}  // namespace spell::detail
