"""Does `accelerate launch` with two processes train to the weights that one process trains to?

A linear regression of float32 by gradient descent, whose script is written here, is launched on two processes
of half a batch each, on the loopback interface with gloo. On a Mac accelerate has one MPS device and no way
to share it, so this runs on the CPU whatever the device is. (`--cpu` starts one process whatever is asked
for, hence `--multi_gpu`, which starts as many as it is told, and `Accelerator(cpu=True)`.) Both must report
two processes, gloo and the CPU, and end with the same bits.

One process is the check's own, in float64 with whole batches. Both would be equal but for rounding, of which
there is no more than, a step, in any order of summation (Higham, Accuracy and Stability of Numerical
Algorithms, 2002, 3.1), with g(n) = nu/(1 - nu), u = 2^-24, B rows of d inputs x and residuals r = Wx - y:

    E = lr/B sum (g(d+2) (|W||x| + |y|) + g(B+4) |r|) |x|^T + 2u (|W| + lr |gradient|)

The learning rate is 1/lambda of the largest second moment of a batch, so that a step does not enlarge an
earlier error, and the bound is the sum of the norms of E. The weights have to move a thousand times as far.

torch starts its workers in sessions of their own, which the agent's deadline does not reach, so the script
ends itself when its launcher is gone. The user's configuration of accelerate is left out: it would decide.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from llmenv_agent.probe.context import Probe

ORDER = 275
SUITES = ("full",)
REQUIRES = ("torch", "accelerate")
TIMEOUT_SECONDS = 400
TYPICAL_SECONDS = 7
# Linux gives clients ports from 32768, macOS from 49152.
UNASSIGNED_PORTS = range(20_000, 32_000)
PARAMETERS = {"steps": 12, "batch_size": 16, "launch_seconds": 300}
ALLOWED = {"steps": "4..1000", "batch_size": "2..1024 by 2", "launch_seconds": "60..3600"}

PROCESSES, INPUTS, OUTPUTS = 2, 8, 4
UNIT_ROUNDOFF = 2.0**-24
LEAST_MOVE = 1000
# Somebody else's run must not decide where this one looks for its partner.
FOREIGN = ("ACCELERATE_", "MASTER_", "RANK", "LOCAL_", "WORLD_", "GROUP_", "TORCHELASTIC_", "FSDP_", "MPI_")

SCRIPT = """
import json, os, sys, threading, time

def end_with_launcher(launcher=os.getppid()):
    while os.getppid() == launcher:
        time.sleep(0.1)
    os._exit(1)

threading.Thread(target=end_with_launcher, daemon=True).start()

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, TensorDataset

