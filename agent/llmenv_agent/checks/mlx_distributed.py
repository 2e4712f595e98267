"""Do two processes of mlx.distributed sum, gather and average gradients right over the ring?

Two processes of this interpreter form a ring over free ports of the loopback interface, each told its rank
by MLX_RANK and the addresses by the file MLX_HOSTFILE, as `mlx.launch` does. Both ranks must see the same:
`all_sum` of whole numbers and `all_gather`, which have one right answer and no rounding; and the average of
both ranks' gradients of a small network, which must be the gradient that one process takes of the whole
batch. Sums in another order are rounded differently: the bound is 1e-5 of the largest element, 100 unit
roundoffs for 64 examples, and 2e-2 where FP32 products are TF32's (M5, KI065).

A ring that cannot be built is an error in MLX's own words; one that hangs is ended with both its processes.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from llmenv_probe.mlx_backend import product_roundoff, use_mlx
from llmenv_probe.roundoff import TF32_ROUNDOFF

if TYPE_CHECKING:
    from pathlib import Path

    from llmenv_agent.probe.context import Probe

ORDER = 235
SUITES = ("full",)
# mlx.core is imported by `run`: away from Apple Silicon its absence is no error.
REQUIRES = ()
TIMEOUT_SECONDS = 300
TYPICAL_SECONDS = 1.2
PARAMETERS = {"examples": 64, "features": 32, "classes": 10, "ring_seconds": 120}
ALLOWED = {
    "examples": "2..4096 by 2",
    "features": "1..4096",
    "classes": "2..1000",
    "ring_seconds": "30..600",
}

RANKS = (0, 1)
FP32_BOUND, TF32_BOUND = 1e-5, 2e-2

# What each rank runs: it reads its request and writes what it saw.  The network is a linear layer, a
# hidden layer and softmax, its weights drawn from the request's seed, so the same on both ranks.
RANK_PROGRAM = """
import json, sys
import mlx.core as mx
from mlx import nn
from mlx.nn.utils import average_gradients
from mlx.utils import tree_flatten

request = json.load(open(sys.argv[1], encoding="utf-8"))
if request["device"] == "cpu":
    mx.set_default_device(mx.cpu)
group = mx.distributed.init(strict=True, backend="ring")
rank, size = group.rank(), group.size()
network = nn.Sequential(nn.Linear(request["features"], 64), nn.Tanh(), nn.Linear(64, request["classes"]))
drawn = [
    (name, 0.2 * mx.random.normal(array.shape, key=mx.random.key(request["seed"] + index)))
    for index, (name, array) in enumerate(tree_flatten(network.parameters()))
]
network.load_weights(drawn)
shape = request["examples"], request["features"]
inputs = mx.random.normal(shape, key=mx.random.key(request["seed"] + 100))
labels = mx.arange(request["examples"]) % request["classes"]
gradient = nn.value_and_grad(
    network, lambda inputs, labels: nn.losses.cross_entropy(network(inputs), labels, reduction="mean")
)
share = request["examples"] // size
own = slice(rank * share, (rank + 1) * share)
averaged = average_gradients(gradient(inputs[own], labels[own])[1], group)
whole = gradient(inputs, labels)[1]
numbers = mx.arange(1000, dtype=mx.float32) + 1000 * rank
seen = {
    "rank": rank,
    "size": size,
    "sum": mx.distributed.all_sum(numbers, group=group).tolist(),
    "gathered": mx.distributed.all_gather(numbers, group=group).tolist(),
    "averaged": {name: array.flatten().tolist() for name, array in tree_flatten(averaged)},
    "whole": {name: array.flatten().tolist() for name, array in tree_flatten(whole)},
}
with open(sys.argv[2], "w", encoding="utf-8") as stream:
    json.dump(seen, stream)
