// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/fitted_source.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/broadcast.h"
#include "base/communicator.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "base/validators.h"
#include "calculators/fingerprint.h"
#include "calculators/fit_checkpoint_folder.h"
#include "calculators/fitted_state_folder.h"
#include "calculators/gradient_store.h"
#include "calculators/zarr_array.h"
#include "calculators/zarr_store_writer.h"
#include "cli/batch_sizes.h"
#include "cli/data_set.h"
#include "cli/job.h"
#include "cli/method_factory.h"
#include "cli/method_options.h"
#include "cli/options.h"
#include "cli/output_store.h"
#include "cli/result_summary.h"
#include "cli/resume_guard.h"
#include "cli/run_inputs.h"
#include "cli/stored_gradients.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"
#include "influence/composable_influence.h"
#include "influence/fitted_state.h"
#include "influence/restore_influence.h"
#include "nlohmann/json.hpp"
#include "operators/shared_fit_checkpoint.h"

namespace influence {
namespace {

namespace fs = std::filesystem;

// In FitRecord::options, beside those of the method.
constexpr char kLogitsLayout[] = "logits_layout";

// In FittedStateOrigin::extra.
constexpr char kOptionPrefix[] = "option/";
constexpr char kSeed[] = "seed";
constexpr char kBatchSize[] = "batch_size";
constexpr char kCoveredShare[] = "covered_share";
constexpr char kStoredRank[] = "stored_rank";
constexpr char kGradients[] = "gradients";

// A stage of a fit that takes less is not kept unless it is asked for: to write
// and to read it costs as much.
constexpr absl::Duration kLongStage = absl::Seconds(10);

std::string Absolute(const std::string& path) {
  std::error_code error;
  const fs::path absolute = fs::weakly_canonical(fs::absolute(path), error);
  return error ? path : absolute.string();
}

bool SamePlace(const std::string& a, const std::string& b) {
  std::error_code error;
  return fs::equivalent(a, b, error);
}

FittedStateOrigin OriginOf(const FitRecord& record) {
  FittedStateOrigin origin;
  origin.model_path = record.model;
  origin.model_fingerprint = record.model_fingerprint;
  origin.train_path = record.train;
  origin.train_fingerprint = record.train_fingerprint;
  origin.loss = record.loss;
  origin.query_function = "loss";
  origin.dtype = DtypeName(record.dtype);
  const nlohmann::ordered_json versions = LibraryVersions();
  for (const auto& [library, version] : versions.items()) {
    origin.versions[library] = version.get<std::string>();
  }
  for (const auto& [name, value] : record.options) {
    origin.extra[kOptionPrefix + name] = value;
  }
  origin.extra[kSeed] = absl::StrCat(record.seed);
  origin.extra[kBatchSize] = absl::StrCat(record.batch_size);
  origin.extra[kCoveredShare] = NumberText(record.covered_share);
  if (record.stored_rank.has_value()) {
    origin.extra[kStoredRank] = absl::StrCat(*record.stored_rank);
  }
  return origin;
}

// As of ItemsOfFit().
nlohmann::ordered_json ItemsOf(const FittedStateOrigin& origin,
                               const FitRecord& record) {
  return {{"kind", "fitted"},
          {"dtype", DtypeName(record.dtype)},
          {"method", record.method},
          {"options", record.options},
          {"seed", record.seed},
          {"loss", record.loss},
          {"stored gradients", record.stored_rank.has_value()
                                   ? absl::StrCat("rank ", *record.stored_rank)
                                   : "none"},
          {"fingerprints",
           {{"model", record.model_fingerprint},
            {"train", record.train_fingerprint}}},
          {"versions", origin.versions}};
}

// kDataLoss naming what the folder should have.
absl::Status Lacking(const std::string& folder, absl::string_view what) {
  return absl::DataLossError(
      absl::StrCat(folder, "/", kFittedStateFile, ": found no ", what,
                   ", expected a folder that influence fit has made"));
}

absl::StatusOr<FitRecord> RecordOf(const std::string& folder,
                                   const FittedStateOrigin& origin,
                                   const std::string& method) {
  FitRecord record;
  record.model = origin.model_path;
  record.model_fingerprint = origin.model_fingerprint;
  record.train = origin.train_path;
  record.train_fingerprint = origin.train_fingerprint;
  record.loss = origin.loss;
  record.method = method;
  if (origin.dtype != "float32" && origin.dtype != "float64") {
    return Lacking(folder, "dtype");
  }
  record.dtype = origin.dtype == "float64" ? at::kDouble : at::kFloat;
  const auto number = [&](const char* name) {
    const auto found = origin.extra.find(name);
    return found == origin.extra.end() ? "" : found->second;
  };
  if (!absl::SimpleAtoi(number(kSeed), &record.seed)) {
    return Lacking(folder, kSeed);
  }
  if (!absl::SimpleAtoi(number(kBatchSize), &record.batch_size) ||
      record.batch_size < 1) {
    return Lacking(folder, kBatchSize);
  }
  if (!absl::SimpleAtod(number(kCoveredShare), &record.covered_share)) {
    return Lacking(folder, kCoveredShare);
  }
  int64_t stored_rank = 0;
  if (absl::SimpleAtoi(number(kStoredRank), &stored_rank)) {
    record.stored_rank = stored_rank;
    record.gradients = number(kGradients);
  }
  for (const auto& [name, value] : origin.extra) {
    if (!absl::StartsWith(name, kOptionPrefix)) continue;
    record.options[std::string(absl::StripPrefix(name, kOptionPrefix))] = value;
  }
  return record;
}

absl::StatusOr<Method> MethodByName(const std::string& folder,
                                    const std::string& name) {
  for (const Method method : AllMethods()) {
    if (MethodName(method) == name) return method;
  }
  return Lacking(folder, "method that this version knows");
}

// The fingerprint of `path`, which the first rank of a job reads for all.
// Collective.
absl::StatusOr<std::string> FingerprintForJob(const std::string& path) {
  absl::StatusOr<std::string> fingerprint = std::string();
  if (IsFirstRank()) fingerprint = FingerprintOfPath(path);
  INFLUENCE_RETURN_IF_ERROR(BroadcastStatus(*Job(), fingerprint.status(), 0));
  return Job()->BroadcastText(*fingerprint, 0);
}

// The fingerprint of `path`, which goes by `role`, into `opened`.
absl::Status AddInput(const std::string& role, const std::string& path,
                      OpenedMethod& opened) {
  INFLUENCE_ASSIGN_OR_RETURN(std::string fingerprint, FingerprintForJob(path));
  opened.paths.emplace_back(role, path);
  opened.fingerprints.emplace_back(role, std::move(fingerprint));
  return absl::OkStatus();
}

// Batches of the fit: as large as memory allows, whatever is scored later, but
// at least one for each rank, unless the result depends on them.
int64_t FitBatchSize(const DataSet& train, Method method,
                     int64_t num_parameters, int64_t item_size,
                     const RunOptions& run) {
  const int64_t size =
      ChooseBatchSizes({.num_parameters = num_parameters,
                        .item_size = item_size,
                        .num_train = train.num_samples(),
                        .num_queries = 1,
                        .values_per_input = train.values_per_sample(),
                        .values_per_score = 1},
                       run.batch_size)
          .train;
  if (run.batch_size.has_value() || method == Method::kLissa) return size;
  const int64_t ranks = Job()->size();
  return std::min(size, (train.num_samples() + ranks - 1) / ranks);
}

// Takes a finished fit from the notes of an unfinished run.
absl::Status RestoreNoted(OpenedMethod& opened, const std::string& folder) {
  INFLUENCE_ASSIGN_OR_RETURN(const LoadedFittedState loaded,
                             LoadFittedState(folder));
  std::shared_ptr<const DataSet> data;
  if (RestoringTakesData(opened.record.method)) {
    INFLUENCE_ASSIGN_OR_RETURN(
        data, opened.inputs.train->WithBatchSize(opened.record.batch_size));
  }
  INFLUENCE_ASSIGN_OR_RETURN(
      opened.influence, RestoreInfluence(loaded.state, opened.inputs.provider,
                                         data, opened.query_function, Job()));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<OpenedMethod> OpenUnfitted(const FitSource& source,
                                          const RunOptions& run,
                                          const std::string& test,
                                          const std::string& query_function) {
  OpenedMethod opened;
  opened.method = source.method.method;
  opened.loss = source.loss;
  INFLUENCE_ASSIGN_OR_RETURN(opened.query_function,
                             ResolveQueryFunction(query_function, source.loss));
  INFLUENCE_ASSIGN_OR_RETURN(
      opened.inputs,
      OpenRunInputs(source,
                    test.empty() ? std::nullopt : std::make_optional(test),
                    opened.query_function));
  INFLUENCE_ASSIGN_OR_RETURN(
      opened.influence,
      CreateMethod(source, run, opened.query_function, opened.inputs.provider));
  INFLUENCE_RETURN_IF_ERROR(AddInput("model", source.model, opened));
  INFLUENCE_RETURN_IF_ERROR(AddInput("train", source.train, opened));
  FitRecord& record = opened.record;
  record.model = Absolute(source.model);
  record.model_fingerprint = opened.fingerprints[0].second;
  record.train = Absolute(source.train);
  record.train_fingerprint = opened.fingerprints[1].second;
  record.loss = source.loss.name();
  record.dtype = source.dtype;
  record.method = std::string(MethodName(source.method.method));
  record.options = source.method.values;
  if (source.logits_layout != LogitsLayout::kByShape) {
    record.options[kLogitsLayout] =
        std::string(LogitsLayoutName(source.logits_layout));
  }
  record.seed = source.seed;
  record.batch_size = FitBatchSize(*opened.inputs.train, opened.method,
                                   opened.influence->num_parameters(),
                                   source.dtype == at::kDouble ? 8 : 4, run);
  record.covered_share = opened.inputs.provider->coverage().covered_share();
  if (!test.empty()) {
    INFLUENCE_RETURN_IF_ERROR(AddInput("test", test, opened));
  }
  return opened;
}

absl::Status FitOpened(OpenedMethod& opened, ProgressReporter* progress) {
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const DataSet> data,
      opened.inputs.train->WithBatchSize(opened.record.batch_size));
  absl::Status status = opened.influence->Fit(data, progress);
  if (status.ok()) return status;
  return ExplainFitError(opened.paths[1].second, status);
}

absl::StatusOr<OpenedMethod> OpenFitted(const FittedSource& source,
                                        const std::string& train,
                                        const std::string& test,
                                        const std::string& query_function) {
  std::error_code error;
  if (!fs::exists(source.folder, error)) {
    return absl::NotFoundError(
        absl::StrCat(source.folder,
                     ": found nothing, expected a folder that influence fit "
                     "has made"));
  }
  INFLUENCE_ASSIGN_OR_RETURN(const LoadedFittedState loaded,
                             LoadFittedState(source.folder));
  OpenedMethod opened;
  INFLUENCE_ASSIGN_OR_RETURN(opened.method,
                             MethodByName(source.folder, loaded.state.method));
  INFLUENCE_ASSIGN_OR_RETURN(
      opened.record,
      RecordOf(source.folder, loaded.origin, loaded.state.method));
  const FitRecord& record = opened.record;
  absl::StatusOr<PerSampleFunction> loss = LossByName(record.loss);
  if (!loss.ok()) return Lacking(source.folder, "loss that this version knows");
  opened.loss = *std::move(loss);
  if (const auto layout = record.options.find(kLogitsLayout);
      layout != record.options.end()) {
    INFLUENCE_ASSIGN_OR_RETURN(const LogitsLayout parsed,
                               ParseLogitsLayout(layout->second));
    opened.loss = CrossEntropyLoss({.layout = parsed});
  }
  INFLUENCE_ASSIGN_OR_RETURN(opened.query_function,
                             ResolveQueryFunction(query_function, opened.loss));

  ModelOptions options;
  options.model = source.model.empty() ? record.model : source.model;
  options.train = train;
  options.loss = opened.loss;
  options.dtype = record.dtype;
  if (!fs::exists(options.model, error)) {
    return absl::NotFoundError(absl::StrCat(
        options.model, ": found no file, expected the model that ",
        source.folder, " was fitted to; --model says where it is now"));
  }
  INFLUENCE_RETURN_IF_ERROR(AddInput("model", options.model, opened));
  INFLUENCE_RETURN_IF_ERROR(CheckFittedModel(source.folder, loaded.origin,
                                             options.model,
                                             opened.fingerprints[0].second));
  INFLUENCE_ASSIGN_OR_RETURN(std::shared_ptr<const Model> model,
                             OpenModel(options.model, options.dtype));
  std::shared_ptr<const GradientProvider> provider;
  if (train.empty() && test.empty()) {
    // No gradient is to be taken.
    INFLUENCE_ASSIGN_OR_RETURN(
        provider, AutogradGradientProvider::Create(model, opened.loss));
    opened.inputs.model = std::move(model);
  } else {
    INFLUENCE_ASSIGN_OR_RETURN(
        opened.inputs,
        OpenRunInputs(std::move(model), options,
                      test.empty() ? std::nullopt : std::make_optional(test),
                      opened.query_function));
    provider = opened.inputs.provider;
  }
  if (!train.empty()) {
    INFLUENCE_RETURN_IF_ERROR(AddInput("train", train, opened));
  }
  if (!test.empty()) INFLUENCE_RETURN_IF_ERROR(AddInput("test", test, opened));
  INFLUENCE_ASSIGN_OR_RETURN(
      std::string fitted_fingerprint,
      FingerprintOfFile(absl::StrCat(source.folder, "/", kFittedStateFile)));
  opened.paths.emplace_back("fitted", source.folder);
  opened.fingerprints.emplace_back("fitted", std::move(fitted_fingerprint));

  std::shared_ptr<const DataSet> data;
  if (RestoringTakesData(record.method)) {
    std::string fingerprint;
    if (!train.empty() && SamePlace(train, record.train)) {
      fingerprint = opened.fingerprints[1].second;
      data = opened.inputs.train;
    } else {
      if (!fs::exists(record.train, error)) {
        return absl::NotFoundError(absl::StrCat(
            record.train, ": found nothing, expected the training data of ",
            source.folder, ", which ", record.method, " reads again"));
      }
      INFLUENCE_ASSIGN_OR_RETURN(fingerprint, FingerprintForJob(record.train));
    }
    INFLUENCE_RETURN_IF_ERROR(CheckFittedData(source.folder, loaded.origin,
                                              record.train, fingerprint));
    if (data == nullptr) {
      INFLUENCE_ASSIGN_OR_RETURN(
          data, DataSet::Open(record.train, record.dtype, *opened.inputs.model,
                              options.model));
    }
    INFLUENCE_ASSIGN_OR_RETURN(data, data->WithBatchSize(record.batch_size));
  }
  absl::StatusOr<std::unique_ptr<ComposableInfluence>> influence =
      RestoreInfluence(loaded.state, provider, data, opened.query_function,
                       Job());
  if (!influence.ok()) {
    return absl::Status(
        influence.status().code(),
        absl::StrCat(source.folder, ": ", influence.status().message()));
  }
  opened.influence = *std::move(influence);
  return opened;
}

absl::StatusOr<OpenedMethod> OpenFittedWithItsData(
    const FittedSource& source, const std::string& test,
    const std::string& query_function) {
  INFLUENCE_ASSIGN_OR_RETURN(const LoadedFittedState loaded,
                             LoadFittedStateWithoutArrays(source.folder));
  const std::string& train = loaded.origin.train_path;
  std::error_code error;
  if (!fs::exists(train, error)) {
    return absl::NotFoundError(
        absl::StrCat(train, ": found nothing, expected the training data of ",
                     source.folder));
  }
  INFLUENCE_ASSIGN_OR_RETURN(OpenedMethod opened,
                             OpenFitted(source, train, test, query_function));
  INFLUENCE_RETURN_IF_ERROR(CheckFittedData(source.folder, loaded.origin, train,
                                            opened.fingerprints[1].second));
  return opened;
}

absl::Status FitWithNotes(OpenedMethod& opened, OutputStore& store,
                          bool keep_fit, bool keep_all,
                          ProgressReporter* progress) {
  const std::shared_ptr<Communicator> job = Job();
  INFLUENCE_ASSIGN_OR_RETURN(const std::string notes,
                             store.writer().NotePath("fit"));
  const std::string whole = absl::StrCat(notes, "/whole");
  std::error_code error;
  if (keep_fit) {
    // As the first rank sees it: all restore, or all fit.
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::string found,
        job->BroadcastText(fs::exists(whole, error) ? whole : "", /*root=*/0));
    if (!found.empty()) return RestoreNoted(opened, found);
  }
  const absl::Time start = absl::Now();
  FitCheckpointFolderOptions options;
  options.least_time = keep_all ? absl::ZeroDuration() : kLongStage;
  options.on_kept = [&store] { store.Keep(); };
  FitCheckpointFolder folder(notes, options);
  SharedFitCheckpoint checkpoint(job, &folder);
  opened.influence->set_fit_checkpoint(&checkpoint);
  const absl::Status status = FitOpened(opened, progress);
  opened.influence->set_fit_checkpoint(nullptr);
  INFLUENCE_RETURN_IF_ERROR(status);
  if (!keep_fit || !IsFirstRank() ||
      (!keep_all && absl::Now() - start < kLongStage)) {
    return absl::OkStatus();
  }
  INFLUENCE_ASSIGN_OR_RETURN(const FittedState state,
                             opened.influence->ExportState());
  fs::create_directories(notes, error);
  FittedStateOptions state_options;
  state_options.overwrite = true;
  INFLUENCE_RETURN_IF_ERROR(
      SaveFittedState(whole, state, OriginOf(opened.record), state_options));
  store.Keep();
  return absl::OkStatus();
}

RunItems ItemsOfFit(const OpenedMethod& opened) {
  RunItems run;
  run.items = ItemsOf(OriginOf(opened.record), opened.record);
  run.paths = opened.paths;
  return run;
}

absl::Status SaveFitted(OpenedMethod& opened, OutputStore& store,
                        ProgressReporter* progress) {
  FitRecord& record = opened.record;
  const auto store_gradients = [&](ZarrStoreWriter& folder)
      -> absl::StatusOr<std::map<std::string, std::string>> {
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::shared_ptr<const DataSet> data,
        opened.inputs.train->WithBatchSize(record.batch_size));
    GradientStoreOptions gradients;
    gradients.rank = *record.stored_rank;
    INFLUENCE_ASSIGN_OR_RETURN(
        const GradientStoreLayout layout,
        StoreGradients(*opened.influence, *data, gradients, folder, *Job(),
                       progress));
    record.gradients = layout.ToText();
    return std::map<std::string, std::string>{{kGradients, record.gradients}};
  };
  FittedStateOptions options;
  if (record.stored_rank.has_value()) options.add_more = store_gradients;
  if (!IsFirstRank()) {
    return options.add_more == nullptr
               ? absl::OkStatus()
               : store_gradients(store.writer()).status();
  }
  INFLUENCE_ASSIGN_OR_RETURN(const FittedState state,
                             opened.influence->ExportState());
  return SaveFittedState(store.writer(), state, OriginOf(record), options);
}

