// Philox 4x32-10 (Salmon et al., 2011) for W blocks at a time, included by bodies.

// The words of 2 W blocks of a row from `first` on: two vectors side by side, since each round waits
// for the products of the last.
ZOO_INLINE void philox_blocks(philox_rng::Words& words, const philox_rng::Key& key, uint32_t block,
                              uint32_t row, int first) {
  constexpr int N = 2;
  U c[N][4];
  for (int i = 0; i < N; ++i) {
    for (int lane = 0; lane < W; ++lane) c[i][0][lane] = block + first + i * W + lane;
    c[i][1] = U{} + key.step;
    c[i][2] = U{} + key.stream;
    c[i][3] = U{} + row;
  }
  uint32_t k0 = key.lo, k1 = key.hi;
  for (int round = 0; round < 10; ++round) {
    for (U (&w)[4] : c) {
      const Product p0 = multiply(w[0], 0xD2511F53u), p1 = multiply(w[2], 0xCD9E8D57u);
      w[0] = p1.high ^ w[1] ^ k0;
      w[1] = p1.low;
      w[2] = p0.high ^ w[3] ^ k1;
      w[3] = p0.low;
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (int i = 0; i < N; ++i)
    for (int j = 0; j < 4; ++j) std::memcpy(words[j] + first + i * W, &c[i][j], sizeof(U));
}

ZOO_INLINE void philox(philox_rng::Words& words, const philox_rng::Key& key, uint64_t block,
                       uint32_t row) {
  for (int first = 0; first < philox_rng::LANES; first += 2 * W)
    philox_blocks(words, key, static_cast<uint32_t>(block), row, first);
}

// The normals of 4 LANES elements from a multiple of 4 LANES on, in their order.
ZOO_INLINE void normals(float (&flat)[4 * philox_rng::LANES], const philox_rng::Key& key,
                        uint64_t element, uint32_t row) {
  philox_rng::Words w;
  float z[4][philox_rng::LANES];
  philox(w, key, element / 4, row);
  philox_rng::box_muller(w, z);
  philox_rng::interleave(z, flat);
}
