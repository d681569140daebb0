// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The options of an inversion method by name, for methods that are chosen at
// run time. A method says which it has by reading them:
//
//   int64_t rank = 10;
//   std::string form = "exact";
//   options.Read("rank", &rank);
//   options.Read("low_rank_inverse", &form);
//   INFLUENCE_RETURN_IF_ERROR(options.Finish());
//
// What nobody reads is refused, never ignored.
#ifndef INFLUENCE_OPERATORS_INVERSION_OPTIONS_H_
#define INFLUENCE_OPERATORS_INVERSION_OPTIONS_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace influence {

using InversionOptionValue = std::variant<bool, int64_t, double, std::string>;

// {{"rank", 10}, {"relative_tolerance", 1e-6}, {"preconditioner", "jacobi"}}
using InversionOptions = std::map<std::string, InversionOptionValue>;

// Reads options once each and remembers which. For one thread.
class InversionOptionReader {
 public:
  // Borrows `options`, which must outlive the reader.
  explicit InversionOptionReader(const InversionOptions* options);

  // Overwrites *value if the option is given, and leaves its default otherwise.
  // A whole number is accepted where a double is read, nothing else is
  // converted; a value of another type is an error that Finish() tells.
  // Returns whether the option is given.
  bool Read(absl::string_view name, bool* value);
  bool Read(absl::string_view name, int64_t* value);
  bool Read(absl::string_view name, double* value);
  bool Read(absl::string_view name, std::string* value);

  // kInvalidArgument, naming the option, if one was of another type, or if one
  // was given that has not been read, listing those that have.
  absl::Status Finish() const;

 private:
  // The value of an option, null if it is not given; marks it as read.
  const InversionOptionValue* Find(absl::string_view name);

  bool Fail(absl::string_view name, const InversionOptionValue& value,
            absl::string_view expected);

  const InversionOptions* options_;  // Borrowed, never null.
  std::set<std::string> read_;
  absl::Status error_;  // The first one.
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_INVERSION_OPTIONS_H_
