#include "service/layers.hpp"

#include "catch.hpp"

using namespace spell::service;
using spell::store::LayerRecord;

namespace {

LayerRecord whole(const std::string& name = "a") {
  LayerRecord layer;
  layer.owner = "o";
  layer.name = name;
  layer.node = "tree";
  layer.made_by = "maker";
  layer.packages = {"x==1"};
  layer.size = 10;
  return layer;
}

LayerRecord building(const std::string& builder, std::int64_t epoch = 1) {
  LayerRecord layer;
  layer.owner = "o";
  layer.name = "a";
  layer.builder = builder;
  layer.builder_epoch = epoch;
  return layer;
}

}  // namespace

TEST_CASE("the first who asks for a layer builds it, and the others wait") {
  LayerWish wish{"run", 1};
  CHECK(decide_layer(std::nullopt, wish, false) == LayerState::build);
  CHECK(decide_layer(building("other"), wish, true) == LayerState::wait);
  CHECK(decide_layer(whole(), wish, false) == LayerState::ready);
}

TEST_CASE("a builder that is gone is followed by the next, and one that asks again goes on") {
  LayerWish wish{"run", 2};
  CHECK(decide_layer(building("other"), wish, false) == LayerState::build);
  CHECK(decide_layer(building("run", 2), wish, true) == LayerState::build);
  // What it was given before its machine was lost is not its own any more, nor anybody's.
  CHECK(decide_layer(building("run", 1), wish, false) == LayerState::build);
}

TEST_CASE("a layer that cannot be read is built anew, one that was since is taken") {
  LayerWish wish{"run", 1};
  wish.lost = "tree";
  CHECK(decide_layer(whole(), wish, false) == LayerState::build);
  wish.lost = "earlier";
  CHECK(decide_layer(whole(), wish, false) == LayerState::ready);
}

TEST_CASE("packages of apt may be more than what was pinned, those of pip are what was") {
  LayerWish wish{"run", 1};
  wish.pinned = {"a=1", "b=2"};
  auto layer = whole();
  layer.packages = {"a=1", "b=2", "c=3"};
  layer.method = "apt";
  CHECK(decide_layer(layer, wish, false) == LayerState::ready);
  layer.method = "pip";
  CHECK(decide_layer(layer, wish, false) == LayerState::build);
  layer.method = "apt";
  layer.packages = {"a=1", "b=3"};
  CHECK(decide_layer(layer, wish, false) == LayerState::build);
}

TEST_CASE("a refresh wants one of its own making, and only once") {
  LayerWish wish{"run", 1, true};
  CHECK(decide_layer(whole(), wish, false) == LayerState::build);
  auto again = whole();
  again.made_by = "run";
  CHECK(decide_layer(again, wish, false) == LayerState::ready);
  // What was built after it was asked for is as new as its own would be.
  again.made_by = "another";
  again.created_us = 100;
  wish.asked_us = 100;
  CHECK(decide_layer(again, wish, false) == LayerState::ready);
  wish.asked_us = 101;
  CHECK(decide_layer(again, wish, false) == LayerState::build);
  // Meanwhile it is there for those who want none.
  auto anew = whole();
  anew.builder = "run";
  anew.builder_epoch = 1;
  CHECK(decide_layer(anew, {"other", 1}, true) == LayerState::ready);
  CHECK(decide_layer(anew, {"other", 1, true}, true) == LayerState::wait);
}

TEST_CASE("pinned packages are those, or it is not the layer") {
  LayerWish wish{"run", 1};
  wish.pinned = {"x==1"};
  CHECK(decide_layer(whole(), wish, false) == LayerState::ready);
  wish.pinned = {"x==2"};
  CHECK(decide_layer(whole(), wish, false) == LayerState::build);
}

TEST_CASE("the least recently used go first, never what is in use or being built") {
  std::vector<LayerRecord> layers;
  for (int i = 0; i < 5; ++i) {
    layers.push_back(whole(std::string(1, static_cast<char>('a' + i))));
    layers.back().used_us = 100 - i;
  }
  using Names = std::vector<std::pair<std::string, std::string>>;
  CHECK(choose_layers_to_remove(layers, {}, 50).empty());
  CHECK(choose_layers_to_remove(layers, {}, 30) == Names{{"o", "e"}, {"o", "d"}});
  CHECK(choose_layers_to_remove(layers, {{"o", "e"}}, 30) == Names{{"o", "d"}, {"o", "c"}});
  CHECK(choose_layers_to_remove(layers, {{"p", "e"}}, 40) == Names{{"o", "e"}});
  layers[3].builder = "run";
  CHECK(choose_layers_to_remove(layers, {}, 30) == Names{{"o", "e"}, {"o", "c"}});
  CHECK(choose_layers_to_remove(layers, {}, 0).size() == 4);
}
