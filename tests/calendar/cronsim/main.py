"""Answers what cronsim, which follows Debian's cron, says the next times of an expression are.

One case a line on standard input: expression, zone, start in seconds since 1970, and how many times are asked for, with
tabs between. One answer a line: the times in seconds, or "error" and why.
"""

import signal
import sys
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError


# Of its own, whatever else the machine does.
SECONDS_MAX = 0.5


class NoAnswer(Exception):
    """It was still searching."""


def give_up(*_: object) -> None:
    raise NoAnswer


def answer(line: str) -> str:
    expression, zone, start, count = line.split("\t")
    at = datetime.fromtimestamp(int(start), timezone.utc).astimezone(ZoneInfo(zone))
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS_MAX)
    try:
        times = CronSim(expression, at)
        found = [str(int(next(times).timestamp())) for _ in range(int(count))]
    except NoAnswer:
        return "error no answer"
    except (CronSimError, StopIteration, OverflowError) as error:
        return f"error {error!r}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return " ".join(found)


def main() -> None:
    signal.signal(signal.SIGVTALRM, give_up)
    for line in sys.stdin:
        line = line.rstrip("\n")
        if line:
            sys.stdout.write(answer(line) + "\n")
        else:  # The end of a batch.
            sys.stdout.flush()
    sys.stdout.flush()


main()
