#include "model/metric.hpp"

#include <cmath>
#include <limits>

#include "catch.hpp"

using namespace spell;
using namespace spell::model;

namespace {

SentMetric one(std::string_view body) {
  auto points = parse_sent_metrics(body);
  REQUIRE(points);
  REQUIRE(points->size() == 1);
  return points->front();
}

std::string refused_metric(std::string_view body) {
  auto points = parse_sent_metrics(body);
  REQUIRE_FALSE(points);
  CHECK(points.error().code() == "invalid_metric");
  return points.error().message();
}

}  // namespace

TEST_CASE("what a program sends") {
  auto loss = one(R"({"name": "train/loss", "type": "number", "number": 0.25})");
  CHECK(loss.name == "train/loss");
  CHECK(std::get<double>(loss.value) == 0.25);
  CHECK_FALSE(loss.index);
  auto note = one(R"({"name": "note", "type": "text", "text": "a \"b\"\nc", "index": -3})");
  CHECK(std::get<std::string>(note.value) == "a \"b\"\nc");
  CHECK(note.index == -3);
  CHECK(std::isnan(
      std::get<double>(one(R"({"name": "x", "type": "number", "number": "NaN"})").value)));
  auto two = parse_sent_metrics(
      R"([{"name": "a", "type": "number", "number": 1}, {"name": "b", "type": "text", "text": ""}])");
  REQUIRE(two);
  CHECK(two->size() == 2);
  CHECK(parse_sent_metrics("[]")->empty());
}

TEST_CASE("what is wrong is named") {
  CHECK(refused_metric("{").find("JSON") != std::string::npos);
  CHECK(refused_metric("3").find("object") != std::string::npos);
  CHECK(refused_metric(R"({"type": "number", "number": 1})").find("name") == 0);
  CHECK(refused_metric(R"({"name": "", "type": "number", "number": 1})").find("name") == 0);
  CHECK(refused_metric(R"({"name": "a\nb", "type": "number", "number": 1})").find("name") == 0);
  CHECK(refused_metric(R"({"name": "x", "number": 1})").find("type") == 0);
  CHECK(refused_metric(R"({"name": "x", "type": "number"})").find("number") == 0);
  CHECK(refused_metric(R"({"name": "x", "type": "number", "number": "1"})").find("number") == 0);
  CHECK(
      refused_metric(R"({"name": "x", "type": "number", "number": 1, "text": "a"})").find("text") ==
      0);
  CHECK(refused_metric(R"({"name": "x", "type": "number", "number": 1, "index": 1.5})")
            .find("index") == 0);
  CHECK(refused_metric(R"({"name": "x", "type": "number", "number": 1, "colour": 1})")
            .find("colour") != std::string::npos);
  CHECK(refused_metric(R"([{"name": "x", "type": "number", "number": 1}, {}])").find("[1]") == 0);
  refused_metric(R"({"name": ")" + std::string(metric_name_limit + 1, 'x') +
                 R"(", "type": "number", "number": 1})");
}

TEST_CASE("a line holds the whole point") {
  for (double number : {0.0, -0.1, 1e300, 5e-324, 1.0 / 3, std::numeric_limits<double>::infinity(),
                        -std::numeric_limits<double>::infinity()}) {
    Metric metric;
    metric.name = "a \"quoted\" \xc3\xa4";
    metric.index = -9;
    metric.value = number;
    auto line = metric_line(metric);
    CHECK(line.find('\n') == line.size() - 1);
    auto back = parse_metric_line(line);
    REQUIRE(back);
    CHECK(back->name == metric.name);
    CHECK(back->index == -9);
    CHECK(back->number() == number);
  }
  Metric text;
  text.name = "t";
  text.value = std::string("NaN\n[1]");
  CHECK(std::get<std::string>(parse_metric_line(metric_line(text))->value) == "NaN\n[1]");
  Metric none;
  none.name = "n";
  none.value = std::nan("");
  CHECK(std::isnan(parse_metric_line(metric_line(none))->number()));
  for (auto bad : {"", "[]", "[1,2,3]", R"(["a",1])", R"(["a",1,{"x":1}])", R"(["a",1.5,2])", "{"})
    CHECK_FALSE(parse_metric_line(bad));
}
