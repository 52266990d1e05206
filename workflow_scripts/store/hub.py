"""Files of the Hugging Face hub: read from the local hub cache, fetched into it where they are missing.

The cache keeps every file that has come whole, so that a broken download goes on with the next one, and it is enough
without a network. Where it lies and which token is used are the hub's own settings (HF_HOME, HF_TOKEN, HF_HUB_OFFLINE).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.foreign import reason


def hub_snapshot(
    place: str, repository: str, revision: str, patterns: Sequence[str], kind: Literal["model", "dataset"] = "model"
) -> Path:
    """Folder of the hub cache with the files of a repository that match the patterns.

    Args:
        place: where the study names it, for errors (e.g. `base`).
        repository: owner/name.
        revision: a commit, branch or tag.
        patterns: shell patterns of the files that are wanted; others may lie there too.

    Raises:
        UserError: if there is no such repository or revision, it is gated, or files are missing and cannot be fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    what = f"{repository}@{revision}"
    try:
        found = snapshot_download(repository, repo_type=kind, revision=revision, allow_patterns=list(patterns))
    except GatedRepoError as error:
        raise UserError(
            f"{place}: {repository} is gated; accept its terms on the hub and log in (`hf auth login`, or HF_TOKEN)."
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"{place}.revision: {repository} has no revision {revision}.") from error
    except RepositoryNotFoundError as error:
        raise UserError(f"{place}: the hub has no {kind} {repository}, or it is private; log in if it is.") from error
    except HFValidationError as error:
        raise UserError(f"{place}: {what} is no repository of the hub ({reason(error)}).") from error
    except (LocalEntryNotFoundError, HTTPError) as error:
        raise UserError(
            f"{place}: {what} is not wholly in the hub cache and cannot be fetched "
            f"({reason(error.__cause__ or error)}); check the network, or fill the cache elsewhere (`hf download`) and "
            "copy it here."
        ) from error
    return Path(str(found))
