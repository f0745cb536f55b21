#include "each_run.hpp"

#include "exit_status.hpp"
#include "json_text.hpp"

namespace spell::cli {

Result<int> each_run(Context& context, const Words& ids, const RunAction& action) {
  auto numbers = parse_run_ids(ids);
  if (!numbers) return numbers.error();
  auto client = context.client();
  if (!client) return client.error();
  int first = 0;
  for (auto number : *numbers) {
    auto run = client->runs().get(number);
    Result<int> status = run ? action(*run) : Result<int>(run.error());
    if (!status) {
      context.out.error(status.error());
      status = exit_status(status.error());
    }
    if (first == 0) first = *status;
  }
  return first;
}

void show_run(Output& out, const RunInfo& info, const std::string& text) {
  if (out.json())
    out.json_line(json_text("run", info));
  else if (out.quiet())
    out.line(std::to_string(info.id));
  else
    out.line(text);
}

}  // namespace spell::cli
