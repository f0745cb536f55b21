// Finding a run again: from another handle, after its end, and from what a crash left on the disk.
#include <sys/un.h>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "model/log.hpp"
#include "runs.hpp"
#include "supervisor/protocol.hpp"

using namespace spell;
using namespace spell::exec;
using namespace spell::exec::testing;

namespace {

std::string lock_content(const std::string& boot) {
  supervisor::FieldWriter<512> fields;
  fields.put("boot", boot);
  fields.put("run", "x");
  fields.put("pid", 1);
  return {fields.data(), fields.size()};
}

State attached(const std::string& folder) {
  auto run = Supervised::attach(folder);
  if (!run) FAIL(run.error().message());
  auto state = run->state();
  if (!state) FAIL(state.error().message());
  return *state;
}

}  // namespace

TEST_CASE("a dropped run goes on and is found again") {
  auto level = GENERATE(from_range(levels()));
  CAPTURE(name_of(level));
  Scratch scratch;
  auto folder = scratch.run_folder();
  {
    auto first = start(
        launch(folder, "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done", level));
    REQUIRE(await_output(first, folder, "ready"));
  }
  auto again = Supervised::attach(folder);
  auto other = Supervised::attach(folder);
  REQUIRE(again.ok());
  REQUIRE(other.ok());
  auto state = *again->state();
  CHECK(state.phase == State::Phase::running);
  CHECK(state.output_bytes == 6);
  CHECK(state.spool_end == 30);
  CHECK(state.containment == name_of(level));
  REQUIRE(again->stop().ok());
  CHECK(finish(*other).exit->code == 3);
  state = finish(*again);
  CHECK(state.exit->ended_by == "stop");
  CHECK(again->event_fd() == -1);

  auto late = attached(folder);
  CHECK(late.phase == State::Phase::ended);
  CHECK(late.exit->code == 3);
  CHECK(late.exit->time_us == state.exit->time_us);
  CHECK(late.started_us == state.started_us);
  CHECK(late.spool_end == state.spool_end);
  CHECK(late.output_bytes == state.output_bytes);
}

TEST_CASE("where there never was a run, none is found") {
  Scratch scratch;
  CHECK(Supervised::attach(scratch.run_folder()).error().code() == "not_found");
}

TEST_CASE("a folder may be deeper than a socket's name is long") {
  Scratch scratch;
  auto folder = scratch.run_folder(std::string(60, 'a') + "/" + std::string(60, 'b'));
  REQUIRE(folder.size() > sizeof(sockaddr_un::sun_path));
  { auto first = start(launch(folder, "exec sleep 1000")); }
  auto again = Supervised::attach(folder);
  REQUIRE(again.ok());
  REQUIRE(again->kill().ok());
  CHECK(finish(*again).exit->signal == 9);
}

TEST_CASE("a spool that was cut anywhere is read up to its last whole frame") {
  Scratch scratch;
  auto folder = scratch.run_folder();
  auto what = launch(folder, "echo one; sleep 0.01; echo two >&2; exit 6");
  what.split_output = true;
  run(what);
  auto spool = *base::read_file(folder + "/spool");

  std::vector<std::int64_t> ends = {0};
  model::FrameParser parser;
  parser.feed(spool);
  while (auto frame = *parser.next())
    ends.push_back(ends.back() +
                   static_cast<std::int64_t>(model::frame_header_size + frame->payload.size()));
  REQUIRE(ends.size() == 4);
  REQUIRE(ends.back() == static_cast<std::int64_t>(spool.size()));

  auto cut = scratch.run_folder("cut");
  REQUIRE(base::write_file(cut + "/lock", lock_content(base::boot_id())).ok());
  for (std::size_t size = 0; size <= spool.size(); ++size) {
    // Lost bytes may be missing or, after a loss of power, zeros.
    for (bool zeros : {false, true}) {
      auto bytes = spool.substr(0, size);
      if (zeros) bytes.resize(spool.size());
      REQUIRE(base::write_file(cut + "/spool", bytes, 0600, false).ok());
      auto state = attached(cut);
      std::int64_t last = 0;
      for (auto end : ends)
        if (end <= static_cast<std::int64_t>(size)) last = end;
      bool whole = bytes == spool;  // the last byte is a NUL itself
      if ((state.phase == State::Phase::ended) != whole || (!zeros && state.spool_end != last)) {
        CAPTURE(size, zeros);
        CHECK((state.phase == State::Phase::ended) == whole);
        CHECK(state.spool_end == last);
      }
      if (!whole) REQUIRE(state.phase == State::Phase::supervisor_lost);
    }
  }
}

