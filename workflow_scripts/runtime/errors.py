"""The one kind of error that a user can cause."""


class UserError(Exception):
    """Says in one sentence what is wrong, where, what was expected and what to do.

    Stages let it travel to `command.run`, which prints the sentence and exits with 1.
    """


class NotPossible(UserError):
    """The study's own results do not allow what was asked for, such as a direction of too few misaligned responses.

    A result in itself: stages record it (`store.absence`) and go on. `counts` are the numbers that it rests on.
    """

    def __init__(self, why: str, **counts: int) -> None:
        super().__init__(why)
        self.counts = counts


class UnfitAdapter(UserError):
    """An adapter that changes nothing, or that the engine does not serve as PEFT does."""
