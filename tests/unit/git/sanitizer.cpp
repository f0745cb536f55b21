// libgit2 1.5 does not free its match data when a name looks up to no "git describe" text: once per
// bad ref. Visible, since the sanitizer's library looks for it.
extern "C" __attribute__((visibility("default"))) const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() {
  return "leak:pcre2_match\nleak:_pcre2_memctl_malloc\n";
}
