// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "examples/digits/report_page.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "cli/html_text.h"
#include "cli/png_image.h"
#include "examples/digits/digits_methods.h"
#include "examples/digits/ranking.h"
#include "examples/digits/report_style.h"
#include "examples/digits/svg_chart.h"

namespace influence {
namespace {

constexpr int64_t kNumSuspects = 60;
constexpr double kInspectedShares[] = {0.05, 0.1, 0.2};
constexpr double kChartedShare = 0.5;
constexpr int64_t kCurveStep = 5;  // Images between two points of a curve.

// Grey pixels of ink in [0, 1]: 0 becomes white and 1 black.
at::Tensor OnWhite(const at::Tensor& ink) {
  return ink.to(at::kDouble)
      .clamp(0, 1)
      .neg()
      .add(1)
      .mul(255)
      .round()
      .to(at::kByte);
}

class Report {
 public:
  Report(const DigitsExperiment& experiment, const ReportContext& context)
      : experiment_(experiment), context_(context) {}

  absl::StatusOr<std::string> Render() {
    absl::StrAppend(
        &html_,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n"
        "<meta charset=\"utf-8\"/>\n"
        // Whatever this page held, a browser would load nothing.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src "
        "&#39;none&#39;; img-src data:; style-src &#39;unsafe-inline&#39;\"/>\n"
        "<meta name=\"viewport\" content=\"width=device-width, "
        "initial-scale=1\"/>\n"
        "<title>Mislabelled digits, found by influence functions</title>\n"
        "<style>",
        kReportStyle, "</style>\n</head>\n<body>\n");
    AddHeader();
    html_ += "<main>\n";
    INFLUENCE_RETURN_IF_ERROR(AddSuspects());
    INFLUENCE_RETURN_IF_ERROR(AddCurves());
    INFLUENCE_RETURN_IF_ERROR(AddErrors());
    INFLUENCE_RETURN_IF_ERROR(AddChecks());
    AddCleaned();
    AddMethod();
    html_ += "</main>\n";
    AddFooter();
    html_ += "</body>\n</html>\n";
    return html_;
  }

 private:
  int64_t GivenLabel(int64_t n) const {
    return experiment_.digits.train.y[n].item<int64_t>();
  }
  int64_t TrueLabel(int64_t n) const {
    return experiment_.digits.true_labels[n].item<int64_t>();
  }
  bool IsFlipped(int64_t n) const { return experiment_.digits.flipped[n]; }

  // S / N: the change of a held-out digit's loss when a training image is left
  // out.
  double LossChange(int64_t test, int64_t train) const {
    return experiment_.influence.scores[test][train].item<double>() /
           static_cast<double>(experiment_.num_train());
  }

  static absl::StatusOr<std::string> DigitImage(const at::Tensor& pixels,
                                                absl::string_view alternative) {
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::string uri,
        PngDataUri(OnWhite(pixels.reshape({kDigitSide, kDigitSide}))));
    return absl::StrCat(
        "<img class=\"digit\" width=\"96\" height=\"96\" alt=\"",
        EscapeHtml(alternative), "\" src=\"", uri, "\"/>");
  }

  std::string Answer(int64_t n) const {
    return IsFlipped(n)
               ? absl::StrCat(
                     "<span class=\"answer flipped\">flipped: truly a\u00a0",
                     TrueLabel(n), "</span>")
               : std::string(
                     "<span class=\"answer kept\">label is right</span>");
  }

  // "8 (97 %)": the class of largest probability.
  static std::string Verdict(const at::Tensor& probabilities) {
    return absl::StrCat(probabilities.argmax().item<int64_t>(), " (",
                        PercentText(probabilities.max().item<double>(), 0),
                        ")");
  }

  std::string ShareText(int64_t ranking, double inspected) const {
    return PercentText(
        ShareFound(experiment_.rankings[ranking].num_found, inspected));
  }

  bool IsExact() const { return experiment_.options.method == "direct"; }

