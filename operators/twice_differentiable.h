// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Models with a loss that can be differentiated twice in the parameters, by
// kind: what an inversion method needs to know of one depends on how its
// derivatives are found. A kind of one's own names itself and its size:
//
//   class MyModel : public TwiceDifferentiable {
//    public:
//     static constexpr char kKind[] = "my_model";
//     absl::string_view kind() const override { return kKind; }
//     int64_t num_parameters() const override { return 10; }
//     at::ScalarType dtype() const override { return at::kDouble; }
//   };
//
// and brings its methods by InversionRegistry::RegisterFor<MyModel>().
#ifndef INFLUENCE_OPERATORS_TWICE_DIFFERENTIABLE_H_
#define INFLUENCE_OPERATORS_TWICE_DIFFERENTIABLE_H_

#include <cstdint>
#include <memory>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/generalized_linear_model.h"
#include "gradients/gradient_provider.h"

namespace influence {

// Immutable.
class TwiceDifferentiable {
 public:
  virtual ~TwiceDifferentiable() = default;

  // The name under which methods are registered: the same for all models of a
  // class.
  virtual absl::string_view kind() const = 0;

  virtual int64_t num_parameters() const = 0;  // P
  virtual at::ScalarType dtype() const = 0;    // Of right-hand sides.
};

// A model and loss whose derivatives a gradient provider finds. P counts the
// parameters of the provider's selection.
class GradientProviderModel : public TwiceDifferentiable {
 public:
  int64_t num_parameters() const override {
    return provider_->num_parameters();
  }
  at::ScalarType dtype() const override { return provider_->model().dtype(); }

  // Never null.
  const std::shared_ptr<const GradientProvider>& provider() const {
    return provider_;
  }

 protected:
  explicit GradientProviderModel(
      std::shared_ptr<const GradientProvider> provider);

 private:
  std::shared_ptr<const GradientProvider> provider_;
};

// Plain autograd, sample by sample.
class AutogradModel : public GradientProviderModel {
 public:
  static constexpr char kKind[] = "autograd";

  // kInvalidArgument if `provider` is null.
  static absl::StatusOr<std::shared_ptr<const AutogradModel>> Create(
      std::shared_ptr<const AutogradGradientProvider> provider);

  absl::string_view kind() const override { return kKind; }

 private:
  using GradientProviderModel::GradientProviderModel;
};

// Gradients in factors, from observing the model's operators.
class CapturingModel : public GradientProviderModel {
 public:
  static constexpr char kKind[] = "capturing";

  // kInvalidArgument if `provider` is null.
  static absl::StatusOr<std::shared_ptr<const CapturingModel>> Create(
      std::shared_ptr<const CapturingGradientProvider> provider);

  absl::string_view kind() const override { return kKind; }

 private:
  using GradientProviderModel::GradientProviderModel;
};

// Linear and logistic regression in closed form; float64.
class ClosedFormModel : public TwiceDifferentiable {
 public:
  static constexpr char kKind[] = "generalized_linear";

  // kInvalidArgument if `model` is null.
  static absl::StatusOr<std::shared_ptr<const ClosedFormModel>> Create(
      std::shared_ptr<const GeneralizedLinearModel> model);

  absl::string_view kind() const override { return kKind; }
  int64_t num_parameters() const override { return model_->num_parameters(); }
  at::ScalarType dtype() const override { return at::kDouble; }

  // Never null.
  const std::shared_ptr<const GeneralizedLinearModel>& model() const {
    return model_;
  }

 private:
  explicit ClosedFormModel(std::shared_ptr<const GeneralizedLinearModel> model);

  std::shared_ptr<const GeneralizedLinearModel> model_;
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_TWICE_DIFFERENTIABLE_H_
