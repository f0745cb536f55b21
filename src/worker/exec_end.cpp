#include <utility>

#include "base/error.hpp"
#include "exec/guest.hpp"
#include "spell/json.hpp"
#include "worker/run_ends.hpp"
#include "worker/stream_end.hpp"

namespace spell::worker {

namespace stream = model::stream;

namespace {

class ExecEnd : public StreamEnd {
 public:
  ExecEnd(net::MessageStream s, StreamOrder order)
      : StreamEnd(std::move(s)), order_(std::move(order)) {}

 private:
  void begin(std::string_view text) override {
    auto request = model::parse_exec_request(text);
    if (!request) return fail(request.error());
    if (!order_.supervisor) return fail(not_running(order_));
    auto guest =
        exec::Guest::start(std::move(order_.supervisor), {.command = std::move(request->command),
                                                          .env = std::move(request->env),
                                                          .terminal = request->terminal,
                                                          .columns = request->columns,
                                                          .rows = request->rows});
    if (!guest) return fail(guest.error());
    guest_ = std::move(*guest);
    std::vector<net::Relay::Source> sources;
    sources.push_back({std::move(guest_->output), stream::data});
    if (guest_->errors) sources.push_back({std::move(guest_->errors), stream::error_data});
    relay_ = net::Relay(std::move(guest_->input), std::move(sources),
                        request->terminal ? "\x04" : "");  // ^D, as who types it
  }

  void message(std::string_view text) override {
    if (!guest_) return;
    if (text.front() == stream::signal) {
      auto number = model::number_in(text.substr(1));
      if (number > 0 && number < 65) guest_->send_signal(static_cast<int>(number));
    } else if (text.front() == stream::resize) {
      model::TerminalSize size;
      if (model::parse_resize(text.substr(1), size)) guest_->resize(size.columns, size.rows);
    } else if (!relay_.take(text)) {
      fail(base::error("invalid_stream", "more was sent than the window allows"));
    }
  }

  void watch_own(std::vector<pollfd>& files) override {
    if (!guest_) return;
    files.push_back(exit_ ? pollfd{-1, 0, 0} : guest_->event());
    relay_.watch(files, stream_);
  }

  void serve_own() override {
    if (!guest_) return;
    if (!exit_) {
      auto next = guest_->next();
      if (!next) return fail(next.error());
      if (guest_->started() && !opened_) {
        opened_ = true;
        opened();
      }
      exit_ = *next;
    }
    relay_.serve(stream_);
    // Its end is the end of its first process: what it wrote before is there by now.
    if (!exit_ || !relay_.drained()) return;
    nlohmann::json end{{"code", exit_->code}};
    if (exit_->signal) end["signal"] = *exit_->signal;
    StreamEnd::end(model::stream_message(stream::exit, end.dump()));
  }

  StreamOrder order_;
  std::optional<exec::Guest> guest_;
  net::Relay relay_;
  std::optional<exec::Guest::Exit> exit_;
  bool opened_ = false;
};

}  // namespace

std::unique_ptr<net::Relayed> make_exec_end(net::MessageStream opened, StreamOrder order) {
  return std::make_unique<ExecEnd>(std::move(opened), std::move(order));
}

}  // namespace spell::worker
