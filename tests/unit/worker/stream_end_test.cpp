// What the worker's ends of streams have in common: no message is overlooked, whatever else goes
// on.
#include "worker/stream_end.hpp"

#include <sys/socket.h>

#include <functional>

#include "catch.hpp"

using namespace spell;
using namespace spell::worker;
namespace stream = spell::model::stream;

namespace {

class Line {
 public:
  Line() {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    ours_ = base::Fd(ends[0]);
    theirs_ = base::Fd(ends[1]);
  }
  net::MessageStream end() { return net::MessageStream(net::Transport(std::move(theirs_)), ""); }
  void say(char kind, std::string_view text = {}) {
    std::string frame;
    net::append_message(frame, net::WireMessage::Kind::data, model::stream_message(kind, text),
                        false);
    REQUIRE(::write(ours_.get(), frame.data(), frame.size()) == std::ssize(frame));
  }
  /// What has been said to us since the last call.
  std::vector<std::string> heard() {
    char buffer[65536];
    for (ssize_t n; (n = ::read(ours_.get(), buffer, sizeof buffer)) > 0;)
      REQUIRE(reader_.feed({buffer, static_cast<std::size_t>(n)}));
    std::vector<std::string> out;
    while (auto message = reader_.next())
      if (message->kind == net::WireMessage::Kind::data) out.push_back(message->payload);
    return out;
  }
  void leave() { ours_.reset(); }

 private:
  base::Fd ours_, theirs_;
  net::MessageReader reader_{true};
};

/// Notes what it is told, and lets the test act in the middle of it.
class Noting : public StreamEnd {
 public:
  explicit Noting(net::MessageStream s) : StreamEnd(std::move(s)) {}
  std::vector<std::string> told;
  int rounds = 0;
  std::function<void(Noting&)> on_round{};
  using StreamEnd::end;
  using StreamEnd::opened;

 private:
  void begin(std::string_view text) override { told.emplace_back(text); }
  void message(std::string_view text) override { told.emplace_back(text); }
  void serve_own() override {
    ++rounds;
    if (on_round) on_round(*this);
  }
};

/// As the loop does it: serves for as long as a descriptor says that there is something.
bool serve(StreamEnd& end) {
  for (;;) {
    std::vector<pollfd> files;
    end.watch(files);
    if (::poll(files.data(), static_cast<nfds_t>(files.size()), 0) == 0) return true;
    if (!end.serve(files)) return false;
  }
}

}  // namespace

TEST_CASE("what comes while an answer goes out is not overlooked") {
  Line line;
  Noting end(line.end());
  end.on_round = [&](Noting& self) {
    if (self.rounds > 1) return;
    self.opened();
    line.say(stream::data, "second");
  };
  line.say(stream::request, "first");
  CHECK(serve(end));
  CHECK(end.told == std::vector<std::string>{"first", "dsecond"});
  CHECK(line.heard() == std::vector<std::string>{"o"});
}

TEST_CASE("what came before the other end went is taken, also where nothing can be sent any more") {
  Line line;
  Noting end(line.end());
  line.say(stream::request, "first");
  CHECK(serve(end));
  end.opened();
  line.say(stream::data, "second");
  line.say(stream::end_of_data);
  line.leave();
  CHECK_FALSE(serve(end));
  CHECK(end.told == std::vector<std::string>{"first", "dsecond", "z"});
}

TEST_CASE("a stream that does not begin with what is asked for is told so") {
  Line line;
  Noting end(line.end());
  line.say(stream::data, "first");
  CHECK(serve(end));
  auto heard = line.heard();
  REQUIRE(heard.size() == 1);
  CHECK(model::failed_error(heard[0].substr(1)).code() == "invalid_stream");
  CHECK(end.due());  // it does not wait for the other end for ever
  CHECK(end.told.empty());
}
