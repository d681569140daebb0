// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/unfused_recurrence.h"

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "ATen/Context.h"
#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "gradients/model.h"

namespace influence {
namespace {

struct Scopes {
  std::mutex mutex;  // Guards what follows.
  int count = 0;
  bool before = true;
};

Scopes& GlobalScopes() {
  static Scopes* scopes = new Scopes;  // Never destroyed.
  return *scopes;
}

}  // namespace

UnfusedRecurrenceScope::UnfusedRecurrenceScope() {
  Scopes& scopes = GlobalScopes();
  const std::lock_guard<std::mutex> lock(scopes.mutex);
  if (scopes.count++ > 0) return;
  scopes.before = at::globalContext().userEnabledMkldnn();
  at::globalContext().setUserEnabledMkldnn(false);
}

UnfusedRecurrenceScope::~UnfusedRecurrenceScope() {
  Scopes& scopes = GlobalScopes();
  const std::lock_guard<std::mutex> lock(scopes.mutex);
  if (--scopes.count > 0) return;
  at::globalContext().setUserEnabledMkldnn(scopes.before);
}

UnfusedRecurrenceModel::UnfusedRecurrenceModel(
    std::shared_ptr<const Model> model)
    : Model(model->parameters()), model_(std::move(model)) {}

absl::StatusOr<at::Tensor> UnfusedRecurrenceModel::Forward(
    const std::vector<at::Tensor>& x) const {
  const UnfusedRecurrenceScope scope;
  return model_->Forward(x);
}

absl::StatusOr<std::shared_ptr<const Model>> UnfusedRecurrenceModel::CopyAs(
    at::ScalarType dtype) const {
  INFLUENCE_ASSIGN_OR_RETURN(std::shared_ptr<const Model> copy,
                             model_->CopyAs(dtype));
  return std::make_shared<const UnfusedRecurrenceModel>(std::move(copy));
}

}  // namespace influence
