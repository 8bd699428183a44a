//===- Chart.cpp - pictures of a page ---------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Html.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include <algorithm>
#include <cmath>

using namespace llvm;

namespace qcc::html {

/// Space around the plot for labels of the axes.
static constexpr double kLeft = 66, kRight = 16, kTop = 12, kBottom = 46;

/// A coordinate in the file: a tenth of a pixel is enough.
static std::string toPixels(double value) { return print("%.1f", value); }

//===----------------------------------------------------------------------===//
// Axes
//===----------------------------------------------------------------------===//

double Axis::place(double value) const {
  double a = low, b = high;
  if (isLog) {
    a = std::log10(a);
    b = std::log10(b);
    value = value > 0 ? std::log10(value) : a;
  }
  double share = (value - a) / (b - a);
  // Written so that what is no number is put at the low end.
  share = share >= 0 ? std::min(share, 1.0) : 0.0;
  return from + share * (to - from);
}

std::vector<double> Axis::ticks(unsigned count) const {
  std::vector<double> result;
  if (isLog) {
    int first = int(std::ceil(std::log10(low) - 1e-9)),
        last = int(std::floor(std::log10(high) + 1e-9));
    int step = std::max(1, int(std::ceil(double(last - first + 1) / count)));
    // Less than two decades: 1, 2 and 5 of each.
    bool fine = last - first < 2;
    for (int power = fine ? first - 1 : first; power <= last;
         power += fine ? 1 : step)
      for (double part : {1.0, 2.0, 5.0}) {
        double value = part * std::pow(10.0, power);
        if ((fine || part == 1) && value >= low * (1 - 1e-9) &&
            value <= high * (1 + 1e-9))
          result.push_back(value);
      }
    return result;
  }
  double raw = (high - low) / count,
         power = std::pow(10.0, std::floor(std::log10(raw)));
  double step = 10 * power;
  for (double part : {1.0, 2.0, 5.0})
    if (part * power >= raw) {
      step = part * power;
      break;
    }
  if (isWhole)
    step = std::max(step, 1.0);
  for (double i = std::ceil(low / step - 1e-9); i * step <= high + 1e-9 * step;
       ++i)
    result.push_back(i * step);
  return result;
}

Axis Axis::around(StringRef label, ArrayRef<double> values, bool isLog) {
  double low = INFINITY, high = -INFINITY;
  for (double value : values)
    if (std::isfinite(value) && (!isLog || value > 0)) {
      low = std::min(low, value);
      high = std::max(high, value);
    }
  if (!(low <= high))
    low = high = 1;
  if (isLog) {
    // Half a decade at least, and a fifth of it around.
    double a = std::log10(low), b = std::log10(high);
    double space = std::max(0.08 * (b - a), 0.12);
    return {label.str(), std::pow(10.0, a - space), std::pow(10.0, b + space),
            true};
  }
  double space =
      high > low ? 0.08 * (high - low) : std::max(std::abs(high) * 0.1, 1e-12);
  return {label.str(), low - space, high + space, false};
}

/// A number at a tick.
static std::string printTick(double value, bool isLog) {
  double size = std::abs(value);
  if (value == 0)
    return "0";
  if (size >= 1000 && size < 1e15)
    return formatCount(value);
  if (size >= 1e-3 && size < 1000) {
    std::string text = print("%.4g", value);
    return text;
  }
  return print(isLog ? "%.0e" : "%.3g", value);
}

//===----------------------------------------------------------------------===//
// Charts
//===----------------------------------------------------------------------===//

Chart::Chart(raw_ostream &os, StringRef title, StringRef description,
             Axis xAxis, Axis yAxis, unsigned width, unsigned height)
    : os(os), x(std::move(xAxis)), y(std::move(yAxis)), width(width),
      height(height) {
  x.from = kLeft;
  x.to = width - kRight;
  y.from = height - kBottom;
  y.to = kTop;
  os << "<div class=\"chart\" tabindex=\"0\" role=\"region\" aria-label=\""
     << escape(title) << "\"><svg viewBox=\"0 0 " << width << " " << height
     << "\" role=\"img\"><title>" << escape(title, 400) << "</title><desc>"
     << escape(description, 2000) << "</desc>\n";
  for (double tick : x.ticks(8)) {
    double at = x.place(tick);
    os << "<line class=\"grid\" x1=\"" << toPixels(at) << "\" x2=\""
       << toPixels(at) << "\" y1=\"" << toPixels(y.to) << "\" y2=\""
       << toPixels(y.from) << "\"/><text class=\"tick\" text-anchor=\"middle\" "
       << "x=\"" << toPixels(at) << "\" y=\"" << toPixels(y.from + 17) << "\">"
       << printTick(tick, x.isLog) << "</text>\n";
  }
  for (double tick : y.ticks(6)) {
    double at = y.place(tick);
    os << "<line class=\"grid\" x1=\"" << toPixels(x.from) << "\" x2=\""
       << toPixels(x.to) << "\" y1=\"" << toPixels(at) << "\" y2=\""
       << toPixels(at) << "\"/><text class=\"tick\" text-anchor=\"end\" x=\""
       << toPixels(x.from - 7) << "\" y=\"" << toPixels(at + 4) << "\">"
       << printTick(tick, y.isLog) << "</text>\n";
  }
  os << "<path class=\"axis\" fill=\"none\" d=\"M" << toPixels(x.from) << " "
     << toPixels(y.to) << "V" << toPixels(y.from) << "H" << toPixels(x.to)
     << "\"/>\n<text text-anchor=\"middle\" x=\""
     << toPixels((x.from + x.to) / 2) << "\" y=\"" << toPixels(y.from + 38)
     << "\">" << escape(x.label) << "</text>\n<text text-anchor=\"middle\" "
     << "transform=\"translate(14 " << toPixels((y.from + y.to) / 2)
     << ") rotate(-90)\">" << escape(y.label) << "</text>\n";
}

Chart::~Chart() { os << "</svg></div>\n"; }

void Chart::line(double x0, double y0, double x1, double y1,
                 StringRef classes) {
  os << "<line class=\"" << classes << "\" x1=\"" << toPixels(x.place(x0))
     << "\" y1=\"" << toPixels(y.place(y0)) << "\" x2=\""
     << toPixels(x.place(x1)) << "\" y2=\"" << toPixels(y.place(y1))
     << "\"/>\n";
}

/// The outline of a series' shape around a point.
static std::string makeShape(unsigned series, double x, double y, double r) {
  auto path = [&](ArrayRef<std::pair<double, double>> points) {
    std::string text = "<path d=\"";
    for (auto [i, point] : enumerate(points))
      text += (i ? "L" : "M") + toPixels(x + r * point.first) + " " +
              toPixels(y + r * point.second);
    return text + "Z\"";
  };
  switch (series % kNumSeries) {
  case 1: // square
    return path({{-.9, -.9}, {.9, -.9}, {.9, .9}, {-.9, .9}});
  case 2: // triangle
    return path({{0, -1.2}, {1.1, .8}, {-1.1, .8}});
  case 3: // diamond
    return path({{0, -1.25}, {1.25, 0}, {0, 1.25}, {-1.25, 0}});
  case 4: // triangle on its tip
    return path({{0, 1.2}, {1.1, -.8}, {-1.1, -.8}});
  case 5: // a flat bar
    return path({{-1.3, -.5}, {1.3, -.5}, {1.3, .5}, {-1.3, .5}});
  case 6: // hexagon
    return path({{-.6, -1}, {.6, -1}, {1.2, 0}, {.6, 1}, {-.6, 1}, {-1.2, 0}});
  default:
    return "<circle cx=\"" + toPixels(x) + "\" cy=\"" + toPixels(y) +
           "\" r=\"" + toPixels(r) + "\"";
  }
}

void Chart::point(double px, double py, double radius, unsigned series,
                  StringRef title, bool isHollow) {
  if (radius >= kLabelledRadius)
    taken.push_back({x.place(px) - radius, y.place(py) - radius,
                     x.place(px) + radius, y.place(py) + radius});
  os << makeShape(series, x.place(px), y.place(py), radius) << " class=\"mark s"
     << series % kNumSeries << (isHollow ? " hollow" : "") << "\"><title>"
     << escape(title, 400) << "</title></"
     << (series % kNumSeries ? "path" : "circle") << ">\n";
}

bool Chart::isFree(const Box &box) const {
  return box.left >= 0 && box.right <= width && box.top >= 0 &&
         box.bottom <= height && none_of(taken, [&](const Box &other) {
           return box.left < other.right && other.left < box.right &&
                  box.top < other.bottom && other.top < box.bottom;
         });
}

void Chart::label(double px, double py, double dx, double dy, StringRef text,
                  StringRef anchor, StringRef classes) {
  constexpr double kLetter = 7.2, kAbove = 10, kBelow = 3, kLine = 14;
  constexpr size_t kLimit = 60;
  double length = kLetter * double(std::min(text.size(), kLimit));
  auto write = [&](double atX, double atY, StringRef side) {
    double left = side == "end" ? atX - length : atX;
    taken.push_back({left, atY - kAbove, left + length, atY + kBelow});
    os << "<text class=\"halo " << classes << "\" text-anchor=\"" << side
       << "\" x=\"" << toPixels(atX) << "\" y=\"" << toPixels(atY) << "\">"
       << escape(text, kLimit) << "</text>\n";
  };
  double baseX = x.place(px), baseY = y.place(py) + dy;
  // As asked, a line or two higher or lower, and so on the other side.
  for (StringRef side : {anchor, StringRef(anchor == "end" ? "start" : "end")})
    for (double lines : {0.0, -1.0, 1.0, -2.0, 2.0}) {
      double atX = baseX + (side == anchor ? dx : -dx),
             atY = baseY + lines * kLine,
             left = side == "end" ? atX - length : atX;
      if (isFree({left, atY - kAbove, left + length, atY + kBelow}))
        return write(atX, atY, side);
    }
  if (classes == "strong")
    write(baseX + dx, baseY, anchor);
}

std::string makeSwatch(unsigned series) {
  return "<svg class=\"swatch\" viewBox=\"0 0 14 14\" aria-hidden=\"true\">" +
         makeShape(series, 7, 7, 5) + " class=\"s" +
         utostr(series % kNumSeries) + "\"/></svg>";
}

} // namespace qcc::html
