// The reader of a submission for those that meet it inside of other messages.
#pragma once
#include "model/fields.hpp"
#include "model/run.hpp"

namespace spell::model {

Problem read_run_request(const json&, RunRequest& out, Unknown);

}  // namespace spell::model
