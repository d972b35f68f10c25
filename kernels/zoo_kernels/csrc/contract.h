// Include first, before any other header: this file's a * b + c may become one fused instruction.
#pragma once
#if defined(__clang__)
#pragma clang fp contract(fast)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=fast")
#endif
