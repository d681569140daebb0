// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Small random models out of a grammar of operators: layers, attention and
// recurrences, and whatever moves rows: selecting, sorting, routing, looking
// up, deduplicating, leaving early, mixing. Most keep their samples apart, some
// in ways that only data decides, and some do not.
#ifndef INFLUENCE_TESTS_RANDOM_PROGRAMS_H_
#define INFLUENCE_TESTS_RANDOM_PROGRAMS_H_

#include <cstdint>

#include "gradients/batch.h"
#include "tests/support/script_source.h"

namespace influence {

struct RandomProgram {
  ScriptSource source;  // forward(x [N, T, D] float64, k [N, T] int64)
  Batch data;           // N = 7, y [N] classes.
  // The program reads other samples on purpose, always or where data say so.
  bool mixes = false;
};

// The same for the same seed.
RandomProgram MakeRandomProgram(uint64_t seed);

}  // namespace influence

#endif  // INFLUENCE_TESTS_RANDOM_PROGRAMS_H_
