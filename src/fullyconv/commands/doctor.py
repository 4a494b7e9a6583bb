"""``fcn doctor``."""

from __future__ import annotations

from json import dumps


def doctor(json: bool = False) -> int:
    """What a bug report needs: versions, machine, engines; exit status 1 if something is wrong.

    Args:
        json: Print JSON.
    """
    from fullyconv.diagnosis import diagnose

    found = diagnose()
    print(dumps(found.to_dict(), indent=1) if json else found)
    return 1 if found.wrong else 0
