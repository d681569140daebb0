// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Makes MKL use the vector instructions of processors that Intel did not make.
//
// LibTorch's matrix products are MKL's, which asks who made the processor
// before it asks what the processor can do: others than Intel's get kernels
// for 256-bit vectors of its second choice. Where there are 512-bit ones, that
// is half the rate (AMD EPYC of 2025, two cores, products of [2048, 2048] in
// float32: 196 against 446 GFLOP/s). Where there is AVX2 at most, products of
// [n, n] take 1.07 to 1.26 times as long in float32 (n from 8 to 512, most at
// 32) and 1.12 to 2.04 times in float64 (same processor told to do with AVX2,
// one thread).
#ifndef INFLUENCE_BASE_MKL_KERNELS_H_
#define INFLUENCE_BASE_MKL_KERNELS_H_

// MKL's question whether Intel made the processor. Defined here in its place,
// and answered with yes where the instructions count, see below.
extern "C" int mkl_serv_intel_cpu_true();  // NOLINT

namespace influence {

// From here on MKL takes its kernels by the instructions of the processor, if
// that has AVX2 and FMA, whoever made it. For programs, at the start of
// main(), before the first product, by which MKL has decided: libraries have
// no business with it. Results change by rounding. Does nothing on other
// processors, with a LibTorch without MKL, and if the environment variable
// INFLUENCE_MKL_KERNELS is "vendor".
void ChooseMklKernelsByInstructionSet();

}  // namespace influence

#endif  // INFLUENCE_BASE_MKL_KERNELS_H_
