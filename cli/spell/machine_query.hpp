// The options that say what a run needs of a machine type.
#pragma once
#include <optional>
#include <string>

#include "options.hpp"
#include "output.hpp"
#include "spell/machine.hpp"

namespace spell::cli {

struct MachineQueryOptions {
  std::optional<std::string> gpu{}, gpu_memory{}, cpus{}, memory{}, max_price{}, prefer{}, spot{},
      measured{};
  bool no_spot = false;

  void define(Options& options);
  /// Those that `spell run` has besides --gpu, --cpus and --memory.
  void define_choice(Options& options);
  /// Whether one of those was given, or --gpu names GPUs.
  bool chooses() const;
  /// The first of what chooses, as it was given; "": nothing does.
  std::string what_chooses() const;
  /// Nothing: no option was given. Error `usage`.
  Result<std::optional<MachineQuery>> query() const;
};

/// "V100|A100:4": as MachineQuery::gpu has it, or a number alone.
Result<> read_gpus(const std::string& text, MachineQuery& query);
/// "the cheapest of 3 that fit"
std::string why_chosen(const MachineQuery& query, std::size_t fit);
/// All types, with what speaks for and against them.
void show_selection(Output& out, const MachineSelection& selection);
/// The same on stderr, beside a result; not in JSON mode.
void show_selection_beside(Output& out, const MachineSelection& selection);

}  // namespace spell::cli
