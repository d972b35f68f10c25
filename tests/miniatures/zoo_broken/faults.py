"""What is wrong with each broken model, and which checks must say so."""

FAULTS = {}
"""Class name -> the checks that must catch it, and no others."""


def breaks(*checks):
    def note(cls):
        FAULTS[cls.__name__] = {f"check_{check.removeprefix('check_')}" for check in checks}
        return cls

    return note
