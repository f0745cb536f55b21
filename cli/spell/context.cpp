#include <unistd.h>

#include <cstdlib>

#include "command.hpp"
#include "unavailable.hpp"

namespace spell::cli {

namespace {
std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}
}  // namespace

std::optional<Result<int>> Context::parse(Options& options) {
  bool json = false, quiet = false, help = false;
  options.value("--service", service_, "local|unix:PATH", "the service to talk to, for this call");
  options.flag("--json", json, "print the API's JSON");
  options.flag("-q,--quiet", quiet, "print ids or names only");
  options.flag(options.takes_value("-h") ? "--help" : "-h,--help", help, "show this help");
  auto parsed = options.parse(arguments_);
  if (json || options.mentions("--json"))
    out.set_mode(Output::Mode::json);
  else if (quiet)
    out.set_mode(Output::Mode::quiet);
  if (!parsed) return parsed.error();
  if (help) {
    out.write(options.help(out.terminal().utf8));
    return Result<int>(0);
  }
  if (service_ && *service_ != "local" && !service_->starts_with("unix:")) {
    if (service_->starts_with("https://") || service_->starts_with("http://"))
      return not_available("--service " + *service_);
    return usage_error("--service is local or unix:PATH, not \"" + *service_ + "\"");
  }
  return {};
}

ClientOptions Context::client_options() const {
  ClientOptions options;
  std::string address = service_ ? *service_ : environment("SPELL_BASE_URL");
  if (!address.empty()) options.service = address;
  options.spell_dir = environment("SPELL_DIR");
  options.owner = environment("SPELL_OWNER");
  return options;
}

std::string Context::service_address() const {
  std::string address = client_options().service;
  return address == "local" ? "" : address;
}

Result<Client> Context::client(bool autostart) const {
  ClientOptions options = client_options();
  options.autostart = autostart;
  return Client::make(options);
}

bool Context::ask(std::string_view question) {
  out.write_error(out.shown(question) + " [y/N] ");
  std::string answer;
  for (char c = 0; ::read(out.streams().in, &c, 1) == 1 && c != '\n';) answer += c;
  return answer == "y" || answer == "Y" || answer == "yes";
}

}  // namespace spell::cli
