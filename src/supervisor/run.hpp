// The life of one run, as one loop over its descriptors: output to the spool, clients' requests,
// deadlines, and its end.
//
//   starting --started--> running --ended, or init gone--> draining --pipe empty, end frame
//   written--> over
//       \------- no fence: the next weaker one is tried; error: draining
//
// Init and supervisor are lost together: an init that dies without a word, unasked, takes what it
// knew of the command's end along. Then no end frame is written, as if the supervisor had died: who
// reads the folder finds a lost supervisor, or another boot.
#pragma once
#include <limits.h>
#include <signal.h>
#include <sys/types.h>

#include "supervisor/groups.hpp"
#include "supervisor/init.hpp"
#include "supervisor/mask.hpp"
#include "supervisor/passing.hpp"
#include "supervisor/protocol.hpp"
#include "supervisor/spec.hpp"
#include "supervisor/spool.hpp"

namespace spell::supervisor {

class Run {
 public:
  /// `folder` is the working folder's path; `lock` is open in it.
  Run(const Spec& spec, const MaskValues& secrets, const char* folder, int lock, Spool& spool)
      : spec_(spec), secrets_(secrets), folder_(folder), lock_(lock), spool_(spool) {}
  /// Returns when all is in the spool and nothing of the run is left.
  void live(int first_client);

 private:
  static constexpr size_t client_limit = 24;
  struct Source {
    int file = -1;
    uint8_t flags = 0;
    Mask mask{};
  };
  struct Client {
    int file = -1;
    bool behind = false;  ///< has not been told the newest state
  };
  enum class Phase { starting, running, draining, over };

  bool start(int level);
  /// The last fence that may be tried.
  int weakest() const { return spec_.user != 0 ? namespaces : best_effort; }
  void write_lock_file();
  void listen_here();
  void take_report();
  void init_is_gone();
  void begin_draining();
  bool pump(Source&, long long now);
  void spool_output(Source&, size_t size, bool last);
  void close_source(Source&);
  void finish();
  void request_stop(std::string_view reason);
  void request_kill(std::string_view reason);
  void renew_lease(long long until_us);
  void allow(long long until_us);
  bool lease_is_over() const;
  void keep_deadlines(long long now);
  void look_at_memory(long long now);
  void note_memory();
  long long log_limit() const;
  void note_full(bool full, long long now);
  void add_client(int file, bool tell_at_once);
  void drop_client(Client&);
  void take_request(Client&);
  void pass_signal(long long number) const;
  void let_in(std::string_view packet, int (&files)[passed_limit]);
  void tell_clients();
  void wait_for_events();
  bool service_is_away() const;
  void revive_service();

  const Spec& spec_;
  const MaskValues& secrets_;
  const char* folder_;
  Groups groups_;
  int lock_, listener_ = -1;
  Spool& spool_;

  Phase phase_ = Phase::starting;
  int level_ = best_effort;
  char boot_[64] = "";
  char containment_[400] = "";
  int init_ = -1, reports_ = -1, requests_ = -1, timer_ = -1, lease_timer_ = -1,
      allowance_timer_ = -1;
  Source sources_[2];
  Client clients_[client_limit];
  size_t client_count_ = 0;

  long long started_us_ = 0, stopped_us_ = 0, ended_us_ = 0;
  long long lease_until_us_ = 0;  ///< 0: it has none
  bool has_status_ = false, no_fence_ = false, end_unknown_ = false;
  int status_ = 0;
  char error_code_[32] = "", error_[320] = "";
  char ended_by_[64] = "";
  bool stopping_ = false, killed_ = false;

  // Milliseconds of the monotonic clock; 0: none. A sleeping computer uses up neither grace nor
  // patience.
  long long kill_at_ = 0, look_at_ = 0, look_pause_ = 0, retry_at_ = 0, full_since_ = 0,
            alone_since_ = 0, revived_at_ = 0;
  long long drain_limit_ = 0;
  long long pumped_us_ = 0;  ///< last read of output
  long long hold_until_us_ =
      0;  ///< output is left in the pipe until then, so that many small writes become one frame
  long long tell_at_us_ = 0;    ///< that the command runs is told then, or with what comes before
  long long listen_at_us_ = 0;  ///< 0: it listens
  FieldWriter<packet_limit> end_;
  bool end_appended_ = false;
};

/// Whether the process was told to end (SIGTERM); set by its handler.
extern volatile sig_atomic_t told_to_end;

}  // namespace spell::supervisor
