#include <unistd.h>

#include "arguments.hpp"
#include "command.hpp"
#include "spell/known_services.hpp"

namespace spell::cli {

std::optional<Result<int>> Context::parse(Options& options) {
  bool json = false, quiet = false, help = false;
  options.value("--service", service_, "local|URL", "the service to talk to, for this call");
  options.flag("--json", json, "print the API's JSON");
  options.flag("-q,--quiet", quiet, "print ids or names only");
  options.flag(options.takes_value("-h") ? "--help" : "-h,--help", help, "show this help");
  if (inspector) {
    inspector->command(options);
    return Result<int>(0);
  }
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
  if (service_)
    if (auto address = spell::service_address(*service_); !address)
      return usage_error("--service: " + address.error().message());
  return {};
}

ClientOptions Context::client_options() const {
  ClientOptions options = ClientOptions::from_environment();
  if (service_) options.service = *service_;
  return options;
}

std::string Context::service_address() const {
  ClientOptions options = client_options();
  if (options.service.empty())
    if (auto known = known_services(options.spell_dir)) options.service = known->default_address;
  return options.service == "local" ? "" : options.service;
}

Result<Client> Context::client() const { return Client::make(client_options()); }

Result<Run> Context::run(const std::string& text) const {
  auto number = parse_run_id(text);
  if (!number) return number.error();
  auto service = client();
  if (!service) return service.error();
  return service->runs().get(*number);
}

std::string Context::ask_line(std::string_view question) {
  out.write_error(out.shown(question) + ": ");
  std::string answer;
  for (char c = 0; answer.size() < 4096 && ::read(out.streams().in, &c, 1) == 1 && c != '\n';)
    answer += c;
  return answer;
}

bool Context::ask(std::string_view question) {
  out.write_error(out.shown(question) + " [y/N] ");
  std::string answer;
  for (char c = 0; ::read(out.streams().in, &c, 1) == 1 && c != '\n';) answer += c;
  return answer == "y" || answer == "Y" || answer == "yes";
}

}  // namespace spell::cli
