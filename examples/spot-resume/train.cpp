// A training that can be ended at any moment: each epoch is a checkpoint, and it goes on after the
// last one there is. The same number of epochs gives the same weights to the last bit, however
// often it was begun anew.
//
//     train EPOCHS [FOLDER]     FOLDER: checkpoints of an earlier run, to go on from
#include <array>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <spell/spell.hpp>

namespace {

using Weights = std::array<double, 3>;

/// One pass over 200 points of z = 2x - 3y + 0.5, always the same ones.
void epoch(Weights& w) {
  std::uint32_t seed = 1;
  auto number = [&seed] { return ((seed = seed * 1664525 + 1013904223) >> 8) / 16777216.0; };
  for (int i = 0; i < 200; ++i) {
    double x = number(), y = number();
    double error = w[0] * x + w[1] * y + w[2] - (2 * x - 3 * y + 0.5);
    w[0] -= 0.01 * error * x;
    w[1] -= 0.01 * error * y;
    w[2] -= 0.01 * error;
  }
}

void write(std::ostream& out, const Weights& w) {
  out << std::hexfloat << w[0] << ' ' << w[1] << ' ' << w[2] << '\n';
}

Weights read(const std::string& path) {
  std::ifstream in(path);
  Weights w{};
  std::string text;
  for (auto& weight : w) in >> text, weight = std::strtod(text.c_str(), nullptr);
  return w;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 2) return std::cerr << "train EPOCHS [FOLDER]\n", 2;
  const std::int64_t epochs = std::atoll(argv[1]);
  auto checkpoints = spell::CheckpointFolder::from_environment(3, ".txt");

  auto last = checkpoints.latest().value();
  if (!last && argc > 2) last = spell::CheckpointFolder(argv[2]).latest().value();
  Weights w{};
  if (last) {
    w = read(last->path);
    std::cout << "going on after epoch " << last->step << std::endl;
  }
  for (std::int64_t i = last ? last->step + 1 : 1; i <= epochs; ++i) {
    epoch(w);
    checkpoints.commit(i, [&](std::ostream& out) { write(out, w); }).value();
    std::cout << "epoch " << i << std::endl;
  }
  std::cout << "weights ";
  write(std::cout, w);
} catch (const spell::Error& e) {
  std::cerr << "train: " << e << '\n';
  return 1;
}
