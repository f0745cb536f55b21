#include <string>

#include "command.hpp"
#include "exit_status.hpp"
#include "interrupt.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

/// "8888", "9000:8888", "0:8888".
struct Ports {
  int local = 0, remote = 0;
};

Result<Ports> parse_ports(const std::string& text) {
  auto colon = text.find(':');
  std::string first = text.substr(0, colon);
  auto local = parse_int(first),
       remote = colon == text.npos ? local : parse_int(text.substr(colon + 1));
  auto fits = [](const auto& number, int least) {
    return number && *number >= least && *number <= 65535;
  };
  if (!fits(local, 0) || !fits(remote, 1))
    return usage_error("\"" + text +
                       "\" is no [LOCAL:]PORT: give a number from 1 to 65535, as in 8888, or two, "
                       "as in 9000:8888");
  return Ports{static_cast<int>(*local), static_cast<int>(*remote)};
}

}  // namespace

Result<int> forward_command(Context& context) {
  Options options(
      "forward", "[OPTIONS] ID [LOCAL:]PORT",
      "Leads connections to a port here, at 127.0.0.1, to a port of the machine that a running run "
      "is on,\nas the run itself reaches it at localhost. Goes on until ^C, or the run's end.");
  Words words;
  options
      .words(words, "a run's number, and the port; LOCAL is the port here: the same, 0: any", 2, 2)
      .notes(
          "With -q: where it listens.\n\nExamples:\n  spell forward 7 8888\n"
          "  spell forward 7 9000:8888\n");
  if (auto done = context.parse(options)) return *done;
  auto number = parse_run_id(words[0]);
  if (!number) return number.error();
  auto ports = parse_ports(words[1]);
  if (!ports) return ports.error();
  auto client = context.client();
  if (!client) return client.error();
  auto run = client->runs().get(*number);
  if (!run) return run.error();
  Interrupt interrupt;
  CallOptions call{.timeout = {}, .stop = interrupt.token()};
  auto forward = run->forward(ports->remote, {.local_port = ports->local}, call);
  if (!forward) return interrupt.happened() ? Result<int>(interrupted_status) : forward.error();
  auto& out = context.out;
  std::string id = std::to_string(*number), local = std::to_string(forward->local_port()),
              remote = std::to_string(ports->remote);
  if (out.json())
    out.json_line(R"({"forward":{"run":)" + id + R"(,"local_port":)" + local + R"(,"port":)" +
                  remote + "}}");
  else if (out.quiet())
    out.line("127.0.0.1:" + local);
  else
    out.line("127.0.0.1:" + local + " leads to port " + remote + " of run " + id + " (^C ends it)");
  for (;;) {
    auto refused = forward->next_refusal(call);
    if (!refused) return interrupt.happened() ? Result<int>(interrupted_status) : refused.error();
    if (!*refused) break;
    out.warn((*refused)->message());
  }
  out.status(Mark::halted, "Run " + id + " has ended");
  return 0;
}

}  // namespace spell::cli
