// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Ways to solve (C + lambda I) x = b, C the curvature of a model's mean loss
// over a data set, by the kind of the model and the name of the method. What
// the library brings is registered by inversion_methods.h; a method of one's
// own is a function:
//
//   registry.RegisterFor<CapturingModel>(
//       "steepest_descent",
//       [](const CapturingModel& model, const InversionProblem& problem,
//          InversionOptionReader& options)
//           -> absl::StatusOr<InverseHvpResult> {
//         double step = 0.1;
//         options.Read("step", &step);
//         INFLUENCE_RETURN_IF_ERROR(options.Finish());
//         ...
//       });
#ifndef INFLUENCE_OPERATORS_INVERSION_REGISTRY_H_
#define INFLUENCE_OPERATORS_INVERSION_REGISTRY_H_

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gradients/batch_sequence.h"
#include "gradients/tensor_map.h"
#include "operators/inversion_options.h"
#include "operators/solve_report.h"
#include "operators/twice_differentiable.h"

namespace influence {

// What is to be solved, checked before a method sees it.
struct InversionProblem {
  std::shared_ptr<const BatchSequence> data;  // At least one sample.
  at::Tensor b;                               // [K, P], finite, model's dtype.
  double hessian_perturbation;                // lambda: finite, >= 0.
};

// How a method came to its solution, as far as it has something to say.
struct InverseHvpInfo {
  std::vector<SolveReport> reports;  // One a right-hand side, or none.
  TensorMap numbers;                 // By name: "eigenvalues", "scale", ...
  std::vector<std::string> remarks;  // Lines a user should read.
};

struct InverseHvpResult {
  at::Tensor x;  // Shape and dtype of b.
  InverseHvpInfo info;
};

// Thread-safe.
class InversionRegistry {
 public:
  // x of b [K, P]. May throw. Every option it is given must be read.
  using Function = std::function<absl::StatusOr<InverseHvpResult>(
      const TwiceDifferentiable& model, const InversionProblem& problem,
      InversionOptionReader& options)>;

  template <typename ModelType>
  using FunctionOf = std::function<absl::StatusOr<InverseHvpResult>(
      const ModelType& model, const InversionProblem& problem,
      InversionOptionReader& options)>;

  struct Entry {
    std::string model_kind;
    std::string inversion_method;
  };

  InversionRegistry() = default;
  InversionRegistry(const InversionRegistry&) = delete;
  InversionRegistry& operator=(const InversionRegistry&) = delete;

  // kAlreadyExists if the pair is registered, unless `overwrite`;
  // kInvalidArgument on an empty name or function.
  absl::Status Register(absl::string_view model_kind,
                        absl::string_view inversion_method, Function function,
                        bool overwrite = false);

  // The same for the models of class ModelType, whose kind is
  // ModelType::kKind.
  template <typename ModelType>
  absl::Status RegisterFor(absl::string_view inversion_method,
                           FunctionOf<ModelType> function,
                           bool overwrite = false);

  // Solves for b, [P] or the rows of [K, P], in the model's dtype. The function
  // runs in the calling thread and outside of any lock.
  // - kNotFound, listing what is registered, if the pair is not;
  // - kInvalidArgument if `data` is null or has no samples, if b is of another
  //   shape or dtype or not finite, if lambda is negative or not finite, or
  //   naming an option that the method does not have;
  // - the function's own errors as they come; kInternal if it throws, or
  //   returns an x of another shape or dtype or with an entry that is not
  //   finite.
  absl::StatusOr<InverseHvpResult> Call(
      absl::string_view inversion_method, const TwiceDifferentiable& model,
      const std::shared_ptr<const BatchSequence>& data, const at::Tensor& b,
      double hessian_perturbation = 0,
      const InversionOptions& options = {}) const;

  // What is registered, by model kind, then by method.
  std::vector<Entry> Registered() const;

 private:
  // Null if the pair is not registered.
  std::shared_ptr<const Function> Find(
      absl::string_view model_kind, absl::string_view inversion_method) const;

  mutable std::mutex mutex_;  // Guards what follows.
  std::map<std::pair<std::string, std::string>,
           std::shared_ptr<const Function>>
      functions_;  // By model kind and method.
};

template <typename ModelType>
absl::Status InversionRegistry::RegisterFor(absl::string_view inversion_method,
                                            FunctionOf<ModelType> function,
                                            bool overwrite) {
  if (function == nullptr) {
    return absl::InvalidArgumentError("function: is empty");
  }
  return Register(
      ModelType::kKind, inversion_method,
      [function = std::move(function)](
          const TwiceDifferentiable& model, const InversionProblem& problem,
          InversionOptionReader& options) -> absl::StatusOr<InverseHvpResult> {
        const auto* typed = dynamic_cast<const ModelType*>(&model);
        if (typed == nullptr) {
          return absl::InvalidArgumentError(absl::StrCat(
              "model: found another class of kind \"", ModelType::kKind,
              "\" than the method was registered for"));
        }
        return function(*typed, problem, options);
      },
      overwrite);
}

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_INVERSION_REGISTRY_H_
