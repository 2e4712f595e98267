"""How many bytes a second does the device read and write?

STREAM's copy a = b and triad a = b + 3c (McCalpin, cs.virginia.edu/stream), counted as STREAM counts: the
bytes that the program names, two arrays for copy and three for triad, not what a cache reads before it
writes.  STREAM wants arrays of at least four times the last cache, so that nothing is used twice: 512 MiB on
an accelerator (96 MB is the largest cache of a Mac, 50 MB that of an H100), 128 MiB on a CPU, where servers
with a larger cache than 32 MiB measure partly that one.

The elements are whole numbers, so that the result must be exact, in a thousand places spread over all of it;
it is filled with NaN before.  The share is that of the chip's bandwidth where the catalogue knows it.
How trials are taken and judged is said in `llmenv_probe.timing` and `llmenv_probe.trials`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv_probe import roofline
from llmenv_probe.timing import Timer

if TYPE_CHECKING:
    from llmenv_agent.probe.context import Probe
    from llmenv_agent.probe.findings import Findings

ORDER = 310
SUITES = ("bench",)
REQUIRES = ("torch",)
TIMEOUT_SECONDS = 300
TYPICAL_SECONDS = 10
CASE_TIMEOUT_SECONDS = 120
# Without megabytes (2^20 bytes, of one array), they are chosen by the device.
PARAMETERS = {"megabytes": None, "trials": 10, "trial_seconds": 0.1, "cooldown_seconds": 2.0}
ALLOWED = {
    "megabytes": "1..65536",
    "trials": "10..1000",
    "trial_seconds": "0.001..60.0",
    "cooldown_seconds": "0.0..600.0",
}

ON_CPU, ON_ACCELERATOR = 128, 512
ELEMENT_BYTES = 4
KERNELS = ("copy", "triad")
PLACES_COMPARED = 1000


def run(probe: Probe) -> None:
    device = probe.accelerator.torch_device()
    probe.fact("device", str(device))
    megabytes = probe.parameters["megabytes"] or (ON_CPU if device.type == "cpu" else ON_ACCELERATOR)
    timer = Timer(probe)
    for kernel in KERNELS:
        if not probe.is_completed(kernel):
            with timer.case(kernel, megabytes=megabytes, dtype="float32") as case:
                _measure(probe, timer, case, device, kernel=kernel, megabytes=megabytes)


def _measure(probe: Probe, timer: Timer, case: Findings, device: Any, *, kernel: str, megabytes: int) -> None:
    import torch

    array_bytes = megabytes * 2**20
    probe.require_memory(4 * array_bytes, f"4 arrays x {megabytes} MiB", findings=case)
    count = array_bytes // ELEMENT_BYTES
    b = (torch.arange(count, device=device) % roofline.LARGEST_ELEMENT).float()
    c = b.flip(0)
    a = torch.full_like(b, float("nan"))
    if kernel == "copy":
        series = timer.time(lambda: a.copy_(b))
    else:
        series = timer.time(lambda: torch.add(b, c, alpha=roofline.TRIAD_FACTOR, out=a))

    places = torch.linspace(0, count - 1, min(count, PLACES_COMPARED), dtype=torch.float64).long()
    expected = places % roofline.LARGEST_ELEMENT
    if kernel == "triad":
        expected = expected + 3 * ((count - 1 - places) % roofline.LARGEST_ELEMENT)
    wrong = int((a[places.to(device)].cpu() != expected).sum())
    if wrong:
        case.fail(
            "{kernel} wrote {wrong} of {places} elements wrong.",
            kernel=kernel,
            wrong=wrong,
            places=len(places),
        )
    moved = roofline.ARRAYS[kernel] * array_bytes
    rate = series.measure_rate(case, "memory_bandwidth", "GB/s", work=moved / 1e9)
    roofline.measure_share(case, "share_of_bandwidth", rate, probe.machine.bandwidth_gb_per_s)
    case.passed("{kernel}: {rate:.2f} GB/s.", kernel=kernel, rate=rate)
