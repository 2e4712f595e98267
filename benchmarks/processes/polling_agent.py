"""A fleet agent of the usual kind, to measure beside ours: psutil looks, requests posts, at an interval.

    polling_agent.py URL CA_PEM SECONDS

What scheduled queries with a TLS logger amount to: processes, memory, disks, load, and one POST each time.
"""

from __future__ import annotations

import json
import sys
import time

import psutil
import requests  # type: ignore[import-untyped,unused-ignore] # typed in some of its versions only


def main() -> None:
    url, ca, interval = sys.argv[1], sys.argv[2], float(sys.argv[3])
    session = requests.Session()
    session.verify = ca
    session.trust_env = False
    while True:
        session.post(url, data=json.dumps(observed()), timeout=10).raise_for_status()
        time.sleep(interval)


def observed() -> dict[str, object]:
    attributes = ["pid", "name", "memory_info", "cpu_times", "create_time", "username"]
    return {
        "processes": [process.info for process in psutil.process_iter(attributes)],
        "memory": psutil.virtual_memory()._asdict(),
        "swap": psutil.swap_memory()._asdict(),
        "load": psutil.getloadavg(),
        "disk": psutil.disk_usage("/")._asdict(),
    }


if __name__ == "__main__":
    main()
