"""Texts that tokenizers get wrong: scripts, emoji, directions, marks, white space and control characters.

Written in escapes, since much of it cannot be seen.  NUL is left out: it ends the strings of C.
"""

from __future__ import annotations

TEXTS = {
    "english": "The loss fell from 2.30 to 0.98 after 1,000 steps; didn't it?",
    "chinese": (
        "\u5927\u6a21\u578b\u5728\u82f9\u679c\u82af\u7247\u4e0a\u8bad\u7ec3\uff0c"
        "\u635f\u5931\u964d\u5230 0.98\u3002"
    ),
    "japanese_korean": (
        "\u8a00\u8a9e\u30e2\u30c7\u30eb\u306e\u5b66\u7fd2 \uc5b8\uc5b4 \ubaa8\ub378 \ud559\uc2b5"
    ),
    # A family of four and a woman who programs: people joined by U+200D, one with a skin tone.
    "emoji_joined": (
        "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f469\U0001f3fd\u200d\U0001f4bb"
    ),
    # China, the United Nations and the rainbow.
    "emoji_flags": "\U0001f1e8\U0001f1f3\U0001f1fa\U0001f1f3 \U0001f3f3\ufe0f\u200d\U0001f308",
    "arabic": (
        "\u062a\u062f\u0631\u064a\u0628 \u0646\u0645\u0627\u0630\u062c \u0627\u0644\u0644\u063a"
        "\u0629 \u0661\u0662\u0663\u060c \u0644\u0627"
    ),
    # With marks of direction and vowel points.
    "hebrew": (
        "\u05d0\u05d9\u05de\u05d5\u05df \u200f(\u05de\u05d5\u05d3\u05dc\u05d9\u05dd)\u200e "
        "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd"
    ),
    # Marks that NFC would join to their letters, and two that it would put in another order.
    "combining_marks": "e\u0301 n\u0303 o\u0323\u0302 a\u0302\u0323 \u1112\u1161\u11ab",
    "devanagari": "\u092d\u093e\u0937\u093e \u092e\u0949\u0921\u0932 \u0915\u094d\u0937\u093f",
    "beyond_16_bits": "\U0001d518\U0001d52b\U0001d526 \U00020bb7 \U00012000",
    "white_space": " two  spaces\ttab\r\nline\n\n\u00a0\u3000\u2009 end  ",
    "control_characters": "".join(map(chr, range(1, 32))) + "\x7f\x85\u2028\ufeff",
}
# What a small vocabulary is learned from, so that the other scripts are spelled in bytes.
CORPUS = [TEXTS["english"], TEXTS["chinese"]] * 20