"""


def run(probe: Probe) -> None:
    use_mlx(probe)
    import mlx.core as mx

    if not hasattr(mx, "distributed") or not mx.distributed.is_available():
        probe.skip("This build of MLX has no distributed communication.")
    started = time.perf_counter()
    seen = _ring(probe)
    probe.measure("ring_seconds", time.perf_counter() - started, "s", better="lower")
    _judge_ranks(probe, seen)
    error = _judge_gradients(probe, seen)
    probe.passed(
        "Two processes sum and gather right over the ring, and the average of their gradients is that of one "
        "process to {error:.0e}.",
        error=error,
    )


def _ring(probe: Probe) -> "list[dict[str, Any]]":
    """What each rank saw, in order of rank."""
    hostfile, request = probe.scratch / "ring.json", probe.scratch / "request.json"
    hostfile.write_text(json.dumps([[address] for address in _free_addresses(len(RANKS))]), encoding="utf-8")
    request.write_text(
        json.dumps({**probe.parameters, "device": probe.device, "seed": probe.seed}), encoding="utf-8"
    )
    ranks = [_start(probe.scratch, rank, hostfile, request) for rank in RANKS]
    try:
        _await(probe, ranks)
    finally:
        for process in ranks:
            process.kill()
            process.wait()
    return [json.loads((probe.scratch / f"rank{rank}.json").read_text("utf-8")) for rank in RANKS]


def _free_addresses(count: int) -> "list[str]":
    """Loopback addresses whose ports were free when asked, all different."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return addresses


def _start(folder: Path, rank: int, hostfile: Path, request: Path) -> "subprocess.Popen[bytes]":
    """A rank, in the check's own process group: whoever ends the check ends it too."""
    variables = {**os.environ, "MLX_RANK": str(rank), "MLX_HOSTFILE": str(hostfile)}
    with (folder / f"rank{rank}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", "-c", RANK_PROGRAM, request, folder / f"rank{rank}.json"],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _await(probe: Probe, ranks: "list[subprocess.Popen[bytes]]") -> None:
    """Until every rank has ended well; an error as soon as one has not: the other would wait for ever."""
    deadline = time.monotonic() + probe.parameters["ring_seconds"]
    while any(process.poll() != 0 for process in ranks):
        for rank, process in enumerate(ranks):
            if process.poll():
                probe.error(
                    "The ring ended at rank {rank}: {words}.", rank=rank, words=_last_words(probe, rank)
                )
        if time.monotonic() > deadline:
            probe.error(
                "The ring did not end within {seconds} s: its ranks wait for each other.",
                seconds=probe.parameters["ring_seconds"],
            )
        time.sleep(0.05)


def _last_words(probe: Probe, rank: int) -> str:
    """The last line that this rank wrote, without its full stop."""
    lines = (probe.scratch / f"rank{rank}.log").read_text("utf-8", errors="replace").split("\n")
    return next(
        (line.strip().rstrip(".")[:300] for line in reversed(lines) if line.strip()), "without a word"
    )


def _judge_ranks(probe: Probe, seen: "list[dict[str, Any]]") -> None:
    total = [2.0 * index + 1000 for index in range(1000)]
    gathered = [float(index) for index in range(2000)]
    ranks = [(each["rank"], each["size"]) for each in seen]
    probe.expect("ranks", ranks == [(0, 2), (1, 2)], "rank 0 and 1 of 2", _ranks_in_words(seen))
    for name, key, right in (("all_sum", "sum", total), ("all_gather", "gathered", gathered)):
        wrong = [each["rank"] for each in seen if each[key] != right]
        probe.expect(name, not wrong, "right on both ranks", _wrong_in_words(wrong))


def _ranks_in_words(seen: "list[dict[str, Any]]") -> str:
    return " and ".join(f"rank {each['rank']} of {each['size']}" for each in seen)


def _wrong_in_words(ranks: "list[int]") -> str:
    return f"wrong on rank {', '.join(map(str, ranks))}" if ranks else "right on both ranks"


def _judge_gradients(probe: Probe, seen: "list[dict[str, Any]]") -> float:
    """The largest error of a tensor's averaged gradient, on either rank, against the single process's."""
    bound = TF32_BOUND if product_roundoff("float32") >= TF32_ROUNDOFF else FP32_BOUND
    reference = seen[0]["whole"]
    error = max(
        _relative_error(each["averaged"][name], gradient)
        for each in seen
        for name, gradient in reference.items()
    )
    probe.measure("gradient_error", error, "1", better="lower")
    probe.expect(
        "average_gradient",
        error <= bound,
        f"relative error <= {bound:.0e}",
        f"{error:.2e}",
        "gradient of the whole batch in one process",
    )
    return error


def _relative_error(observed: "list[float]", reference: "list[float]") -> float:
    """max|y - reference| / max|reference|; infinite where a value is not a number."""
    errors = [abs(one - other) for one, other in zip(observed, reference)]
    worst = max((error if error == error else float("inf") for error in errors), default=float("inf"))  # noqa: PLR0124 (NaN)
    return worst / max(abs(value) for value in reference)
