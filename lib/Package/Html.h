//===- Html.h - text, tables and pictures of a page -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Everything that a page shows goes through here: text is escaped and cut off,
// tables can be read aloud and reached with the keyboard, pictures have a title
// and sizes of their own.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_LIB_PACKAGE_HTML_H
#define QCC_LIB_PACKAGE_HTML_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/raw_ostream.h"
#include <string>
#include <vector>

namespace qcc::html {

/// Style of the page, without the element.
llvm::StringRef getStyle();

/// Text with the characters that HTML gives a meaning replaced, controls left
/// out, what is not UTF-8 replaced, and at most `limit` bytes of it.
std::string escape(llvm::StringRef text, size_t limit = 160);

/// `12.3 MiB`.
std::string formatBytes(double bytes);
/// `12.3 M`; three digits.
std::string formatCount(double value);
/// The same of what is no number of things: `96.0`, where a count is `96`.
std::string formatRate(double value);
/// An error: three digits, or `not finite`.
std::string formatError(double error);
/// `12.3 us`, `4.56 ms`; from microseconds.
std::string formatTime(double microseconds);
/// `12%`, `1.2%`; from a share. What is not nothing is at least `<0.1%`, what
/// is not all at most `>99.9%`.
std::string formatShare(double share);
/// printf of one number.
std::string print(const char *format, double value);

/// A column: its head, and whether it has numbers (flush right).
struct Column {
  llvm::StringRef head;
  bool numeric = false;
};

/// A table in a region that scrolls. The first cell of a row is its head. Cells
/// are HTML: whoever makes them escapes.
class Table {
public:
  Table(llvm::raw_ostream &os, llvm::StringRef caption,
        llvm::ArrayRef<Column> columns);
  ~Table();
  Table(const Table &) = delete;
  Table &operator=(const Table &) = delete;

  /// A row; `classes` is put on it, "" is nothing.
  void row(llvm::ArrayRef<std::string> cells, llvm::StringRef classes = "");

private:
  llvm::raw_ostream &os;
  std::vector<Column> columns;
};

/// A scale of numbers along a line of pixels.
struct Axis {
  std::string label;
  double low, high;
  bool isLog;
  bool isWhole = false;    ///< whole numbers: nothing between them is marked
  double from = 0, to = 0; ///< pixels of `low` and `high`; set by the chart

  /// Pixel of a value; values outside are put at the end.
  double place(double value) const;
  /// Values to mark, at most about `count`.
  std::vector<double> ticks(unsigned count) const;

  /// An axis that holds all values with some space around. Values that are not
  /// finite, or not positive on a logarithmic axis, do not count.
  static Axis around(llvm::StringRef label, llvm::ArrayRef<double> values,
                     bool isLog);
};

/// Points of at least this radius are kept free of labels.
inline constexpr double kLabelledRadius = 6;

/// Colours and shapes of series; series 0 is neutral, the last ones are shared.
inline constexpr unsigned kNumSeries = 7;

/// A picture with two axes.
class Chart {
public:
  /// Writes the frame. `title` names the picture; `description` says in words
  /// what it shows, for those who do not see it. Text.
  Chart(llvm::raw_ostream &os, llvm::StringRef title,
        llvm::StringRef description, Axis x, Axis y, unsigned width = 760,
        unsigned height = 380);
  ~Chart();
  Chart(const Chart &) = delete;
  Chart &operator=(const Chart &) = delete;

  /// A line between two points in the axes' values.
  void line(double x0, double y0, double x1, double y1,
            llvm::StringRef classes);
  /// A point; `title` is text that a pointer over it shows.
  void point(double x, double y, double radius, unsigned series,
             llvm::StringRef title, bool isHollow = false);
  /// Text beside a point: `anchor` is start or end. Where it would lie on
  /// another label or a large point, or leave the picture, it is put elsewhere
  /// near the point; where there is no room only what is `strong` is written:
  /// tables have everything that pictures name.
  void label(double x, double y, double dx, double dy, llvm::StringRef text,
             llvm::StringRef anchor = "start", llvm::StringRef classes = "");

  const Axis &getX() const { return x; }
  const Axis &getY() const { return y; }

private:
  /// A rectangle that labels keep off.
  struct Box {
    double left, top, right, bottom;
  };
  bool isFree(const Box &box) const;

  llvm::raw_ostream &os;
  Axis x, y;
  double width, height;
  std::vector<Box> taken;
};

/// Shape and colour of a series, to stand in a legend or a cell.
std::string makeSwatch(unsigned series);

} // namespace qcc::html

#endif // QCC_LIB_PACKAGE_HTML_H