  void AddHeader() {
    const MislabelledDigits& digits = experiment_.digits;
    const std::vector<int64_t>& found = experiment_.rankings[0].num_found;
    const int64_t inspected =
        std::llround(0.1 * static_cast<double>(experiment_.num_train()));
    absl::StrAppend(
        &html_, "<header>\n<h1>Which of these digits are mislabelled?</h1>\n",
        "<p class=\"lead\">A small network was trained on ",
        CountText(experiment_.num_train()), " handwritten digits. ",
        CountText(digits.num_flipped),
        " of their labels had been replaced by wrong ones, and nothing told "
        "the network which. Influence functions, computed ",
        IsExact() ? "exactly" : "approximately",
        ", ask of every training image what the network would be without it, "
        "and so "
        "point at the wrong labels.</p>\n<ul class=\"tiles\">\n");
    AddTile(absl::StrCat(found[inspected], " of ", digits.num_flipped),
            absl::StrCat("wrong labels are among the ", inspected,
                         " most suspicious images; a random choice would hold ",
                         absl::StrFormat("%.0f", 0.1 * digits.num_flipped)));
    AddTile(ShareText(0, 0.2),
            "of the wrong labels found by looking at a fifth of the images");
    AddTile(PercentText(Accuracy(experiment_.influence.test_probabilities,
                                 digits.test.y)),
            absl::StrCat("of ", experiment_.num_test(),
                         " held-out digits recognised, in spite of the wrong "
                         "labels"));
    AddTile(absl::StrFormat("%.1f\u00a0s", InfluenceSeconds()),
            "for all influence computations, curvature included");
    html_ += "</ul>\n</header>\n";
  }

  void AddTile(absl::string_view number, absl::string_view text) {
    absl::StrAppend(&html_, "<li><b>", EscapeHtml(number), "</b><span>",
                    EscapeHtml(text), "</span></li>\n");
  }

  double InfluenceSeconds() const {
    const DigitsInfluence& influence = experiment_.influence;
    return influence.fit_seconds + influence.self_seconds +
           influence.score_seconds + influence.identity_score_seconds;
  }

  absl::Status AddSuspects() {
    const std::vector<int64_t>& order = experiment_.rankings[0].order;
    const int64_t count =
        std::min<int64_t>(kNumSuspects, static_cast<int64_t>(order.size()));
    absl::StrAppend(
        &html_, "<section>\n<h2>The ", count,
        " most suspicious training images</h2>\n<p>Ranked by self-influence: "
        "how much the loss on the image itself would rise if the image were "
        "left out of training. It is large where nothing but the image itself "
        "supports its label. <strong>",
        experiment_.rankings[0].num_found[count], " of these ", count,
        "</strong> had their label flipped; the others bear the data "
        "set&#39;s own label.</p>\n"
        "<input type=\"checkbox\" id=\"hide-answers\"/> "
        "<label for=\"hide-answers\">Hide the answers and judge "
        "yourself</label>\n<ol class=\"cards\">\n");
    for (int64_t i = 0; i < count; ++i) {
      const int64_t n = order[i];
      INFLUENCE_ASSIGN_OR_RETURN(
          const std::string image,
          DigitImage(experiment_.digits.train.x[0][n],
                     absl::StrCat("Training image ", n, ", labelled ",
                                  GivenLabel(n))));
      absl::StrAppend(&html_, "<li>", image, "labelled <b>", GivenLabel(n),
                      "</b><br/>network says ",
                      Verdict(experiment_.influence.train_probabilities[n]),
                      Answer(n), "</li>\n");
    }
    html_ += "</ol>\n</section>\n";
    return absl::OkStatus();
  }