absl::StatusOr<std::shared_ptr<const GradientStore>> OpenStoredGradients(
    const FittedSource& source, const OpenedMethod& opened) {
  const FitRecord& record = opened.record;
  const std::pair<std::string, std::string> data = {"train",
                                                    record.train_fingerprint};
  if (record.gradients.empty() ||
      std::find(opened.fingerprints.begin(), opened.fingerprints.end(), data) ==
          opened.fingerprints.end()) {
    return nullptr;
  }
  INFLUENCE_ASSIGN_OR_RETURN(GradientStoreLayout layout,
                             GradientStoreLayout::FromText(record.gradients));
  INFLUENCE_ASSIGN_OR_RETURN(const ZarrGroup group,
                             ZarrGroup::Open(source.folder));
  INFLUENCE_ASSIGN_OR_RETURN(GradientStore store,
                             GradientStore::Open(group, std::move(layout)));
  return std::make_shared<const GradientStore>(std::move(store));
}

absl::Status CheckFinishedFit(const std::string& folder,
                              const OpenedMethod& opened) {
  INFLUENCE_ASSIGN_OR_RETURN(const LoadedFittedState loaded,
                             LoadFittedStateWithoutArrays(folder));
  INFLUENCE_ASSIGN_OR_RETURN(
      const FitRecord record,
      RecordOf(folder, loaded.origin, loaded.state.method));
  return CheckSameRun(folder, ItemsOf(loaded.origin, record),
                      ItemsOfFit(opened));
}

FitSummary SummarizeFit(const OpenedMethod& opened) {
  FitSummary fit;
  fit.method = opened.record.method;
  fit.options = opened.record.options;
  fit.loss = opened.record.loss;
  fit.dtype = opened.record.dtype;
  fit.seed = opened.record.seed;
  fit.num_parameters = opened.influence->num_parameters();
  fit.num_fitted_samples = opened.influence->num_fitted_samples();
  fit.blocks = opened.influence->report();
  fit.covered_share = opened.record.covered_share;
  return fit;
}

}  // namespace influence
