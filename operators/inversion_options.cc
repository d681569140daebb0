// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/inversion_options.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"

namespace influence {
namespace {

std::string ValueText(const InversionOptionValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) {
    return *flag ? "true" : "false";
  }
  if (const auto* whole = std::get_if<int64_t>(&value)) {
    return absl::StrCat(*whole);
  }
  if (const auto* number = std::get_if<double>(&value)) {
    return absl::StrCat(*number);
  }
  return absl::StrCat("\"", std::get<std::string>(value), "\"");
}

}  // namespace

InversionOptionReader::InversionOptionReader(const InversionOptions* options)
    : options_(options) {
  INFLUENCE_CHECK(options != nullptr);
}

const InversionOptionValue* InversionOptionReader::Find(
    absl::string_view name) {
  const auto [position, inserted] = read_.emplace(name);
  const auto found = options_->find(*position);
  return found == options_->end() ? nullptr : &found->second;
}

bool InversionOptionReader::Fail(absl::string_view name,
                                 const InversionOptionValue& value,
                                 absl::string_view expected) {
  if (error_.ok()) {
    error_ = absl::InvalidArgumentError(absl::StrCat("options: found ", name,
                                                     " = ", ValueText(value),
                                                     ", expected ", expected));
  }
  return true;
}

bool InversionOptionReader::Read(absl::string_view name, bool* value) {
  const InversionOptionValue* found = Find(name);
  if (found == nullptr) return false;
  const auto* flag = std::get_if<bool>(found);
  if (flag == nullptr) return Fail(name, *found, "true or false");
  *value = *flag;
  return true;
}

bool InversionOptionReader::Read(absl::string_view name, int64_t* value) {
  const InversionOptionValue* found = Find(name);
  if (found == nullptr) return false;
  const auto* whole = std::get_if<int64_t>(found);
  if (whole == nullptr) return Fail(name, *found, "a whole number");
  *value = *whole;
  return true;
}

bool InversionOptionReader::Read(absl::string_view name, double* value) {
  const InversionOptionValue* found = Find(name);
  if (found == nullptr) return false;
  if (const auto* whole = std::get_if<int64_t>(found)) {
    *value = static_cast<double>(*whole);
    return true;
  }
  const auto* number = std::get_if<double>(found);
  if (number == nullptr) return Fail(name, *found, "a number");
  *value = *number;
  return true;
}

bool InversionOptionReader::Read(absl::string_view name, std::string* value) {
  const InversionOptionValue* found = Find(name);
  if (found == nullptr) return false;
  const auto* text = std::get_if<std::string>(found);
  if (text == nullptr) return Fail(name, *found, "a text");
  *value = *text;
  return true;
}

absl::Status InversionOptionReader::Finish() const {
  INFLUENCE_RETURN_IF_ERROR(error_);
  for (const auto& [name, value] : *options_) {
    if (read_.count(name) > 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "options: found ", name, " = ", ValueText(value), ", expected ",
        read_.empty() ? "none"
                      : absl::StrCat("one of ", absl::StrJoin(read_, ", "))));
  }
  return absl::OkStatus();
}

}  // namespace influence
