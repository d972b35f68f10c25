// libstdc++ of newer systems asks glibc 2.32 whether there is but one thread, to count references
// without atomics. "No" is always right, and keeps the library to older versions (portable.h).
extern "C" __attribute__((visibility("hidden"))) char __libc_single_threaded = 0;
