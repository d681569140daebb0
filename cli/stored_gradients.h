// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Scores from the training samples' gradients that a fitted folder keeps
// (calculators/gradient_store.h), in place of the samples and the model.
#ifndef INFLUENCE_CLI_STORED_GRADIENTS_H_
#define INFLUENCE_CLI_STORED_GRADIENTS_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "base/progress.h"
#include "calculators/gradient_store.h"
#include "calculators/zarr_store_writer.h"
#include "cli/score_tiles.h"
#include "gradients/batch_sequence.h"
#include "influence/composable_influence.h"

namespace influence {

// Batches whose one input is the numbers of the samples that they stand for,
// int64 [n]: 0 to num_samples, batch_size at a time, all >= 1. Thread-safe.
std::shared_ptr<const BatchSequence> NumberedSamples(int64_t num_samples,
                                                     int64_t batch_size);

// `queries`, which meet batches of NumberedSamples() by reading the gradients
// of these samples from `store`; kUp only.
QueryGroups MeetStoredGradients(QueryGroups queries,
                                std::shared_ptr<const GradientStore> store);

// Takes the gradients of `data`, whose batches are of one size but for the
// last, of the parameters of the model's blocks, and puts them into `store`:
// one pass, which the ranks share by batches (and each takes those of the
// first, which tell how all are stored). Collective; every rank has the same
// store open. Errors of the gradients, of writing and of the communicator.
absl::StatusOr<GradientStoreLayout> StoreGradients(
    const ComposableInfluence& model, const BatchSequence& data,
    const GradientStoreOptions& options, ZarrStoreWriter& store,
    Communicator& communicator, ProgressReporter* progress);

}  // namespace influence

#endif  // INFLUENCE_CLI_STORED_GRADIENTS_H_
