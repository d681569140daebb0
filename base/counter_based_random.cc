// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/counter_based_random.h"

#include <array>
#include <cstdint>

namespace influence {
namespace {

constexpr int kRounds = 10;
constexpr uint64_t kMultipliers[2] = {0xD2511F53u, 0xCD9E8D57u};
constexpr uint32_t kKeySteps[2] = {0x9E3779B9u, 0xBB67AE85u};

uint32_t Low(uint64_t value) { return static_cast<uint32_t>(value); }
uint32_t High(uint64_t value) { return static_cast<uint32_t>(value >> 32); }

}  // namespace

std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter,
                                   std::array<uint32_t, 2> key) {
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t first = kMultipliers[0] * counter[0];
    const uint64_t second = kMultipliers[1] * counter[2];
    counter = {High(second) ^ counter[1] ^ key[0], Low(second),
               High(first) ^ counter[3] ^ key[1], Low(first)};
    key[0] += kKeySteps[0];
    key[1] += kKeySteps[1];
  }
  return counter;
}

double UniformAt(uint64_t seed, uint64_t index, uint64_t position) {
  const std::array<uint32_t, 4> words =
      Philox4x32({Low(index), High(index), Low(position), High(position)},
                 {Low(seed), High(seed)});
  const uint64_t bits = (static_cast<uint64_t>(words[1]) << 32) | words[0];
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

}  // namespace influence
