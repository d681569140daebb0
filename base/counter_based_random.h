// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Random numbers that are a function of a key and a counter: the number for
// sample 17, token 3 does not depend on what was drawn before, so that batches,
// threads and machines do not change it.
//
// Philox4x32-10: Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers:
// as easy as 1, 2, 3", section 4.3.
#ifndef INFLUENCE_BASE_COUNTER_BASED_RANDOM_H_
#define INFLUENCE_BASE_COUNTER_BASED_RANDOM_H_

#include <array>
#include <cstdint>

namespace influence {

// Ten rounds of Philox on 4 words of 32 bits; words lowest first.
std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter,
                                   std::array<uint32_t, 2> key);

// Uniform in [0, 1), a multiple of 2^-53: of `seed` as the key, `index` and
// `position` as the counter.
double UniformAt(uint64_t seed, uint64_t index, uint64_t position);

}  // namespace influence

#endif  // INFLUENCE_BASE_COUNTER_BASED_RANDOM_H_