  absl::Status AddCurves() {
    std::vector<ChartSeries> series;
    for (const DigitsRanking& ranking : experiment_.rankings) {
      ChartSeries curve;
      curve.name = ranking.name;
      const auto last = std::llround(
          kChartedShare * static_cast<double>(experiment_.num_train()));
      for (int64_t k = 0; k <= last; k += kCurveStep) {
        const double inspected = static_cast<double>(k) /
                                 static_cast<double>(experiment_.num_train());
        curve.points.emplace_back(inspected,
                                  ShareFound(ranking.num_found, inspected));
      }
      series.push_back(std::move(curve));
    }
    series.push_back({"random order, on average",
                      ChartMark::kDashedLine,
                      {{0, 0}, {kChartedShare, kChartedShare}}});
    const double flipped = static_cast<double>(experiment_.digits.num_flipped) /
                           static_cast<double>(experiment_.num_train());
    series.push_back({"best possible",
                      ChartMark::kDashedLine,
                      {{0, 0}, {flipped, 1}, {kChartedShare, 1}}});
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::string chart,
        RenderChart({.id = "found",
                     .description = absl::StrCat(
                         "Share of wrong labels found against share of "
                         "images inspected, a curve for each ranking. "
                         "After a tenth of the images self-influence has "
                         "found ",
                         ShareText(0, 0.1), ", the loss ", ShareText(4, 0.1),
                         ", a random order 10 %."),
                     .x = {.title = "share of training images inspected",
                           .high = kChartedShare,
                           .tick_step = 0.1,
                           .percent = true},
                     .y = {.title = "share of wrong labels found",
                           .tick_step = 0.2,
                           .percent = true}},
                    series));
    absl::StrAppend(
        &html_,
        "<section>\n<h2>Wrong labels found, by how many images a person looks "
        "at</h2>\n<p>Someone checks the training images one by one, most "
        "suspicious first. The steeper the curve, the less work.</p>\n"
        "<figure class=\"panel\">\n",
        chart, "<figcaption>\n", RenderLegend(series),
        "</figcaption>\n</figure>\n"
        "<div class=\"scroll\"><table>\n<caption>Share of wrong labels found "
        "after inspecting the first images of each ranking</caption>\n"
        "<thead><tr><th scope=\"col\">Ranking</th>");
    for (const double share : kInspectedShares) {
      absl::StrAppend(&html_, "<th scope=\"col\" class=\"number\">first ",
                      PercentText(share, 0), "</th>");
    }
    html_ += "<th scope=\"col\">What comes first</th></tr></thead>\n<tbody>\n";
    for (size_t i = 0; i < experiment_.rankings.size(); ++i) {
      const DigitsRanking& ranking = experiment_.rankings[i];
      absl::StrAppend(&html_, "<tr><th scope=\"row\">",
                      EscapeHtml(ranking.name), "</th>");
      for (const double share : kInspectedShares) {
        absl::StrAppend(&html_, "<td class=\"number\">",
                        ShareText(static_cast<int64_t>(i), share), "</td>");
      }
      absl::StrAppend(&html_, "<td class=\"soft\">",
                      EscapeHtml(ranking.meaning), "</td></tr>\n");
    }
    html_ += "<tr><th scope=\"row\">random order, on average</th>";
    for (const double share : kInspectedShares) {
      absl::StrAppend(&html_, "<td class=\"number\">", PercentText(share),
                      "</td>");
    }
    html_ +=
        "<td class=\"soft\">images in any order</td></tr>\n</tbody>\n</table>"
        "</div>\n<p class=\"soft\">Labels flipped at random are what the loss "
        "finds well too: the network has not learned them by heart. What the "
        "loss cannot say is which images do harm to which predictions; that "
        "follows.</p>\n</section>\n";
    return absl::OkStatus();
  }

  // Training images with the change of a held-out digit's loss without each.
  absl::Status AddInfluential(int64_t test,
                              const std::vector<int64_t>& images) {
    html_ += "<ol class=\"cards\">\n";
    for (const int64_t n : images) {
      INFLUENCE_ASSIGN_OR_RETURN(
          const std::string image,
          DigitImage(experiment_.digits.train.x[0][n],
                     absl::StrCat("Training image ", n, ", labelled ",
                                  GivenLabel(n))));
      absl::StrAppend(&html_, "<li>", image, "labelled <b>", GivenLabel(n),
                      "</b><br/><span class=\"change\">",
                      SignedText(LossChange(test, n)), "</span>", Answer(n),
                      "</li>\n");
    }
    html_ += "</ol>\n";
    return absl::OkStatus();
  }

