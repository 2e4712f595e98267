"""A small Llama on disk as mlx-lm loads it: configuration, random weights, tokenizer, and texts it can learn.

What a check proves with it is the code of MLX and mlx-lm on this machine, not what a checkpoint knows.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Dict, List

from .permutation_language import permutation_tokens

if TYPE_CHECKING:
    from pathlib import Path

END, UNKNOWN = "</s>", "<unk>"
PROJECTIONS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)

# Elements that share a scale and a bias in the quantizations of GGUF that MLX reads.
GGUF_GROUP = 32
# Parts of array names in a GGUF file of a Llama, and what mlx-lm calls them.
GGUF_NAMES = (
    ("blk.", "model.layers."),
    ("attn_norm", "input_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("ffn_", "mlp."),
    ("mlp.gate", "mlp.gate_proj"),
    ("mlp.up", "mlp.up_proj"),
    ("mlp.down", "mlp.down_proj"),
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output.", "lm_head."),
)


def llama_configuration(*, vocabulary: int, width: int, layers: int, heads: int = 4) -> Dict[str, Any]:
    """The config.json of a Llama with half as many key-value heads as heads and an MLP twice as wide."""
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2,
        "rms_norm_eps": 1e-5,
        "vocab_size": vocabulary,
        "max_position_embeddings": 512,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
    }


def write_llama(folder: Path, *, seed: int, dtype: str, vocabulary: int, width: int, layers: int) -> Path:
    """Write the model into the new folder `folder`; weights in `dtype`, the same for the same seed.

    The vocabulary is the words w0, w1, ... and, last, the unknown word and the end of a text.
    """
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.models import llama

    folder.mkdir()
    configuration = llama_configuration(vocabulary=vocabulary, width=width, layers=layers)
    mx.random.seed(seed)
    model = llama.Model(llama.ModelArgs.from_dict(configuration))
    model.set_dtype(getattr(mx, dtype))
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    _write_json(folder / "config.json", configuration)
    _write_tokenizer(folder, vocabulary)
    return folder


def write_texts(folder: Path, *, count: int, length: int, vocabulary: int, seed: int) -> List[List[int]]:
    """Write train.jsonl and valid.jsonl as mlx-lm reads them; returns `count` unseen rows of token ids."""
    folder.mkdir()
    rows = permutation_tokens(2 * count, length, vocabulary=vocabulary - 2, seed=seed)
    unseen, train = rows[:count], rows[count:]
    for name, part in (("train", train), ("valid", unseen)):
        lines = [json.dumps({"text": " ".join(f"w{token}" for token in row)}) for row in part]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return unseen


def read_gguf(path: Path, *, dtype: str) -> Any:
    """The Llama in a GGUF file whose quantization MLX reads (Q4_0, Q4_1, Q8_0), as an mlx-lm model.

    It computes in `dtype`.  llama.cpp stores queries and keys for rotations of neighbouring pairs, hence
    `rope_traditional`.
    """
    import mlx.core as mx
    from mlx import nn
    from mlx_lm.models import llama

    arrays, metadata = mx.load(str(path), return_metadata=True)
    weights = {_mlx_name(name): array for name, array in arrays.items() if not name.startswith("rope_")}
    model = llama.Model(llama.ModelArgs.from_dict(_configuration_of_gguf(metadata, weights)))
    nn.quantize(model, class_predicate=lambda name, _: _quantization(name, weights))
    model.load_weights(list(weights.items()))
    model.set_dtype(getattr(mx, dtype))
    mx.eval(model.parameters())
    return model.eval()


def _mlx_name(name: str) -> str:
    """The name in mlx-lm of an array in a GGUF file of a Llama."""
    for old, new in GGUF_NAMES:
        name = name.replace(old, new)
    return name


def _configuration_of_gguf(metadata: Dict[str, Any], weights: Dict[str, Any]) -> Dict[str, Any]:
    def whole(key: str) -> int:
        return int(metadata["llama." + key].item())

    return {
        "model_type": "llama",
        "hidden_size": whole("embedding_length"),
        "intermediate_size": whole("feed_forward_length"),
        "num_hidden_layers": whole("block_count"),
        "num_attention_heads": whole("attention.head_count"),
        "num_key_value_heads": whole("attention.head_count_kv"),
        "rms_norm_eps": float(metadata["llama.attention.layer_norm_rms_epsilon"].item()),
        "vocab_size": whole("vocab_size"),
        "rope_theta": float(metadata["llama.rope.freq_base"].item()),
        "rope_traditional": True,
        "tie_word_embeddings": "lm_head.weight" not in weights,
    }


def _quantization(name: str, weights: Dict[str, Any]) -> Any:
    """How the file quantizes a module, for mlx.nn.quantize; False where it does not."""
    if f"{name}.scales" not in weights:
        return False
    packed, scales = weights[f"{name}.weight"].shape[-1], weights[f"{name}.scales"].shape[-1]
    return {"group_size": GGUF_GROUP, "bits": packed * 32 // (scales * GGUF_GROUP)}


def _write_tokenizer(folder: Path, vocabulary: int) -> None:
    """Words apart from each other by spaces, each a token."""
    import tokenizers

    words = {f"w{index}": index for index in range(vocabulary - 2)}
    words.update({UNKNOWN: vocabulary - 2, END: vocabulary - 1})
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    ends = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "unk_token": UNKNOWN}
    _write_json(folder / "tokenizer_config.json", ends)


def _write_json(path: Path, content: Dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def base_arrays(model: Any) -> Dict[str, Any]:
    """Every array but the adapters', by the name it has without an adapter."""
    from mlx.utils import tree_flatten

    return {
        name.replace(".linear.", "."): array
        for name, array in tree_flatten(model.parameters())
        if "lora_" not in name
    }


def changed_arrays(before: Dict[str, Any], model: Any) -> List[str]:
    """Names of base arrays that are not bit for bit as they were, or are not there any more."""
    import mlx.core as mx

    after = base_arrays(model)
    return sorted(
        name for name in before if name not in after or not mx.array_equal(before[name], after[name]).item()
    )
