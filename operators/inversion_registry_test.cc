// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/inversion_registry.h"

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/full.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gtest/gtest.h"
#include "operators/inversion_options.h"
#include "operators/twice_differentiable.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// A curvature that is a multiple of the identity.
class ScaledIdentity : public TwiceDifferentiable {
 public:
  static constexpr char kKind[] = "scaled_identity";

  absl::string_view kind() const override { return kKind; }
  int64_t num_parameters() const override { return 3; }
  at::ScalarType dtype() const override { return at::kDouble; }
  double factor() const { return 4; }
};

// Claims to be one, but is of another class.
class Impostor : public TwiceDifferentiable {
 public:
  absl::string_view kind() const override { return ScaledIdentity::kKind; }
  int64_t num_parameters() const override { return 3; }
  at::ScalarType dtype() const override { return at::kDouble; }
};

absl::StatusOr<InverseHvpResult> Divide(const ScaledIdentity& model,
                                        const InversionProblem& problem,
                                        InversionOptionReader& options) {
  double extra = 0;
  options.Read("extra", &extra);
  INFLUENCE_RETURN_IF_ERROR(options.Finish());
  InverseHvpResult result;
  result.x =
      problem.b.div(model.factor() + problem.hessian_perturbation).add(extra);
  result.info.remarks.push_back("divided");
  return result;
}

std::shared_ptr<const BatchSequence> SomeData() {
  return std::make_shared<const TensorBatchSequence>(
      *TensorBatchSequence::Create(
          {{at::ones({2, 3}, at::kDouble)}, at::zeros({2}, at::kLong)}, 1));
}

// Returns `x` whatever is asked.
InversionRegistry::Function Constant(const at::Tensor& x) {
  return [x](const TwiceDifferentiable&, const InversionProblem&,
             InversionOptionReader&) -> absl::StatusOr<InverseHvpResult> {
    return InverseHvpResult{x, {}};
  };
}

class InversionRegistryTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_THAT(registry_.RegisterFor<ScaledIdentity>("divide", Divide),
                IsOk());
  }

  InversionRegistry registry_;
  ScaledIdentity model_;
  std::shared_ptr<const BatchSequence> data_ = SomeData();
  at::Tensor b_ = at::full({2, 3}, 10.0, at::kDouble);
};

TEST_F(InversionRegistryTest, CallsWhatIsRegistered) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const InverseHvpResult result,
      registry_.Call("divide", model_, data_, b_, 1));
  EXPECT_TRUE(result.x.equal(at::full({2, 3}, 2.0, at::kDouble)));
  EXPECT_THAT(result.info.remarks, testing::ElementsAre("divided"));
  // A vector gives a vector.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const InverseHvpResult vector,
      registry_.Call("divide", model_, data_, b_[0], 1, {{"extra", 1}}));
  EXPECT_TRUE(vector.x.equal(at::full({3}, 3.0, at::kDouble)));
}

TEST_F(InversionRegistryTest, RefusesASecondRegistrationWithoutOverwrite) {
  const at::Tensor x = at::ones({2, 3}, at::kDouble);
  EXPECT_THAT(
      registry_.Register(ScaledIdentity::kKind, "divide", Constant(x)),
      StatusIs(absl::StatusCode::kAlreadyExists,
               AllOf(HasSubstr("divide"), HasSubstr("scaled_identity"))));
  EXPECT_FALSE(registry_.Call("divide", model_, data_, b_)->x.equal(x));
  EXPECT_THAT(registry_.Register(ScaledIdentity::kKind, "divide", Constant(x),
                                 /*overwrite=*/true),
              IsOk());
  EXPECT_TRUE(registry_.Call("divide", model_, data_, b_)->x.equal(x));
}

TEST_F(InversionRegistryTest, AnUnknownPairListsWhatIsRegistered) {
  ASSERT_THAT(registry_.Register("other", "cg", Constant(b_)), IsOk());
  EXPECT_THAT(registry_.Call("cg", model_, data_, b_),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("found \"cg\" for model kind "
                                       "\"scaled_identity\""),
                             HasSubstr("other/cg, scaled_identity/divide"))));
  EXPECT_THAT(InversionRegistry().Call("cg", model_, data_, b_),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none")));
  const auto entries = registry_.Registered();
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].model_kind, "other");
  EXPECT_EQ(entries[0].inversion_method, "cg");
  EXPECT_EQ(entries[1].model_kind, "scaled_identity");
}

TEST_F(InversionRegistryTest, RefusesEmptyNamesAndFunctions) {
  EXPECT_THAT(registry_.Register("", "cg", Constant(b_)),
              StatusIs(kInvalid, HasSubstr("model kind")));
  EXPECT_THAT(registry_.Register("kind", "", Constant(b_)),
              StatusIs(kInvalid, HasSubstr("inversion method")));
  EXPECT_THAT(registry_.Register("kind", "cg", nullptr),
              StatusIs(kInvalid, HasSubstr("function")));
  EXPECT_THAT(registry_.RegisterFor<ScaledIdentity>("cg", nullptr),
              StatusIs(kInvalid, HasSubstr("function")));
}