  absl::Status AddErrors() {
    if (experiment_.errors.empty()) return absl::OkStatus();
    absl::StrAppend(
        &html_, "<section>\n<h2>Why does the network get these wrong?</h2>\n",
        "<p>The ", experiment_.errors.size(),
        " held-out digits with the highest loss among those that the network "
        "gets wrong, and the training images that matter most to each. The "
        "number under an image is the predicted change of the held-out "
        "digit&#39;s loss (cross entropy, in nats) if that image were left out "
        "of training: <strong>below zero the image does harm</strong>, above "
        "zero it helps.</p>\n");
    for (const ExplainedError& error : experiment_.errors) {
      const int64_t m = error.test;
      const int64_t truth = experiment_.digits.test.y[m].item<int64_t>();
      INFLUENCE_ASSIGN_OR_RETURN(
          const std::string image,
          DigitImage(
              experiment_.digits.test.x[0][m],
              absl::StrCat("Held-out digit ", m, ", which is a ", truth)));
      const std::string heading = absl::StrCat("error-", m);
      absl::StrAppend(
          &html_, "<article class=\"error\" aria-labelledby=\"", heading,
          "\">\n<figure>", image, "<figcaption>held-out digit ", m,
          "</figcaption></figure>\n<div>\n<h3 id=\"", heading, "\">A ", truth,
          ", taken for ", Verdict(experiment_.influence.test_probabilities[m]),
          "</h3>\n<p class=\"soft\">Loss ",
          absl::StrFormat("%.2f",
                          experiment_.influence.test_losses[m].item<double>()),
          ". The network gives the right class ",
          PercentText(
              experiment_.influence.test_probabilities[m][truth].item<double>(),
              0),
          ".</p>\n<h4>Most harmful: without it the loss would fall</h4>\n");
      INFLUENCE_RETURN_IF_ERROR(AddInfluential(m, error.harmful));
      html_ += "<h4>Most helpful: without it the loss would rise</h4>\n";
      INFLUENCE_RETURN_IF_ERROR(AddInfluential(m, error.helpful));
      html_ += "</div>\n</article>\n";
    }
    html_ += "</section>\n";
    return absl::OkStatus();
  }

