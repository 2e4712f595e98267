"""Loads a causal language model through `from_pretrained`, and says where its weights come from.

A model is named as at the hub ("openai-community/gpt2"), or is a local folder or a .gguf file. A name is
looked for in the cache, then at the hub if it answers at once; else, where its configuration is published
and known here, a model of that shape with random weights is saved and loaded again, so that loading is
executed all the same. transformers' own retries (five a file, 23 s here) are avoided by asking the hub once
first.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple, Type

if TYPE_CHECKING:
    from .context import Probe

HUB_ANSWERS_WITHIN_SECONDS = 5.0
WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin")
# As `save_pretrained` names them, whole or in parts; transformers takes the first kind that there is.
STORED_AS = (
    "model.safetensors",
    "model-*-of-*.safetensors",
    "pytorch_model.bin",
    "pytorch_model-*-of-*.bin",
)
HALVES = ("float16", "bfloat16")
DTYPES = ("auto", "float32", "float16", "bfloat16", "float64")
# transformers' GPT2Config without arguments is the configuration published with GPT-2.
PUBLISHED_CONFIGURATIONS = {"openai-community/gpt2": "GPT2Config", "gpt2": "GPT2Config"}
# "Hello, I am" in GPT-2's vocabulary, for when no tokenizer can be had.
PUBLISHED_PROMPT_IDS = {"Hello, I am": (15496, 11, 314, 716)}


@dataclasses.dataclass(frozen=True)
class Weights:
    """Where weights lie: `source` is hub, cache, folder, gguf or random; `folder` holds them locally.

    `title` is the model's name at the hub, or of its file or folder.  `hub_state` is "not asked", or what
    came of asking the hub, in words.
    """

    title: str
    source: str
    folder: Path
    gguf_file: Optional[str] = None
    hub_state: str = "not asked"

    @property
    def are_trained(self) -> bool:
        return self.source != "random"

    @property
    def stored_bytes(self) -> int:
        """Of the files that hold them; 0 where they have other names than usual."""
        if self.gguf_file:
            return (self.folder / self.gguf_file).stat().st_size
        kinds = ([path.stat().st_size for path in self.folder.glob(pattern)] for pattern in STORED_AS)
        return next((sum(sizes) for sizes in kinds if sizes), 0)


class LanguageModel:
    """`find` where the weights are, then `load` model and `tokenizer` from there, as often as wanted."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def find(self, name: str) -> Weights:
        """Weights of the model called `name`, downloaded where the hub answers.

        Ends the check as `error`, with a sentence that says what to do, where there are none.
        """
        path = Path(name).expanduser()
        if path.suffix == ".gguf":
            return self._gguf(path)
        if path.is_absolute() or name.startswith((".", "~")):
            return self._folder(path)
        cached = _cached_folder(name)
        if cached is not None:
            return Weights(name, "cache", cached)
        hub_state = _ask_hub(name)
        if hub_state == "answered":
            return self._download(name)
        return self._random(name, hub_state)

    def import_code(self, weights: Weights) -> None:
        """Import the code of the model's class, so that `load` only loads: transformers does it late."""
        import transformers

        _quieten(transformers)
        configuration = transformers.AutoConfig.from_pretrained(weights.folder, **_from(weights))
        _ = transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(configuration)]

    def load(self, weights: Weights, dtype: str = "auto") -> Any:
        """The model in evaluation mode on the CPU; `dtype` "auto" keeps the checkpoint's.

        Skips the check where the weights alone do not fit, which is the least that any check of them takes.
        Ends the check as `fail` where the checkpoint lacks tensors: `from_pretrained` only warns, and makes
        them up.
        """
        from transformers import AutoModelForCausalLM

        if dtype not in DTYPES:
            self._probe.error(
                "There is no data type {dtype} to measure, only {known}.",
                dtype=dtype,
                known=", ".join(DTYPES),
            )
        least = weights.stored_bytes * (0.5 if dtype in HALVES else 1)
        self._probe.require_memory(least, f"the weights of {weights.title} alone")
        options = {**_from(weights), _dtype_keyword(): dtype, "output_loading_info": True}
        model, loading = AutoModelForCausalLM.from_pretrained(weights.folder, **options)
        if invented := sorted(loading["missing_keys"]):
            self._probe.fail(
                "{model} lacks {count} of the tensors that transformers wants, {first} first, and they got "
                "random values: the checkpoint is damaged or of another architecture.",
                model=weights.title,
                count=len(invented),
                first=invented[0],
            )
        return model.eval()

    def tokenizer(self, weights: Weights) -> Any:
        """The tokenizer that lies with the weights; None with random weights, which have none."""
        if not weights.are_trained:
            return None
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(weights.folder, **_from(weights))

    def prompt_ids(self, tokenizer: Any, text: str) -> Any:
        """Token ids (1, tokens) of `text`; without a tokenizer only the published ones are known."""
        import torch

        if tokenizer is not None:
            return tokenizer(text, return_tensors="pt").input_ids
        if text not in PUBLISHED_PROMPT_IDS:
            self._probe.error(
                "Without a tokenizer the token ids of the prompt {prompt} are not known.", prompt=repr(text)
            )
        return torch.tensor([PUBLISHED_PROMPT_IDS[text]])

    def _gguf(self, path: Path) -> Weights:
        if not path.is_file():
            self._probe.error(
                "There is no GGUF file {path}; give the path of one, a folder or a hub name.", path=path
            )
        importlib.import_module("gguf")
        return Weights(path.name, "gguf", path.parent.resolve(), path.name)

    def _folder(self, path: Path) -> Weights:
        if not (path / "config.json").is_file():
            self._probe.error(
                "There is no model in {path}: it has no config.json; save one there or give a hub name.",
                path=path,
            )
        return Weights(path.name, "folder", path.resolve())

    def _download(self, name: str) -> Weights:
        """Through `from_pretrained` itself, which fills the cache."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        AutoTokenizer.from_pretrained(name)
        AutoModelForCausalLM.from_pretrained(name)
        folder = _cached_folder(name)
        if folder is None:
            self._probe.error("{model} was downloaded and is not in the cache; check HF_HOME.", model=name)
        return Weights(name, "hub", folder, hub_state="answered")

    def _random(self, name: str, hub_state: str) -> Weights:
        """A model of the published shape, saved once a check."""
        if name not in PUBLISHED_CONFIGURATIONS:
            self._probe.error(
                "{model} is not in the cache and the hub does not give it ({hub_state}); "
                "name a local folder or a .gguf file.",
                model=name,
                hub_state=hub_state,
            )
        import torch
        import transformers

        folder = self._probe.scratch / "random-weights"
        if not folder.exists():
            torch.manual_seed(self._probe.seed)
            configuration = getattr(transformers, PUBLISHED_CONFIGURATIONS[name])()
            transformers.AutoModelForCausalLM.from_config(configuration).save_pretrained(folder)
        return Weights(name, "random", folder, hub_state=hub_state)


def _from(weights: Weights) -> Dict[str, Any]:
    return {"gguf_file": weights.gguf_file} if weights.gguf_file else {}


def _dtype_keyword() -> str:
    """`torch_dtype` became `dtype` in transformers 4.56 and warns since."""
    import transformers

    major, minor = (int(part) for part in transformers.__version__.split(".")[:2])
    return "dtype" if (major, minor) >= (4, 56) else "torch_dtype"


def _cached_folder(name: str) -> Optional[Path]:
    """Folder of the newest cached snapshot that has weights; no network."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError):  # not in the cache, or not a name of the hub
        return None
    has_weights = any(next(folder.glob(pattern), None) for pattern in WEIGHT_FILES)
    return folder if has_weights and (folder / "config.json").exists() else None


def _ask_hub(name: str) -> str:
    """ "answered", or why the hub does not give this model; asked once, with a short time-out."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return "offline mode"
    try:
        HfApi().model_info(name, timeout=HUB_ANSWERS_WITHIN_SECONDS)
    except _hub_refusals() as refusal:
        return f"{type(refusal).__name__}: {refusal}".splitlines()[0][:200]
    return "answered"


def _hub_refusals() -> Tuple[Type[Exception], ...]:
    """What an unanswered question raises, whichever HTTP client this version of huggingface_hub uses.

    requests raises OSErrors; httpx and its successor have a family of their own.
    """
    from huggingface_hub.utils import HfHubHTTPError

    clients = [sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules]
    return (OSError, HfHubHTTPError, *(client.HTTPError for client in clients))


def _quieten(transformers: Any) -> None:
    """Progress bars would fill the log tail, which is kept for what went wrong."""
    transformers.utils.logging.disable_progress_bar()
