// The whole SDK but the opt-in bridges (json.hpp).
#pragma once
#include "spell/client.hpp"
#include "spell/code.hpp"
#include "spell/error.hpp"
#include "spell/options.hpp"
#include "spell/project.hpp"
#include "spell/resource.hpp"
#include "spell/result.hpp"
#include "spell/run.hpp"
#include "spell/stream.hpp"
#include "spell/version.hpp"
