"""The span of OpenTelemetry that is recording is named in the events of its context."""

import json
import subprocess
import sys
from typing import Any

import msgpack
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import hansard
from hansard.events import EventEncoder

tracer = TracerProvider().get_tracer("test")


def payload_of(payload: Any = None) -> Any:
    data = EventEncoder(None, None).encode("a.b", payload, "info", None, None, 5)
    text = msgpack.unpackb(data)[-1]
    return None if text is None else json.loads(text)


def test_events_of_a_span_have_its_ids() -> None:
    with tracer.start_as_current_span("outer") as outer:
        with tracer.start_as_current_span("inner") as inner:
            context = inner.get_span_context()
            ids = {
                "trace_id": trace.format_trace_id(context.trace_id),
                "span_id": trace.format_span_id(context.span_id),
            }
            assert payload_of({"n": 1}) == {"n": 1, **ids}
            assert payload_of() == ids
        of_outer = payload_of()
    assert of_outer["trace_id"] == ids["trace_id"]
    assert int(of_outer["span_id"], 16) == outer.get_span_context().span_id
    assert payload_of() is None


def test_what_is_bound_or_given_wins() -> None:
    with tracer.start_as_current_span("s"), hansard.bound(trace_id="bound", tenant="x", actor="a"):
        payload = payload_of({"span_id": "given"})
    assert payload == {"span_id": "given", "trace_id": "bound", "tenant": "x"}


def test_a_span_that_records_nothing_is_not_named() -> None:
    unsampled = TracerProvider(sampler=ALWAYS_OFF).get_tracer("test")
    with unsampled.start_as_current_span("s"):
        assert payload_of() is None
    with tracer.start_as_current_span("s", end_on_exit=False) as span:
        span.end()
        assert payload_of() is None


def test_a_broken_opentelemetry_breaks_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError("broken")

    monkeypatch.setattr(trace, "get_current_span", broken)
    assert payload_of({"n": 1}) == {"n": 1}


def test_it_is_not_loaded_for_this_and_is_noticed_once_it_is() -> None:
    program = (
        "import sys\n"
        "from hansard.events import EventEncoder\n"
        "encoder = EventEncoder(None, None)\n"
        "encode = lambda: b'trace_id' in encoder.encode('a.b', {}, 'info', None, None, 5)\n"
        "print(encode(), 'opentelemetry' in sys.modules)\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "with TracerProvider().get_tracer('t').start_as_current_span('s'):\n"
        "    print(encode())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["False", "False", "True"], done.stderr
