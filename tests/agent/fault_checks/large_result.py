"""What becomes of a result of 10 MB?"""

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 60
PARAMETERS = {"cases": 4000}


def run(probe):
    for number in range(probe.parameters["cases"]):
        with probe.case(f"row {number}", number=number) as case:
            case.measure("seconds", None, "s", trials=[number + step / 7 for step in range(250)])
            case.passed("Row {number} was measured.", number=number)
    probe.measure("noise", None, "s", trials=[step / 7 for step in range(200_000)])
    probe.passed("Everything was measured.")
