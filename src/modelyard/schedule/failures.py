"""What can go wrong with a schedule."""

from modelyard.core.errors import ModelyardError


class ScheduleFailed(ModelyardError):
    """The program that keeps the schedule did not do what it was asked."""
