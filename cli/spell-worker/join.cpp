#include "worker/join.hpp"

#include <poll.h>
#include <unistd.h>

#include <iostream>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "commands.hpp"
#include "config.hpp"
#include "exec/supervised.hpp"
#include "say.hpp"
#include "spell/version.hpp"
#include "state.hpp"
#include "unit.hpp"
#include "worker/machine.hpp"

namespace spell::worker_program {

namespace {

constexpr std::chrono::seconds answer_limit{60}, connect_limit{60};

Result<std::string> read_token(const std::string& given) {
  if (given != "-") return given;
  std::string line;
  if (!std::getline(std::cin, line) || base::trim(line).empty())
    return base::error("invalid_token", "there is no token on standard input");
  return line;
}

Result<model::WorkerHello> look_at_machine(const std::string& folder) {
  auto supervisor = exec::find_supervisor("");
  if (!supervisor) return supervisor.error();
  std::string own = folder + "/worker";
  SPELL_TRY(base::make_folders(own));
  auto capabilities = worker::find_capabilities(*supervisor, own);
  if (!capabilities) return capabilities.error();
  auto config = read_config(folder);
  if (!config) return config.error();
  auto hello =
      worker::describe_machine(version(), config->cores, *capabilities, config->nvidia_smi);
  hello.disk_free = base::free_bytes(own);
  return hello;
}

/// A machine works for one service: what it holds of another's runs would be lost.
Result<> may_join(const std::string& folder, const std::string& url) {
  auto before = worker::read_joined(folder);
  if (!before || !*before || (*before)->url == url) return ok();
  return base::error("already_joined", "this machine has joined " + (*before)->url + " as " +
                                           (*before)->name + ": `spell-worker leave` first");
}

/// Until the daemon of this folder has met the service in its new shape.
Result<> wait_connected(const std::string& folder, std::int64_t joined_us) {
  auto watch = Watch::open(folder);
  if (!watch) return watch.error();
  std::int64_t until = base::boot_ns() + std::chrono::nanoseconds(connect_limit).count();
  for (;;) {
    auto status = read_status(folder);
    if (status.state == "connected" && status.joined_us == joined_us) return ok();
    std::int64_t left = (until - base::boot_ns()) / 1'000'000;
    if (left <= 0)
      return base::error("service_unreachable",
                         "it has joined, but the worker has not met the service yet" +
                             (status.error.empty() ? "" : ": " + status.error));
    pollfd event{watch->fd(), POLLIN, 0};
    (void)::poll(&event, 1, static_cast<int>(left));
    watch->drain();
  }
}

struct Outcome {
  worker::Joined joined;
  model::WorkerHello hello;
  bool runs = false;  ///< a daemon works for it
};

Result<Outcome> join_service(const Options& options) {
  worker::JoinCall call;
  auto url = worker::parse_service_url(options.url);
  if (!url) return url.error();
  call.url = *url;
  auto text = read_token(options.token);
  if (!text) return text.error();
  auto token = worker::parse_join_token(*text);
  if (!token) return token.error();
  call.token = *token;
  auto proxy = net::proxy_from_environment();
  if (!proxy) return proxy.error();
  call.proxy = *proxy;
  call.name = worker::machine_name();
  auto folder = open_state_folder(options.state.empty() ? default_state_folder() : options.state);
  if (!folder) return folder.error();
  SPELL_TRY(may_join(*folder, call.url));
  auto hello = look_at_machine(*folder);
  if (!hello) return hello.error();
  call.hello = *hello;
  CallOptions limits;
  limits.timeout = answer_limit;
  auto joined = worker::join(call, limits);
  if (!joined) return joined.error();
  SPELL_TRY(worker::write_joined(*folder, *joined));
  Outcome outcome{*joined, *hello};
  if (options.foreground) return outcome;
  bool unit = has_unit(*folder);
  if (unit) SPELL_TRY(enable_unit());
  outcome.runs = unit || daemon_runs(*folder);
  if (outcome.runs) SPELL_TRY(wait_connected(*folder, joined->joined_us));
  return outcome;
}

}  // namespace

int join(const Options& options) {
  auto outcome = join_service(options);
  if (!outcome) return fail(outcome.error(), options.json);
  if (options.json) {
    auto out = hello_json(outcome->hello);
    out["machine"] = outcome->joined.name;
    out["url"] = outcome->joined.url;
    out["connected"] = outcome->runs;
    std::cout << out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
  } else {
    std::cout << "Joined " << outcome->joined.url << " as " << outcome->joined.name << ": "
              << describe(outcome->hello) << std::endl;
    for (auto& note : outcome->hello.notes) std::cout << "  " << note << std::endl;
    if (!outcome->runs && !options.foreground)
      std::cout << "Nothing runs here until the worker does: spell-worker run"
                << (options.state.empty() ? "" : " --state " + base::shell_quote(options.state))
                << std::endl;
  }
  return options.foreground ? run(options) : 0;
}

}  // namespace spell::worker_program
