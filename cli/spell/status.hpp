// What `spell status` and `spell service status` show.
#pragma once
#include "command.hpp"

namespace spell::cli {

void show_service(Output& out, const ServiceInfo& info);

}  // namespace spell::cli
