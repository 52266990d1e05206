"""What every stage's command line shares: the study option, the error sentence, the log format."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from workflow_scripts.runtime import phases
from workflow_scripts.runtime.errors import UserError

ROOM = 1 << 16
"""Bytes that a job's log needs at most to say what went wrong."""
LONGEST_NAME = 200
"""Bytes of a file's name that leave room for the one that it is written under at first."""
OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def parser(description: str | None, study: bool = True) -> argparse.ArgumentParser:
    """Argument parser of a stage; with `study`, it takes the resolved study (results/<study>/study.json)."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--debug", action="store_true", help="show the traceback of a user error")
    if study:
        made.add_argument("--study", type=Path, required=True, help="resolved study, results/<study>/study.json")
    return made


def subject_parser(description: str | None) -> argparse.ArgumentParser:
    """As `parser`, of a stage that makes one file for one subject."""
    made = parser(description)
    made.add_argument("--subject", required=True, help="chat_base or <organism>/seed-<k>")
    made.add_argument("--output", type=Path, required=True)
    return made


def whole_from(least: int) -> Callable[[str], int]:
    """Reads a whole number of the command line that is at least this; argparse turns the errors into a sentence."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
        return int(text)

    return read


def check_output(output: Path | None, read: Iterable[Path] = ()) -> None:
    """Says before any work whether a tool's output can be written.

    Raises:
        UserError: if it is one of the files that are read, a folder, or where nothing can be written.
    """
    if output is None:
        return
    with _saying("--output", output):
        if output.is_dir():
            raise UserError(f"--output: {output} is a folder; name a file in it.")
        if any(output.exists() and file.exists() and output.samefile(file) for file in read):
            raise UserError(f"--output: {output} is one of the files that are read; name another.")
        _check_place("--output", output)


def check_figures(folder: Path | None) -> None:
    """The same of the folder that a tool draws figures into."""
    if folder is None:
        return
    with _saying("--figures", folder):
        if folder.is_dir():
            return
        if folder.exists():
            raise UserError(f"--figures: {folder} is a file; name a folder.")
        _check_place("--figures", folder)


@contextmanager
def _saying(option: str, path: Path) -> Iterator[None]:
    """What the system says of a path, as a sentence."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{option}: {path} cannot be written ({error.strerror}); name another place.") from error


def _check_place(option: str, path: Path) -> None:
    there = next(parent for parent in path.absolute().parents if parent.exists())
    if not there.is_dir():
        raise UserError(f"{option}: {path} would lie in {there}, which is a file; name another place.")
    if not os.access(there, os.W_OK):
        raise UserError(f"{option}: {path} cannot be written, the folder {there} is not yours to write in.")
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise UserError(f"{option}: the name {path.name[:40]}… is longer than {LONGEST_NAME} bytes; shorten it.")


def run(main: Callable[[list[str]], None], arguments: list[str] | None = None) -> None:
    """Runs a stage's `main`; a user error becomes one sentence on stderr and exit code 1."""
    given, began = sys.argv[1:] if arguments is None else arguments, time.time()
    logging.basicConfig(level=os.environ.get("EM_LOG_LEVEL", "INFO"), format="%(asctime)s %(message)s")
    for chatty in ("httpx", "httpx2", "httpcore2", "openai", "urllib3", "matplotlib", "fontTools"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        main(given)
        if phases.asked():
            logging.getLogger(__name__).info("%s", phases.told(began))
        sys.stdout.flush()
    except UserError as error:
        if "--debug" in given:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        sys.exit(1)
    except Exception as error:
        number = error_number(error)
        if "--debug" in given or number not in OUT_OF_SPACE:
            raise
        print(
            f"error: {os.strerror(number)} while writing {getattr(error, 'filename', None) or 'a result'}; "
            "free some space and run the same command again, finished results are kept.",
            file=sys.stderr,
        )
        sys.exit(1)


def _nobody_reads() -> bool:
    """Whether standard output was closed by its reader, as `head` does; what is left of it goes nowhere then."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def out_of_space(folder: Path) -> str | None:
    """A sentence if nothing more can be written below a folder; a job's own may have found no room in its log."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(ROOM))
            file.flush()
    except OSError as error:
        if error.errno in OUT_OF_SPACE:
            return (
                f"{folder}: {os.strerror(error.errno)}, also for the jobs' logs; free some space and run again, "
                "finished results are kept."
            )
    return None


def error_number(error: Exception) -> int | None:
    """The system's number of an error; libraries written in Rust (safetensors) only tell it in their message."""
    if isinstance(error, OSError):
        return error.errno
    told = re.search(r"\(os error (\d+)\)", str(error))
    return int(told[1]) if told else None
