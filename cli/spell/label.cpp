#include "each_run.hpp"
#include "text.hpp"

namespace spell::cli {

Result<int> label_command(Context& context) {
  Options options("label", "[OPTIONS] ID [LABEL]...",
                  "Puts labels on a run, or takes them away. Without any, shows them.");
  Words words, add, remove;
  options.words(words, "the number of a run", 1)
      .list("--add", add, "LABEL", "put this one on, may be repeated")
      .list("--remove", remove, "LABEL", "take this one away, may be repeated")
      .notes("Examples:\n  spell label 7 best\n  spell label 7 --remove best\n");
  if (auto done = context.parse(options)) return *done;
  add.insert(add.begin(), words.begin() + 1, words.end());
  return each_run(context, {words[0]}, [&](const Run& run) -> Result<int> {
    auto info = add.empty() && remove.empty() ? run.info() : run.label(add, remove);
    if (!info) return info.error();
    show_run(context.out, *info,
             "Run " + std::to_string(run.id()) +
                 (info->labels.empty() ? " has no labels" : ": " + join(info->labels, ", ")));
    return 0;
  });
}

}  // namespace spell::cli
