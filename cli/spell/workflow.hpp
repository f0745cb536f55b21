// What the files of `spell workflow` share.
#pragma once
#include "command.hpp"
#include "spell/workflow.hpp"

namespace spell::cli {

/// `spell workflow create`, and the older form without that word.
Result<int> create_workflow(Context&);

/// "LABEL=PATH[:COMMIT]" or, with `remote`, "LABEL=URL[:REF]". Errors `usage`, `duplicate_label`.
Result<> add_repository(const std::string& text, bool remote, std::map<std::string, Code>& into);

}  // namespace spell::cli
