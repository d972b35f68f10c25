// Tells which sources this library was built from (build.py reads it before loading).
#define ZOO_STRING_(x) #x
#define ZOO_STRING(x) ZOO_STRING_(x)
extern "C" __attribute__((visibility("default"), used)) const char zoo_kernels_marker[] =
    ZOO_STRING(ZOO_MARKER);
