//===- Equalize.h - dividing channels before they are rounded ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_QUANTIZE_STATICINT8_EQUALIZE_H
#define QCC_PASSES_QUANTIZE_STATICINT8_EQUALIZE_H

#include "Activations.h"
#include "qcc/Calibration/Workspace.h"

namespace qcc {

/// Gives activations whose channels have different ranges scales for them where
/// that is expected to make the layers' results more exact (Activation::scales,
/// with the range of the divided channels), from what calibration knows of the
/// channels. Returns how many got some. Errors: as Workspace::evaluate.
llvm::Expected<unsigned>
equalizeChannels(Workspace &workspace,
                 llvm::MutableArrayRef<Activation> activations);

} // namespace qcc

#endif // QCC_PASSES_QUANTIZE_STATICINT8_EQUALIZE_H