TEST_CASE("a run of an earlier boot was interrupted by it, if it had not ended") {
  Scratch scratch;
  auto folder = scratch.run_folder();
  REQUIRE(base::write_file(folder + "/spool", "").ok());
  auto content = GENERATE(lock_content("00000000-0000-0000-0000-000000000000"), std::string());
  REQUIRE(base::write_file(folder + "/lock", content).ok());
  auto state = attached(folder);
  CHECK(state.phase == State::Phase::host_rebooted);
  CHECK_FALSE(state.exit);

  auto ended = scratch.run_folder("ended");
  run(launch(ended, "exit 5"));
  REQUIRE(base::write_file(ended + "/lock", content).ok());
  CHECK(attached(ended).exit->code == 5);
}

TEST_CASE("version 1 of what a supervisor leaves is read as ever") {
  using namespace std::string_literals;
  Scratch scratch;
  auto folder = scratch.run_folder();
  auto lock =
      "spell-supervisor=1\0boot=00000000-0000-0000-0000-000000000000\0run=r\0pid=12\0init=13\0init_start=14\0"s;
  auto end =
      "spell-supervisor=1\0started_us=1000\0code=143\0signal=15\0ended_us=2000\0ended_by="
      "stop\0level=best_effort\0"
      "containment=no namespaces\0end=\0"s;
  auto spool = "\3\0\0\0\1\1\0\0\0\0\0\0\0\0\0\0\x10\x20\0\0\0\0\0\0hi\n"s +
               std::string(1, static_cast<char>(end.size())) +
               "\0\0\0\4\0\0\0\3\0\0\0\0\0\0\0\x11\x20\0\0\0\0\0\0"s + end;
  REQUIRE(base::write_file(folder + "/lock", lock).ok());
  REQUIRE(base::write_file(folder + "/spool", spool).ok());
  auto state = attached(folder);
  REQUIRE(state.exit);
  CHECK(state.exit->code == 143);
  CHECK(state.exit->signal == 15);
  CHECK(state.exit->ended_by == "stop");
  CHECK(state.exit->time_us == 2000);
  CHECK(state.started_us == 1000);
  CHECK(state.containment == "best_effort: no namespaces");
  CHECK(state.output_bytes == 3);
  CHECK(state.spool_end == static_cast<std::int64_t>(spool.size()));
}

TEST_CASE("version 1 of a spec is written as ever") {
  using namespace std::string_literals;
  Scratch scratch;
  auto what = launch(scratch.run_folder(), "echo hi", Containment::user_namespaces);
  what.supervisor = scratch.path() + "/supervisor";
  REQUIRE(base::write_file(what.supervisor, "#!/bin/sh\nexec cat > \"$1/spec\"\n", 0755).ok());
  what.run_id = "r";
  what.env = {"A=1", "B=2"};
  what.working_folder = "sub";
  what.hidden = {"/h"};
  what.binds = {{"/from", "/to"}};
  what.links = {{"/usr/bin/python3", "/spell-bin/python"}};
  what.timeout_s = 5;
  what.split_output = true;
  what.revive = {"spelld", "--now"};
  what.service_lock = "/l";
  start(what);
  CHECK(
      *base::read_file(what.folder + "/spec") ==
      "spell-supervisor=1\0run=r\0containment=1\0command=echo "
      "hi\0working_folder=sub\0log_limit=10737418240\0log_wait_s=600\0"
      "stop_grace_s=30\0timeout_s=5\0split_output=1\0service_lock=/l\0env=A=1\0env=B=2\0hidden=/"
      "h\0revive=spelld\0revive=--now\0"
      "bind_from=/from\0bind_to=/to\0link_to=/usr/bin/python3\0link_at=/spell-bin/python\0end=\0"s);
}

TEST_CASE("output that looks like an end frame is output") {
  Scratch scratch;
  auto folder = scratch.run_folder();
  run(launch(scratch.run_folder("first"), "exit 5"));
  auto forged = *base::read_file(scratch.path() + "/first/spool");
  REQUIRE(base::write_file(folder + "/spell/forged", forged).ok());
  run(launch(folder, "cat $SPELL_ROOT/forged"));
  auto spool = *base::read_file(folder + "/spool");
  auto cut = scratch.run_folder("cut");
  REQUIRE(base::write_file(cut + "/lock", lock_content(base::boot_id())).ok());
  REQUIRE(base::write_file(cut + "/spool", spool.substr(0, 24 + forged.size())).ok());
  auto state = attached(cut);
  CHECK(state.phase == State::Phase::supervisor_lost);
  CHECK(state.output_bytes == static_cast<std::int64_t>(forged.size()));
}
