// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A fitted model from its state, whichever method it is of.
#ifndef INFLUENCE_INFLUENCE_RESTORE_INFLUENCE_H_
#define INFLUENCE_INFLUENCE_RESTORE_INFLUENCE_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "gradients/per_sample_function.h"
#include "influence/composable_influence.h"
#include "influence/fitted_state.h"

namespace influence {

// The methods that RestoreInfluence() knows, in the order of their names.
std::vector<std::string> RestorableMethods();

// The method may read the training data again when it solves, in the batches of
// the fit. False for an unknown one.
bool RestoringTakesData(const std::string& method);

// A model that gives the scores of the one which exported `state`, bit for bit
// where model and batches are the same. provider: of the model and the training
// loss that were fitted. data: the training data that were fitted; null, or not
// looked at, where not RestoringTakesData(). query_function: as of the method's
// Create(). communicator: of the ranks that share the data out, as in the
// method's options; collective then.
//
// kNotFound, listing the known ones, if there is no such method;
// kInvalidArgument if `provider` is null; errors of the method's Restore(), as
// if the state does not fit the model, or solving needs the data and they are
// null.
absl::StatusOr<std::unique_ptr<ComposableInfluence>> RestoreInfluence(
    const FittedState& state, std::shared_ptr<const GradientProvider> provider,
    const std::shared_ptr<const BatchSequence>& data = nullptr,
    std::optional<PerSampleFunction> query_function = std::nullopt,
    const std::shared_ptr<Communicator>& communicator = nullptr);

}  // namespace influence

#endif  // INFLUENCE_INFLUENCE_RESTORE_INFLUENCE_H_