  // A step of 1, 2 or 5 times a power of ten that gives some four ticks to
  // [0, high].
  static double TickStep(double high) {
    const double power = std::pow(10, std::floor(std::log10(high / 4)));
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (high / (factor * power) <= 5) return factor * power;
    }
    return 10 * power;
  }

  absl::Status AddChecks() {
    if (experiment_.checks.empty()) return absl::OkStatus();
    double limit = 1e-6;
    ChartSeries dots;
    dots.name = "a held-out digit and a removed image";
    dots.mark = ChartMark::kDots;
    for (const RemovalCheck& check : experiment_.checks) {
      for (int64_t m = 0; m < experiment_.num_test(); ++m) {
        dots.points.emplace_back(check.predicted[m].item<double>(),
                                 check.measured[m].item<double>());
        limit = std::max({limit, std::abs(dots.points.back().first),
                          std::abs(dots.points.back().second)});
      }
    }
    limit *= 1.05;
    const double step = TickStep(limit);
    const std::vector<ChartSeries> series = {
        std::move(dots),
        {"prediction and measurement agree",
         ChartMark::kDashedLine,
         {{-limit, -limit}, {limit, limit}}}};
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::string chart,
        RenderChart({.id = "checks",
                     .description = absl::StrFormat(
                         "Predicted against measured change of the loss; the "
                         "correlation is %.3f.",
                         experiment_.check_correlation),
                     .x = {.title = "predicted change of loss, S/N (nats)",
                           .low = -limit,
                           .high = limit,
                           .tick_step = step},
                     .y = {.title = "measured change of loss (nats)",
                           .low = -limit,
                           .high = limit,
                           .tick_step = step},
                     .width = 480,
                     .height = 460},
                    series));
    absl::StrAppend(
        &html_,
        "<section>\n<h2>Are the predictions true?</h2>\n<p>For each digit "
        "above, the most harmful and the most helpful image was really left "
        "out, and the network trained on to its new minimum: ",
        experiment_.checks.size(), " networks, ", experiment_.num_test(),
        " held-out digits each. The change of every loss was predicted to "
        "first order without any training; the correlation with the measured "
        "change is <strong>",
        absl::StrFormat("%.3f", experiment_.check_correlation),
        "</strong>.</p>\n<div class=\"two\">\n<figure class=\"panel "
        "narrow\">\n",
        chart, "<figcaption>\n", RenderLegend(series),
        "</figcaption>\n</figure>\n<div class=\"scroll\"><table>\n"
        "<caption>Change of the loss (nats) without the strongest "
        "images</caption>\n<thead><tr><th scope=\"col\">Held-out digit</th>"
        "<th scope=\"col\">Without image</th><th scope=\"col\" "
        "class=\"number\">predicted</th><th scope=\"col\" "
        "class=\"number\">measured</th></tr></thead>\n<tbody>\n");
    for (const ExplainedError& error : experiment_.errors) {
      AddCheckRow(error.test, error.harmful.front());
      AddCheckRow(error.test, error.helpful.front());
    }
    html_ += "</tbody>\n</table></div>\n</div>\n</section>\n";
    return absl::OkStatus();
  }

  void AddCheckRow(int64_t test, int64_t train) {
    for (const RemovalCheck& check : experiment_.checks) {
      if (check.train != train) continue;
      absl::StrAppend(
          &html_, "<tr><th scope=\"row\">", test, ", a ",
          experiment_.digits.test.y[test].item<int64_t>(), "</th><td>", train,
          ", labelled ", GivenLabel(train), IsFlipped(train) ? ", flipped" : "",
          "</td><td class=\"number\">",
          SignedText(check.predicted[test].item<double>()),
          "</td><td class=\"number\">",
          SignedText(check.measured[test].item<double>()), "</td></tr>\n");
    }
  }

  void AddCleaned() {
    absl::StrAppend(
        &html_,
        "<section>\n<h2>Training anew without the suspects</h2>\n<p>The first "
        "images of each ranking are left out unseen, right labels or wrong, "
        "and a new network is trained from the start.</p>\n"
        "<div class=\"scroll\"><table>\n<caption>The new networks on the ",
        experiment_.num_test(),
        " held-out digits</caption>\n<thead><tr><th scope=\"col\">Left out "
        "by</th><th scope=\"col\" class=\"number\">images left out</th><th "
        "scope=\"col\" class=\"number\">mean loss (nats)</th><th "
        "scope=\"col\" class=\"number\">recognised</th></tr></thead>\n"
        "<tbody>\n");
    for (const CleanedTraining& cleaned : experiment_.cleaned) {
      absl::StrAppend(&html_, "<tr><th scope=\"row\">",
                      EscapeHtml(cleaned.name), "</th><td class=\"number\">",
                      cleaned.num_removed, "</td><td class=\"number\">",
                      absl::StrFormat("%.3f", cleaned.mean_loss),
                      "</td><td class=\"number\">",
                      PercentText(cleaned.accuracy), "</td></tr>\n");
    }
    html_ +=
        "</tbody>\n</table></div>\n<p class=\"soft\">Both rankings by harm "
        "have seen the labels of the held-out digits, so their rows are "
        "better than they would be on digits that nothing has seen.</p>\n"
        "</section>\n";
  }

  void AddItem(absl::string_view name, absl::string_view html) {
    absl::StrAppend(&html_, "<dt>", name, "</dt><dd>", html, "</dd>\n");
  }

  void AddMethod() {
    const DigitsInfluence& influence = experiment_.influence;
    const CoverageReport& coverage = influence.coverage;
    html_ += "<section>\n<h2>What was run</h2>\n<dl>\n";
    AddItem("Data", absl::StrCat(CountText(experiment_.num_train()),
                                 " training and ", experiment_.num_test(),
                                 " held-out digits of 8 by 8 pixels, ",
                                 experiment_.digits.num_flipped,
                                 " training labels flipped; seed ",
                                 experiment_.options.seed));
    AddItem("Network", absl::StrCat("64-32-10 with tanh, ",
                                    CountText(coverage.num_parameters()),
                                    " parameters in float64"));
    AddItem(
        "Training",
        absl::StrFormat(
            "mean cross entropy plus weight decay %g, by L-BFGS to a largest "
            "gradient entry of %.1e",
            experiment_.options.weight_decay,
            experiment_.network.largest_gradient));
    AddItem(
        "Method",
        IsExact()
            ? std::string(
                  "<code>direct</code>: A = H + \u03bbI is formed and "
                  "factorised, with H the exact Hessian of the mean loss "
                  "over the training images, all parameters in one block")
            : absl::StrCat("<code>", experiment_.options.method, "</code>: ",
                           DigitsMethodSettings(experiment_.options.method),
                           ", in place of A = H + \u03bbI with H the exact "
                           "Hessian of the mean loss"));
    AddItem("Regularization \u03bb",
            absl::StrFormat(
                "%g: a tenth above the weight decay, with which A would be "
                "the Hessian of what was minimised, and nearly singular where "
                "hidden units are unused",
                experiment_.regularization));
    if (IsExact()) {
      AddItem("A is",
              influence.smallest_eigenvalue.has_value()
                  ? absl::StrFormat(
                        "indefinite, smallest eigenvalue %.2e: the scores are "
                        "exact, but training stopped short of a minimum",
                        *influence.smallest_eigenvalue)
                  : std::string("positive definite"));
    }
    AddItem("Score",
            "S[i, j] = h<sub>i</sub><sup>T</sup> A<sup>\u22121</sup> "
            "g<sub>j</sub>, with h and g the gradients of the losses of "
            "held-out digit i and training image j. S/N is the first-order "
            "change of loss i when j is left out: positive, j helps; "
            "negative, j harms. Unit: nats. Self-influence is S[j, j]");
    AddItem("Per-sample gradients",
            absl::StrCat("captured in factored form, ",
                         PercentText(coverage.covered_share(), 0),
                         " of the parameters on the fast path (",
                         CoverageText(coverage), ")"));
    AddItem("Ran with", absl::StrCat(EscapeHtml(context_.libraries), ", ",
                                     context_.num_threads, " threads"));
    html_ +=
        "</dl>\n<div class=\"scroll\"><table>\n<caption>Time</caption>\n"
        "<thead><tr><th scope=\"col\">Step</th><th scope=\"col\" "
        "class=\"number\">seconds</th></tr></thead>\n<tbody>\n";
    for (const auto& [step, seconds] : experiment_.timings) {
      absl::StrAppend(&html_, "<tr><th scope=\"row\">", EscapeHtml(step),
                      "</th><td class=\"number\">",
                      absl::StrFormat("%.2f", seconds), "</td></tr>\n");
    }
    absl::StrAppend(
        &html_,
        "</tbody>\n</table></div>\n<h3>The same scores from the command "
        "line</h3>\n<p>Beside this page lie the network as TorchScript, the "
        "data, and the scores that the library computed "
        "(<code>scores.npy</code>). The command below computes them again, "
        "equal to rounding:</p>\n<pre><code>",
        EscapeHtml(ScoresCommand(experiment_, context_.folder)),
        "</code></pre>\n</section>\n");
  }

  static std::string CoverageText(const CoverageReport& coverage) {
    std::vector<std::string> parts;
    for (const ParameterCoverage& parameter : coverage.parameters) {
      parts.push_back(absl::StrCat("<code>", EscapeHtml(parameter.name),
                                   "</code> ", EscapeHtml(parameter.rule)));
    }
    return absl::StrJoin(parts, ", ");
  }

  void AddFooter() {
    html_ +=
        "<footer>\nDigits: \u201cOptical Recognition of Handwritten "
        "Digits\u201d, E. Alpaydin and C. Kaynak, UCI Machine Learning "
        "Repository, <a "
        "href=\"https://doi.org/10.24432/C50P49\">doi:10.24432/C50P49</a>, "
        "<a href=\"https://creativecommons.org/licenses/by/4.0/\">CC BY "
        "4.0</a>; labels flipped here on purpose.\n</footer>\n";
  }

  const DigitsExperiment& experiment_;
  const ReportContext& context_;
  std::string html_;
};

}  // namespace

absl::StatusOr<std::string> RenderReport(const DigitsExperiment& experiment,
                                         const ReportContext& context) {
  return CatchTorch("report", [&]() -> absl::StatusOr<std::string> {
    return Report(experiment, context).Render();
  });
}

std::string ScoresCommand(const DigitsExperiment& experiment,
                          const std::string& folder) {
  return absl::StrFormat(
      "influence scores --model %1$s/model.pt \\\n"
      "  --train %1$s/train --test %1$s/test \\\n"
      "  --loss cross_entropy %2$s \\\n"
      "  --dtype float64 --out %1$s/scores_again.npy\n",
      folder,
      DigitsMethodArguments(experiment.options.method,
                            experiment.regularization));
}

}  // namespace influence
