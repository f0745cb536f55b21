// What this machine is: its name, cores, memory, GPUs, how well runs can be fenced in, and the
// environment that they begin with.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "exec/supervised.hpp"
#include "model/worker_protocol.hpp"
#include "spell/result.hpp"

namespace spell::worker {

/// exec::probe, once per boot, supervisor and user: the answer is kept in
/// `folder`/capabilities.json.
Result<exec::Capabilities> find_capabilities(const std::string& supervisor,
                                             const std::string& folder, std::uint32_t user = 0);

/// The host's short name as a machine's name.
std::string machine_name();
/// PATH HOME USER LOGNAME SHELL LANG TZ from the system's own files, never from the shell that
/// started this process.
std::vector<std::string> base_environment();

/// `cores` 0: those that this process may use. `nvidia_smi`: see find_gpus(); that it fails is a
/// note.
model::WorkerHello describe_machine(const std::string& version, int cores,
                                    const exec::Capabilities&, const std::string& nvidia_smi);

}  // namespace spell::worker
