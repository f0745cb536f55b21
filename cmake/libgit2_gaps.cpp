// What Debian's libgit2.a asks for and no archive has.
//
// Kerberos: its libraries exist as shared ones only. libgit2 would use them to answer a Git host
// that asks for "Negotiate" with the credential of the login; Spell never offers libgit2 that kind
// of credential, so none of these is ever called. They fail as GSS-API's own would where there is
// no mechanism (RFC 2744: GSS_S_UNAVAILABLE).
//
// stdout: the archive is built for programs, and its printer of diffs cannot refer to libc's
// variable from a shared library. libspell, which prints nothing, gives it one of its own
// (--wrap=stdout).
#define SPELL_NO_KERBEROS(function) \
  [[gnu::visibility("hidden")]] unsigned function() { return 16u << 16; }

extern "C" {
SPELL_NO_KERBEROS(gss_delete_sec_context)
SPELL_NO_KERBEROS(gss_display_status)
SPELL_NO_KERBEROS(gss_import_name)
SPELL_NO_KERBEROS(gss_indicate_mechs)
SPELL_NO_KERBEROS(gss_init_sec_context)
SPELL_NO_KERBEROS(gss_release_buffer)
SPELL_NO_KERBEROS(gss_release_name)
SPELL_NO_KERBEROS(gss_release_oid_set)
[[gnu::visibility("hidden")]] void* GSS_C_NT_HOSTBASED_SERVICE = nullptr;
[[gnu::visibility("hidden")]] void* __wrap_stdout = nullptr;
}
