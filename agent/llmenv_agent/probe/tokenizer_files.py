"""Finds a published tokenizer in a folder or an installed package, and builds it without a network."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Optional

# GPT-2's own names for them, and those that transformers gave them.
BYTE_LEVEL_FILES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))


def find_tokenizer(name: str) -> Optional[Any]:
    """A `tokenizers.Tokenizer` from the first tokenizer.json below, else from a vocabulary and merges.

    `name` is a folder or a package; None where neither has one.
    """
    from tokenizers import Tokenizer

    folder = _folder(name)
    if folder is None:
        return None
    for path in sorted(folder.rglob("tokenizer.json")):
        return Tokenizer.from_file(str(path))
    for vocabulary, merges in BYTE_LEVEL_FILES:
        for path in sorted(folder.rglob(vocabulary)):
            if path.with_name(merges).is_file():
                return _byte_level(path, path.with_name(merges))
    return None


def _folder(name: str) -> Optional[Path]:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    package = find_spec(name) if name.isidentifier() else None
    return Path(package.origin).parent if package is not None and package.origin else None


def _byte_level(vocabulary: Path, merges: Path) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE.from_file(str(vocabulary), str(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
