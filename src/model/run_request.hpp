// The reader of a submission for those that meet it inside of other messages.
#pragma once
#include "model/fields.hpp"
#include "model/run.hpp"

namespace spell::model {

Problem read_run_request(const json&, RunRequest& out, Unknown);
/// Of a target of CMake's; "": none.
Problem read_target(const json&, std::string& out);
Problem read_code(const json&, CodeRef& out, Unknown);
json to_json(const CodeRef&);

}  // namespace spell::model
