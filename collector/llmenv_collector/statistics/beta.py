"""The incomplete beta function and the quantiles that follow from it.

Press, Teukolsky, Vetterling and Flannery, Numerical Recipes (3rd ed., 2007), section
6.4: the continued fraction of the regularised incomplete beta function, evaluated by
Lentz's method; Student's distribution by equation 6.14.9.  Quantiles are found by
bisection, which cannot fail on a monotone function.
"""

from __future__ import annotations

import functools
import math

TINY = 1e-300
ITERATIONS = 10_000
CLOSE = 1e-15
HALVINGS = 200


def regularised_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b), the distribution function of the beta distribution, for a > 0, b > 0 and 0 <= x <= 1."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - regularised_beta(b, a, 1 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) * _continued_fraction(a, b, x) / a


def _continued_fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, ITERATIONS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for numerator in (even, odd):
            d = 1 / _not_zero(1 + numerator * d)
            c = _not_zero(1 + numerator / c)
            value *= c * d
        if abs(c * d - 1) < CLOSE:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > TINY else TINY


def beta_quantile(probability: float, a: float, b: float) -> float:
    """The x at which I_x(a, b) is `probability`, 0 <= probability <= 1."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if regularised_beta(a, b, middle) < probability else (low, middle)
    return (low + high) / 2


@functools.lru_cache(maxsize=10_000)
def student_quantile(probability: float, degrees: float) -> float:
    """The t at which Student's distribution function with `degrees` > 0 of freedom is `probability`.

    For 0.5 <= probability < 1, which is what intervals ask for.
    """
    x = beta_quantile(2 * (1 - probability), degrees / 2, 0.5)
    return math.sqrt(degrees * (1 - x) / x)


def student_p(t: float, degrees: float) -> float:
    """Two-sided p of Student's t with `degrees` d > 0 of freedom: I_x(d / 2, 1 / 2) at x = d / (d + t^2)."""
    return regularised_beta(degrees / 2, 0.5, degrees / (degrees + t * t)) if math.isfinite(t) else 0.0
