#include "machine_text.hpp"

#include "json_text.hpp"
#include "text.hpp"

namespace spell::cli {

std::string amounts_text(const Amounts& amounts) {
  std::vector<std::string> parts;
  if (amounts.cpus > 0) parts.push_back(count(amounts.cpus, "core"));
  if (amounts.memory > 0) parts.push_back(format_size(amounts.memory) + " memory");
  if (amounts.gpus > 0) parts.push_back(count(amounts.gpus, "GPU"));
  return join(parts, ", ");
}

std::string machine_text(const MachineInfo& machine) {
  if (!machine.joined) return "has not joined yet";
  std::string text;
  if (!machine.connected) {
    text = "not connected";
  } else {
    if (machine.places > 0) {
      text = std::to_string(machine.busy) + " of " + count(machine.places, "place") + " busy, " +
             count(machine.cores, "core");
    } else {
      text = std::to_string(machine.used.cpus) + " of " + count(machine.offered.cpus, "core") +
             " in use";
    }
    if (machine.offered.gpus > 0)
      text += ", " + std::to_string(machine.used.gpus) + " of " +
              count(machine.offered.gpus, "GPU") + " in use";
    text += ", " + format_size(machine.memory) + " memory, " + format_size(machine.disk_free) +
            " disk free";
    if (machine.drained) text = "drained; " + text;
  }
  if (!machine.serves.empty()) text += "; serves " + join(machine.serves, ", ");
  return text;
}

Result<Amounts> parse_amounts(const std::optional<std::string>& cpus,
                              const std::optional<std::string>& memory,
                              const std::optional<std::string>& gpus,
                              const std::string& gpus_name) {
  Amounts amounts;
  auto number = [](const std::string& text, const std::string& option,
                   std::int64_t& out) -> Result<> {
    auto parsed = parse_int(text);
    if (!parsed || *parsed < 0)
      return usage_error(option + " " + shell_quote(text) + ": give a whole number");
    out = *parsed;
    return ok();
  };
  if (cpus)
    if (auto read = number(*cpus, "--cpus", amounts.cpus); !read) return read.error();
  if (gpus)
    if (auto read = number(*gpus, gpus_name, amounts.gpus); !read) return read.error();
  if (memory) {
    auto bytes = parse_size(*memory);
    if (!bytes || *bytes < 0)
      return usage_error("--memory " + shell_quote(*memory) + ": give a size, such as 500M or 16G");
    amounts.memory = *bytes;
  }
  return amounts;
}

Result<std::optional<std::chrono::seconds>> parse_lost_after(
    const std::optional<std::string>& text) {
  if (!text) return std::optional<std::chrono::seconds>();
  auto seconds = parse_int(*text);
  if (!seconds || *seconds < 0)
    return usage_error("--lost-after " + shell_quote(*text) + ": give seconds");
  return std::optional(std::chrono::seconds(*seconds));
}

void show_join_token(Context& context, const JoinToken& token, const std::string& what) {
  auto& out = context.out;
  if (out.json()) return out.json_line(json_text(token));
  if (out.quiet()) return out.line(token.token);
  out.status(Mark::done, what + " Paste there, as root, within an hour:");
  if (!token.install.empty()) out.line("  " + token.install);
  out.line("  echo " + token.token + " | spell-worker join " + shell_quote(token.url) + " -");
}

}  // namespace spell::cli
