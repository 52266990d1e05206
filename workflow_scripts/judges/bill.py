"""What the calls of a remote judge cost, counted as they are answered: tries that failed after all are billed, too."""

from __future__ import annotations

from collections import deque
from typing import Any

from workflow_scripts.judges.interface import Usage
from workflow_scripts.study.judge import CHARACTERS_PER_TOKEN, TOKENS_PER_CALL, RemoteJudge


class Bill:
    """Usage since it was last taken; one thread adds while another takes."""

    def __init__(self, settings: RemoteJudge) -> None:
        self._settings = settings
        self._entries: deque[Usage] = deque()

    def add(self, prompt: str, input_tokens: int | None, output_tokens: int | None, in_batch: bool = False) -> None:
        """One call; what the endpoint does not tell of its tokens is counted as in the estimate."""
        if input_tokens is None:
            input_tokens = -(-len(prompt) // CHARACTERS_PER_TOKEN) + TOKENS_PER_CALL
        if output_tokens is None:
            output_tokens = self._settings.asked_for_each[1]
        prices = self._settings.priced
        usd = prices.usd(input_tokens, output_tokens, in_batch) if prices else 0.0
        self._entries.append(Usage(1, input_tokens, output_tokens, usd))

    def add_line(self, prompt: str, line: dict[str, Any]) -> None:
        """One line of a batch; those that failed are not billed."""
        response = line.get("response") or {}
        if response.get("status_code") == 200:
            usage = (response.get("body") or {}).get("usage") or {}
            self.add(prompt, usage.get("prompt_tokens"), usage.get("completion_tokens"), in_batch=True)

    def take(self) -> Usage:
        """What has been added since."""
        taken = Usage()
        while self._entries:
            taken += self._entries.popleft()
        return taken
