"""The issues that the canaries stand for, as the catalogue of known issues has them.

The catalogue is not there in the target interpreter; a test compares these lines with it.
"""

from __future__ import annotations

from typing import Dict

from .canary import Issue

ISSUES: Dict[str, Issue] = {
    "KI022": Issue(
        "https://github.com/pytorch/pytorch/issues/143859",
        "torch 2.5 and 2.6 on macOS 15; newer releases raise the limit",
    ),
    "KI031": Issue(
        "https://github.com/pytorch/pytorch/issues/174861",
        "torch 2.8 to 2.10, one query against a long key-value cache",
    ),
    "KI032": Issue("https://github.com/pytorch/pytorch/issues/169222", "torch 2.8 and 2.9"),
    "KI033": Issue("https://github.com/pytorch/pytorch/issues/156707", "torch 2.7 and 2.8, left padding"),
    "KI034": Issue("https://github.com/pytorch/pytorch/issues/184180", "torch 2.11"),
    "KI035": Issue(
        "https://github.com/pytorch/pytorch/pull/181856",
        "torch before the change of April 2026 that refuses both with an error; PyTorch's documentation "
        "allows one of the two",
    ),
    "KI036": Issue(
        "https://github.com/pytorch/pytorch/issues/190791", "torch 2.12, beyond about 3,000 tokens"
    ),
    "KI037": Issue(
        "https://github.com/pytorch/pytorch/issues/197636",
        "torch up to 2.14, non-contiguous operands or the backward pass",
    ),
    "KI038": Issue(
        "https://github.com/pytorch/pytorch/issues/195163",
        "M1 and M2: bmm up to torch 2.14, mm, addmm and linear up to 2.13; the backward pass of an output "
        "layer over 50,257 words is one of them",
    ),
    "KI039": Issue("https://github.com/pytorch/pytorch/issues/193487", "torch 2.7 to 2.13 on M1 and M2"),
    "KI040": Issue(
        "https://github.com/pytorch/pytorch/issues/177116",
        "torch 2.10 to 2.14, tensors of more than 32,768 elements",
    ),
    "KI041": Issue("https://github.com/pytorch/pytorch/issues/153957", "torch 2.6 and 2.7"),
    "KI042": Issue(
        "https://github.com/pytorch/pytorch/issues/109457", "torch 2.0 and 2.1, vocabulary of 50,304"
    ),
    "KI043": Issue("https://github.com/pytorch/pytorch/issues/111634", "torch 2.0 and 2.1"),
    "KI044": Issue("https://github.com/pytorch/pytorch/issues/162730", "torch 2.8.0 on macOS 15 and later"),
    "KI045": Issue("https://github.com/pytorch/pytorch/issues/167154", "torch 2.8.0 on macOS 15.6"),
    "KI046": Issue(
        "https://github.com/pytorch/pytorch/issues/116331", "torch 2.1 and 2.2, GPT-2 medium on M1"
    ),
    "KI047": Issue(
        "https://github.com/pytorch/pytorch/issues/122045",
        "torch 2.2 to 2.5, 9 x 1,024 rows against 50,304 words",
    ),
    "KI049": Issue("https://github.com/pytorch/pytorch/issues/95188", "torch 1.13 and 2.0 on macOS 13.2.1"),
    "KI050": Issue(
        "https://github.com/pytorch/pytorch/issues/150967", "a pre-release of torch 2.8 on macOS 13"
    ),
    "KI051": Issue(
        "https://github.com/pytorch/pytorch/issues/118115",
        "torch up to 2.3, parameters that are not contiguous",
    ),
    "KI052": Issue(
        "https://github.com/pytorch/pytorch/pull/189420",
        "torch up to 2.14, as long as both are MPSGraph operations; floating-point updates of an optimizer "
        "are right",
    ),
    "KI053": Issue(
        "https://github.com/pytorch/pytorch/issues/186360", "torch 2.12 and 2.13, fp16 with GradScaler"
    ),
    "KI054": Issue(
        "https://github.com/pytorch/pytorch/issues/183825", "torch 2.11 and 2.12, frozen embeddings"
    ),
    "KI055": Issue(
        "https://github.com/pytorch/pytorch/issues/180201",
        "torch 2.10 to 2.13 on macOS 26.2; right on 26.4, wrong again on a beta of 27",
    ),
    "KI056": Issue("https://github.com/pytorch/pytorch/issues/139006", "torch 2.5 on macOS 13 and 14"),
    "KI057": Issue("https://github.com/pytorch/pytorch/issues/131736", "torch 2.3 and 2.4"),
    "KI058": Issue("https://github.com/pytorch/pytorch/issues/192577", "torch 2.13.0"),
    "KI059": Issue("https://github.com/pytorch/pytorch/issues/92752", "torch 2.0 on macOS 13"),
    "KI061": Issue(
        "https://github.com/pytorch/pytorch/issues/116769",
        "torch 2.1 to a nightly of 2.3, float32 too: 1,025 rows times 32,769 columns, or 70,000 rows; a "
        "16-bit index of the kernel overflows",
    ),
    "KI062": Issue("https://github.com/pytorch/pytorch/issues/161265", "torch 2.8 on macOS 26"),
    "KI064": Issue("https://github.com/pytorch/pytorch/issues/192212", "torch 2.13"),
    "KI065": Issue(
        "https://github.com/ml-explore/mlx/issues/3534",
        "mlx 0.30 and later on M5: errors of about 5e-2 where an M4 has 4e-5",
    ),
    "KI066": Issue("https://github.com/ml-explore/mlx/issues/3585", "mlx 0.31 on M5 with metalfe-32023.883"),
    "KI093": Issue(
        "https://github.com/pytorch/pytorch/issues/178497",
        "torch 2.11 and earlier, seen on an M3 Max with macOS 26: count_nonzero, mean, nansum, sum, trace; "
        "amax, amin, max and min are right",
    ),
    "KI115": Issue(
        "https://github.com/pytorch/pytorch/issues/189495",
        "torch 2.12 and 2.13, float32, contiguous input of three dimensions; seen on an M5 Max with macOS "
        "26.5: Apple's kernel cuts the batch index to 16 bits",
    ),
    "KI116": Issue(
        "https://github.com/pytorch/pytorch/issues/188438",
        "torch 2.13 and nightlies of 2.14, input of three dimensions, on the hosted runners macos-26 (Apple "
        "M1 (Virtual)); not on an M4, not without a bias, not in two dimensions (see also pytorch issue "
        "192934)",
    ),
    "KI117": Issue(
        "https://github.com/pytorch/pytorch/issues/180776",
        "M5 with macOS 26, float16 and bfloat16, input of more than two dimensions and some shapes; "
        "reported in April 2026, torch releases not verified; DPO and GRPO trainings were spoilt by it",
    ),
    "KI118": Issue(
        "https://github.com/pytorch/pytorch/issues/195910",
        "is_causal=True in float16 and bfloat16; seen with torch 2.10.0, right with torch 2.14.0 on an M4 "
        "Pro (multimodal-art-projection/YuE issue 176); releases in between are not verified",
    ),
    "KI119": Issue(
        "https://github.com/pytorch/pytorch/issues/176159",
        "macOS 14, seen in March 2026 by PyTorch's own tests; right on macOS 15 and later",
    ),
    "KI120": Issue(
        "https://github.com/pytorch/pytorch/issues/136623",
        "torch.multinomial with replacement, rarely: index 11 among 100,000,000 draws of ten words; open "
        "since September 2024, torch releases not verified",
    ),
}

# Known issues of silently wrong numbers that no canary stands for, and why.
WITHOUT_CANARY: Dict[str, str] = {
    "KI008": "no single answer is wrong: two versions of macOS differ within the error of each, which shows "
    "when results of both are compared",
    "KI067": "needs a model of 7 billion parameters; the thread does not say which operation of mlx before "
    "0.24.1 gave NaN",
    "KI110": "qlora_torch reproduces it with the package that has it: rows that are no multiple of 64 values",
    "KI111": "qlora_torch reproduces it with the package that has it: gradients after an evaluation",
}
