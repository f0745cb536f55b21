// Where this program is, and what was installed with it.
#pragma once
#include <string>

namespace spell::daemon {

std::string own_path();
/// Of the packages that /install/ hands out: `option`, or ../share/spell/packages beside it.
std::string packages_folder(const std::string& option);
/// Of the SDK that was installed, or built, with this program.
std::string sdk_folder();

/// Where systemd has started this program, and waits for it (Type=notify): it serves. See
/// sd_notify(3).
void tell_systemd_ready();

}  // namespace spell::daemon
