"""Carries a check into the target interpreter; standard library only, Python 3.9 and later."""
