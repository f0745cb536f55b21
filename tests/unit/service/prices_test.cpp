// Which price counts for a type, and what the catalogue says of it.
#include "service/prices.hpp"

#include "team_house.hpp"

using namespace spell;
using namespace spell::service;

namespace {

store::MachineTypeRecord type(const std::string& name, bool spot = false) {
  store::MachineTypeRecord record;
  record.owner = "ada";
  record.name = name;
  record.spot = spot;
  return record;
}

/// One that a program launches.
store::MachineTypeRecord bought(const std::string& name, bool spot = false) {
  auto record = type(name, spot);
  record.pool = "/some/program";
  return record;
}

}  // namespace

TEST_CASE("a type's own prices, else the list's, else the catalogue's") {
  auto v100 = bought("v100");
  auto price = price_of(v100, no_prices);
  CHECK((price.price == 3'060'000'000 && price.spot_price == 918'000'000));
  CHECK(price.from == "catalogue (aws, us-east-1)");
  CHECK((price.hourly(false) == 3'060'000'000 && price.hourly(true) == 918'000'000));

  PriceList list{{"v100", {2 * nano, {}}}};
  price = price_of(v100, list);
  CHECK((price.price == 2 * nano && price.from == "price list"));
  CHECK(price.spot_price == 918'000'000);  // of which the list says nothing
  v100.price = 7 * nano;
  price = price_of(v100, list);
  CHECK((price.price == 7 * nano && price.spot_price == 918'000'000 && price.from == "set"));
  v100.spot = true;
  price = price_of(v100, list);
  CHECK((price.hourly(true) == 918'000'000 && price.from == "catalogue (aws, us-east-1)"));
  CHECK(price_of(v100, {{"v100", {{}, nano}}}).from == "price list");
  auto odd = bought("odd", true);
  odd.price = nano;
  CHECK((price_of(odd, list).hourly(true) == nano && price_of(odd, list).from == "set"));

  CHECK(!price_of(type("own-thing"), list).price);
  CHECK(price_of(type("own-thing"), list).from.empty());
  CHECK(!price_of(type("cpu"), no_prices).price);
  CHECK(!price_of(bought("p100"), no_prices).price);  // the catalogue has no figure
}

TEST_CASE("what is sold elsewhere is no price of one's own machines") {
  for (auto pool : {"", "local", "ssh"}) {
    auto own = type("v100", true);
    own.pool = pool;
    INFO(pool);
    CHECK((!price_of(own, no_prices).hourly(true) && price_of(own, no_prices).from.empty()));
    CHECK(price_of(own, {{"v100", {nano, {}}}}).hourly(true) == nano);
    own.price = 2 * nano;
    CHECK((price_of(own, no_prices).price == 2 * nano && !price_of(own, no_prices).spot_price));
  }
  CHECK(price_of(bought("h100"), no_prices).from == "catalogue (lambda)");
}

TEST_CASE("a type is known by the instance that its pool launches, or by its name") {
  CHECK(known_as(type("v100x4"))->instance == "p3.8xlarge");
  CHECK(known_as(type("v100-spot", true))->name == "V100");
  CHECK(!known_as(type("v100-spot")));
  CHECK(!known_as(type("mine")));

  auto pooled = type("mine");
  pooled.pool = "aws";
  pooled.pool_options = R"({"INSTANCE_TYPE":"p3.16xlarge","region":"us-east-1"})";
  CHECK(known_as(pooled)->name == "V100x8");
  CHECK(price_of(pooled, no_prices).price == 24'480'000'000);
  CHECK(price_of(pooled, {{"p3.16xlarge", {20 * nano, {}}}}).price == 20 * nano);
  CHECK(price_of(pooled, {{"v100x8", {21 * nano, {}}}}).price == 21 * nano);
  CHECK(price_of(pooled, {{"v100x8", {21 * nano, {}}}, {"mine", {22 * nano, {}}}}).price ==
        22 * nano);
  pooled.name = "v100";  // what it launches counts, not what it is called
  pooled.pool_options = R"({"instance_type":"p99.large"})";
  CHECK(!known_as(pooled));
  CHECK(price_of(pooled, {{"p99.large", {nano, {}}}}).price == nano);

  auto gcp = type("a100");
  gcp.pool = "gcp";
  gcp.pool_options = R"({"machine_type":"a2-highgpu-1g"})";
  CHECK(known_as(gcp)->cloud == "gcp");
  CHECK(!price_of(gcp, no_prices).price);  // not another cloud's
  gcp.pool_options.clear();
  CHECK(known_as(gcp)->instance == "a2-highgpu-1g");
  pooled.pool = "/some/program";
  pooled.pool_options = R"({"instance_type":7})";
  CHECK(known_as(pooled)->name == "V100");
}

TEST_CASE("what a type is like comes from its machines, else from the catalogue") {
  MachineTypeInfo info;
  show_catalogue(info, type("v100x4"));
  CHECK((info.catalogue == "V100x4" && info.largest.gpus == 4 && info.gpu == "V100"));
  CHECK((info.gpu_memory == 16_GB && info.throughput == 2.95));

  MachineTypeInfo box;
  box.machines = 1;
  box.largest = {16, 64_GB, 1};
  box.gpu = "NVIDIA GeForce RTX 2080 Ti";
  box.gpu_memory = 11_GB;
  show_catalogue(box, type("box"));
  CHECK((box.catalogue.empty() && box.throughput == 0.8 && box.largest.cpus == 16));
  box.gpu = "Tesla V100-SXM2-16GB";
  box.gpu_memory = 16_GB - 200_MB;
  box.largest.gpus = 8;
  show_catalogue(box, type("box"));
  CHECK(box.throughput == 5.38);
  box.largest.gpus = 3;  // nobody has measured three
  show_catalogue(box, type("box"));
  CHECK(box.throughput == 0);
}

TEST_CASE("the catalogue is shown with the prices of a list") {
  auto shown = priced_catalogue(
      {{"v100", {2 * nano, {}}}, {"gpu_8x_v100", {4 * nano, {}}}, {"elsewhere", {5 * nano, nano}}});
  auto of = [&](const std::string& name, const std::string& cloud) {
    for (auto& entry : shown)
      if (entry.name == name && entry.cloud == cloud) return entry;
    return CatalogueEntry{};
  };
  CHECK((of("V100", "aws").price == Dollars(2) && of("V100", "aws").price_from == "price list"));
  CHECK(of("V100", "aws").spot_price == Dollars(0.918));  // of which the list says nothing
  CHECK(of("V100x8", "lambda").price == Dollars(4));
  CHECK(of("V100x8", "aws").price == Dollars(24.48));
  CHECK(of("elsewhere", "").spot_price == Dollars(1));
  CHECK(shown.size() == catalogue().entries().size() + 1);
}

TEST_CASE("a price list is kept over a restart, each owner's apart") {
  Team team;
  auto put = [&](const std::string& owner, std::vector<model::ListedPrice> list) {
    return team.change([&] { return team.state->put_prices(owner, list); });
  };
  REQUIRE(put("ada", {{"v100", 2 * nano, nano}, {"k80", nano, {}}}));
  REQUIRE(put("bob", {{"v100", 9 * nano, {}}}));
  REQUIRE(put("ada", {{"v100", 3 * nano, nano}}));
  auto look = [&] {
    CHECK(team.state->price_of("ada", "v100").price == 3 * nano);
    CHECK(!team.state->price_of("ada", "k80").price);  // not listed any more
    CHECK(team.state->price_of("bob", "v100").price == 9 * nano);
    CHECK(!team.state->price_of("eve", "v100").price);
    CHECK(!team.state->price_of("ada", "box").price);
  };
  look();
  team.open();
  look();
  REQUIRE(put("ada", {}));
  CHECK(team.state->price_of("ada", "v100").from.empty());
}
