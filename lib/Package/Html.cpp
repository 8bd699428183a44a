//===- Html.cpp - text and tables of a page ---------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Html.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/JSON.h"
#include <cmath>

using namespace llvm;

namespace qcc::html {

// Colours of series follow Okabe and Ito's set, which people with any kind of
// colour vision tell apart; shapes differ too.
static constexpr StringLiteral kStyle = R"css(
:root { color-scheme: light dark; --fg: #1b1f24; --dim: #5b6470; --bg: #ffffff; --card: #f5f6f8; --line: #d5d9df;
  --off: #fff4d6; --bad: #a33b00; --c0: #7a828e; --c1: #0072b2; --c2: #d55e00; --c3: #00805d; --c4: #8e4a9e; --c5: #9a6c00; --c6: #3d8fc4; }
@media (prefers-color-scheme: dark) { :root { --fg: #e6e8eb; --dim: #9aa3af; --bg: #14171b; --card: #1d2126; --line: #383e46;
  --off: #38300f; --bad: #ffa26b; --c0: #9aa3af; --c1: #56b4e9; --c2: #ff8c4b; --c3: #35c69c; --c4: #cf9be0; --c5: #e8bd3a; --c6: #8cc8f2; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: var(--fg); background: var(--bg); margin: 0 auto; max-width: 80rem; padding: 1.5rem clamp(.8rem, 3vw, 2.5rem) 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .4rem; padding-top: .9rem; border-top: 1px solid var(--line); overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; }
p { margin: .4rem 0; max-width: 48rem; } .dim, caption { color: var(--dim); }
a { color: var(--c1); } a:focus-visible, [tabindex]:focus-visible, summary:focus-visible { outline: 3px solid var(--c1); outline-offset: 2px; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; padding: 0; margin: .8rem 0 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(11.5rem, 45%), 1fr)); gap: .7rem; margin: 1.2rem 0 0; padding: 0; }
.tiles div { background: var(--card); border-radius: 8px; padding: .65rem .85rem; }
.tiles dt { color: var(--dim); font-size: 13px; } .tiles dd { margin: 0; font-size: 1.3rem; font-weight: 600; line-height: 1.3; overflow-wrap: anywhere; } .tiles dd small { display: block; font-size: 12.5px; font-weight: 400; color: var(--dim); }
.scroll { overflow: auto; max-height: 40rem; margin: .6rem 0; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; line-height: 1.4; }
caption { text-align: left; padding: .5rem .7rem; font-size: 13px; }
th, td { text-align: left; padding: .3rem .7rem; border-top: 1px solid var(--line); vertical-align: top; font-weight: 400; }
thead th { position: sticky; top: 0; background: var(--card); font-weight: 600; white-space: nowrap; z-index: 1; }
td:has(> .swatch), th:has(> .swatch) { white-space: nowrap; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.name { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 12px; overflow-wrap: anywhere; min-width: 11rem; max-width: 24rem; } .also { color: var(--dim); display: block; }
tr.off > * { background: var(--off); } .bad { color: var(--bad); font-weight: 600; }
.stack { display: flex; height: 1.5rem; border-radius: 5px; overflow: hidden; gap: 1px; } .stack i { display: block; min-width: 2px; }
.bars { display: grid; grid-template-columns: max-content 1fr; gap: .45rem .9rem; align-items: center; margin: .8rem 0; font-size: 13px; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; margin: .5rem 0; list-style: none; font-size: 13px; }
.swatch { width: 14px; height: 14px; vertical-align: -2px; margin-right: .35rem; }
.chart { overflow-x: auto; margin: .6rem 0; } .chart svg { width: 100%; min-width: 560px; max-width: 60rem; height: auto; display: block; }
svg text { font: 12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--fg); } svg .tick { fill: var(--dim); } svg .strong { font-weight: 600; }
svg .halo { paint-order: stroke; stroke: var(--bg); stroke-width: 4px; stroke-linejoin: round; }
svg .grid { stroke: var(--line); stroke-width: 1; } svg .axis { stroke: var(--dim); stroke-width: 1; } svg .roof { stroke: var(--fg); stroke-width: 1.6; } svg .soft { stroke: var(--dim); stroke-width: 1.2; stroke-dasharray: 6 4; } svg .front { stroke: var(--fg); stroke-width: 1.4; stroke-dasharray: 3 3; }
svg .stem { stroke: var(--dim); stroke-width: 1.2; } svg .range { stroke: var(--c1); stroke-width: 2; } svg .ref { stroke: var(--fg); stroke-width: 1.2; stroke-dasharray: 4 3; }
.range { width: 15rem; height: 22px; display: block; }
.s0 { fill: var(--c0); stroke: var(--c0); background: var(--c0); } .s1 { fill: var(--c1); stroke: var(--c1); background: var(--c1); } .s2 { fill: var(--c2); stroke: var(--c2); background: var(--c2); } .s3 { fill: var(--c3); stroke: var(--c3); background: var(--c3); }
.s4 { fill: var(--c4); stroke: var(--c4); background: var(--c4); } .s5 { fill: var(--c5); stroke: var(--c5); background: var(--c5); } .s6 { fill: var(--c6); stroke: var(--c6); background: var(--c6); }
svg .mark { fill-opacity: .72; stroke-width: 1.3; } svg .hollow { fill: var(--bg); fill-opacity: 1; stroke-width: 1.6; }
details { margin: .6rem 0; } summary { cursor: pointer; font-weight: 600; } details.artifact { border: 1px solid var(--line); border-radius: 8px; padding: .6rem 1rem; } details.artifact > summary { font-size: 1.05rem; overflow-wrap: anywhere; }
pre { background: var(--card); border-radius: 8px; padding: .6rem .8rem; overflow-x: auto; font-size: 13px; }
footer { margin-top: 3rem; color: var(--dim); font-size: 13px; }
@media (max-width: 40rem) { .name { min-width: 8rem; } tbody th { position: sticky; left: 0; background: var(--bg); } tbody th:not(.n) { min-width: 7rem; } }
@media print { .scroll { max-height: none; overflow: visible; } thead th { position: static; } }
)css";

StringRef getStyle() { return kStyle; }

//===----------------------------------------------------------------------===//
// Text
//===----------------------------------------------------------------------===//

std::string escape(StringRef text, size_t limit) {
  std::string valid = json::fixUTF8(text.take_front(limit + 4)), kept, result;
  for (unsigned char c : valid)
    kept += c < 0x20 || c == 0x7f ? ' ' : static_cast<char>(c);
  if (kept.size() > limit) {
    // Whole characters only.
    size_t end = limit;
    while (end > 0 && (static_cast<unsigned char>(kept[end]) & 0xc0) == 0x80)
      --end;
    kept.resize(end);
    kept += "\u2026";
  }
  raw_string_ostream os(result);
  printHTMLEscaped(kept, os);
  return result;
}

std::string print(const char *text, double value) {
  std::string result;
  raw_string_ostream(result) << format(text, value);
  return result;
}

/// Three digits of a value below 1000.
static std::string printThree(double value) {
  return print(value >= 99.95 || value == 0 ? "%.0f"
               : value >= 9.995             ? "%.1f"
                                            : "%.2f",
               value);
}

/// A number with its unit; `?` in place of what is none.
static std::string join(double value, const char *unit) {
  return std::isfinite(value) ? printThree(value) + unit : "?";
}

std::string formatBytes(double bytes) {
  static constexpr const char *kUnits[] = {" B",   " KiB", " MiB",
                                           " GiB", " TiB", " PiB"};
  unsigned unit = 0;
  for (; bytes >= 1023.5 && unit + 1 < std::size(kUnits); ++unit)
    bytes /= 1024;
  if (unit || !std::isfinite(bytes))
    return join(bytes, kUnits[unit]);
  return print("%.0f", bytes) + kUnits[0];
}

std::string formatCount(double value) {
  if (!std::isfinite(value))
    return "?";
  static constexpr const char *kUnits[] = {"", " k", " M", " G", " T", " P"};
  unsigned unit = 0;
  for (; value >= 999.5 && unit + 1 < std::size(kUnits); ++unit)
    value /= 1000;
  if (value >= 999.5)
    return print("%.2e", value * 1e15);
  return unit || value != std::floor(value) ? printThree(value) + kUnits[unit]
                                            : print("%.0f", value);
}

std::string formatRate(double value) {
  return value > 0 && value < 999.5 ? printThree(value) : formatCount(value);
}

std::string formatError(double error) {
  return std::isfinite(error) ? print("%.3g", error) : "not finite";
}

std::string formatTime(double us) {
  if (us >= 1e6)
    return join(us / 1e6, " s");
  if (us >= 1e3)
    return join(us / 1e3, " ms");
  return join(us, " \u00b5s");
}

std::string formatShare(double share) {
  double percent = 100 * share;
  if (!std::isfinite(percent))
    return "?";
  // Nearly nothing is not nothing, nearly all not all.
  if (percent > 0 && percent < 0.05)
    return "<0.1%";
  if (percent > 99.5 && percent < 100)
    return percent < 99.95 ? print("%.1f%%", percent) : ">99.9%";
  return print(percent > 0 && percent < 9.95 ? "%.1f%%" : "%.0f%%", percent);
}

//===----------------------------------------------------------------------===//
// Tables
//===----------------------------------------------------------------------===//

/// Columns of names that a model or a compiler made up.
static bool isName(StringRef head) {
  return head == "node" || head == "kernel" || head == "activation" ||
         head == "name";
}

Table::Table(raw_ostream &os, StringRef caption, ArrayRef<Column> columns)
    : os(os), columns(columns.begin(), columns.end()) {
  // What scrolls can be reached and moved with the keyboard.
  os << "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\""
     << escape(caption) << "\"><table><caption>" << escape(caption, 400)
     << "</caption><thead><tr>";
  for (const Column &column : columns)
    os << "<th scope=\"col\"" << (column.numeric ? " class=\"n\">" : ">")
       << escape(column.head) << "</th>";
  os << "</tr></thead><tbody>\n";
}

Table::~Table() { os << "</tbody></table></div>\n"; }

void Table::row(ArrayRef<std::string> cells, StringRef classes) {
  os << "<tr";
  if (!classes.empty())
    os << " class=\"" << classes << "\"";
  os << ">";
  for (auto [i, cell] : enumerate(cells)) {
    bool numeric = i < columns.size() && columns[i].numeric;
    StringRef element = i == 0 ? "th" : "td";
    os << "<" << element << (i == 0 ? " scope=\"row\"" : "");
    if (numeric)
      os << " class=\"n\"";
    else if (i == 0 && isName(columns[i].head))
      os << " class=\"name\"";
    os << ">" << cell << "</" << element << ">";
  }
  os << "</tr>\n";
}

} // namespace qcc::html
