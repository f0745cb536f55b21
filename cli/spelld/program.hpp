// Where this program is, and what was installed with it.
#pragma once
#include <string>

namespace spell::daemon {

std::string own_path();
/// Of the packages that /install/ hands out: `option`, or ../share/spell/packages beside it.
std::string packages_folder(const std::string& option);
/// Of the SDK that was installed, or built, with this program.
std::string sdk_folder();
/// Of the programs of machine pools that come along: in SPELL_LIBEXEC, else beside this program or
/// where it was installed.
std::string pools_folder();
/// A spell-worker of this computer, for pools of workers here; "": there is none beside this
/// program, nor in PATH.
std::string worker_program();

/// Where systemd has started this program, and waits for it (Type=notify): it serves. See
/// sd_notify(3).
void tell_systemd_ready();

}  // namespace spell::daemon
