// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "examples/digits/report_folder.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "calculators/npy_file.h"

namespace influence {
namespace {

absl::Status MakeFolder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (!std::filesystem::is_directory(path)) {
    return absl::UnavailableError(absl::StrCat(
        path, ": cannot be made a folder: ",
        error ? error.message() : std::string("a file has that name")));
  }
  return absl::OkStatus();
}

absl::Status WriteArray(const std::string& path, const at::Tensor& values) {
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::unique_ptr<NpyWriter> writer,
      NpyWriter::Create(
          path, absl::MakeSpan(values.sizes().data(), values.sizes().size()),
          values.scalar_type(), /*overwrite=*/true));
  INFLUENCE_RETURN_IF_ERROR(writer->WriteRows(0, values.detach()));
  return writer->Commit();
}

absl::Status WriteDigits(const std::string& folder, const DigitImages& images) {
  INFLUENCE_RETURN_IF_ERROR(MakeFolder(folder));
  INFLUENCE_RETURN_IF_ERROR(
      WriteArray(absl::StrCat(folder, "/x.npy"), images.x[0]));
  return WriteArray(absl::StrCat(folder, "/y.npy"), images.y);
}

absl::Status WriteText(const std::string& path, const std::string& text) {
  const std::string temporary = absl::StrCat(path, ".tmp");
  std::ofstream file(temporary, std::ios::binary);
  file << text;
  file.close();
  std::error_code error;
  if (file.good()) {
    std::filesystem::rename(temporary, path, error);
    if (!error) return absl::OkStatus();
  }
  std::filesystem::remove(temporary, error);
  return absl::UnavailableError(absl::StrCat(path, ": cannot be written"));
}

}  // namespace

absl::Status WriteReportFolder(const DigitsExperiment& experiment,
                               const ReportContext& context,
                               const std::string& folder) {
  INFLUENCE_ASSIGN_OR_RETURN(const std::string page,
                             RenderReport(experiment, context));
  INFLUENCE_RETURN_IF_ERROR(MakeFolder(folder));
  const std::string page_path = absl::StrCat(folder, "/index.html");
  std::error_code error;
  std::filesystem::remove(page_path, error);
  if (error) {
    return absl::UnavailableError(
        absl::StrCat(page_path, ": cannot be replaced: ", error.message()));
  }
  INFLUENCE_RETURN_IF_ERROR(
      WriteTorchScript(experiment.network, absl::StrCat(folder, "/model.pt")));
  INFLUENCE_RETURN_IF_ERROR(
      WriteDigits(absl::StrCat(folder, "/train"), experiment.digits.train));
  INFLUENCE_RETURN_IF_ERROR(
      WriteDigits(absl::StrCat(folder, "/test"), experiment.digits.test));
  INFLUENCE_RETURN_IF_ERROR(WriteArray(absl::StrCat(folder, "/true_labels.npy"),
                                       experiment.digits.true_labels));
  INFLUENCE_RETURN_IF_ERROR(WriteArray(absl::StrCat(folder, "/scores.npy"),
                                       experiment.influence.scores));
  INFLUENCE_RETURN_IF_ERROR(
      WriteArray(absl::StrCat(folder, "/self_influence.npy"),
                 experiment.influence.self_influence));
  return WriteText(page_path, page);
}

}  // namespace influence
