// What to run, as read from stdin. Pointers lead into the text that was read, which lives as long
// as the program.
#pragma once
#include "supervisor/protocol.hpp"

namespace spell::supervisor {

enum Level { namespaces = 0, user_namespaces = 1, best_effort = 2 };
inline const char* name_of(int level) {
  return level == namespaces        ? "namespaces"
         : level == user_namespaces ? "user_namespaces"
                                    : "best_effort";
}

struct Bind {
  const char* from;
  const char* to;
  bool read_only = false;
};

/// Data that the run may use and not change: what it writes goes to `upper`, or is refused where
/// that is "".
struct Mount {
  const char* from;
  const char* upper;
  const char* work;
  const char* to;
};

/// Packages over the host's own system: a layer of them, whose folders lie over those of the same
/// names at "/", to be read only; or, for a build of one, what is changed there goes to `upper`. ""
/// and "": the host's system as it is.
struct System {
  const char* layer = "";
  const char* upper = "";
  const char* work = "";
  bool there() const { return *layer || *upper; }
};

template <class T>
struct List {
  T* items = nullptr;
  size_t size = 0;
  T* begin() const { return items; }
  T* end() const { return items + size; }
};

/// An image's folders in place of the host's system: `lower`, the first on top, with what is
/// changed in `upper`. `build`: packages are installed there, as with System::upper.
struct Root {
  List<const char*> lower{};
  const char* upper = "";
  const char* work = "";
  bool build = false;
  bool there() const { return lower.size > 0; }
};

struct Spec {
  const char* run = "";
  const char* command = "";
  const char* working_folder = "";
  const char* service_lock = "";
  char** env = nullptr;  ///< ends with a null pointer; room for four more before it
  size_t env_size = 0;
  List<const char*> hidden{};
  List<Bind> binds{};
  List<Mount> mounts{};        ///< one that lies in another comes after it
  List<const char*> masks{};   ///< values that its log must not show
  List<Bind> links{};          ///< from: what it points to; to: where it is
  List<const char*> groups{};  ///< folders of control groups that the run is in, see groups.hpp
  System system{};
  Root root{};
  char** revive = nullptr;  ///< ends with a null pointer; null: none
  long long log_limit = 0, log_wait_s = 0, stop_grace_s = 0, timeout_s = 0;
  long long lease_until_us = 0;    ///< of the boot clock; 0: it has no lease
  long long allowed_until_us = 0;  ///< likewise: then it is stopped; 0: it may go on
  long long user = 0;              ///< uid and gid of the command; 0: this process's own
  int level = best_effort;
  bool split_output = false;
};

/// All of a file from where it stands, on the heap for good.
bool read_all(int descriptor, char*& bytes, size_t& size);
/// Reads all of `descriptor`. False if it is not a whole spec of a version that is known.
bool read_spec(int descriptor, Spec& out);

}  // namespace spell::supervisor