TEST_F(InversionRegistryTest, RefusesABadProblem) {
  const auto call = [&](const at::Tensor& b, double perturbation) {
    return registry_.Call("divide", model_, data_, b, perturbation);
  };
  EXPECT_THAT(registry_.Call("divide", model_, nullptr, b_),
              StatusIs(kInvalid, HasSubstr("data: is null")));
  EXPECT_THAT(call(at::zeros({2, 4}, at::kDouble), 0),
              StatusIs(kInvalid, AllOf(HasSubstr("b: found last dimension 4"),
                                       HasSubstr("3"))));
  EXPECT_THAT(call(b_.to(at::kFloat), 0),
              StatusIs(kInvalid, HasSubstr("b: found dtype float32")));
  EXPECT_THAT(call(b_.div(0), 0), StatusIs(kInvalid, HasSubstr("infinity")));
  EXPECT_THAT(call(b_, -1),
              StatusIs(kInvalid, HasSubstr("hessian_perturbation: found -1")));
  EXPECT_THAT(registry_.Call("divide", Impostor(), data_, b_),
              StatusIs(kInvalid, HasSubstr("another class of kind")));
}

TEST_F(InversionRegistryTest, RefusesOptionsThatTheMethodDoesNotHave) {
  EXPECT_THAT(registry_.Call("divide", model_, data_, b_, 0, {{"exrta", 1.5}}),
              StatusIs(kInvalid, AllOf(HasSubstr("exrta = 1.5"),
                                       HasSubstr("one of extra"))));
  // Also where the method did not look.
  ASSERT_THAT(
      registry_.Register(ScaledIdentity::kKind, "careless", Constant(b_)),
      IsOk());
  EXPECT_THAT(registry_.Call("careless", model_, data_, b_, 0, {{"rank", 1}}),
              StatusIs(kInvalid, HasSubstr("found rank = 1, expected none")));
}

TEST_F(InversionRegistryTest, ABadResultIsTheMethodsFault) {
  const auto call = [&](const at::Tensor& x) {
    EXPECT_THAT(registry_.Register(ScaledIdentity::kKind, "bad", Constant(x),
                                   /*overwrite=*/true),
                IsOk());
    return registry_.Call("bad", model_, data_, b_).status();
  };
  constexpr auto kInternal = absl::StatusCode::kInternal;
  EXPECT_THAT(call(at::Tensor()), StatusIs(kInternal, HasSubstr("bad: x")));
  EXPECT_THAT(call(b_[0]), StatusIs(kInternal, HasSubstr("x: found shape")));
  EXPECT_THAT(call(b_.to(at::kFloat)),
              StatusIs(kInternal, HasSubstr("x: found dtype float32")));
  EXPECT_THAT(call(b_.div(0)), StatusIs(kInternal, HasSubstr("infinity")));
}

TEST_F(InversionRegistryTest, ErrorsAndExceptionsOfAMethodAreStatuses) {
  ASSERT_THAT(
      registry_.Register(
          ScaledIdentity::kKind, "throws",
          [](const TwiceDifferentiable&, const InversionProblem&,
             InversionOptionReader&) -> absl::StatusOr<InverseHvpResult> {
            throw std::runtime_error("no luck");
          }),
      IsOk());
  EXPECT_THAT(registry_.Call("throws", model_, data_, b_),
              StatusIs(absl::StatusCode::kInternal,
                       HasSubstr("inversion method throws: no luck")));
  ASSERT_THAT(
      registry_.Register(
          ScaledIdentity::kKind, "fails",
          [](const TwiceDifferentiable&, const InversionProblem&,
             InversionOptionReader&) -> absl::StatusOr<InverseHvpResult> {
            return absl::UnavailableError("not today");
          }),
      IsOk());
  EXPECT_THAT(registry_.Call("fails", model_, data_, b_),
              StatusIs(absl::StatusCode::kUnavailable, "not today"));
}

// Under a thread sanitizer, a race in the registry is reported here.
TEST_F(InversionRegistryTest, ThreadsRegisterAndCallAtTheSameTime) {
  constexpr int kThreads = 4;
  std::vector<std::thread> threads;
  std::vector<absl::Status> statuses(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const std::string name = absl::StrCat("method", t);
      for (int i = 0; i < 50 && statuses[t].ok(); ++i) {
        statuses[t] = registry_.RegisterFor<ScaledIdentity>(name, Divide,
                                                            /*overwrite=*/true);
        if (!statuses[t].ok()) break;
        statuses[t] = registry_.Call(name, model_, data_, b_).status();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : statuses) EXPECT_THAT(status, IsOk());
  EXPECT_EQ(registry_.Registered().size(), size_t{kThreads} + 1);
}

}  // namespace
}  // namespace influence
