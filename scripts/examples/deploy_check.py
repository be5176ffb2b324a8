"""What a deployment asks before it goes on: does the log take events in, and what came in so far?

    hansard serve --dir ./audit --metrics :9464 &
    python scripts/examples/deploy_check.py http://127.0.0.1:9464

It waits until the writer is ready, saying why while it is not, and then prints the entries by type.
"""

import sys
import time
import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

PATIENCE_S = 30.0


def wait_until_ready(url: str) -> None:
    """Ends the program where the writer is not ready in time."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            urllib.request.urlopen(f"{url}/readyz", timeout=3).close()  # noqa: S310 - as given
            return
        except urllib.error.HTTPError as error:
            why = error.read().decode().strip()
        except OSError as error:
            why = str(error)
        print(f"not ready: {why}", file=sys.stderr)
        if time.monotonic() >= deadline:
            sys.exit(1)
        time.sleep(1)


def entries_by_type(url: str) -> dict[str, int]:
    """Since the writer's start."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=3) as page:  # noqa: S310 - as given
        families = text_string_to_metric_families(page.read().decode())
    return {
        sample.labels["event_type"]: int(sample.value)
        for family in families
        if family.name == "hansard_entries_by_type"
        for sample in family.samples
    }


wait_until_ready(sys.argv[1])
for event_type, count in entries_by_type(sys.argv[1]).items():
    print(event_type, count)
