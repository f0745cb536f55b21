// Fills a database with runs that have ended and what they cost, or reads what stands there of that
// with SQLite alone and prints the seconds that took.
//
//     spell_bench_cost fill FILE OWNER COUNT
//     spell_bench_cost read FILE
#include <sqlite3.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string_view>

#include "base/hash.hpp"
#include "model/cost.hpp"
#include "spell/error.hpp"
#include "store/store.hpp"

using namespace spell;

namespace {

constexpr std::int64_t day_ms = 86'400'000;

void must(const Result<>& done) {
  if (done) return;
  std::fprintf(stderr, "spell_bench_cost: %s\n", done.error().message().c_str());
  std::exit(1);
}

/// A year of 20 users, 40 projects, 8 types, 200 machines and workflows of ten runs; every end in a
/// transaction of its own, as far as what is kept of it goes.
int fill(const std::string& path, const std::string& owner, std::int64_t count) {
  auto writer = store::Writer::open(path).value();
  std::mt19937_64 random(1);
  auto below = [&](std::int64_t limit) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(limit));
  };
  auto now_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                    std::chrono::system_clock::now().time_since_epoch())
                    .count();
  auto name = [&](const char* kind, std::int64_t number) {
    return writer.make_cost_number(owner, kind, kind + std::to_string(number)).value();
  };
  for (std::int64_t number = 1; number <= count; ++number) {
    if (number % 1000 == 1) must(writer.begin());
    store::RunRecord run;
    run.id = base::hex(base::random_bytes(16));
    run.owner = owner;
    run.number = number;
    run.status = "complete";
    run.creator = "user" + std::to_string(below(20));
    run.workflow = number / 10;
    run.request.command = "true";
    run.cost.leased_us = (now_ms - 365 * day_ms * (count - number) / count) * 1000 - 1'000'000'000;
    run.cost.billed_ms = below(6 * 3'600'000);
    run.cost.price = 918'000'000 + below(100);
    run.ended_us = run.cost.leased_us + run.cost.billed_ms * 1000;
    must(writer.insert_run(run));
    model::CostEntry entry;
    entry.spot = below(2) == 0;
    entry.run = number;
    entry.workflow = run.workflow;
    entry.user = name("user", below(20));
    entry.project = name("project", below(40));
    entry.type = name("type", below(8));
    entry.machine = name("machine", below(200));
    entry.began_ms = run.cost.leased_us / 1000;
    entry.ms = run.cost.billed_ms;
    entry.lost_ms = below(10) == 0 ? below(entry.ms + 1) : 0;
    entry.price = *run.cost.price;
    if (entry.spot) entry.on_demand = 3'060'000'000;
    std::string bytes;
    model::append(bytes, entry);
    must(writer.add_costs(owner, entry.began_ms + entry.ms, bytes));
    if (number % 1000 == 0 || number == count) must(writer.commit());
  }
  must(writer.begin());
  must(writer.set_last_number(owner, count));
  must(writer.commit());
  return 0;
}

int read(const char* path) {
  sqlite3* db = nullptr;
  sqlite3_stmt* rows = nullptr;
  auto start = std::chrono::steady_clock::now();
  if (sqlite3_open(path, &db) != SQLITE_OK ||
      sqlite3_prepare_v2(db, "SELECT entries FROM cost", -1, &rows, nullptr) != SQLITE_OK)
    return std::fprintf(stderr, "spell_bench_cost: %s\n", sqlite3_errmsg(db)), 1;
  std::size_t sum = 0;
  while (sqlite3_step(rows) == SQLITE_ROW) {
    std::string_view bytes(static_cast<const char*>(sqlite3_column_blob(rows, 0)),
                           static_cast<std::size_t>(sqlite3_column_bytes(rows, 0)));
    for (char byte : bytes) sum += static_cast<unsigned char>(byte);
  }
  std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::printf("%f %zu\n", took.count(), sum);
  sqlite3_finalize(rows);
  sqlite3_close(db);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "fill" && argc == 5) return fill(argv[2], argv[3], std::atoll(argv[4]));
  if (what == "read" && argc == 3) return read(argv[2]);
  return std::fputs("usage: spell_bench_cost fill FILE OWNER COUNT | read FILE\n", stderr), 2;
}
