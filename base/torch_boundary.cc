// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/torch_boundary.h"

#include <exception>
#include <new>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "c10/util/Exception.h"

namespace influence {
namespace {

// LibTorch appends a backtrace and TorchScript a listing: the first line with
// text is the message.
std::string FirstLine(absl::string_view text) {
  size_t begin = text.find_first_not_of("\n ");
  if (begin == absl::string_view::npos) return "unknown error";
  text.remove_prefix(begin);
  return std::string(text.substr(0, text.find('\n')));
}

// TorchScript puts the cause at the end, as "RuntimeError: cause".
std::string Cause(absl::string_view text) {
  constexpr absl::string_view kMarker = "RuntimeError: ";
  size_t marker = text.rfind(kMarker);
  if (marker != absl::string_view::npos) {
    return FirstLine(text.substr(marker + kMarker.size()));
  }
  return FirstLine(text);
}

}  // namespace

absl::Status StatusFromCurrentException(absl::string_view what) {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat(what, ": out of memory"));
  } catch (const c10::Error& error) {
    const std::string cause = Cause(error.what_without_backtrace());
    if (absl::StrContains(cause, "DefaultCPUAllocator") ||
        absl::StrContains(cause, "not enough memory")) {
      return absl::ResourceExhaustedError(absl::StrCat(what, ": ", cause));
    }
    return absl::InternalError(absl::StrCat(what, ": ", cause));
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat(what, ": ", Cause(error.what())));
  } catch (...) {
    return absl::InternalError(absl::StrCat(what, ": unknown exception"));
  }
}

}  // namespace influence
