// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The style sheet of the report: light or dark as the reader's system is, from
// narrow screens to wide ones and paper.
#ifndef INFLUENCE_EXAMPLES_DIGITS_REPORT_STYLE_H_
#define INFLUENCE_EXAMPLES_DIGITS_REPORT_STYLE_H_

namespace influence {

inline constexpr char kReportStyle[] = R"css(
:root {
  color-scheme: light dark;
  --page: #fbfbfa; --card: #ffffff; --ink: #1b1f24; --soft: #57606a;
  --rule: #d8dee4; --bad: #b3261e; --bad-soft: #fdecea; --good: #1a6b3c;
  --good-soft: #e7f4ec; --link: #0b5cad;
  --s0: #0b5cad; --s1: #c2410c; --s2: #0f8a8a; --s3: #a1679b; --s4: #7a6a00;
  --s5: #57606a; --s6: #9aa4ae;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --card: #1d2228; --ink: #e7ebef; --soft: #a3adb8;
    --rule: #39424c; --bad: #ff9a8f; --bad-soft: #43201d; --good: #7fd6a2;
    --good-soft: #17382a; --link: #7db8f5;
    --s0: #6db1ff; --s1: #ff9a62; --s2: #4fd0cf; --s3: #dba0d4; --s4: #e0cc52;
    --s5: #a3adb8; --s6: #6b7682;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
main, header, footer { max-width: 68rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.5rem; }
h1 { font-size: clamp(1.7rem, 4vw, 2.5rem); line-height: 1.15; margin: 0 0 .6rem; }
h2 { font-size: 1.4rem; margin: 3rem 0 .4rem; line-height: 1.25; }
h3 { font-size: 1.05rem; margin: 0 0 .3rem; }
p { max-width: 46rem; margin: .5rem 0 1rem; }
a { color: var(--link); }
.lead { font-size: 1.12rem; }
.soft { color: var(--soft); }
.tiles {
  display: grid; gap: .8rem; margin: 1.5rem 0; padding: 0; list-style: none;
  grid-template-columns: repeat(auto-fit, minmax(12.5rem, 1fr));
}
.tiles li, .error, .panel {
  background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
  padding: 1rem 1.1rem;
}
.tiles b { display: block; font-size: 1.9rem; line-height: 1.2; }
.tiles span { color: var(--soft); font-size: .92rem; }
.cards {
  display: grid; gap: .6rem; padding: 0; margin: 1rem 0; list-style: none;
  grid-template-columns: repeat(auto-fill, minmax(7.4rem, 1fr));
}
.cards li {
  background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
  padding: .55rem; font-size: .84rem; line-height: 1.35; overflow-wrap: anywhere;
}
.cards b { font-size: 1.02rem; }
img.digit {
  display: block; width: 100%; height: auto; aspect-ratio: 1;
  border-radius: 4px; margin-bottom: .45rem; background: #fff;
}
@media (prefers-color-scheme: dark) { img.digit { filter: brightness(.9); } }
.answer {
  display: block; margin-top: .35rem; padding: .1rem .4rem; border-radius: 5px;
  font-size: .8rem; text-align: center;
}
.answer.flipped { background: var(--bad-soft); color: var(--bad); font-weight: 600; }
.answer.kept { background: var(--good-soft); color: var(--good); }
#hide-answers:checked ~ .cards .answer { visibility: hidden; }
#hide-answers { accent-color: var(--link); width: 1.05rem; height: 1.05rem; vertical-align: -2px; }
.legend {
  display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none;
  padding: 0; margin: .3rem 0 0; font-size: .9rem;
}
.legend svg { width: 32px; height: 10px; margin-right: .45rem; }
figure { margin: 1rem 0; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .5rem; }
svg.chart { display: block; width: 100%; height: auto; max-width: 60rem; }
.narrow svg.chart { max-width: 30rem; }
.grid { stroke: var(--rule); stroke-width: 1; }
.axis { fill: none; stroke: var(--soft); stroke-width: 1.2; }
.tick { fill: var(--soft); font-size: 13px; }
.axis-title { fill: var(--ink); font-size: 14px; }
.line { fill: none; stroke-width: 2.4; stroke-linejoin: round; }
.dashed { stroke-dasharray: 6 5; stroke-width: 2; }
.dots { fill: none; stroke-width: 6; stroke-linecap: round; opacity: .55; }
.s0 { stroke: var(--s0); } .s1 { stroke: var(--s1); } .s2 { stroke: var(--s2); }
.s3 { stroke: var(--s3); } .s4 { stroke: var(--s4); } .s5 { stroke: var(--s5); }
.s6 { stroke: var(--s6); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); font-size: .9rem; padding-bottom: .3rem; }
th, td { padding: .35rem .9rem .35rem 0; text-align: left; border-bottom: 1px solid var(--rule); vertical-align: top; }
th { font-weight: 600; }
td.number, th.number { text-align: right; white-space: nowrap; }
tr.first td, tr.first th { font-weight: 600; }
.error { display: grid; gap: 1.2rem; grid-template-columns: 9rem 1fr; margin: 1rem 0; }
.error .cards { margin: .3rem 0 1rem; grid-template-columns: repeat(auto-fill, minmax(6.2rem, 1fr)); }
.error > div { min-width: 0; }
.change { font-variant-numeric: tabular-nums; font-weight: 600; white-space: nowrap; }
.two { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); align-items: start; }
dl { display: grid; grid-template-columns: minmax(8rem, 12rem) 1fr; gap: .4rem 1rem; }
dt { color: var(--soft); }
dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
pre {
  background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
  padding: .8rem 1rem; overflow-x: auto; font-size: .86rem; line-height: 1.45;
}
footer { margin-top: 3rem; padding: 1.2rem 1.25rem 3rem; border-top: 1px solid var(--rule); color: var(--soft); font-size: .9rem; }
@media (max-width: 40rem) {
  .error { grid-template-columns: 1fr; }
  .error > figure { max-width: 9rem; }
  dl { grid-template-columns: 1fr; gap: .1rem; }
  dd { margin-bottom: .6rem; }
}
@media print {
  .cards li, .error, .tiles li, figure { break-inside: avoid; }
}
)css";

}  // namespace influence

#endif  // INFLUENCE_EXAMPLES_DIGITS_REPORT_STYLE_H_
