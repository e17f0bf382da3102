"""Seasons: which period a series repeats itself with, found from what was seen of it so far, and its usual course."""

from __future__ import annotations

import numpy as np

from twin.records import F64

CYCLES = 2.5  # seen before a period is believed
STRENGTH = 0.3  # autocorrelation that a period must reach


def find_period(x: F64) -> int:
    """The period of x [N] (finite, without outliers) in steps, 0 where there is none.

    The highest peak of the autocorrelation, after its first fall below zero; a multiple of a peak nearly as high is
    passed over for the peak.
    """
    n = len(x)
    longest = int(n / CYCLES)
    if longest < 4:
        return 0
    ramp = np.linspace(-1.0, 1.0, n)
    x = x - x.mean()
    x = x - ramp * float(ramp @ x) / float(ramp @ ramp)
    power = float(x @ x)
    if power <= 1e-12 * n:
        return 0
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(x, size)
    corr = np.fft.irfft(spectrum * np.conj(spectrum), size)[: longest + 1] / power
    corr *= n / (n - np.arange(longest + 1))
    below = np.flatnonzero(corr < 0.0)
    if not len(below):
        return 0
    inner = corr[1:-1]
    peaks = np.flatnonzero((inner >= corr[:-2]) & (inner > corr[2:])) + 1
    peaks = peaks[(peaks > below[0]) & (corr[peaks] > max(STRENGTH, 4.0 / np.sqrt(n)))]
    if not len(peaks):
        return 0
    high = corr[peaks].max()
    return int(peaks[corr[peaks] > 0.9 * high - 0.02][0])


def usual_course(x: F64, known: F64, period: int) -> F64:
    """The mean of every phase, [period], of x [N] whose first step has phase 0, shrunk where it was seen seldom and
    centred on 0. `known`: weight of each step."""
    phase = np.arange(len(x)) % period
    weight = np.bincount(phase, known, period)
    course = np.bincount(phase, known * x, period) / (weight + 0.5)
    if period >= 48:
        reach = max(1, period // 96)
        kernel = np.ones(2 * reach + 1) / (2 * reach + 1)
        course = np.convolve(np.r_[course[-reach:], course, course[:reach]], kernel, "valid")
    course -= course.mean()
    return np.asarray(course, np.float64)
