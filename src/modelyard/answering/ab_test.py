"""Which variant of an A/B test a request gets.

Whoever asks always gets the same variant, in every process and after every restart: the side is a
hash of the name of the test, the organisation and the user, and nothing is kept of them. A request
that names neither is in no test, and neither is one that tests the models.
"""

from __future__ import annotations

import hashlib
import json

from modelyard.answering.request import Request
from modelyard.core.errors import InvalidInput
from modelyard.deployments.effective_settings import Effective

_LONGEST_USER = 200


def follow_ab_test(effective: Effective, request: Request) -> Effective:
    """The settings by which a request is answered: those of its variant where a test runs.

    Everything that answers, or says who would, asks this function.
    Raises InvalidInput for a user that cannot be one.
    """
    user = request.user
    if user is not None and not (0 < len(user) <= _LONGEST_USER and user.isprintable()):
        raise InvalidInput(
            f"a user is a text of 1 to {_LONGEST_USER} printable characters",
            hint="give an id, such as the one that your accounts have",
        )
    test = effective.ab_test
    if test is None or request.is_test or (request.organisation is None and user is None):
        return effective
    place = split(test.name, request.organisation, user)
    return test.b if place < test.share_of_b else test.a


def split(test: str, organisation: str | None, user: str | None) -> float:
    """A number from 0 up to 1, always the same for the same three, and even over many users."""
    asked = json.dumps([test, organisation, user], ensure_ascii=True)
    digest = hashlib.sha256(asked.encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
