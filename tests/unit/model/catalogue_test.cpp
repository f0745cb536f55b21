// The catalogue that comes with Spell, catalogues that are wrong, and price lists.
#include "model/catalogue.hpp"

#include <fstream>
#include <sstream>

#include "catch.hpp"
#include "model/csv.hpp"
#include "model/gpu_name.hpp"
#include "model/money.hpp"

using namespace spell;
using namespace spell::model;

namespace {

std::string shipped() {
  std::ifstream file(SPELL_SOURCE_DIR "/src/share/machine-types.csv");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

const std::string header =
    "name,cloud,instance,gpu,gpus,gpu_memory,cpus,memory,disk,specs,throughput,measured,price,"
    "priced,spot_price,spot_priced\n";

/// What is wrong with a catalogue of one source, the header and this line.
std::string wrong(const std::string& line) {
  auto parsed = Catalogue::parse("@a,2026-01-01,somewhere\n" + header + line + "\n");
  if (parsed) return "";
  CHECK(parsed.error().code() == "invalid_request");
  return parsed.error().message();
}

std::string wrong_list(const std::string& csv) {
  auto parsed = parse_price_list(csv);
  if (parsed) return "";
  CHECK(parsed.error().code() == "invalid_request");
  return parsed.error().message();
}

}  // namespace

TEST_CASE("the catalogue that comes with Spell has the types that its users know") {
  auto catalogue = Catalogue::parse(shipped());
  REQUIRE(catalogue);
  for (auto name : {"CPU",    "cpu-big", "cpu-bigger", "cpu-huge", "ram-big",    "ram-huge",
                    "K80",    "K80x2",   "K80x4",      "K80x8",    "P100",       "P100x2",
                    "P100x4", "V100",    "V100x4",     "V100x8",   "V100x8-big", "T4",
                    "T4-big", "T4-huge", "T4x2",       "T4x4",     "A10G",       "L4",
                    "L40S",   "A100",    "A100-80",    "H100",     "H200x8",     "MI300X"})
    CHECK(catalogue->find(name));

  auto* cpu = catalogue->find("cpu");
  CHECK((cpu->cpus == 2 && cpu->memory == 8_GB && cpu->gpus == 0 && !cpu->price));
  auto* v100 = catalogue->find("v100");
  CHECK((v100->price == Dollars(3.06) && v100->spot_price == Dollars(0.918)));
  CHECK((v100->throughput == 1 && v100->gpu_memory == 16_GB && v100->instance == "p3.2xlarge"));
  CHECK(catalogue->find("K80")->price == Dollars(0.90));
  CHECK(catalogue->find("2080Ti")->throughput == 0.8);
  CHECK(catalogue->find_instance("gpu_4x_a100")->throughput == 0);  // only SXM was measured
  CHECK(catalogue->find_instance("P3.8xlarge")->name == "V100x4");
  CHECK(catalogue->find("H100x8")->cloud == "aws");
  CHECK(catalogue->find("H100x8", "lambda")->instance == "gpu_8x_h100_sxm5");
  CHECK(!catalogue->find("H100x8", "azure"));
  CHECK((!catalogue->find("V101") && !catalogue->find_instance("p9.large")));
  for (auto& entry : catalogue->entries()) {
    INFO(entry.name);
    if (entry.price || entry.throughput > 0 || entry.cpus > 0) CHECK(!entry.sources.empty());
    if (entry.price && entry.spot_price) CHECK(*entry.spot_price < *entry.price);
  }
}

TEST_CASE("a figure of the catalogue has a source, and each line its values") {
  CHECK(wrong("X,aws,x1,V100,1,16G,8,61G,,a,1,a,3.06,a,0.9,a") == "");
  CHECK(wrong("X,,,,,,,,,,,,,,,") == "");
  CHECK(wrong("X,aws,x1,V100,1,,,,,,,,,,,") == "line 3: figures without a source: give specs");
  CHECK(wrong("X,,,,,,,,,,2,,,,,") == "line 3: figures without a source: give measured");
  CHECK(wrong("X,,,,,,,,,,,,1,,,") == "line 3: figures without a source: give priced");
  CHECK(wrong("X,,,,,,,,,,,,,,1,") == "line 3: figures without a source: give spot_priced");
  CHECK(wrong("X,,,,,,,,,,,,1,b,,").find("there is no source") != std::string::npos);
  CHECK(wrong("X,,,,,,,,,,,,-1,a,,").find("not a price") != std::string::npos);
  CHECK(wrong("X,,,,,,,,,,,,10001,a,,").find("not a price") != std::string::npos);
  CHECK(wrong("X,,,,-1,,,,,a,,,,,,").find("gpus") != std::string::npos);
  CHECK(wrong("X,,,,,,,8Q,,a,,,,,,").find("memory") != std::string::npos);
  for (auto figure : {"nan", "inf", "-1", "0", "1e9", "2x"})
    CHECK(wrong("X,,,,,,,,,," + std::string(figure) + ",a,,,,").find("throughput") !=
          std::string::npos);
  CHECK(wrong("X,a").find("2 values in place of 16") != std::string::npos);
  CHECK(wrong("a b,,,,,,,,,,,,,,,").find("is not a name") != std::string::npos);
  CHECK(wrong("X,aws,x1,,,,,,,,,,,,,\nY,aws,X1,,,,,,,,,,,,,").find("is there twice") !=
        std::string::npos);
  CHECK(!Catalogue::parse("@a,2026\n"));
  CHECK(!Catalogue::parse("@a,2026,x\n@a,2026,x\n"));
  for (auto day : {"2026", "2026-02", "2026-02-09"})
    CHECK(Catalogue::parse("@a," + std::string(day) + ",x\n"));
  for (auto day :
       {"", "main", "current", "version 3297a6e2", "1", "202", "2026-", "2026-13", "2026-00",
        "2026-02-32", "2026-02-00", "2026-02-9", "2026/02/09", "2026-02-09 ago"})
    CHECK(!Catalogue::parse("@a," + std::string(day) + ",x\n"));
  CHECK(!Catalogue::parse("name,price\nX,1\n"));
  CHECK(Catalogue::parse("")->entries().empty());
}

TEST_CASE("a price list has names and prices in any order, and says what is wrong in which line") {
  auto list = parse_price_list(
      "# ours\r\n\r\nprice,name,spot_price\r\n\"3.06/h\", V100 ,0.918\r\n$0.5,p2.xlarge,\r\n");
  REQUIRE(list);
  REQUIRE(list->size() == 2);
  CHECK((*list)[0].name == "v100");
  CHECK((*list)[0].price == 3'060'000'000);
  CHECK((*list)[0].spot_price == 918'000'000);
  CHECK(((*list)[1].name == "p2.xlarge" && (*list)[1].price == 500'000'000 &&
         !(*list)[1].spot_price));
  CHECK(parse_price_list("")->empty());
  CHECK(parse_price_list("name,price\n")->empty());
  CHECK(parse_price_list("name,price\nown-box,0\n")->front().price == 0);

  CHECK(wrong_list("name,cost\n") ==
        "line 1: there is no column 'cost'; a price list has name, price, spot_price");
  CHECK(wrong_list("price\n1\n") == "line 1: the column name is missing");
  CHECK(wrong_list("name,price,price\n") == "line 1: the column price is there twice");
  CHECK(wrong_list("name,price\n\nv100,-3\n").starts_with("line 3: '-3' is not a price"));
  for (auto price :
       {"-0.5", "1e3", "10000.01", "three", "3,06", "0x10", ".5", "1.", "99999999999999"})
    CHECK(wrong_list("name,price\nv100," + std::string(price) + "\n").starts_with("line 2: "));
  CHECK(wrong_list("name,price\nv100,1\nV100,2\n") == "line 3: 'v100' is in line 2 already");
  CHECK(wrong_list("name,price\nv100\n") == "line 2: 1 values in place of 2");
  CHECK(wrong_list("name,price\nv100,\n") == "line 2: 'v100' has no price");
  CHECK(wrong_list("name,price\nv 100,1\n") == "line 2: 'v 100' is not a name");
  CHECK(wrong_list("name,price\n\"v100,1\n").starts_with("line 2: a value's quotes"));
  CHECK(wrong_list("name,price\nv\xff,1\n") == "line 2: it is not text in UTF-8");
}

TEST_CASE("values of CSV are as they were quoted") {
  auto lines = parse_csv(
      "\xef\xbb\xbf"
      "a, \"b,c\" ,\"d\"\"e\",\n  # no\n,\n");
  REQUIRE(lines);
  REQUIRE(lines->size() == 2);
  CHECK((*lines)[0].values == std::vector<std::string>{"a", "b,c", "d\"e", ""});
  CHECK((*lines)[1].number == 3);
  CHECK((*lines)[1].values == std::vector<std::string>{"", ""});
  CHECK(!parse_csv("a,\"b\"c"));
  CHECK(!parse_csv("a,b\"c"));
}

TEST_CASE("a GPU is known by whole words of its driver's name") {
  CHECK(is_gpu("Tesla V100-SXM2-16GB", "V100"));
  CHECK(is_gpu("NVIDIA GeForce RTX 2080 Ti", "2080ti"));
  CHECK(is_gpu("NVIDIA GeForce RTX 2080 Ti", "rtx 2080 TI"));
  CHECK(is_gpu("AMD Instinct MI300X", "mi300x"));
  CHECK(is_gpu("NVIDIA A100-SXM4-80GB", "A100"));
  CHECK(!is_gpu("NVIDIA A100-SXM4-80GB", "A10"));
  CHECK(!is_gpu("NVIDIA L40S", "L40"));
  CHECK(!is_gpu("NVIDIA L40S", "L4"));
  CHECK(!is_gpu("NVIDIA GH200 480GB", "H200"));
  CHECK(!is_gpu("", "V100"));
  CHECK(!is_gpu("Tesla V100", ""));
  CHECK(!is_gpu("Tesla V100", "--"));
}

TEST_CASE("amounts of dollars are exact") {
  CHECK(dollars_text(Dollars::nanos(1)) == "0.000000001");
  CHECK(dollars_text(Dollars(3)) == "3");
  CHECK(dollars_text(Dollars::nanos(-1'500'000'000)) == "-1.5");
  for (auto text : {"0", "3.06", "0.000000001", "9000000000"})
    CHECK(dollars_text(parse_dollars(text).value()) == text);
  for (auto text : {"", "-0.5", "-1", ".5", "1.", "1.0000000001", "9000000001", "1e3", "+1", " 1"})
    CHECK(!parse_dollars(text));
}
