#include <set>
#include <sstream>
#include <string>

#include "catch.hpp"
#include "model/status.hpp"
#include "spell/run.hpp"

using namespace spell;
using namespace spell::model;

TEST_CASE("the table holds every status of the public header, once") {
  std::set<std::string_view> names;
  for (auto& row : statuses()) CHECK(names.insert(row.name).second);
  CHECK(names == std::set<std::string_view>{
                     RunStatus::machine_requested, RunStatus::building, RunStatus::mounting,
                     RunStatus::running, RunStatus::saving, RunStatus::pushing, RunStatus::stopping,
                     RunStatus::killing, RunStatus::complete, RunStatus::failed,
                     RunStatus::build_failed, RunStatus::mount_failed, RunStatus::interrupted,
                     RunStatus::killed, RunStatus::stopped});
}

TEST_CASE("what follows a status is a status, and nothing follows a final one") {
  for (auto& row : statuses()) {
    std::istringstream next{std::string(row.next)};
    for (std::string name; next >> name;) {
      INFO(row.name << " -> " << name);
      CHECK(find_status(name));
      CHECK(may_follow(row.name, name));
    }
    CHECK(row.next.empty() == row.final);
    CHECK_FALSE(may_follow(row.name, row.name));
    CHECK_FALSE(may_follow(row.name, RunStatus::machine_requested));
  }
}

TEST_CASE("the usual way leads from the request to complete") {
  std::string_view way[] = {"machine_requested", "building", "mounting", "running", "saving",
                            "pushing",           "complete"};
  for (std::size_t i = 0; i + 1 < std::size(way); ++i) {
    INFO(way[i] << " -> " << way[i + 1]);
    CHECK(may_follow(way[i], way[i + 1]));
    if (i > 0) CHECK_FALSE(may_follow(way[i + 1], way[i]));
  }
  CHECK(may_follow("building", "running"));
  CHECK_FALSE(may_follow("machine_requested", "running"));
  CHECK_FALSE(may_follow("machine_requested", "complete"));
}

TEST_CASE("every status that is not final can end killed, stopped, failed or interrupted") {
  for (auto& row : statuses()) {
    if (row.final) continue;
    INFO(row.name);
    for (auto end : {"killed", "stopped", "failed", "interrupted"})
      CHECK(may_follow(row.name, end));
  }
}

TEST_CASE("a stopped run saves, a killed one does not") {
  CHECK(may_follow("running", "stopping"));
  CHECK(may_follow("stopping", "saving"));
  CHECK(may_follow("stopping", "killing"));
  CHECK_FALSE(may_follow("killing", "saving"));
  CHECK_FALSE(may_follow("killing", "stopping"));
}

TEST_CASE("unknown statuses survive and are not final") {
  RunStatus status("hibernating");
  CHECK(status.name() == "hibernating");
  CHECK_FALSE(status.is_final());
  CHECK_FALSE(find_status("hibernating"));
  CHECK_FALSE(may_follow("hibernating", "complete"));
  CHECK_FALSE(may_follow("running", ""));
  CHECK_FALSE(may_follow("running", "kill"));
  std::ostringstream out;
  out << status;
  CHECK(out.str() == "hibernating");
}

TEST_CASE("shown names") {
  CHECK(find_status("machine_requested")->shown == "Queued");
  CHECK(find_status("build_failed")->shown == "Build Failed");
  CHECK(find_status("complete")->shown == "Complete");
  CHECK(find_status("machine_requested")->on_machine == false);
  CHECK(find_status("killing")->on_machine == true);
}

TEST_CASE("final statuses are those of the product") {
  std::set<std::string_view> final;
  for (auto& row : statuses())
    if (is_final(row.name)) final.insert(row.name);
  CHECK(final == std::set<std::string_view>{"complete", "failed", "build_failed", "mount_failed",
                                            "interrupted", "killed", "stopped"});
  CHECK(RunStatus("stopped").is_final());
  CHECK_FALSE(RunStatus().is_final());
}
