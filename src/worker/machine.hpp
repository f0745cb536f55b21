// What this machine is: cores, memory, and how well runs can be fenced in.
#pragma once
#include <cstdint>
#include <string>

#include "exec/supervised.hpp"
#include "model/worker_protocol.hpp"
#include "spell/result.hpp"

namespace spell::worker {

/// exec::probe, once per boot, supervisor and user: the answer is kept in
/// `folder`/capabilities.json.
Result<exec::Capabilities> find_capabilities(const std::string& supervisor,
                                             const std::string& folder, std::uint32_t user = 0);

/// `cores` 0: those that this process may use.
model::WorkerHello describe_machine(const std::string& version, int cores,
                                    const exec::Capabilities&);

}  // namespace spell::worker
