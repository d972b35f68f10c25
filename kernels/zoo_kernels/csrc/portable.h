// Included before everything else, so that a wheel which is built on a newer system loads wherever
// torch's own wheels do (glibc 2.28): nothing is taken of glibc or libstdc++ that came later.
#pragma once
#include <cstddef>

#ifdef _GLIBCXX_EXTERN_TEMPLATE  // streams and strings from the headers, whatever their members
#undef _GLIBCXX_EXTERN_TEMPLATE
#define _GLIBCXX_EXTERN_TEMPLATE 0
#endif

#if defined(__GLIBC__) && defined(__x86_64__)
__asm__(".symver log,log@GLIBC_2.2.5");  // 2.29 renewed its handling of errors, not its values
#elif defined(__GLIBC__) && defined(__aarch64__)
__asm__(".symver log,log@GLIBC_2.17");
#endif
