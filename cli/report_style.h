// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The style sheet of report_page.h.
#ifndef INFLUENCE_CLI_REPORT_STYLE_H_
#define INFLUENCE_CLI_REPORT_STYLE_H_

namespace influence {

inline constexpr char kScoresPageStyle[] = R"css(
:root {
  color-scheme: light dark;
  --page: #fbfbfa; --card: #ffffff; --ink: #1b1f24; --soft: #57606a;
  --rule: #d8dee4; --good: #1a6b3c; --bad: #b3261e; --link: #0b5cad;
  --warn: #7a4a00; --warn-soft: #fdf3e1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --card: #1d2228; --ink: #e7ebef; --soft: #a3adb8;
    --rule: #39424c; --good: #7fd6a2; --bad: #ff9a8f; --link: #7db8f5;
    --warn: #f0c674; --warn-soft: #362c17;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
header, main, footer { max-width: 72rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2rem; }
h1 { font-size: clamp(1.6rem, 4vw, 2.3rem); line-height: 1.15; margin: 0 0 .5rem; }
h2 { font-size: 1.35rem; line-height: 1.25; margin: 2.6rem 0 .4rem; }
h3 { font-size: 1.12rem; margin: 0 0 .5rem; }
h4 { font-size: .95rem; margin: 0 0 .35rem; }
p { max-width: 46rem; margin: .5rem 0 1rem; }
a { color: var(--link); }
code { overflow-wrap: anywhere; }
.lead { font-size: 1.08rem; }
.soft { color: var(--soft); }
.helps { color: var(--good); }
.harms { color: var(--bad); }
.warning {
  background: var(--warn-soft); color: var(--warn); border-radius: 8px;
  padding: .6rem .9rem;
}
nav ul {
  display: flex; flex-wrap: wrap; gap: .4rem; list-style: none; padding: 0;
  margin: .6rem 0 1rem;
}
nav a {
  display: block; min-width: 2.75rem; padding: .4rem .5rem; text-align: center;
  text-decoration: none; background: var(--card); border: 1px solid var(--rule);
  border-radius: 8px; font-variant-numeric: tabular-nums;
}
nav a:hover, nav a:focus { border-color: var(--link); }
.panel, .query {
  background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
  padding: 1rem 1.1rem; margin: 1rem 0;
}
.query { display: grid; gap: 1.3rem; grid-template-columns: 10rem 1fr; }
.query > div { min-width: 0; }
.query figure { margin: 0 0 .8rem; }
.cards {
  display: grid; gap: .5rem; padding: 0; margin: 0 0 1rem; list-style: none;
  grid-template-columns: repeat(auto-fill, minmax(6.4rem, 1fr));
}
.cards li {
  border: 1px solid var(--rule); border-radius: 8px; padding: .45rem;
  font-size: .82rem; line-height: 1.35; overflow-wrap: anywhere;
}
.cards b, .score { font-variant-numeric: tabular-nums; }
.score { display: block; font-weight: 600; white-space: nowrap; }
.bar { display: block; height: 3px; margin-top: .3rem; border-radius: 2px; background: var(--rule); }
.bar span { display: block; height: 100%; border-radius: 2px; background: currentColor; }
img {
  display: block; width: 100%; height: auto; border-radius: 4px;
  margin-bottom: .4rem; image-rendering: pixelated;
}
figure { margin: 1rem 0; }
figcaption { color: var(--soft); font-size: .88rem; margin-top: .4rem; }
svg.chart { display: block; width: 100%; height: auto; }
.panel svg.chart { max-width: 60rem; }
.above { fill: var(--above); } .below { fill: var(--below); }
.positive { --above: var(--good); --below: var(--bad); }
.negative { --above: var(--bad); --below: var(--good); }
.grid { stroke: var(--rule); stroke-width: 1; }
.axis { fill: none; stroke: var(--soft); stroke-width: 1.2; }
.zero { stroke-dasharray: 3 3; }
.tick { fill: var(--soft); font-size: 13px; }
.axis-title { fill: var(--ink); font-size: 14px; }
dl { display: grid; grid-template-columns: minmax(8rem, 13rem) 1fr; gap: .4rem 1rem; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
footer {
  margin-top: 2.5rem; padding: 1.1rem 1.25rem 2.5rem; color: var(--soft);
  border-top: 1px solid var(--rule); font-size: .88rem;
}
@media (max-width: 40rem) {
  .query { grid-template-columns: 1fr; gap: .6rem; }
  .query > div:first-child { display: grid; gap: .9rem; grid-template-columns: minmax(5rem, 7rem) 1fr; align-items: end; }
  .cards { grid-template-columns: repeat(auto-fill, minmax(5.2rem, 1fr)); }
  .tick { font-size: 20px; } .axis-title { font-size: 21px; } .side { display: none; }
  dl { grid-template-columns: 1fr; gap: .1rem; }
  dd { margin-bottom: .6rem; }
}
@media print { .query, .cards li { break-inside: avoid; } nav { display: none; } }
)css";

}  // namespace influence

#endif  // INFLUENCE_CLI_REPORT_STYLE_H_
