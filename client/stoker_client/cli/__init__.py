"""The command `stoker`. Every failure is a sentence on stderr and an exit code that scripts can tell apart."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from stoker_client.errors import NotSignedIn, Refused, StillWaiting, StokerError

OK, FAILED, CANCELLED, TIMED_OUT, REFUSED, WRONG_USE, INTERRUPTED = 0, 1, 2, 3, 4, 64, 130


def exit_code(statuses: Iterable[str]) -> int:
    """How jobs ended, as a number: the worst of them counts."""
    ended = set(statuses)
    return FAILED if "failed" in ended else CANCELLED if "cancelled" in ended else OK


def main(words: list[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    sys.exit(run(sys.argv[1:] if words is None else words))


def run(words: list[str]) -> int:
    from stoker_client.cli.app import app

    try:
        code = app(words, prog_name="stoker", standalone_mode=False)
    except StillWaiting as error:
        _say(str(error))
        return TIMED_OUT
    except Refused as error:
        _say_refusal(error)
        return REFUSED
    except StokerError as error:
        _say(str(error))
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the output has had enough
        sys.stderr.close()
        return OK
    except Exception as error:
        # What the parser of the command line has to say; its class is no public name of the library.
        if not hasattr(error, "format_message"):
            if type(error).__name__ == "Abort":
                return INTERRUPTED
            raise
        _say(error.format_message())
        return WRONG_USE
    return code if isinstance(code, int) else OK


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _say_refusal(error: Refused) -> None:
    if not error.fields:
        _say(error.detail)
    for one in error.fields:
        _say(f"{one.field}: {one.message}" if one.field else one.message)
    if isinstance(error, NotSignedIn):
        _say("Sign in with: stoker login URL")
