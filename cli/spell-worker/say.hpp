// What the commands print.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "model/worker_protocol.hpp"
#include "spell/error.hpp"

namespace spell::worker_program {

/// One line on stderr, with --json the API's error object on stdout. Returns the exit status.
int fail(const Error&, bool json);
/// "8 cores, 31.2 GiB memory, 100 GiB free; containment: namespaces"
std::string describe(const model::WorkerHello&);
nlohmann::json hello_json(const model::WorkerHello&);

}  // namespace spell::worker_program
