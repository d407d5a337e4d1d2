"""Calling other people's services: how often, how many calls at once, and when one is repeated.

Owns the limits of a minute, the waits between attempts and the reading of `Retry-After`. It does
not know how a call is sent or what it says: encoders and providers bring their own transport.
"""

from modelyard.pacing.answers import is_temporary, read_asked_wait_s
from modelyard.pacing.pacer import Pacer, Pause, pause
from modelyard.pacing.retries import Failure, GaveUp, RetryPolicy, call_with_retries

__all__ = [
    "Failure",
    "GaveUp",
    "Pacer",
    "Pause",
    "RetryPolicy",
    "call_with_retries",
    "is_temporary",
    "pause",
    "read_asked_wait_s",
]
