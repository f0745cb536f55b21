// Layers of environments.
#include "base/error.hpp"
#include "base/text.hpp"
#include "store/impl.hpp"

namespace spell::store {

namespace {

/// No package has a newline in it.
std::vector<std::string> split_packages(const std::string& text) {
  return text.empty() ? std::vector<std::string>{} : base::split(text, '\n');
}

LayerRecord layer_of(Statement& row) {
  LayerRecord out;
  out.owner = row.text(0);
  out.name = row.text(1);
  out.method = row.text(2);
  out.base = row.text(3);
  out.made_of = row.text(4);
  out.node = row.text(5);
  out.size = row.integer(6);
  out.files = row.integer(7);
  out.packages = split_packages(row.text(8));
  out.builder = row.text(9);
  out.builder_epoch = row.integer(10);
  out.made_by = row.text(11);
  out.created_us = row.integer(12);
  out.used_us = row.integer(13);
  return out;
}

}  // namespace

Result<std::vector<LayerRecord>> Reader::layers(const std::string& owner) {
  std::vector<LayerRecord> out;
  SPELL_TRY(impl_->each(
      "SELECT owner, name, method, base, made_of, node, size, files, packages, builder, "
      "builder_epoch, made_by, created_us, used_us FROM layer WHERE ?1 = '' OR owner = ?1 "
      "ORDER BY owner, name",
      [&](Statement& row) { out.push_back(layer_of(row)); }, owner));
  return out;
}

Result<std::optional<LayerRecord>> Reader::find_layer(const std::string& owner,
                                                      const std::string& name) {
  std::optional<LayerRecord> found;
  SPELL_TRY(impl_->each(
      "SELECT owner, name, method, base, made_of, node, size, files, packages, builder, "
      "builder_epoch, made_by, created_us, used_us FROM layer WHERE owner = ? AND name = ?",
      [&](Statement& row) { found = layer_of(row); }, owner, name));
  return found;
}

Result<std::vector<RunLayer>> Reader::layers_of_run(const std::string& run) {
  std::vector<RunLayer> out;
  SPELL_TRY(impl_->each(
      "SELECT method, layer, packages FROM run_layer WHERE run = ? ORDER BY method",
      [&](Statement& row) {
        out.push_back({row.text(0), row.text(1), split_packages(row.text(2))});
      },
      run));
  return out;
}

Result<std::vector<Reader::LayerUse>> Reader::layers_in_use() {
  std::vector<LayerUse> out;
  SPELL_TRY(impl_->each(
      "SELECT run.owner, run_layer.layer, run.number FROM run JOIN run_layer ON run_layer.run = "
      "run.id WHERE run.final = 0 ORDER BY run.number",
      [&](Statement& row) {
        out.push_back({row.text(0), row.text(1), row.integer(2)});
      }));
  return out;
}

Result<> Writer::put_layer(const LayerRecord& layer) {
  return impl_->run("REPLACE INTO layer VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    layer.owner, layer.name, layer.method, layer.base, layer.made_of, layer.node,
                    layer.size, layer.files, base::join(layer.packages, "\n"), layer.builder,
                    layer.builder_epoch, layer.made_by, layer.created_us, layer.used_us);
}

Result<> Writer::delete_layer(const std::string& owner, const std::string& name) {
  return impl_->run("DELETE FROM layer WHERE owner = ? AND name = ?", owner, name);
}

Result<> Writer::put_run_layer(const std::string& run, const RunLayer& layer) {
  return impl_->run("REPLACE INTO run_layer VALUES (?, ?, ?, ?)", run, layer.method, layer.layer,
                    base::join(layer.packages, "\n"));
}

}  // namespace spell::store
