"""Trains a model for two steps or lets it generate, and prints the peak of its memory as JSON.

`TARGET_PYTHON train_or_run.py RECIPE_JSON`, where the recipe is one of plan_accuracy.py.  A process of the
training environment, so nothing of llmenv is imported.  Weights are random: what they are changes no size.

What is measured.  On the CPU: VmHWM of /proc/self/status, reset through /proc/self/clear_refs when the
model is there, so that how it was built does not count.  The caller fixes MALLOC_MMAP_THRESHOLD_, so that
glibc gives each freed tensor back at once, and the number of threads.  On CUDA: the most that the allocator
had given out.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

STEPS = 2
NEW_TOKENS = 4


def main() -> None:
    warnings.simplefilter("ignore")
    recipe = json.loads(sys.argv[1])
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    model = adapted(built(recipe), recipe)
    if recipe["checkpointing"]:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    shape = (recipe["batch"], recipe["sequence"])
    tokens = torch.randint(recipe["config"]["vocab_size"], shape, device=recipe["device"])
    gc.collect()
    reset_peak(recipe["device"])
    if recipe["method"] == "inference":
        generate(model, tokens)
    else:
        train(model, tokens)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(json.dumps({"parameters": parameters, **peaks(recipe["device"])}))


def built(recipe: dict[str, Any]) -> Any:
    """The model on its device in its type; in 4 bits by way of a folder, as it is loaded in practice."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**recipe["config"], bos_token_id=None, eos_token_id=None, pad_token_id=None)
    dtype = getattr(torch, recipe["dtype"])
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    if recipe["method"] != "qlora":
        return model.to(recipe["device"])
    from transformers import BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        del model
        loaded = AutoModelForCausalLM.from_pretrained(
            folder, quantization_config=quantization, dtype=dtype, device_map={"": recipe["device"]}
        )
    for parameter in loaded.parameters():
        # Else what is not quantized stays in the mapped file, all of which then counts as resident.
        parameter.data = parameter.data.clone()
    return loaded


def adapted(model: Any, recipe: dict[str, Any]) -> Any:
    """With adapters on every linear layer of the blocks where the method has them."""
    if recipe["method"] not in {"lora", "qlora"}:
        return model
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=recipe["rank"], lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, lora)


def train(model: Any, tokens: Any) -> None:
    """The second step finds the optimizer's states there, so it reaches the peak of every later one."""
    import torch

    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    for _ in range(STEPS):
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def generate(model: Any, tokens: Any) -> None:
    """A prompt that is nearly the whole sequence, and the rest of it."""
    import torch

    model.eval()
    with torch.no_grad():
        model.generate(
            tokens[:, :-NEW_TOKENS],
            attention_mask=torch.ones_like(tokens[:, :-NEW_TOKENS]),
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            do_sample=False,
            pad_token_id=0,
        )


def reset_peak(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peaks(device: str) -> dict[str, int]:
    """`peak_bytes`, and on CUDA `reserved_bytes`, which the allocator holds for reuse."""
    import torch

    if device == "cuda":
        return {
            "peak_bytes": torch.cuda.max_memory_allocated(),
            "reserved_bytes": torch.cuda.max_memory_reserved(),
        }
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return {"peak_bytes": int(line.split()[1]) * 1024}


if __name__ == "__main__":
    main()
