"""Unit roundoff by data type: the largest relative error of an operation that is rounded right (IEEE 754).

The bounds of checks are multiples of it.  TF32 keeps FP16's ten bits of significand.
"""

UNIT_ROUNDOFF = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
TF32_ROUNDOFF = 2.0**-11
