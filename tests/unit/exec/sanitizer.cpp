// For the address sanitizer, which asks for these: the supervisor lives as long as its run and
// frees nothing; its tests live longer.
extern "C" __attribute__((visibility("default"))) const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:spell::supervisor::\n"; }