folder, batch_size, learning_rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
accelerator = Accelerator(cpu=True)
start = torch.load(folder + "/start.pt")
model = torch.nn.Linear(start["inputs"].shape[1], start["targets"].shape[1], bias=False)
model.load_state_dict({"weight": start["weight"]})
rows = TensorDataset(start["inputs"], start["targets"])
loader = DataLoader(rows, batch_size=batch_size // accelerator.num_processes)
optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
for inputs, targets in loader:
    optimizer.zero_grad()
    loss = 0.5 * (model(inputs) - targets).square().sum(1).mean()
    accelerator.backward(loss)
    optimizer.step()
report = {
    "processes": accelerator.num_processes,
    "backend": str(accelerator.state.backend),
    "device": accelerator.device.type,
    "weight": accelerator.unwrap_model(model).weight.tolist(),
}
with open(f"{folder}/rank{accelerator.process_index}.json", "w") as stream:
    json.dump(report, stream)
if torch.distributed.is_initialized():
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
"""


class Start(NamedTuple):
    """Rows of all steps: inputs (rows, 8), targets (rows, 4) and the first weight (4, 8), in float32."""

    inputs: Any
    targets: Any
    weight: Any


class Reference(NamedTuple):
    """The trained weight in float64, how far from it two processes may end, and how far it moved."""

    weight: Any
    bound: float
    moved: float


def run(probe: Probe) -> None:
    batch_size = probe.parameters["batch_size"]
    start = _start(probe)
    learning_rate = _learning_rate(start.inputs, batch_size)
    reference = _train_here(start, batch_size, learning_rate)
    _launch(probe, _write(probe.scratch, start), learning_rate)
    reports = [json.loads(path.read_text()) for path in sorted(probe.scratch.glob("rank*.json"))]
    _judge_processes(probe, reports)
    if reports:
        probe.fact("device", reports[0]["device"])
        _judge_weights(probe, reports, reference)
    probe.passed(
        "Two processes with gloo on the CPU train to the weights of one, to {bound:.1e}.",
        bound=reference.bound,
    )


def _start(probe: Probe) -> Start:
    import torch

    generator = torch.Generator().manual_seed(probe.seed)
    rows = probe.parameters["steps"] * probe.parameters["batch_size"]
    inputs = torch.randn(rows, INPUTS, generator=generator)
    truth = torch.randn(OUTPUTS, INPUTS, generator=generator)
    noise = torch.randn(rows, OUTPUTS, generator=generator)
    return Start(inputs, inputs @ truth.T + noise, torch.zeros(OUTPUTS, INPUTS))


def _learning_rate(inputs: Any, batch_size: int) -> float:
    """1/lambda of the largest second moment of a batch: no step enlarges an error."""
    import torch

    moments = [batch.T @ batch / batch_size for batch in inputs.double().split(batch_size)]
    return 1 / max(float(torch.linalg.eigvalsh(moment)[-1]) for moment in moments)


def _train_here(start: Start, batch_size: int, learning_rate: float) -> Reference:
    weight = start.weight.double()
    bound = 0.0
    batches = zip(start.inputs.double().split(batch_size), start.targets.double().split(batch_size))
    for inputs, targets in batches:
        residuals = inputs @ weight.T - targets
        gradient = residuals.T @ inputs / batch_size
        terms = inputs.abs() @ weight.abs().T + targets.abs()
        uncertain = _growth(INPUTS + 2) * terms + _growth(batch_size + 4) * residuals.abs()
        error = learning_rate * uncertain.T @ inputs.abs() / batch_size
        error += 2 * UNIT_ROUNDOFF * (weight.abs() + learning_rate * gradient.abs())
        bound += float(error.norm())
        weight = weight - learning_rate * gradient
    return Reference(weight, bound, float((weight - start.weight).norm()))


def _growth(count: int) -> float:
    return count * UNIT_ROUNDOFF / (1 - count * UNIT_ROUNDOFF)


def _write(folder: Path, start: Start) -> Path:
    import torch

    torch.save(start._asdict(), folder / "start.pt")
    script = folder / "train.py"
    script.write_text(SCRIPT, encoding="utf-8")
    return script


def _launch(probe: Probe, script: Path, learning_rate: float) -> None:
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    command += ["--num_processes", str(PROCESSES), "--num_machines", "1"]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--main_process_ip", "127.0.0.1", "--main_process_port", str(_free_port())]
    command += [str(script), str(probe.scratch), str(probe.parameters["batch_size"]), repr(learning_rate)]
    seconds = probe.parameters["launch_seconds"]
    try:
        ended = subprocess.run(
            command, env=_environment(probe.scratch), stdin=subprocess.DEVNULL, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        probe.fail("accelerate launch did not end within {seconds} s.", seconds=seconds)
    if ended.returncode:
        probe.fail("accelerate launch ended with exit code {code}; its log says why.", code=ended.returncode)


def _environment(scratch: Path) -> "dict[str, str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    # Accelerate binds each process to a GPU of its own number, also where it trains on the CPU.
    kept["CUDA_VISIBLE_DEVICES"] = ""
    return {**kept, "GLOO_SOCKET_IFNAME": loopback, "OMP_NUM_THREADS": "1", "HF_HOME": str(scratch / "hf")}


def _free_port() -> int:
    """Below those that systems give to clients, which would take it until the launcher does."""
    for port in random.SystemRandom().sample(UNASSIGNED_PORTS, len(UNASSIGNED_PORTS)):
        with contextlib.suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            return port
    return 0  # which accelerate takes as: find one


def _judge_processes(probe: Probe, reports: "list[dict[str, Any]]") -> None:
    observed = [f"{each['processes']} on {each['device']} with {each['backend']}" for each in reports]
    wanted = [f"{PROCESSES} on cpu with gloo"] * PROCESSES
    probe.measure("processes", len(reports), "1")
    probe.expect("two_processes", observed == wanted, "; ".join(wanted), "; ".join(observed) or "no report")


def _judge_weights(probe: Probe, reports: "list[dict[str, Any]]", reference: Reference) -> None:
    import torch

    weights = [torch.tensor(each["weight"], dtype=torch.float64) for each in reports]
    same = all(bool((weights[0] == other).all()) for other in weights)
    probe.expect("processes_agree", same, "the same bits in all", "the same" if same else "others")
    error = max(float((weight - reference.weight).norm()) for weight in weights)
    probe.measure("weight_error", error, "1", better="lower")
    probe.measure("weight_error_bound", reference.bound, "1")
    probe.expect(
        "weights_of_one_process",
        error <= reference.bound,
        f"norm of the difference <= {reference.bound:.1e}",
        f"{error:.1e}",
        "rounding in any order of summation",
    )
    probe.expect(
        "weights_move",
        reference.moved > LEAST_MOVE * reference.bound,
        f"norm of the move > {LEAST_MOVE * reference.bound:.1e}",
        f"{reference.moved:.1e}",
    )
