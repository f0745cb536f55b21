// What machines are, have and give, for people and from them.
#pragma once
#include <optional>
#include <string>

#include "command.hpp"
#include "spell/machine.hpp"

namespace spell::cli {

/// "1 of 4 cores, 0 of 2 GPUs in use; …", or why nothing is.
std::string machine_text(const MachineInfo& machine);
/// "8 cores, 64 GiB memory, 4 GPUs"; what is 0 stays away.
std::string amounts_text(const Amounts& amounts);

/// The values of --cpus, --memory and the option for GPUs. Error `usage`.
Result<Amounts> parse_amounts(const std::optional<std::string>& cpus,
                              const std::optional<std::string>& memory,
                              const std::optional<std::string>& gpus, const std::string& gpus_name);
/// A number of seconds. Error `usage`.
Result<std::optional<std::chrono::seconds>> parse_lost_after(
    const std::optional<std::string>& text);

/// What a token is for and how it is used; with --json the token's object.
void show_join_token(Context& context, const JoinToken& token, const std::string& what);

}  // namespace spell::cli
