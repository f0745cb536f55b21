#include "command.hpp"

int main(int argc, char** argv) {
  return spell::cli::spell_main(spell::cli::Words(argv + 1, argv + argc), {});
}
