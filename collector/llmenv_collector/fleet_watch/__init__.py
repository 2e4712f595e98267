"""The fleet as it is, for somebody who looks on."""
