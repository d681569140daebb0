// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What a fitted influence model has found, apart from the model and the data it
// was found from: enough to make an equal one without fitting again.
#ifndef INFLUENCE_INFLUENCE_FITTED_STATE_H_
#define INFLUENCE_INFLUENCE_FITTED_STATE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "influence/regularization.h"

namespace influence {

// One result of the fit. Names are paths of identifiers that may hold dots and
// slashes: "fc1.0/eigenvalues".
struct FittedArray {
  std::string name;
  at::Tensor values;  // float32, float64 or int64, any shape.
};

struct FittedState {
  std::string method;  // "ekfac"; as on the command line.

  // The method's options by name, in a text that reads back to the same value:
  // {"curvature": "hessian", "rank": "100", "tolerance": "1e-06"}. Without the
  // regularization.
  std::map<std::string, std::string> options;

  // The blocks in their order, by the parameters' names.
  std::vector<ParameterGroup> blocks;

  // lambda by block as used; empty if the method has none.
  std::vector<double> regularization;

  // AutoRegularization() by block; empty if the fit did not need it.
  std::vector<double> auto_regularization;

  int64_t num_fitted_samples = 0;

  std::vector<FittedArray> arrays;
};

// The blocks of a state as parts of `model`. kInvalidArgument if the state is
// of another method than `method`, if its blocks name parameters the model does
// not have, or if the numbers of regularizations and blocks differ.
absl::StatusOr<ParameterBlocks> BlocksOfState(const FittedState& state,
                                              absl::string_view method,
                                              const Model& model);

// The regularizations of a state, one a block. kInvalidArgument if there are
// others, or none.
absl::StatusOr<FittedRegularization> RegularizationOfState(
    const FittedState& state);

// The array called `name`, which must have `shape` (a negative length admits
// any) and `dtype`, and finite entries. kInvalidArgument naming what differs.
absl::StatusOr<at::Tensor> ArrayOfState(const FittedState& state,
                                        absl::string_view name,
                                        at::ScalarType dtype,
                                        const std::vector<int64_t>& shape);

// The option called `name`. kInvalidArgument if it is missing.
absl::StatusOr<std::string> OptionOfState(const FittedState& state,
                                          const std::string& name);

// The same as a number; kInvalidArgument if it is none.
absl::StatusOr<double> NumberOfState(const FittedState& state,
                                     const std::string& name);
absl::StatusOr<int64_t> IntegerOfState(const FittedState& state,
                                       const std::string& name);
absl::StatusOr<uint64_t> SeedOfState(const FittedState& state,
                                     const std::string& name);

// A text that NumberOfState() reads back to the same value.
std::string NumberText(double value);

}  // namespace influence

#endif  // INFLUENCE_INFLUENCE_FITTED_STATE_H_
