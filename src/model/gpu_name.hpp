// Names of GPUs as people and as drivers say them.
#pragma once
#include <string_view>

namespace spell::model {

/// Whether `name`, which a driver says, is that of a GPU that people call `wanted`: its letters and
/// digits are those of whole words of the name, in any case. "Tesla V100-SXM2-16GB" is a "V100",
/// "GeForce RTX 2080 Ti" a "2080ti"; "NVIDIA A100" is no "A10".
bool is_gpu(std::string_view name, std::string_view wanted);

}  // namespace spell::model
