"""A decimating filter by its polyphase form: filter each phase at the low rate, and add. Equal to filtering, then dropping.

With NumPy alone. A decimator by M computes M times less this way than by a convolution of which M - 1 of M results are dropped.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spacebatch.windows import polyphase

Signal = npt.NDArray[np.float64]


def decimate(x: Signal, taps: Signal, factor: int) -> Signal:
    """Every `factor`-th sample of the convolution of a signal with the taps: `scipy.signal.upfirdn(taps, x, down=factor)`."""
    # y[n] = sum over k of taps[k] * x[n * M - k]: phase p of the taps meets phase -p of the signal
    count = -(-(len(x) + len(taps) - 1) // factor)
    delayed = np.concatenate([np.zeros(factor - 1), x])[None, None]
    signals = polyphase(delayed, factor)[::-1, 0, 0]
    filters = polyphase(taps[None, None], factor)[:, 0, 0]
    total = sum(np.convolve(h, signal) for h, signal in zip(filters, signals, strict=True))
    result = np.zeros(count)
    result[: min(count, len(total))] = total[:count]
    return result


def main() -> None:
    """The same numbers as by the definition, or by SciPy where it is installed."""
    rng = np.random.default_rng(0)
    for length, count, factor in ((100, 17, 4), (33, 5, 3), (7, 12, 5)):
        x, taps = rng.standard_normal(length), rng.standard_normal(count)
        try:
            from scipy.signal import upfirdn
        except ImportError:
            expected = np.convolve(x, taps)[::factor]
        else:
            expected = upfirdn(taps, x, down=factor)
        np.testing.assert_allclose(decimate(x, taps, factor), expected, atol=1e-12)
        print(f"{length} samples, {count} taps, 1 of {factor}: {len(expected)} samples, as by the definition")


if __name__ == "__main__":
    main()
