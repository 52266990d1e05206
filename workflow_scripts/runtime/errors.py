"""The one kind of error that a user can cause."""


class UserError(Exception):
    """Says in one sentence what is wrong, where, what was expected and what to do.

    Stages let it travel to `command.run`, which prints the sentence and exits with 1.
    """


class TooFewResponses(UserError):
    """A direction was asked for from too few misaligned or aligned responses."""


class UnfitAdapter(UserError):
    """An adapter that changes nothing, or that the engine does not serve as PEFT does."""
