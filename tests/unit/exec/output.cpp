// Logs are whole: order, completeness, limits.
#include <algorithm>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "runs.hpp"

using namespace spell;
using namespace spell::exec;
using namespace spell::exec::testing;

TEST_CASE("stdout and stderr keep the order of their writes") {
  Scratch scratch;
  auto folder = scratch.run_folder();
  auto state =
      run(launch(folder, "for ((i = 0; i < 10000; ++i)); do echo o$i; echo e$i >&2; done"));
  std::string expected;
  for (int i = 0; i < 10000; ++i)
    expected += "o" + std::to_string(i) + "\ne" + std::to_string(i) + "\n";
  auto output = output_of(folder);
  CHECK((output.all == expected));
  CHECK(output.gapless);
  CHECK(state.output_bytes == static_cast<std::int64_t>(expected.size()));
}

TEST_CASE("much output arrives byte for byte") {
  auto level = GENERATE(from_range(levels()));
  Scratch scratch;
  auto folder = scratch.run_folder();
  auto state = run(launch(folder, "head -c 50000000 /dev/urandom | tee $SPELL_ROOT/copy", level));
  REQUIRE(state.exit->code == 0);
  auto output = output_of(folder);
  CHECK(state.output_bytes == 50'000'000);
  CHECK(output.gapless);
  CHECK((base::sha256(output.all) == base::sha256(*base::read_file(folder + "/spell/copy"))));
  CHECK(state.spool_end == static_cast<std::int64_t>(base::read_file(folder + "/spool")->size()));
}

TEST_CASE("output without a line's end is there at once") {
  Scratch scratch;
  auto folder = scratch.run_folder();
  auto run =
      start(launch(folder, "printf 'one\\r'; printf 'two\\r'; printf 'three\\r'; exec sleep 1000"));
  CHECK(await_output(run, folder, "one\rtwo\rthree\r"));
  REQUIRE(run.kill().ok());
  CHECK(finish(run).exit->ended_by == "kill");
}

TEST_CASE("with split output each byte says where it came from") {
  Scratch scratch;
  auto what = launch(scratch.run_folder(), "echo out; echo err >&2; echo more");
  what.split_output = true;
  run(what);
  auto output = output_of(what.folder);
  CHECK(output.errors == "err\n");
  CHECK(output.all.size() == 13);
  CHECK(output.gapless);
}

TEST_CASE("output of children counts until the command's end") {
  Scratch scratch;
  auto folder = scratch.run_folder();
  run(launch(folder,
             "(while :; do echo noise; done) & sleep 0.05; head -c 3000000 /dev/zero; exit 0"));
  auto all = output_of(folder).all;
  CHECK(static_cast<long>(std::count(all.begin(), all.end(), '\0')) == 3'000'000);
}

TEST_CASE("a log that reached its limit makes the command wait, then stops it, and drops nothing") {
  auto level = GENERATE(from_range(levels()));
  CAPTURE(name_of(level));
  Scratch scratch;
  auto what = launch(scratch.run_folder(),
                     "trap 'echo; echo saved; exit 9' TERM; seq 1 1000000 & wait", level);
  what.log_limit = 100'000;
  what.log_wait_s = 1;
  auto run = start(what);
  CHECK(await_state(run, [](const State& state) { return state.log_full; }));
  auto state = finish(run);
  CHECK(state.exit->ended_by == "log_limit");
  CHECK_FALSE(state.log_full);
  auto output = output_of(what.folder);
  CHECK(output.gapless);
  CHECK(output.all.size() > 100'000);
  std::string expected;
  for (int i = 1; i <= 1000000; ++i) expected += std::to_string(i) + "\n";
  std::size_t same = 0;
  while (same < output.all.size() && same < expected.size() && output.all[same] == expected[same])
    ++same;
  CHECK(same > 100'000);
  // What a command says while it is being stopped still has room.
  CHECK(output.all.find("saved\n") != std::string::npos);
}

TEST_CASE("a silent command with a log at its limit is left alone") {
  Scratch scratch;
  auto what = launch(scratch.run_folder(), "head -c 1000 /dev/zero; sleep 1.5");
  what.log_limit = 1000;
  what.log_wait_s = 1;
  auto state = run(what);
  CHECK(state.exit->code == 0);
  CHECK(state.exit->ended_by == "");
  CHECK(state.output_bytes == 1000);
}
