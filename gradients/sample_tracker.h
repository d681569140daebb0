// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Follows the samples of one batch through the operators of a forward pass and
// says whether each sample kept to itself: whether row n of the output depends
// on sample n alone, and where its elements lie in the tensors between.
//
// A tensor of equal elements that is made in the pass with a dimension of the
// batch's size (a recurrence's state of zeros) may be read as one with samples
// there. Which way it is meant shows where it meets samples; until then both
// are kept, and what relied on the reading that proves wrong is told of it
// (Guess).
//
// This is a proof, not a test: operators are looked at, values are not (but for
// constant index tensors). An operator that is not known to keep samples apart
// (sample_flow_rules.h), a number that is read out of a tensor with samples, or
// a tensor that came into being unobserved ends it. What it cannot see: the
// batch's size where a model computes with it as a number.
#ifndef INFLUENCE_GRADIENTS_SAMPLE_TRACKER_H_
#define INFLUENCE_GRADIENTS_SAMPLE_TRACKER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/core/ivalue.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "gradients/sample_axis.h"
#include "gradients/sample_flow_rules.h"
#include "gradients/sample_layout.h"

namespace influence {

// Of one pass on one thread. Keeps no tensor's memory alive.
class SampleTracker {
 public:
  // A call between its start and its end.
  struct Call {
    std::string name;
    FlowRule rule;  // Null for an operator without one, and without samples.
    std::vector<c10::IValue> inputs;
  };

  // num_samples: N >= 2.
  explicit SampleTracker(int64_t num_samples) : num_samples_(num_samples) {}
  SampleTracker(const SampleTracker&) = delete;
  SampleTracker& operator=(const SampleTracker&) = delete;

  // `tensor` [N, ...] is an input of the model. Inputs come before any call.
  void AddSamples(const at::Tensor& tensor);

  // The start of a call. Null if nothing need be done at its end, which is so
  // for all calls within one that has a rule.
  std::unique_ptr<Call> Start(absl::string_view name,
                              c10::ArrayRef<c10::IValue> inputs);
  void End(const Call& call, const std::vector<at::Tensor>& outputs);

  // Ends the proof: the first reason counts.
  void Fail(std::string reason);

  // Whether row n of `output` [N, ...] depends on sample n alone. If not,
  // reason() says what stands against it.
  bool Proves(const at::Tensor& output);
  const std::string& reason() const { return reason_; }

  // Where the samples lie in a result of a call; nullopt where it has none, or
  // not along one axis, or the proof has failed. `guess`: what the answer
  // relies on, 0 for nothing; at the end of the pass Holds(guess) says if it
  // was right.
  std::optional<SampleAxis> Axis(const at::Tensor& tensor,
                                 uint64_t* guess) const;
  bool Holds(uint64_t guess) const { return (guess & wrong_guesses_) == 0; }

  // Whether no element of a result of a call depends on a sample; false after
  // the proof has failed.
  bool IsWithoutSamples(const at::Tensor& tensor) const;

 private:
  struct Known {
    c10::weak_intrusive_ptr<c10::TensorImpl> tensor;  // Keeps its address.
    const void* storage;
    SampleFlow flow;
    // Without samples: how it may be read with them, by the guesses `guess`, a
    // bit each (numbers beyond 64 share bits, which errs on the safe side).
    std::optional<SampleLayout> reading = std::nullopt;
    uint64_t guess = 0;
  };
  struct Storage {
    c10::weak_intrusive_ptr<c10::StorageImpl> storage;  // Likewise.
    bool has_samples = false;
    bool written = false;  // After views of it were known.
  };

  // nullopt for a tensor whose memory holds samples and which no call made.
  std::optional<SampleFlow> Find(const at::Tensor& tensor) const;
  // Find() for tensors that Start() has seen; `read`: with their readings.
  SampleFlow FlowOf(const at::Tensor& tensor, bool read) const;
  // The call's rule on its arguments; false where it has none or refuses.
  bool Apply(const Call& call, const std::vector<at::Tensor>& outputs,
             bool read, std::vector<SampleFlow>* flows) const;
  Storage& StorageOf(const at::Tensor& tensor);
  void Set(const at::Tensor& tensor, const SampleFlow& flow,
           std::optional<SampleLayout> reading = std::nullopt,
           uint64_t guess = 0);
  // A first reading of a tensor of equal elements, if it can be read.
  void Guess(const at::Tensor& tensor, const SampleFlow& flow);
  // After a call has returned, and maybe changed, one of its arguments.
  void Change(const Call& call, const at::Tensor& tensor,
              const SampleFlow& before, const SampleFlow& after);
  // Samples are written into `tensor`, which had none: all views of its memory
  // have them from now on. False where that is not known to be so.
  bool FillWithSamples(const at::Tensor& tensor, const SampleLayout& layout);

  const int64_t num_samples_;
  absl::flat_hash_map<const void*, Known> known_;
  absl::flat_hash_map<const void*, Storage> storages_;
  int64_t inside_ = 0;  // Depth below a call that is looked at as a whole.
  int num_guesses_ = 0;
  uint64_t wrong_guesses_ = 0;
  std::string reason_;
};

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_SAMPLE_TRACKER_H_
